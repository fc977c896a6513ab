#!/usr/bin/env bash
# One build of the sample live image by the plainest means: the tools that Spindle runs, in its order, with its flags, its payload and as many at once.
# The reference of the benches `overhead` and `smoke-live`, which give the paths:
#   WORK          an empty directory, the build's own
#   SOLVER        the solver script
#   COLLECTION, QUESTION  what the solver is told of repositories and asked, as JSON; @WORK@ stands for WORK
#   URLS          where each RPM is fetched from, as JSON, by its file's name
#   RECIPE        KIWI's description; its repositories are dir:///repositories/…
#   KOJI_RPM_URL  the RPM of the requested Koji build
#   LABEL         of the image
#   UEFI_CODE, UEFI_VARIABLES
#   WARM          optional: where what is fetched, and the repositories made of it, are kept from one run to the next
# Prints a line for each step on standard output: its name and the seconds since the start when it was done.
set -euo pipefail
cd "$WORK"
export LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin

started=$EPOCHREALTIME
step() {
  printf '%s %s\n' "$1" "$(((${EPOCHREALTIME/./} - ${started/./}) / 1000))"
}

isolated() {
  exec unshare --mount --pid --ipc --fork --mount-proc --kill-child --net -- timeout --foreground 0 "$@"
}

make_repository() {
  HOME=$WORK/home createrepo_c --no-database --revision=0 --set-timestamp-to-revision --workers=2 "$@" > /dev/null
}

mkdir -p home candidates/Packages solver/home solver/log
is_warm=
[ -z "${WARM-}" ] || [ ! -d "$WARM/stable" ] || is_warm=yes
if [ -n "$is_warm" ]; then
  cp -al "$WARM/candidates/." candidates/
else
  curl --silent --show-error --fail --output "candidates/Packages/${KOJI_RPM_URL##*/}" "$KOJI_RPM_URL"
  step koji
  make_repository "$WORK/candidates"
fi
step candidates

sed "s|@WORK@|$WORK|g" "$QUESTION" > solver/1.json
{
  sed "s|@WORK@|$WORK|g" "$COLLECTION"
  echo 'solve 1'
  # It ends with its input, and answers before.
  until [ -e solver/1.answer ] || [ -e solver/1.error ]; do sleep 0.01; done
} | (cd solver && HOME=$WORK/solver/home exec /usr/bin/python3 -I -B "$SOLVER") > /dev/null
mv solver/1.answer answer.json
step solve

# The answer as three lists: what curl fetches and to where, the digests, and the packages of each repository.
/usr/bin/python3 -I - answer.json "$URLS" << 'PYTHON'
import json, os, sys
answer = json.load(open(sys.argv[1]))
urls = json.load(open(sys.argv[2]))
packages = {"stable": [], "side": []}
with open("curl.config", "w") as fetch, open("digests", "w") as digests:
    for package in answer["packages"]:
        name = "{name}-{version}-{release}.{arch}.rpm".format(**package)
        from_koji = package["repository"] == "@loose"
        repository = "side" if from_koji else "stable"
        path = "Packages/" + package["name"][0].lower() + "/" + name
        target = repository + "/" + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if from_koji:
            os.link("candidates/Packages/" + name, target)
        else:
            fetch.write('url = "{}"\noutput = "{}"\n'.format(urls[name], target))
        if package["digest"]:
            digests.write("{}  {}\n".format(package["digest"], target))
        packages[repository].append(path)
for repository, paths in packages.items():
    with open(repository + ".packages", "w") as list_file:
        list_file.writelines(path + "\n" for path in sorted(paths))
PYTHON
if [ -n "$is_warm" ]; then
  rm -rf stable side
  cp -al "$WARM/stable" "$WARM/side" .
else
  curl --silent --show-error --fail --parallel --parallel-max 6 --config curl.config
fi
sha256sum --check --quiet digests
step fetch

if [ -z "$is_warm" ]; then
  make_repository --pkglist="$WORK/side.packages" "$WORK/side" &
  side=$!
  make_repository --pkglist="$WORK/stable.packages" "$WORK/stable"
  wait "$side"
  [ -z "${WARM-}" ] || cp -al candidates side stable "$WARM/"
fi
step repositories

mkdir -p image/repositories image/home/.config/kiwi image/recipe image/cache image/temporary
mv stable side image/repositories/
image=$WORK/image
sed "s|dir:///|dir://$image/|" "$RECIPE" > "$image/recipe/config.xml"
echo '%_dbpath /usr/lib/sysimage/rpm' > "$image/home/.rpmmacros"
printf 'xz:\n  - options: --threads=0\n' > "$image/home/.config/kiwi/config.yml"
(
  cd "$image"
  HOME=$image/home isolated kiwi-ng --debug --shared-cache-dir "$image/cache" --temp-dir "$image/temporary" --target-arch x86_64 \
    system build --description "$image/recipe" --target-dir "$image/output"
) > build.log 2>&1
step kiwi

iso=$(echo "$image"/output/*.iso)
(isolated implantisomd5 "$iso") > /dev/null
step implant

(isolated checkisomd5 "$iso") > /dev/null &
check=$!
mkdir "$image/inspection"
cd "$image/inspection"
(isolated xorriso -osirrox on -indev "$iso" -extract /LiveOS/squashfs.img squashfs.img) > /dev/null 2>&1
(isolated unsquashfs -no-progress -no-xattrs -quiet -dest tree squashfs.img LiveOS/rootfs.img usr/lib/sysimage/rpm var/lib/rpm) > /dev/null
for path in usr/lib/sysimage var/lib; do
  mkdir -p "database/$path"
  (isolated debugfs -R "rdump /$path/rpm database/$path" tree/LiveOS/rootfs.img) > /dev/null 2>&1
done
(isolated rpm --dbpath "$PWD/database/usr/lib/sysimage/rpm" -qa --qf '%{NAME:shescape}\t%{EPOCHNUM}\t%{VERSION:shescape}\t%{RELEASE:shescape}\t%{ARCH:shescape}\t%{LICENSE:shescape}\t%{VENDOR:shescape}\t%{SOURCERPM:shescape}\t%{BUILDTIME}\n') > "$WORK/installed"
wait "$check"
cd "$WORK"
grep --quiet "^'hello'.*'1\.1'" installed
step read-back

mkdir result
ln "$iso" "result/$LABEL.iso"
(cd result && sha256sum --tag "$LABEL.iso" > CHECKSUM)
step checksum
# As Spindle does before it boots the image. Left there, the file system would write it out while the machines run, which costs them seconds.
rm -rf image candidates solver
step removed

# The machine's serial line comes through a pipe. Once the system has reported, the machine is turned off.
boot() {
  local name=$1 pid
  shift
  mkfifo "$name.serial"
  (
    isolated qemu-system-x86_64 -M pc -no-user-config -nodefaults -display none -nic none -no-reboot \
      -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny -accel tcg,thread=multi -cpu max -m 1024 -vga std "$@" \
      -drive "if=none,id=medium,format=raw,readonly=on,file=$WORK/result/$LABEL.iso" -device ide-cd,drive=medium,bootindex=0 \
      -chardev "file,id=serial,path=$name.serial" -serial chardev:serial
  ) &
  pid=$!
  grep --quiet --max-count=1 'SPINDLE-BOOT end' < "$name.serial"
  step "boot-$name"
  # unshare ignores what is not SIGKILL, and then takes the machine with it.
  kill -KILL "$pid"
  wait "$pid" 2> /dev/null || true
}
boot bios &
bios=$!
cp "$UEFI_VARIABLES" variables.fd
boot uefi -drive "if=pflash,format=raw,readonly=on,file=$UEFI_CODE" -drive if=pflash,format=raw,file=variables.fd
wait "$bios"
step end
