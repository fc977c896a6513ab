#!/bin/sh
# F44-de: live image of 44, x86_64. Made by Spindle's native engine.
# Run it as root in a directory that holds repositories/stable and repositories/side. Each step has namespaces of its own and no network.
set -eu
here=$(pwd)
export LC_ALL=C.UTF-8
step() { unshare --mount --pid --ipc --fork --mount-proc --net -- "$@"; }

mkdir -p cache home output recipe root temporary tree/EFI/BOOT tree/LiveOS tree/boot tree/boot/grub2

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

sed "s|/@workspace@|$here|g" > recipe/set-up << 'END'
#!/bin/sh
# set-up ROOT LOCALE KEYMAP TIMEZONE USER: the settings of a system with systemd. USER may be empty.
set -eu
root=$1 locale=$2 keymap=$3 timezone=$4 user=$5
if [ ! -f "$root/usr/share/zoneinfo/$timezone" ]; then
  echo "error: set-up: the image has no time zone $timezone" >&2
  exit 1
fi
ln -sf "../usr/share/zoneinfo/$timezone" "$root/etc/localtime"
echo "LANG=$locale" > "$root/etc/locale.conf"
echo "KEYMAP=$keymap" > "$root/etc/vconsole.conf"
# The empty password lets the live user in, as on Fedora's live media. Root's account stays locked.
[ -z "$user" ] || chroot "$root" useradd --create-home --groups wheel --password '' "$user"
# Each system that starts from the medium draws its own.
: > "$root/etc/machine-id"
END

sed "s|/@workspace@|$here|g" > tree/boot/grub2/grub.cfg << 'END'
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
set default=0
set timeout=1
search --no-floppy --set=root --label 'F44-de'
menuentry 'Start F44-de' {
  linux /boot/vmlinuz root=live:CDLABEL=F44-de rd.live.image rd.live.overlay.overlayfs=1 quiet console=tty0 console=ttyS0,115200
  initrd /boot/initrd.img
}
END

sed "s|/@workspace@|$here|g" > tree/EFI/BOOT/grub.cfg << 'END'
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
set default=0
set timeout=1
search --no-floppy --set=root --label 'F44-de'
menuentry 'Start F44-de' {
  linux /boot/vmlinuz root=live:CDLABEL=F44-de rd.live.image rd.live.overlay.overlayfs=1 quiet console=tty0 console=ttyS0,115200
  initrd /boot/initrd.img
}
END

# installing packages
HOME="$here"'/home' step sh recipe/in-root root dnf --config "$here"'/recipe/dnf.conf' --installroot "$here"'/root' --releasever 44 --forcearch x86_64 '--setopt=cachedir='"$here"'/cache/dnf' '--setopt=logdir='"$here"'/temporary' '--setopt=persistdir='"$here"'/temporary/dnf' install hello-1.1-1.sample.noarch kernel-core-6.17.1-300.fc44.x86_64 kernel-core-6.17.4-300.fc44.x86_64 passwd-0.80-20.fc44.x86_64 policycoreutils-3.9-1.fc44.x86_64 selinux-policy-targeted-42.1-1.fc44.noarch shadow-utils-2:4.17.4-1.fc44.x86_64 systemd-258-1.fc44.x86_64

# setting the system up
HOME="$here"'/home' step sh recipe/in-root root sh recipe/set-up root de_DE.UTF-8 de-nodeadkeys Europe/Berlin anna

# making the initramfs
HOME="$here"'/home' step sh recipe/in-root root sh recipe/make-initramfs root tree/boot/vmlinuz tree/boot/initrd.img --no-hostonly --no-hostonly-cmdline --no-early-microcode --nomdadmconf --nolvmconf --xz --add 'dmsquash-live pollcdrom'

# making the boot loader
HOME="$here"'/home' step sh recipe/in-root root sh recipe/make-boot-loader root tree x86_64 temporary/boot_hybrid.img temporary/efiboot.img

# labelling files for SELinux
HOME="$here"'/home' step sh recipe/in-root root chroot root setfiles -F -e /proc -e /sys -e /dev /etc/selinux/targeted/contexts/files/file_contexts /

# packing the root file system
HOME="$here"'/home' step mksquashfs root tree/LiveOS/squashfs.img -comp xz -b 1M -Xdict-size 100% -noappend -no-recovery -no-progress

# writing the ISO
HOME="$here"'/home' step xorriso -as mkisofs -o output/image.iso -R -J -joliet-long -f -V F44-de --grub2-mbr temporary/boot_hybrid.img -partition_offset 16 -appended_part_as_gpt -append_partition 2 C12A7328-F81F-11D2-BA4B-00A0C93EC93B temporary/efiboot.img -iso_mbr_part_type EBD0A0A2-B9E5-4433-87C0-68B6B72699C7 -c boot.cat --boot-catalog-hide -b images/eltorito.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot tree
