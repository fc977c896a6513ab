/** What an image tool needs inside the image, besides what the requester named: without it the tool refuses, or makes an image that does not boot. Pure. */
import type { Engine, ImageType } from '../build/request.ts';

export interface EnginePackages {
  /** Packages or capabilities without which there is no image. */
  readonly needed: readonly string[];
  /** Taken where the release has them: distributions cut these differently. */
  readonly ifKnown: readonly string[];
}

const none: EnginePackages = { needed: [], ifKnown: [] };

/**
 * KIWI makes the boot loader of a live medium from files inside the image, and its live system's initramfs with dracut there (kiwi: builder/live.py, bootloader/config/grub2.py). The
 * GRUB names are capabilities that Fedora's packages and the sample distribution's one package both have.
 */
const kiwiLive: Readonly<Record<string, EnginePackages>> = {
  x86_64: {
    needed: ['kernel-core', 'dracut', 'dracut-kiwi-live', 'grub2-tools', 'grub2-pc-modules', 'grub2-efi-x64-modules'],
    ifKnown: ['kernel-modules', 'grub2-pc', 'grub2-efi-x64-cdboot', 'shim-x64'],
  },
  aarch64: {
    needed: ['kernel-core', 'dracut', 'dracut-kiwi-live', 'grub2-tools', 'grub2-efi-aa64-modules'],
    ifKnown: ['kernel-modules', 'grub2-efi-aa64-cdboot', 'shim-aa64'],
  },
};

/** GRUB's tools and parts, by which the native engine makes media start; a signed shim with its GRUB where there is one. */
const grub: Readonly<Record<string, EnginePackages>> = {
  x86_64: { needed: ['grub2-tools', 'grub2-pc-modules', 'grub2-efi-x64-modules'], ifKnown: ['grub2-efi-x64-cdboot', 'shim-x64'] },
  aarch64: { needed: ['grub2-tools', 'grub2-efi-aa64-modules'], ifKnown: ['grub2-efi-aa64-cdboot', 'shim-aa64'] },
};

/** A live system: its kernel, and dracut with the modules that start a system from a medium. */
const nativeLive: EnginePackages = {
  needed: ['kernel-core', 'dracut', 'dracut-live'],
  ifKnown: ['kernel-modules', 'dracut-config-generic', 'dracut-network', 'isomd5sum'],
};

/**
 * The system that an installation medium starts: Anaconda with what it needs to run, after lorax's runtime-install.tmpl. `anaconda` is a capability that the sample distribution's installer provides.
 */
const installer: EnginePackages = {
  needed: ['kernel-core', 'dracut', 'anaconda', 'anaconda-dracut'],
  ifKnown: [
    ...[
      'sample-installer',
      'anaconda-install-env-deps',
      'anaconda-install-img-deps',
      'anaconda-widgets',
      'anaconda-core',
      'anaconda-tui',
      'anaconda-gui',
      'dnf',
    ],
    ...['kernel-modules', 'kernel-modules-extra', 'linux-firmware', 'dracut-network', 'dracut-config-generic', 'dracut-live', 'isomd5sum', 'plymouth'],
    ...['glibc-all-langpacks', 'kbd', 'selinux-policy-targeted', 'systemd', 'rsyslog', 'tar', 'xz', 'curl', 'bzip2', 'rpcbind'],
    ...['e2fsprogs', 'btrfs-progs', 'xfsprogs', 'dosfstools', 'lvm2', 'cryptsetup', 'mdadm', 'udisks2', 'device-mapper-persistent-data', 'efibootmgr'],
    ...['less', 'vim-minimal', 'rsync', 'openssh-clients', 'pciutils', 'usbutils', 'smartmontools', 'hdparm', 'strace', 'lsof'],
  ],
};

/** What Anaconda itself puts onto every system that it installs, so a medium without network must carry it. */
const installedSystem: Readonly<Record<string, EnginePackages>> = {
  x86_64: {
    needed: [],
    ifKnown: ['grub2-pc', 'grub2-efi-x64', 'shim-x64', 'efibootmgr', 'kernel', 'authselect', 'chrony', 'firewalld', 'dracut-config-rescue'],
  },
  aarch64: { needed: [], ifKnown: ['grub2-efi-aa64', 'shim-aa64', 'efibootmgr', 'kernel', 'authselect', 'chrony', 'firewalld', 'dracut-config-rescue'] },
};

/** Names of what only the installer wants: it is on the medium, and not part of what is installed unless somebody asks for it. */
export const installerOnly: ReadonlySet<string> = new Set([
  ...['sample-installer', 'anaconda', 'anaconda-dracut', 'anaconda-live', 'anaconda-install-env-deps', 'anaconda-install-img-deps', 'anaconda-widgets'],
  ...['anaconda-core', 'anaconda-tui', 'anaconda-gui', 'glibc-all-langpacks', 'dracut-live', 'dracut-network', 'isomd5sum', 'rpcbind', 'strace', 'lsof'],
]);

function together(...parts: readonly EnginePackages[]): EnginePackages {
  return { needed: parts.flatMap(({ needed }) => needed), ifKnown: parts.flatMap(({ ifKnown }) => ifKnown) };
}

/** What the system that an installation medium starts is made of: `needed` names and capabilities, `ifKnown` names of packages where the set has them. */
export function installerPackages(arch: string): EnginePackages {
  return together(installer, grub[arch] ?? none);
}

/** Added to the solve, so that a resolution is a set that an image can be made of. Nothing for engines that bring their own. */
export function enginePackages({ arch, imageType, engine }: { readonly arch: string; readonly imageType: ImageType; readonly engine: Engine }): EnginePackages {
  if (engine === 'kiwi' && imageType === 'live') return kiwiLive[arch] ?? none;
  const loader = grub[arch];
  if (engine !== 'native' || !loader) return none;
  if (imageType === 'live') return together(nativeLive, loader);
  return imageType === 'boot' ? together(installer, loader) : together(installer, loader, installedSystem[arch] ?? none);
}
