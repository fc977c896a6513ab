#!/bin/sh
# HELLO-DVD: dvd image of sample, x86_64. Made by Spindle's native engine.
# Run it as root in a directory that holds repositories/stable and repositories/side. Each step has namespaces of its own and no network.
set -eu
here=$(pwd)
export LC_ALL=C.UTF-8
step() { unshare --mount --pid --ipc --fork --mount-proc --net -- "$@"; }

mkdir -p cache home output recipe root temporary tree tree/EFI/BOOT tree/Packages tree/boot/grub2 tree/images/pxeboot

sed "s|/@workspace@|$here|g" > recipe/dnf.conf << 'END'
[main]
assumeyes=1
best=1
gpgcheck=0
install_weak_deps=0
keepcache=0
plugins=0
reposdir=/dev/null
varsdir=/dev/null
skip_if_unavailable=0
zchunk=0

[stable]
name=stable
baseurl=file:///@workspace@/repositories/stable
metadata_expire=never

[side]
name=side
baseurl=file:///@workspace@/repositories/side
metadata_expire=never
END

sed "s|/@workspace@|$here|g" > home/.rpmmacros << 'END'
%_dbpath /usr/lib/sysimage/rpm
%_pkgverify_level none
END

sed "s|/@workspace@|$here|g" > recipe/in-root << 'END'
#!/bin/sh
# in-root ROOT COMMAND [ARGUMENT…]: runs the command while ROOT has /dev, /proc and /sys of its own. They go with the mount namespace that this was started in.
set -eu
root=$1
shift
mkdir -p "$root/dev" "$root/proc"
mount -t proc proc "$root/proc"
[ ! -d "$root/sys" ] || mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=0755,nosuid tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
for name in full null random tty urandom zero; do
  : > "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
exec "$@"
END

sed "s|/@workspace@|$here|g" > recipe/make-initramfs << 'END'
#!/bin/sh
# make-initramfs ROOT KERNEL INITRAMFS [OPTION…]: takes the newest kernel of ROOT, and has ROOT's own dracut make its initramfs with these options.
set -eu
root=$1 kernel=$2 initramfs=$3
shift 3
version=$(for each in "$root"/usr/lib/modules/*/vmlinuz; do [ ! -f "$each" ] || basename "$(dirname "$each")"; done | sort -V | tail -n 1)
if [ -z "$version" ]; then
  echo 'error: make-initramfs: no kernel below /usr/lib/modules of the installed system' >&2
  exit 1
fi
cp "$root/usr/lib/modules/$version/vmlinuz" "$kernel"
mkdir -p "$root/var/tmp"
chroot "$root" dracut --force "$@" --kver "$version" /var/tmp/initramfs.img
mv "$root/var/tmp/initramfs.img" "$initramfs"
END

sed "s|/@workspace@|$here|g" > recipe/make-boot-loader << 'END'
#!/bin/sh
# make-boot-loader ROOT TREE ARCH HYBRID ESP: GRUB for optical media and disks, by BIOS and UEFI, out of ROOT's own packages; with a signed shim where there is one.
# HYBRID becomes the boot sector for disks, ESP the file system that UEFI starts from.
set -eu
root=$1 tree=$2 arch=$3 hybrid=$4 esp=$5
mkdir -p "$tree/EFI/BOOT" "$tree/images" "$root/var/tmp/boot-loader"
mkimage=grub-mkimage
[ ! -x "$root/usr/bin/grub2-mkimage" ] || mkimage=grub2-mkimage
modules='iso9660 normal configfile linux search search_label echo test serial terminal all_video minicmd ls sleep reboot halt part_gpt part_msdos fat'
case $arch in
  x86_64) efi=x86_64-efi short=x64 upper=X64 ;;
  aarch64) efi=arm64-efi short=aa64 upper=AA64 ;;
  *) echo "error: make-boot-loader: no boot loader for $arch" >&2; exit 1 ;;
esac

if [ "$arch" = x86_64 ]; then
  chroot "$root" "$mkimage" -O i386-pc-eltorito -d /usr/lib/grub/i386-pc -p /boot/grub2 -o /var/tmp/boot-loader/eltorito.img biosdisk $modules
  cp "$root/var/tmp/boot-loader/eltorito.img" "$tree/images/eltorito.img"
  cp "$root/usr/lib/grub/i386-pc/boot_hybrid.img" "$hybrid"
fi

set -- "$root"/boot/efi/EFI/*/"shim$short.efi"
if [ -f "$1" ]; then
  vendor=$(dirname "$1")
  cp "$1" "$tree/EFI/BOOT/BOOT$upper.EFI"
  cp "$vendor/gcd$short.efi" "$tree/EFI/BOOT/grub$short.efi"
  [ ! -f "$vendor/mm$short.efi" ] || cp "$vendor/mm$short.efi" "$tree/EFI/BOOT/mm$short.efi"
else
  chroot "$root" "$mkimage" -O "$efi" -d "/usr/lib/grub/$efi" -p /EFI/BOOT -o /var/tmp/boot-loader/grub.efi $modules
  cp "$root/var/tmp/boot-loader/grub.efi" "$tree/EFI/BOOT/BOOT$upper.EFI"
fi
rm -rf "$root/var/tmp/boot-loader"

kilobytes=$(du -sk "$tree/EFI" | cut -f 1)
mkfs.vfat -C -n ESP "$esp" $((kilobytes + 1024)) > /dev/null
mcopy -s -i "$esp" "$tree/EFI" ::
END

sed "s|/@workspace@|$here|g" > recipe/write-checksums << 'END'
#!/bin/sh
# write-checksums TREE FILE…: adds the SHA-256 of files in TREE to its .treeinfo, whose last section is [checksums].
set -eu
cd "$1"
shift
for file; do
  echo "$file = sha256:$(sha256sum "$file" | cut -d ' ' -f 1)" >> .treeinfo
done
END

sed "s|/@workspace@|$here|g" > tree/.treeinfo << 'END'
[general]
arch = x86_64
family = Sample Linux
name = Sample Linux sample
packagedir = Packages
repository = .
platforms = x86_64
timestamp = 1700000000
variant = Everything
variants = Everything
version = sample

[header]
type = productmd.treeinfo
version = 1.2

[images-x86_64]
initrd = images/pxeboot/initrd.img
kernel = images/pxeboot/vmlinuz

[release]
name = Sample Linux
short = Sample
version = sample

[stage2]
mainimage = images/install.img

[tree]
arch = x86_64
build_timestamp = 1700000000
platforms = x86_64
variants = Everything

[variant-Everything]
id = Everything
name = Everything
packages = Packages
repository = .
type = variant
uid = Everything

[checksums]
END

sed "s|/@workspace@|$here|g" > tree/.discinfo << 'END'
1700000000.0
Sample Linux sample
x86_64
END

sed "s|/@workspace@|$here|g" > recipe/link-packages << 'END'
#!/bin/sh
# link-packages HERE TREE REPOSITORY…: links to all packages of the repositories, laid out as there. The repositories are only read: they may be shared.
set -eu
here=$1 tree=$2
shift 2
for repository; do
  [ ! -d "$repository/Packages" ] || cp -rs "$here/$repository/Packages/." "$tree/Packages/"
done
END

sed "s|/@workspace@|$here|g" > recipe/comps.xml << 'END'
<?xml version="1.0" encoding="utf-8"?>
<comps>
  <group>
    <id>core</id>
    <name>Core &amp; more</name>
    <description>Core &amp; more</description>
    <default>false</default>
    <uservisible>true</uservisible>
    <packagelist>
      <packagereq type="mandatory">bash</packagereq>
      <packagereq type="mandatory">busybox</packagereq>
    </packagelist>
  </group>
  <environment>
    <id>sample-environment</id>
    <name>Sample system</name>
    <description>Sample system</description>
    <display_order>1</display_order>
    <grouplist>
      <groupid>core</groupid>
    </grouplist>
    <optionlist/>
  </environment>
</comps>
END

sed "s|/@workspace@|$here|g" > tree/ks.cfg << 'END'
# Made by Spindle: HELLO-DVD, sample, x86_64.

# The repositories of this build, which hold the resolved packages and nothing else.
cdrom

lang en_US.UTF-8
keyboard --vckeymap=us
timezone UTC --utc
rootpw --lock
selinux --disabled
firewall --disabled
text
zerombr
clearpart --all --initlabel
bootloader
autopart
poweroff

%packages --nocore
# Resolved from @core and what else was asked for: exactly these.
bash-5.2-1.x86_64
busybox-1:1.35.0-1.sample.x86_64
hello-1.1-1.sample.noarch
kernel-core-6.1.0-56.x86_64
%end
END

sed "s|/@workspace@|$here|g" > tree/boot/grub2/grub.cfg << 'END'
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
set default=0
set timeout=1
search --no-floppy --set=root --label 'HELLO-DVD'
menuentry 'Install Sample Linux automatically, onto the whole disk' {
  linux /images/pxeboot/vmlinuz inst.stage2=hd:LABEL=HELLO-DVD quiet console=tty0 console=ttyS0,115200 inst.ks=hd:LABEL=HELLO-DVD:/ks.cfg
  initrd /images/pxeboot/initrd.img
}
menuentry 'Test this medium, then install automatically' {
  linux /images/pxeboot/vmlinuz inst.stage2=hd:LABEL=HELLO-DVD quiet console=tty0 console=ttyS0,115200 inst.ks=hd:LABEL=HELLO-DVD:/ks.cfg rd.live.check
  initrd /images/pxeboot/initrd.img
}
menuentry 'Install Sample Linux, asking' {
  linux /images/pxeboot/vmlinuz inst.stage2=hd:LABEL=HELLO-DVD quiet console=tty0 console=ttyS0,115200
  initrd /images/pxeboot/initrd.img
}
menuentry 'Start a shell to rescue an installed system' {
  linux /images/pxeboot/vmlinuz inst.stage2=hd:LABEL=HELLO-DVD quiet console=tty0 console=ttyS0,115200 inst.rescue
  initrd /images/pxeboot/initrd.img
}
END

sed "s|/@workspace@|$here|g" > tree/EFI/BOOT/grub.cfg << 'END'
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
set default=0
set timeout=1
search --no-floppy --set=root --label 'HELLO-DVD'
menuentry 'Install Sample Linux automatically, onto the whole disk' {
  linux /images/pxeboot/vmlinuz inst.stage2=hd:LABEL=HELLO-DVD quiet console=tty0 console=ttyS0,115200 inst.ks=hd:LABEL=HELLO-DVD:/ks.cfg
  initrd /images/pxeboot/initrd.img
}
menuentry 'Test this medium, then install automatically' {
  linux /images/pxeboot/vmlinuz inst.stage2=hd:LABEL=HELLO-DVD quiet console=tty0 console=ttyS0,115200 inst.ks=hd:LABEL=HELLO-DVD:/ks.cfg rd.live.check
  initrd /images/pxeboot/initrd.img
}
menuentry 'Install Sample Linux, asking' {
  linux /images/pxeboot/vmlinuz inst.stage2=hd:LABEL=HELLO-DVD quiet console=tty0 console=ttyS0,115200
  initrd /images/pxeboot/initrd.img
}
menuentry 'Start a shell to rescue an installed system' {
  linux /images/pxeboot/vmlinuz inst.stage2=hd:LABEL=HELLO-DVD quiet console=tty0 console=ttyS0,115200 inst.rescue
  initrd /images/pxeboot/initrd.img
}
END

# laying out the packages
HOME="$here"'/home' step sh recipe/link-packages "$here" tree repositories/stable repositories/side

# making the repository of the medium
HOME="$here"'/home' step createrepo_c --no-database --revision=1700000000 --set-timestamp-to-revision --general-compress-type=gz --workers=2 --groupfile "$here"'/recipe/comps.xml' tree

# installing packages
HOME="$here"'/home' step sh recipe/in-root root dnf --config "$here"'/recipe/dnf.conf' --installroot "$here"'/root' --releasever sample --forcearch x86_64 '--setopt=cachedir='"$here"'/cache/dnf' '--setopt=logdir='"$here"'/temporary' '--setopt=persistdir='"$here"'/temporary/dnf' install kernel-core dracut anaconda anaconda-dracut grub2-tools grub2-pc-modules grub2-efi-x64-modules sample-installer isomd5sum

# making the initramfs
HOME="$here"'/home' step sh recipe/in-root root sh recipe/make-initramfs root tree/images/pxeboot/vmlinuz tree/images/pxeboot/initrd.img --no-hostonly --no-hostonly-cmdline --no-early-microcode --nomdadmconf --nolvmconf --add 'anaconda pollcdrom qemu qemu-net'

# making the boot loader
HOME="$here"'/home' step sh recipe/in-root root sh recipe/make-boot-loader root tree x86_64 temporary/boot_hybrid.img temporary/efiboot.img

# packing the root file system
HOME="$here"'/home' step mksquashfs root tree/images/install.img -comp lz4 -noappend -no-recovery -no-progress

# describing the tree
HOME="$here"'/home' step sh recipe/write-checksums tree images/pxeboot/vmlinuz images/pxeboot/initrd.img images/install.img repodata/repomd.xml

# writing the ISO
HOME="$here"'/home' step xorriso -as mkisofs -o output/image.iso -R -J -joliet-long -f -V HELLO-DVD --grub2-mbr temporary/boot_hybrid.img -partition_offset 16 -appended_part_as_gpt -append_partition 2 C12A7328-F81F-11D2-BA4B-00A0C93EC93B temporary/efiboot.img -iso_mbr_part_type EBD0A0A2-B9E5-4433-87C0-68B6B72699C7 -c boot.cat --boot-catalog-hide -b images/eltorito.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot tree
