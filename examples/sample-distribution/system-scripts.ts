/** The shell scripts of the sample system, run by busybox's shell: its first boot script, its initramfs, and what stands in for dracut. Pure. */

/**
 * Runs first in the booted system. Tells on the serial console, for the boot test, what is really running: every package of the RPM database. On the screen it
 * shows a banner, so that a picture of it says something to people.
 *
 * The report's lines are a protocol: `SPINDLE-BOOT begin`, `… os <PRETTY_NAME>`, `… kernel <release>`, `… rpm <nevra>` for each package, `… end <number of rpm lines>`.
 */
export const systemStart = `#!/bin/sh
export PATH=/usr/bin:/usr/sbin
[ -r /proc/mounts ] || mount -t proc proc /proc
is_mounted() { grep -q " $1 " /proc/mounts; }
is_mounted /sys || mount -t sysfs sysfs /sys
is_mounted /dev || mount -t devtmpfs devtmpfs /dev
# Of an installer's system the initramfs has laid it out: the medium is mounted there.
is_mounted /run || mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
# The kernel must not write into the middle of a line of the report.
dmesg -n 1
hostname -F /etc/hostname
. /etc/os-release

# An automatic installation says what it does itself, and turns the machine off.
case " $(cat /proc/cmdline) " in
  *" inst.ks="*) [ ! -x /usr/sbin/sample-installer ] || exec /usr/sbin/sample-installer ;;
esac

# In full, because busybox's shell takes its own small rpm for a bare name. An epoch of 0 is the same as none, and is not written.
/usr/bin/rpm -qa --qf '%{NAME}-%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}.%{ARCH}\\n' | sed 's/-0:\\([^-]*-[^-]*\\)$/-\\1/' | sort > /run/rpm-list
{
  echo "SPINDLE-BOOT begin"
  echo "SPINDLE-BOOT os $PRETTY_NAME"
  echo "SPINDLE-BOOT kernel $(uname -r)"
  sed 's/^/SPINDLE-BOOT rpm /' /run/rpm-list
  echo "SPINDLE-BOOT end $(wc -l < /run/rpm-list)"
} > /run/boot-report

{
  printf '\\033c\\n'
  echo "  $PRETTY_NAME"
  echo "  kernel $(uname -r), $(wc -l < /run/rpm-list) RPM packages"
  echo
  if command -v hello > /dev/null; then
    echo "  $(/usr/bin/rpm -q hello)"
    echo "  $ hello"
    hello | sed 's/^/  /'
    echo
  fi
  [ ! -x /usr/sbin/sample-installer ] || /usr/sbin/sample-installer --screen
} > /dev/tty1 2> /dev/null

# The report comes once on each console: where the serial port is the kernel's console, both names mean the same line.
[ -c /dev/ttyS0 ] && cat /run/boot-report > /dev/ttyS0
case " $(cat /sys/class/tty/console/active) " in
  *" ttyS0 ") ;;
  *) cat /run/boot-report > /dev/console ;;
esac
exit 0
`;

export const inittab = `::sysinit:/etc/rc.sysinit
tty1::respawn:-/bin/bash
ttyS0::respawn:-/bin/bash
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/umount -a -r
`;

/** Read by the shells on screen and serial port. */
export const profile = `export PATH=/usr/bin:/usr/sbin HOME=/root PS1='[root@sample \\W]# '
cd
`;

/**
 * The first program of the initramfs. Finds the medium by its volume label, as dracut's live modules do (`root=live:CDLABEL=<label>`), and starts the system from
 * the squashfs on it with a writable overlay in memory; as Anaconda's do it finds an installer (`inst.stage2=hd:LABEL=<label>`), and leaves the medium mounted at
 * /run/install/repo. An installed system is found by `root=UUID=…`, `root=LABEL=…` or `root=/dev/…`. With `rd.live.check` the medium is checked first.
 */
export const initramfsStart = `#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in virtio_pci virtio_blk virtio_scsi ata_piix ata_generic sd_mod sr_mod isofs loop squashfs overlay ext4; do
  modprobe $module 2> /dev/null
done

give_up() {
  echo "sample initramfs: $1"
  exec sh
}

label= root= images=LiveOS/squashfs.img check=
for word in $(cat /proc/cmdline); do
  case $word in
    root=live:CDLABEL=*|root=live:LABEL=*) label=\${word##*LABEL=} ;;
    inst.stage2=hd:LABEL=*) label=\${word#inst.stage2=hd:LABEL=} label=\${label%%:*} images="images/install.img LiveOS/squashfs.img" ;;
    root=/dev/*|root=UUID=*|root=LABEL=*) root=\${word#root=} ;;
    rd.live.check) check=yes ;;
  esac
done

# A name of its own, or what has this label or UUID.
find_root() {
  case $root in
    /dev/*) device=$root ;;
    *) device=$(findfs "$root" 2> /dev/null) ;;
  esac
  [ -b "$device" ]
}

# ISO 9660 keeps the volume label in 32 bytes at this place.
find_medium() {
  for entry in /sys/class/block/*; do
    case \${entry##*/} in loop*|ram*) continue ;; esac
    if [ "$(dd if=/dev/\${entry##*/} bs=1 skip=32808 count=32 2> /dev/null | sed 's/ *$//')" = "$label" ]; then
      medium=/dev/\${entry##*/}
      return 0
    fi
  done
  return 1
}

tries=0
if [ -n "$root" ]; then
  until find_root; do
    tries=$((tries + 1))
    [ $tries -lt 150 ] || give_up "there is no $root"
    sleep 0.2
  done
  mount -o rw "$device" /system || give_up "cannot mount $device"
else
  until find_medium; do
    tries=$((tries + 1))
    [ $tries -lt 150 ] || give_up "there is no medium labelled '$label'"
    sleep 0.2
  done
  if [ -n "$check" ]; then
    echo "checking $medium"
    checkisomd5 "$medium" < /dev/null || give_up "$medium fails its media check"
  fi
  mount -t tmpfs -o mode=0755 tmpfs /run
  mkdir -p /run/install/repo
  mount -t iso9660 -o ro "$medium" /run/install/repo || give_up "cannot mount $medium"
  image=
  for each in $images; do
    [ -n "$image" ] || [ ! -f "/run/install/repo/$each" ] || image=$each
  done
  mount -t squashfs -o ro,loop "/run/install/repo/$image" /mnt/squashfs || give_up "cannot mount '$image' of $medium"
  lower=/mnt/squashfs
  if [ -f /mnt/squashfs/LiveOS/rootfs.img ]; then
    mount -t ext4 -o ro,loop /mnt/squashfs/LiveOS/rootfs.img /mnt/image || give_up "cannot mount LiveOS/rootfs.img"
    lower=/mnt/image
  fi
  mount -t tmpfs tmpfs /mnt/memory
  mkdir /mnt/memory/upper /mnt/memory/work
  mount -t overlay -o lowerdir=$lower,upperdir=/mnt/memory/upper,workdir=/mnt/memory/work overlay /system || give_up "cannot lay a writable layer over the system"
fi
[ -n "$root" ] || mount --move /run /system/run
for directory in proc sys dev; do mount --move /$directory /system/$directory; done
exec switch_root /system /sbin/init
`;

/**
 * Takes dracut's place in the sample system: the same command line as far as image tools use it (`dracut [options] OUTPUT [KERNEL]`), but the initramfs is always
 * busybox, the kernel's modules and the script above. It is not dracut.
 */
export const dracutStandIn = `#!/bin/sh
set -e
output= kernel=
while [ $# -gt 0 ]; do
  case $1 in
    --list-modules) printf '%s\\n' base busybox dmsquash-live kiwi-live pollcdrom; exit 0 ;;
    --kver) kernel=$2; shift ;;
    -a|--add|-o|--omit|-m|--modules|-d|--drivers|--add-drivers|--omit-drivers|-c|--conf|--confdir|-I|--install|--compress|--tmpdir|--persistent-policy) shift ;;
    -i|--include) shift; shift ;;
    -*) ;;
    *) if [ -z "$output" ]; then output=$1; else kernel=$1; fi ;;
  esac
  shift
done
[ -n "$kernel" ] || kernel=$(ls /usr/lib/modules | head -n 1)
[ -n "$output" ] || output=/boot/initramfs-$kernel.img

tree=$(mktemp -d /var/tmp/dracut.XXXXXX)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/bin" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/run" "$tree/system" "$tree/lib/modules"
for directory in squashfs image memory; do mkdir -p "$tree/mnt/$directory"; done
cp /usr/bin/busybox "$tree/bin/busybox"
cp -a "/usr/lib/modules/$kernel" "$tree/lib/modules/"
rm -f "$tree/lib/modules/$kernel/vmlinuz"
if [ -x /usr/bin/checkisomd5 ]; then
  # With the libraries that it loads, and their loader.
  cp /usr/bin/checkisomd5 "$tree/bin/checkisomd5"
  mkdir -p "$tree/lib/x86_64-linux-gnu" "$tree/lib64"
  for library in libpopt.so.0 libc.so.6; do cp "/usr/lib/x86_64-linux-gnu/$library" "$tree/lib/x86_64-linux-gnu/"; done
  cp /usr/lib64/ld-linux-x86-64.so.2 "$tree/lib64/"
fi
cp /usr/lib/dracut/initramfs-start "$tree/init"
chmod 755 "$tree/init"
(cd "$tree" && find . | cpio -o -H newc 2> /dev/null | gzip -6) > "$output"
echo "dracut (Sample Linux's stand-in): made $output for kernel $kernel"
`;
