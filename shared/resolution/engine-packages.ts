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

/** Names with blanks between. */
const names = (...lines: readonly string[]): readonly string[] => lines.flatMap((line) => line.split(' '));

/**
 * What lorax's template for the installer's own system asks for (lorax: share/templates.d/99-generic/runtime-install.tmpl). It fails over what is missing, so all that a release has of it is solved along;
 * the template changes with each release, and the rest is its matter.
 */
const loraxInstaller: EnginePackages = {
  needed: names('anaconda kernel dracut-network dracut-config-generic anaconda-dracut glibc-all-langpacks'),
  ifKnown: names(
    'anaconda-widgets anaconda-install-img-deps kexec-tools-anaconda-addon dnf rpm-ostree ostree pigz kernel-modules',
    'kernel-modules-extra grubby linux-firmware b43-openfwwf plymouth initscripts cryptsetup rpcbind kbd kbd-misc tar xz',
    'curl bzip2 rsyslog btrfs-progs jfsutils xfsprogs ntfs-3g ntfsprogs system-storage-manager device-mapper-persistent-data',
    'xfsdump udisks2 udisks2-iscsi hostname libblockdev-lvm-dbus volume_key nss-tools polkit-gnome selinux-policy-targeted',
    'audit ethtool openssh-server openssh-clients nfs-utils net-tools bridge-utils nmap-ncat pciutils usbutils ipmitool',
    'mt-st smartmontools hdparm rdma-core rng-tools dmidecode default-fonts-core-sans default-fonts-other-sans',
    'google-noto-sans-cjk-fonts gdb-gdbserver libreport-plugin-bugzilla libreport-plugin-reportuploader fpaste',
    'python3-pyatspi nano nano-default-editor vim-minimal strace lsof less wget2 rsync bind-utils mtr spice-vdagent gdisk',
    'hexedit sg3_utils fedora-release fedora-logos efibootmgr',
  ),
};
const installerLoaders: Readonly<Record<string, EnginePackages>> = {
  x86_64: {
    needed: [],
    ifKnown: [
      'biosdevname',
      'grub2-tools',
      'grub2-tools-minimal',
      'grub2-tools-extra',
      'grub2-tools-efi',
      'grub2-pc-modules',
      'grub2-efi-x64-cdboot',
      'grub2-efi-ia32-cdboot',
      'shim-x64',
      'shim-ia32',
    ],
  },
  aarch64: { needed: [], ifKnown: ['grub2-tools', 'grub2-tools-minimal', 'grub2-tools-extra', 'grub2-efi-aa64-cdboot', 'shim-aa64', 'uboot-tools'] },
};

/** livemedia-creator refuses a kickstart without dracut-live by name; its ISO needs a kernel and loaders from inside (lorax: docs/livemedia-creator.rst). */
const livemedia: EnginePackages = {
  needed: ['kernel', 'dracut-live', 'dracut-config-generic'],
  ifKnown: ['anaconda-live', 'kernel-modules', 'kernel-modules-extra', 'glibc-all-langpacks', 'livesys-scripts', 'efibootmgr'],
};

/** Fedora's installer asks the medium for the kernel by this name. */
const installedKernel: EnginePackages = { needed: ['kernel'], ifKnown: [] };

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
  if (engine === 'lorax') return together(loraxInstaller, installerLoaders[arch] ?? none);
  if (engine === 'livemedia-creator') return together(livemedia, installerLoaders[arch] ?? none);
  // The installer is on the base ISO already; on a boot ISO nothing more is wanted.
  if (engine === 'mkksiso') return imageType === 'dvd' ? together(installedKernel, installedSystem[arch] ?? none) : none;
  if (engine === 'image-builder') return together(loraxInstaller, installerLoaders[arch] ?? none, installedKernel, installedSystem[arch] ?? none);
  const loader = grub[arch];
  if (engine !== 'native' || !loader) return none;
  if (imageType === 'live') return together(nativeLive, loader);
  return imageType === 'boot' ? together(installer, loader) : together(installer, loader, installedSystem[arch] ?? none);
}
