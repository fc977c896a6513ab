#!/bin/sh
# F44: by the profile Workstation-Live of fedora-kiwi-descriptions.
# Run it as root in a directory that holds repositories/stable and repositories/side. Each step has namespaces of its own and no network.
set -eu
here=$(pwd)
export LC_ALL=C.UTF-8
step() { unshare --mount --pid --ipc --fork --mount-proc --net -- "$@"; }

mkdir -p cache home home/.config/kiwi temporary

sed "s|/@workspace@|$here|g" > home/.rpmmacros << 'END'
%_dbpath /usr/lib/sysimage/rpm
END

sed "s|/@workspace@|$here|g" > home/.config/kiwi/config.yml << 'END'
xz:
  - options: --threads=0
END

# making the image
HOME="$here"'/home' step kiwi-ng --debug --type iso --profile Workstation-Live --kiwi-file Fedora.kiwi --shared-cache-dir "$here"'/cache' --temp-dir "$here"'/temporary' --target-arch x86_64 system build --description /srv/fedora-kiwi-descriptions --ignore-repos --add-repo 'dir://'"$here"'/repositories/stable,rpm-md,stable,1,false,false,,,,false,baseurl' --add-repo 'dir://'"$here"'/repositories/side,rpm-md,side,1,false,false,,,,false,baseurl' --add-package hello --add-package kernel-core-6.17.1-300.fc44.x86_64 --add-package kernel-core-6.17.4-300.fc44.x86_64 --add-package systemd --delete-package nano --set-release-version 44 --set-type-attr volid=F44 --target-dir "$here"'/output'
