#!/usr/bin/env bash
# One image of the sample distribution by the plainest means, out of repositories that stand there: the tools that Spindle's image-builder runs, in its order, with its flags.
# The reference of the benches `engine-native` and `engine-kiwi`, which give:
#   ENGINE   native or kiwi
#   WORK     a directory of this run's own, with repositories/stable and repositories/side in it
#   RECIPE   what the build published: of native its shell script, of KIWI its description, whose repositories are dir:///repositories/…
set -euo pipefail
cd "$WORK"
export LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin

startedAt=$(date +%s%3N)
told() { echo "$1 $(($(date +%s%3N) - startedAt))"; }

isolated() {
  exec unshare --mount --pid --ipc --fork --mount-proc --kill-child --net -- timeout --foreground 0 "$@"
}

case $ENGINE in
  native) sh "$RECIPE" > build.log 2>&1 ;;
  kiwi)
    mkdir -p home/.config/kiwi recipe cache temporary
    sed "s|dir:///|dir://$WORK/|" "$RECIPE" > recipe/config.xml
    echo '%_dbpath /usr/lib/sysimage/rpm' > home/.rpmmacros
    printf 'xz:\n  - options: --threads=0\n' > home/.config/kiwi/config.yml
    (
      HOME=$WORK/home isolated kiwi-ng --debug --shared-cache-dir "$WORK/cache" --temp-dir "$WORK/temporary" --target-arch x86_64 \
        system build --description "$WORK/recipe" --target-dir "$WORK/output"
    ) > build.log 2>&1
    ;;
esac

told "$ENGINE"
iso=$(echo "$WORK"/output/*.iso)
(isolated implantisomd5 "$iso") > /dev/null
told implantisomd5
(isolated checkisomd5 "$iso") > /dev/null 2>&1 &
check=$!
mkdir inspection
cd inspection
(isolated xorriso -osirrox on -indev "$iso" -extract /LiveOS/squashfs.img squashfs.img) > /dev/null 2>&1
(isolated unsquashfs -no-progress -no-xattrs -quiet -dest tree squashfs.img LiveOS/rootfs.img usr/lib/sysimage/rpm var/lib/rpm) > /dev/null
database=tree
if [ -f tree/LiveOS/rootfs.img ]; then
  database=database
  for path in usr/lib/sysimage var/lib; do
    mkdir -p "database/$path"
    (isolated debugfs -R "rdump /$path/rpm database/$path" tree/LiveOS/rootfs.img) > /dev/null 2>&1
  done
fi
(isolated rpm --dbpath "$PWD/$database/usr/lib/sysimage/rpm" -qa --qf '%{NAME}\t%{EPOCHNUM}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n') > "$WORK/installed"
told rpm
wait "$check"
told checkisomd5
cd "$WORK"
grep --quiet '^hello.*1\.1' installed
sha256sum --tag "$iso" > CHECKSUM
told sha256sum
