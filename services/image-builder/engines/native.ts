/**
 * The native engine: boot ISO, installation DVD and live ISO by the plain tools that every distribution has: dnf, dracut, mksquashfs, GRUB and xorriso. All three have been
 * built, started and, for the DVD, installed from the sample distribution. For Fedora's content the recipes follow what lorax and Fedora's own media do; they have not been run.
 */
import { renderKickstart } from '../../../shared/kickstart/render.ts';
import { compsOf } from '../../../shared/resolution/comps.ts';
import { installerOnly, installerPackages } from '../../../shared/resolution/engine-packages.ts';
import type { Resolution } from '../../../shared/resolution/resolution.ts';
import { type EngineOrder, type ImageEngine, layout, type Recipe, type RecipeStep } from './engine.ts';
import { grubMenu, type MenuEntry } from './grub-menu.ts';
import { scriptFile, scripts } from './native-scripts.ts';
import { anyWorkspace, recipeScript } from './recipe-script.ts';
import { relevantToolLines, toolProgress } from './tool-lines.ts';
import { discinfo, type TreeDescription, treeinfo, treeTimestamp } from './treeinfo.ts';

export const native: ImageEngine = {
  name: 'native',
  imageTypes: ['live', 'boot', 'dvd'],
  needs: {
    commands: ['dnf', 'rpm', 'createrepo_c', 'mksquashfs', 'xorriso', 'mkfs.vfat', 'mcopy', 'implantisomd5', 'checkisomd5'],
    install: {
      debian: ['dnf', 'rpm', 'createrepo-c', 'squashfs-tools', 'xorriso', 'dosfstools', 'mtools', 'isomd5sum'],
      fedora: ['dnf', 'rpm', 'createrepo_c', 'squashfs-tools', 'xorriso', 'dosfstools', 'mtools', 'isomd5sum'],
    },
  },
  // Of its tools dnf decides most of what becomes of an image.
  version: { command: 'dnf', args: ['--version'], read: (stdout) => /^(?:dnf5 version )?(\d[\w.]*)/.exec(stdout)?.[1] },
  render: (order) => {
    const recipe = renderIn(order);
    const { request, resolution } = order;
    const about = [`${request.label}: ${request.imageType} image of ${resolution.release}, ${resolution.arch}. Made by Spindle's native engine.`];
    // Paths of one workspace say nothing to those who read the recipe later.
    const content = recipeScript(renderIn({ ...order, root: anyWorkspace }), about);
    return { ...recipe, artifact: { name: 'recipe.sh', mediaType: 'text/x-shellscript', content } };
  },
  findImages: (names) => names.filter((name) => name === imageName),
  phase: () => undefined,
  progress: toolProgress,
  relevantLines: relevantToolLines,
};

const imageName = 'image.iso';
const dnfConfiguration = `${layout.recipe}/dnf.conf`;
/** The system that runs when the medium is started; the medium's own files; what is put together on the way. */
const systemRoot = 'root';
const tree = 'tree';
const hybridSector = `${layout.temporary}/boot_hybrid.img`;
const efiSystem = `${layout.temporary}/efiboot.img`;
const kernelOptions = 'quiet console=tty0 console=ttyS0,115200';

type Unpublished = Omit<Recipe, 'artifact'>;

function renderIn(order: EngineOrder): Unpublished {
  return order.request.imageType === 'live' ? renderLive(order) : renderInstallation(order);
}

// ---- The live ISO

function renderLive(order: EngineOrder): Unpublished {
  const { request, resolution } = order;
  const settings = systemSettings(order);
  // dracut's own live modules; an overlay file system works without device-mapper.
  const live = `root=live:CDLABEL=${request.label} rd.live.image rd.live.overlay.overlayfs=1 ${kernelOptions}`;
  return {
    files: [
      ...commonFiles(order),
      ...(settings ? [scriptFile('setUp')] : []),
      ...menuFiles(request.label, { timeoutS: 1, kernel: '/boot/vmlinuz', initramfs: '/boot/initrd.img' }, [
        { title: `Start ${request.label}`, options: live },
        ...(namesOf(resolution).has('isomd5sum') ? [{ title: `Test this medium, then start ${request.label}`, options: `${live} rd.live.check` }] : []),
      ]),
    ],
    directories: [...commonDirectories, `${tree}/LiveOS`, `${tree}/boot`],
    steps: [
      installStep(order, packageNames(resolution), 40),
      ...(settings ? [settings] : []),
      initramfsStep(order, { kernel: `${tree}/boot/vmlinuz`, initramfs: `${tree}/boot/initrd.img`, options: ['--add', 'dmsquash-live pollcdrom'] }),
      bootLoaderStep(order),
      ...labelSteps(order),
      squashStep(order, `${tree}/LiveOS/squashfs.img`),
      isoStep(order),
    ],
  };
}

/** Locale, keyboard, time zone and the live user, by the image's own tools; a system without them has no such settings. */
function systemSettings(order: EngineOrder): RecipeStep | undefined {
  const { request, resolution } = order;
  const has = namesOf(resolution);
  if (!has.has('systemd')) return undefined;
  const user = has.has('shadow-utils') ? request.liveUser : '';
  return inRootStep(order, 'setting the system up', 2, ['sh', scripts.setUp, systemRoot, request.locale, request.keyboard, request.timezone, user]);
}

// ---- The boot ISO and the installation DVD

const comps = `${layout.recipe}/comps.xml`;
const kickstartPath = 'ks.cfg';
const pxeboot = 'images/pxeboot';
const stage2 = 'images/install.img';

/** Both start an installer. The DVD also has the packages, as a repository at its root, and a kickstart by which the installer needs nobody. */
function renderInstallation(order: EngineOrder): Unpublished {
  const { request, resolution } = order;
  const isDvd = request.imageType === 'dvd';
  const description = describeTree(order);
  const checked = [`${pxeboot}/vmlinuz`, `${pxeboot}/initrd.img`, stage2, ...(isDvd ? ['repodata/repomd.xml'] : [])];
  const hasAnaconda = namesOf(resolution).has('anaconda-core');
  return {
    files: [
      ...commonFiles(order),
      scriptFile('writeChecksums'),
      ...(hasAnaconda ? [scriptFile('installerEnvironment')] : []),
      { path: `${tree}/.treeinfo`, content: treeinfo(description) },
      { path: `${tree}/.discinfo`, content: discinfo(description) },
      ...(isDvd
        ? [
            scriptFile('linkPackages'),
            { path: comps, content: compsOf(resolution) },
            { path: `${tree}/${kickstartPath}`, content: installationKickstart(order) },
          ]
        : []),
      ...menuFiles(request.label, { timeoutS: 1, kernel: `/${pxeboot}/vmlinuz`, initramfs: `/${pxeboot}/initrd.img` }, installationMenu(order)),
    ],
    directories: [...commonDirectories, `${tree}/${pxeboot}`, ...(isDvd ? [`${tree}/Packages`] : [])],
    steps: [
      ...(isDvd ? mediumRepositorySteps(order) : []),
      // The installer's system is a part of the set: the repositories hold one version of each package, so dnf can only choose which.
      installStep(order, isDvd ? installerNames(resolution) : packageNames(resolution), 35),
      ...(hasAnaconda ? [inRootStep(order, "setting the installer's system up", 2, ['sh', scripts.installerEnvironment, systemRoot])] : []),
      initramfsStep(order, {
        kernel: `${tree}/${pxeboot}/vmlinuz`,
        initramfs: `${tree}/${pxeboot}/initrd.img`,
        options: ['--add', 'anaconda pollcdrom qemu qemu-net'],
      }),
      bootLoaderStep(order),
      ...labelSteps(order),
      squashStep(order, `${tree}/${stage2}`),
      step(order, { what: 'describing the tree', share: 1, tool: 'sha256sum', command: 'sh', args: [scripts.writeChecksums, tree, ...checked] }),
      isoStep(order),
    ],
  };
}

function describeTree({ request, resolution, releasever, releaseName }: EngineOrder): TreeDescription {
  const name = (releaseName ?? resolution.release).replace(new RegExp(` ${releasever.replace(/[^A-Za-z0-9]/g, '.')}$`), '');
  return { name, version: releasever, arch: resolution.arch, timestamp: treeTimestamp(resolution), hasRepository: request.imageType === 'dvd' };
}

function installationMenu({ request, resolution, releaseName = resolution.release }: EngineOrder): readonly MenuEntry[] {
  const options = `inst.stage2=hd:LABEL=${request.label} ${kernelOptions}`;
  const automatic = `${options} inst.ks=hd:LABEL=${request.label}:/${kickstartPath}`;
  const rescue = { title: 'Start a shell to rescue an installed system', options: `${options} inst.rescue` };
  if (request.imageType === 'boot') {
    return [
      { title: `Install ${releaseName}`, options },
      { title: `Test this medium, then install ${releaseName}`, options: `${options} rd.live.check` },
      rescue,
    ];
  }
  return [
    { title: `Install ${releaseName} automatically, onto the whole disk`, options: automatic },
    { title: 'Test this medium, then install automatically', options: `${automatic} rd.live.check` },
    { title: `Install ${releaseName}, asking`, options },
    rescue,
  ];
}

/** dnf finds what provides a capability; of the rest only what is there is named. */
function installerNames(resolution: Resolution): readonly string[] {
  const { needed, ifKnown } = installerPackages(resolution.arch);
  const has = namesOf(resolution);
  return [...needed, ...ifKnown.filter((name) => has.has(name))];
}

/** What was asked for, by its exact version; whatever it requires the installer takes from the medium as well. */
function installationKickstart(order: EngineOrder): string {
  const { request, resolution, kickstart } = order;
  const named = new Set(request.packages);
  const requested = new Set(resolution.requested);
  const roots = new Set(resolution.roots.filter((name) => !installerOnly.has(name) || named.has(name)));
  const packages = resolution.packages.filter(({ name, nevra }) => roots.has(name) || requested.has(nevra));
  return renderKickstart({ request, resolution: { ...resolution, packages }, purpose: 'install', repositories: {}, own: kickstart });
}

/** The packages stand on the medium once: in the tree are links to them, which xorriso follows. */
function mediumRepositorySteps(order: EngineOrder): readonly RecipeStep[] {
  const { root, resolution } = order;
  const metadata = ['--no-database', `--revision=${treeTimestamp(resolution)}`, '--set-timestamp-to-revision', '--general-compress-type=gz', '--workers=2'];
  const link = { what: 'laying out the packages', share: 2, tool: 'ln', command: 'sh', args: [scripts.linkPackages, root, tree, layout.stable, layout.side] };
  const create = { what: 'making the repository of the medium', share: 8, command: 'createrepo_c' };
  return [step(order, link), step(order, { ...create, args: [...metadata, '--groupfile', `${root}/${comps}`, tree] })];
}

// ---- What the images have in common

const commonDirectories = [layout.cache, layout.temporary, layout.output, systemRoot, `${tree}/boot/grub2`, `${tree}/EFI/BOOT`];

function commonFiles({ root }: EngineOrder): Recipe['files'] {
  return [
    { path: dnfConfiguration, content: dnfConfigurationText(root) },
    // Debian's rpm keeps its database elsewhere, and it is the host's that writes the image's. Every RPM was checked before it came here.
    { path: `${layout.home}/.rpmmacros`, content: '%_dbpath /usr/lib/sysimage/rpm\n%_pkgverify_level none\n' },
    scriptFile('inRoot'),
    scriptFile('makeInitramfs'),
    scriptFile('makeBootLoader'),
  ];
}

/** Neither repository has a priority: together they hold one version of each package, or exactly those that are asked for. */
function dnfConfigurationText(root: string): string {
  const repository = (id: string, path: string) => `[${id}]\nname=${id}\nbaseurl=file://${root}/${path}\nmetadata_expire=never\n`;
  return [
    '[main]',
    'assumeyes=1',
    'best=1',
    'gpgcheck=0',
    'install_weak_deps=0',
    'keepcache=0',
    'plugins=0',
    'reposdir=/dev/null',
    'varsdir=/dev/null',
    'skip_if_unavailable=0',
    'zchunk=0',
    '',
    repository('stable', layout.stable),
    repository('side', layout.side),
  ].join('\n');
}

const namesOf = ({ packages }: Resolution): ReadonlySet<string> => new Set(packages.map(({ name }) => name));

/** Every package, exactly. */
const packageNames = ({ packages }: Resolution): readonly string[] => packages.map(({ nevra }) => nevra).sort();

function step(
  { root }: EngineOrder,
  {
    what,
    share,
    tool,
    command,
    args,
  }: { readonly what: string; readonly share: number; readonly tool?: string; readonly command: string; readonly args: readonly string[] },
): RecipeStep {
  return { what, share, tool: tool ?? command, run: { command, args, env: { HOME: `${root}/${layout.home}` }, isolation: 'private-no-network' } };
}

function inRootStep(order: EngineOrder, what: string, share: number, args: readonly string[], tool?: string): RecipeStep {
  return step(order, {
    what,
    share,
    tool: tool ?? (args[0] === 'sh' ? lastPart(args[1]) : lastPart(args[0])),
    command: 'sh',
    args: [scripts.inRoot, systemRoot, ...args],
  });
}

const lastPart = (path = '') => path.slice(path.lastIndexOf('/') + 1);

/** dnf keeps its own folders in the installed system, unless the command line says otherwise. */
function installStep(order: EngineOrder, names: readonly string[], share: number): RecipeStep {
  const { root, resolution, releasever } = order;
  const options = [
    ...['--config', `${root}/${dnfConfiguration}`],
    ...['--installroot', `${root}/${systemRoot}`],
    ...['--releasever', releasever],
    ...['--forcearch', resolution.arch],
    `--setopt=cachedir=${root}/${layout.cache}/dnf`,
    `--setopt=logdir=${root}/${layout.temporary}`,
    `--setopt=persistdir=${root}/${layout.temporary}/dnf`,
  ];
  return inRootStep(order, 'installing packages', share, ['dnf', ...options, 'install', ...names]);
}

interface InitramfsOrder {
  readonly kernel: string;
  readonly initramfs: string;
  readonly options: readonly string[];
}

function initramfsStep(order: EngineOrder, { kernel, initramfs, options }: InitramfsOrder): RecipeStep {
  const compression = order.request.compression === 'small' ? ['--xz'] : [];
  const all = ['--no-hostonly', '--no-hostonly-cmdline', '--no-early-microcode', '--nomdadmconf', '--nolvmconf', ...compression, ...options];
  return inRootStep(order, 'making the initramfs', 20, ['sh', scripts.makeInitramfs, systemRoot, kernel, initramfs, ...all], 'dracut');
}

function bootLoaderStep(order: EngineOrder): RecipeStep {
  return inRootStep(
    order,
    'making the boot loader',
    3,
    ['sh', scripts.makeBootLoader, systemRoot, tree, order.resolution.arch, hybridSector, efiSystem],
    'grub',
  );
}

/** A host without SELinux's policy installs without labels, and a system that enforces the policy does not start without them. */
function labelSteps(order: EngineOrder): readonly RecipeStep[] {
  const has = namesOf(order.resolution);
  if (!has.has('selinux-policy-targeted') || !has.has('policycoreutils')) return [];
  const contexts = '/etc/selinux/targeted/contexts/files/file_contexts';
  return [
    inRootStep(
      order,
      'labelling files for SELinux',
      3,
      ['chroot', systemRoot, 'setfiles', '-F', '-e', '/proc', '-e', '/sys', '-e', '/dev', contexts, '/'],
      'setfiles',
    ),
  ];
}

/** For `fast`, lz4: on the sample system a tenth of zstd's time for a tenth more size, and it also starts faster. */
const squashfsCompression = { fast: ['-comp', 'lz4'], small: ['-comp', 'xz', '-b', '1M', '-Xdict-size', '100%'] } as const;

function squashStep(order: EngineOrder, to: string): RecipeStep {
  const args = [systemRoot, to, ...squashfsCompression[order.request.compression], '-noappend', '-no-recovery', '-no-progress'];
  return step(order, { what: 'packing the root file system', share: 25, command: 'mksquashfs', args });
}

/** As lorax makes Fedora's: the file system for UEFI stands behind the ISO's own, as a partition that both an El Torito boot entry and a GPT name. */
function isoStep(order: EngineOrder): RecipeStep {
  const { request, resolution } = order;
  const isBios = resolution.arch === 'x86_64';
  const args = [
    ...['-as', 'mkisofs', '-o', `${layout.output}/${imageName}`],
    // Packages are links to where they really stand.
    ...['-R', '-J', '-joliet-long', '-f', '-V', request.label],
    ...(isBios ? ['--grub2-mbr', hybridSector] : []),
    ...['-partition_offset', '16', '-appended_part_as_gpt'],
    ...['-append_partition', '2', 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B', efiSystem],
    ...['-iso_mbr_part_type', 'EBD0A0A2-B9E5-4433-87C0-68B6B72699C7'],
    ...['-c', 'boot.cat', '--boot-catalog-hide'],
    ...(isBios ? ['-b', 'images/eltorito.img', '-no-emul-boot', '-boot-load-size', '4', '-boot-info-table', '--grub2-boot-info', '-eltorito-alt-boot'] : []),
    ...['-e', '--interval:appended_partition_2:all::', '-no-emul-boot'],
    tree,
  ];
  return step(order, { what: 'writing the ISO', share: 5, command: 'xorriso', args });
}

/** The same menu for both firmwares. */
function menuFiles(label: string, medium: Parameters<typeof grubMenu>[1], entries: readonly MenuEntry[]): Recipe['files'] {
  const content = grubMenu(label, medium, entries);
  return [
    { path: `${tree}/boot/grub2/grub.cfg`, content },
    { path: `${tree}/EFI/BOOT/grub.cfg`, content },
  ];
}
