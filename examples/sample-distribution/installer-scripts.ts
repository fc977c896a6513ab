/**
 * Sample Linux's installer, run by busybox's shell. It is not Anaconda: it takes one whole disk, knows the kickstart commands that it needs, and installs with rpm, because the
 * distribution has no dnf; which packages a name stands for and what they require it reads from the medium itself. Pure.
 */

/**
 * Chooses packages: of the RPMs on the medium those with the wanted names, and whatever they require. The medium holds one version of each, made to fit together, so versions
 * need not be compared. Reads what rpm says of all RPMs; prints file names, or `missing NAME` for each wanted name that is nowhere.
 */
export const packageChoice = `#!/usr/bin/awk -f
$1 == "package" { name = $2; file[name] = $2 "-" $4 "-" $5 "." $6 ".rpm"
  names = $2 " " $2 "." $6 " " $2 "-" $4 " " $2 "-" $4 "-" $5 " " $2 "-" $4 "-" $5 "." $6 " " $2 "-" $3 ":" $4 "-" $5 " " $2 "-" $3 ":" $4 "-" $5 "." $6
  count = split(names, all, " ")
  for (i = 1; i <= count; i++) giver[all[i]] = name
  next }
$1 == "provides" { if (!($2 in giver)) giver[$2] = name; next }
$1 == "requires" { if ($2 !~ /^rpmlib\\(/) needs[name] = needs[name] " " $2; next }
END {
  count = split(wanted, queue, " ")
  for (i = 1; i <= count; i++) {
    if (!(queue[i] in giver)) { if (i <= total || !total) print "missing " queue[i]; continue }
    name = giver[queue[i]]
    if (name in chosen) continue
    chosen[name] = 1
    print file[name]
    more = split(needs[name], further, " ")
    for (j = 1; j <= more; j++) queue[++count] = further[j]
  }
}
`;

/**
 * Lines on the serial console are a protocol: \`SPINDLE-INSTALL begin\`, \`… package <nevra>\` for each installed package, then \`… done\` or \`… failed <reason>\`; after either the
 * machine turns itself off, or restarts where the kickstart says so.
 */
export const installer = `#!/bin/sh
# sample-installer              installs as the kickstart says that the kernel's command line names (inst.ks=)
# sample-installer KICKSTART    the same with a file
# sample-installer --screen     prints what it can do
export PATH=/usr/bin:/usr/sbin HOME=/root
medium=/run/install/repo target=/mnt/sysimage
. /etc/os-release

if [ "$1" = --screen ]; then
  echo "  $PRETTY_NAME can be installed from this medium:"
  echo "    sample-installer KICKSTART    takes a whole disk and installs what the kickstart names"
  echo "    inst.ks=hd:LABEL=<label>:/ks.cfg on the kernel's command line does it without questions"
  [ -d "$medium/Packages" ] || echo "  This medium brings the installer only, and no packages."
  echo
  exit 0
fi

say() {
  for console in ttyS0 tty1; do
    [ ! -c /dev/$console ] || echo "SPINDLE-INSTALL $*" > /dev/$console
  done 2> /dev/null
}

finish() {
  sync
  [ "$ending" = reboot ] && reboot -f
  poweroff -f
  sleep 60
}

give_up() {
  say "failed $1"
  ending=poweroff finish
  exit 1
}

# Runs a program; where it fails, its last words are the reason.
must() {
  "$@" > /run/install/said 2>&1 || give_up "$1: $(grep . /run/install/said | tail -n 1)"
}

say begin
ending=poweroff
mkdir -p /run/install

# ---- The kickstart
kickstart=$1
if [ -z "$kickstart" ]; then
  for word in $(cat /proc/cmdline); do
    case $word in
      inst.ks=file:*) kickstart=\${word#inst.ks=file:} ;;
      inst.ks=hd:LABEL=*|inst.ks=cdrom:*) kickstart=$medium/\${word##*:/} ;;
      inst.ks=*) give_up "cannot fetch a kickstart from \${word#inst.ks=}" ;;
    esac
  done
fi
[ -f "$kickstart" ] || give_up "there is no kickstart $kickstart"
[ -d "$medium/Packages" ] || give_up "this medium has no packages"

hostname= locale= keymap= timezone= only_disk= wanted= unwanted= with_core=yes locked= section=
while read -r first rest; do
  case $first in
    ''|'#'*) continue ;;
    %packages) section=packages; case " $rest " in *' --nocore '*) with_core= ;; esac; continue ;;
    %end) section=; continue ;;
    %include|%ksappend) continue ;;
    %*) section=other; echo "sample-installer: passes over $first"; continue ;;
  esac
  if [ "$section" = packages ]; then
    case $first in
      -*) unwanted="$unwanted \${first#-}" ;;
      @) wanted="$wanted @\${rest%% *}" ;;
      *) wanted="$wanted $first" ;;
    esac
  elif [ -z "$section" ]; then
    # Quotes only keep words together, and no value here has blanks.
    rest=$(echo "$rest" | tr -d "\\"'")
    case $first in
      lang) locale=\${rest%% *} ;;
      keyboard) for word in $rest; do case $word in --vckeymap=*) keymap=\${word#*=} ;; --*) ;; *) [ -n "$keymap" ] || keymap=$word ;; esac; done ;;
      timezone) for word in $rest; do case $word in --*) ;; *) timezone=$word ;; esac; done ;;
      network) for word in $rest; do case $word in --hostname=*) hostname=\${word#*=} ;; esac; done ;;
      ignoredisk|clearpart) for word in $rest; do case $word in --only-use=*|--drives=*) only_disk=\${word#*=} only_disk=\${only_disk%%,*} ;; esac; done ;;
      rootpw) case " $rest " in *' --lock '*) locked=yes ;; esac ;;
      reboot|poweroff|shutdown|halt) [ "$first" = reboot ] && ending=reboot ;;
      zerombr|autopart|bootloader|part|partition|cdrom|text|cmdline|graphical|firstboot|eula|harddrive|repo|selinux|firewall|reqpart) ;;
      *) echo "sample-installer: passes over $first" ;;
    esac
  fi
done < "$kickstart"

# ---- Packages
comps=$(ls "$medium"/repodata/*comps*.xml "$medium"/repodata/*comps*.xml.gz 2> /dev/null | head -n 1)
groups() {
  case $comps in
    '') ;;
    *.gz) gunzip -c "$comps" ;;
    *) cat "$comps" ;;
  esac | tr -d '\\n' | sed 's/<\\/group>/&\\n/g; s/<\\/environment>/&\\n/g'
}
members() { groups | grep "<group>.*<id>$1</id>" | grep -o '<packagereq[^>]*>[^<]*' | grep -E 'type="(mandatory|default)"' | sed 's/.*>//'; }
groups_of() { groups | grep "<environment>.*<id>$1</id>" | sed 's/<optionlist>.*//' | grep -o '<groupid>[^<]*' | sed 's/.*>//'; }

[ -z "$with_core" ] || [ -z "$(members core)" ] || wanted="@core $wanted"
named=
for word in $wanted; do
  case $word in
    @^*)
      each_group=$(groups_of "\${word#@^}")
      [ -n "$each_group" ] || give_up "no repository has the environment $word"
      for group in $each_group; do named="$named $(members "$group" | tr '\\n' ' ')"; done ;;
    @*)
      each=$(members "\${word#@}")
      [ -n "$each" ] || give_up "no repository has the group $word"
      named="$named $(echo "$each" | tr '\\n' ' ')" ;;
    *) named="$named $word" ;;
  esac
done
# What a disk starts with comes along, as with Anaconda.
kept=
for word in $named kernel-core dracut grub2; do
  case " $unwanted " in *" $word "*) ;; *) kept="$kept $word" ;; esac
done
/usr/bin/rpm -qp --nosignature --qf 'package %{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH}\\n[provides %{PROVIDENAME}\\n][provides %{FILENAMES}\\n][requires %{REQUIRENAME}\\n]' \\
  $(find "$medium/Packages" -name '*.rpm' | sort) > /run/install/known 2> /run/install/said || give_up "rpm: $(tail -n 1 /run/install/said)"
total=$(echo $kept | wc -w)
awk -v wanted="$kept" -v total="$total" -f /usr/share/sample-installer/choose-packages /run/install/known > /run/install/chosen
missing=$(sed -n 's/^missing //p' /run/install/chosen | tr '\\n' ' ')
[ -z "$missing" ] || give_up "the medium has no package $missing"

# ---- The disk: the one that is named, or the first that is not the medium
source_disk=$(awk -v at="$medium" '$2 == at { print $1 }' /proc/mounts)
disk= tries=0
while [ -z "$disk" ] && [ $tries -lt 50 ]; do
  for entry in /sys/block/vd? /sys/block/sd? /sys/block/nvme*; do
    name=\${entry##*/}
    [ -d "$entry" ] && [ "/dev/$name" != "$source_disk" ] && [ "$(cat "$entry/removable")" = 0 ] && [ "$(cat "$entry/ro")" = 0 ] || continue
    [ -z "$only_disk" ] || [ "\${only_disk#/dev/}" = "$name" ] || continue
    # Half a gigabyte, in sectors.
    [ "$(cat "$entry/size")" -ge 1048576 ] && disk=/dev/$name && break
  done
  [ -n "$disk" ] || { tries=$((tries + 1)); sleep 0.1; }
done
[ -n "$disk" ] || give_up "there is no disk of 512 MiB or more to install to"
echo "sample-installer: installing to $disk"

bytes() { for each; do printf "\\\\$(printf %03o "$each")"; done; }
number() { bytes $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)); }
# Flag, type, first sector, sectors. The fields for heads and cylinders say that they are not used.
entry() { bytes "$1" 254 255 255 "$2" 254 255 255; number "$3"; number "$4"; }

sectors=$(cat "/sys/block/\${disk#/dev/}/size")
esp_start=2048 esp_size=65536
root_start=$((esp_start + esp_size)) root_size=$((sectors - esp_start - esp_size - 2048))
dd if=/dev/zero of="$disk" bs=1M count=1 2> /dev/null || give_up "cannot write to $disk"
{ entry 0 239 $esp_start $esp_size; entry 128 131 $root_start $root_size; bytes 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 85 170; } > /run/install/table
dd if=/run/install/table of="$disk" bs=1 seek=446 conv=notrunc 2> /dev/null
must blockdev --rereadpt "$disk"
case $disk in *[0-9]) part=p ;; *) part= ;; esac
esp=$disk\${part}1 root=$disk\${part}2 tries=0
until [ -b "$esp" ] && [ -b "$root" ]; do
  tries=$((tries + 1))
  [ $tries -lt 50 ] || give_up "the kernel does not see the partitions of $disk"
  sleep 0.1
done
uuid=$(cat /proc/sys/kernel/random/uuid)
must /usr/sbin/mkfs.vfat -n ESP "$esp"
must /usr/sbin/mke2fs -q -F -t ext4 -L sample-root -U "$uuid" "$root"
mkdir -p "$target"
for module in ext4 vfat nls_cp437 nls_ascii nls_utf8; do modprobe $module 2> /dev/null; done
must mount -t ext4 "$root" "$target"
mkdir -p "$target/dev" "$target/proc" "$target/boot/efi"
must mount --bind /dev "$target/dev"
must mount -t proc proc "$target/proc"
must mount -t vfat "$esp" "$target/boot/efi"

# ---- Installing. Every package was checked when the medium was made, and rd.live.check checks the medium.
files=
for name in $(cat /run/install/chosen); do files="$files $(find "$medium/Packages" -name "$name")"; done
must /usr/bin/rpm --root "$target" --nosignature -U $files
/usr/bin/rpm --root "$target" -qa --qf '%{NAME}-%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}.%{ARCH}\\n' | sed 's/-0:\\([^-]*-[^-]*\\)$/-\\1/' | sort > /run/install/installed
while read -r nevra; do say "package $nevra"; done < /run/install/installed

# ---- Settings
[ -z "$hostname" ] || echo "$hostname" > "$target/etc/hostname"
[ -z "$locale" ] || echo "LANG=$locale" > "$target/etc/locale.conf"
[ -z "$keymap" ] || echo "KEYMAP=$keymap" > "$target/etc/vconsole.conf"
[ -z "$timezone" ] || ln -sf "../usr/share/zoneinfo/$timezone" "$target/etc/localtime"
[ -z "$locked" ] || sed -i 's/^root:[^:]*:/root:*:/' "$target/etc/passwd"
printf 'UUID=%s / ext4 defaults 1 1\\n' "$uuid" > "$target/etc/fstab"

# ---- Starting from the disk, by BIOS and by UEFI
kernel=$(ls "$target/usr/lib/modules" | head -n 1)
must chroot "$target" dracut --force --no-hostonly "/boot/initramfs-$kernel.img" "$kernel"
mkdir -p "$target/boot/grub2" "$target/boot/efi/EFI/BOOT"
cat > "$target/boot/grub2/early.cfg" << END
search --no-floppy --set=root --fs-uuid $uuid
set prefix=(\\$root)/boot/grub2
END
cat > "$target/boot/grub2/grub.cfg" << END
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
set timeout=1
menuentry '$PRETTY_NAME' {
  linux /boot/vmlinuz-$kernel root=UUID=$uuid quiet console=tty0 console=ttyS0,115200
  initrd /boot/initramfs-$kernel.img
}
END
modules='part_msdos ext2 normal configfile linux search search_fs_uuid echo test serial terminal all_video minicmd ls reboot halt'
must chroot "$target" grub-mkimage -O i386-pc -d /usr/lib/grub/i386-pc -p /boot/grub2 -c /boot/grub2/early.cfg -o /boot/grub2/core.img biosdisk $modules
must chroot "$target" grub-mkimage -O x86_64-efi -d /usr/lib/grub/x86_64-efi -p /boot/grub2 -c /boot/grub2/early.cfg -o /boot/efi/EFI/BOOT/BOOTX64.EFI fat $modules
# GRUB's boot sector and, right behind it, its core: both expect each other there.
dd if="$target/usr/lib/grub/i386-pc/boot.img" of="$disk" bs=440 count=1 conv=notrunc 2> /dev/null || give_up "cannot write the boot sector"
dd if="$target/boot/grub2/core.img" of="$disk" bs=512 seek=1 conv=notrunc 2> /dev/null || give_up "cannot write the boot loader"

sync
for each in boot/efi proc dev; do umount "$target/$each"; done
must umount "$target"
say done
finish
`;
