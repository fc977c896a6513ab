/**
 * The small shell scripts of the native engine's recipes, for what takes more than one program in one mount namespace. They are the same for every build: what differs
 * comes as arguments. Pure.
 */
import { layout } from './engine.ts';

const path = (name: string) => `${layout.recipe}/${name}`;

/** Where each stands in the workspace. */
export const scripts = {
  inRoot: path('in-root'),
  setUp: path('set-up'),
  installerEnvironment: path('installer-environment'),
  makeInitramfs: path('make-initramfs'),
  makeBootLoader: path('make-boot-loader'),
  linkPackages: path('link-packages'),
  writeChecksums: path('write-checksums'),
} as const;
type Script = keyof typeof scripts;

const texts: Readonly<Record<Script, string>> = {
  // /sys comes only once the package that owns the folder is there: rpm would fail to set the mode of a folder that cannot be written to.
  inRoot: `#!/bin/sh
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
`,
  setUp: `#!/bin/sh
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
`,
  installerEnvironment: `#!/bin/sh
# installer-environment ROOT: makes a system with Anaconda in it start as the installer, as lorax does (runtime-postinstall.tmpl).
set -eu
root=$1
mv "$root/usr/share/anaconda/restart-anaconda" "$root/usr/bin/" 2> /dev/null || true
for name in list-harddrives raidstart raidstop; do
  mv "$root/usr/share/anaconda/$name-stub" "$root/usr/bin/$name" 2> /dev/null || true
done
[ ! -d "$root/etc/yum.repos.d" ] || mv "$root/etc/yum.repos.d" "$root/etc/anaconda.repos.d"
echo 'HOMEHOST <ignore>' > "$root/etc/mdadm.conf"
ln -sf /usr/lib/systemd/system/anaconda.target "$root/etc/systemd/system/default.target"
mkdir -p "$root/etc/systemd/system/local-fs.target.wants"
ln -sf /usr/lib/systemd/system/tmp.mount "$root/etc/systemd/system/local-fs.target.wants/tmp.mount"
for unit in systemd-tmpfiles-clean.service systemd-tmpfiles-clean.timer ldconfig.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
ln -sf anaconda-shell@.service "$root/usr/lib/systemd/system/autovt@.service"
rm -rf "$root/var/log/journal"
touch "$root/etc/fstab"
echo 'install:x:0:0:root:/root:/usr/libexec/anaconda/run-anaconda' >> "$root/etc/passwd"
echo 'install::14438:0:99999:7:::' >> "$root/etc/shadow"
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"
mv "$root/usr/libexec/anaconda/auditd" "$root/usr/sbin/" 2> /dev/null || true
mkdir -p "$root/mnt" && ln -sf ../run/install "$root/mnt/install"
echo 'search updates built-in' > "$root/etc/depmod.d/dd.conf"
`,
  makeInitramfs: `#!/bin/sh
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
`,
  makeBootLoader: `#!/bin/sh
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
`,
  linkPackages: `#!/bin/sh
# link-packages HERE TREE REPOSITORY…: links to all packages of the repositories, laid out as there. The repositories are only read: they may be shared.
set -eu
here=$1 tree=$2
shift 2
for repository; do
  [ ! -d "$repository/Packages" ] || cp -rs "$here/$repository/Packages/." "$tree/Packages/"
done
`,
  writeChecksums: `#!/bin/sh
# write-checksums TREE FILE…: adds the SHA-256 of files in TREE to its .treeinfo, whose last section is [checksums].
set -eu
cd "$1"
shift
for file; do
  echo "$file = sha256:$(sha256sum "$file" | cut -d ' ' -f 1)" >> .treeinfo
done
`,
};

export function scriptFile(name: Script): { readonly path: string; readonly content: string } {
  return { path: scripts[name], content: texts[name] };
}
