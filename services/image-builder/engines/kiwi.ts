/**
 * The KIWI engine: a live ISO from exactly the resolved packages, by our own description, or by a profile of fedora-kiwi-descriptions where the operator has a checkout of them. It has
 * been run with KIWI 9.24, our own description and the sample distribution; what Fedora's content needs
 * besides (system users, locale, live user) is in the description by the packages that bring it, but has not been run.
 */
import { SpindleError } from '../../../shared/build/failure.ts';
import { element, formatXml } from '../../../shared/repositories/format-xml.ts';
import type { ResolvedPackage } from '../../../shared/resolution/resolution.ts';
import { type EngineOrder, type ImageEngine, layout, type Recipe, type RecipeStep } from './engine.ts';
import { kiwiPhase, kiwiProgress, relevantKiwiLines } from './kiwi-log.ts';
import { anyWorkspace, recipeScript } from './recipe-script.ts';

export const kiwi: ImageEngine = {
  name: 'kiwi',
  imageTypes: ['live'],
  needs: {
    commands: ['kiwi-ng', 'dnf', 'rpm', 'mksquashfs', 'xorriso', 'rsync', 'implantisomd5', 'checkisomd5'],
    install: {
      debian: ['kiwi', 'kiwi-systemdeps-iso-media', 'dnf', 'rpm', 'squashfs-tools', 'xorriso', 'rsync', 'isomd5sum'],
      fedora: ['kiwi-cli', 'kiwi-systemdeps-iso-media', 'dnf', 'rpm', 'squashfs-tools', 'xorriso', 'rsync', 'isomd5sum'],
    },
  },
  version: { command: 'kiwi-ng', args: ['--version'], read: (stdout) => /version (\S+)/.exec(stdout)?.[1] },
  render,
  findImages: (names) => names.filter((name) => name.endsWith('.iso')),
  phase: kiwiPhase,
  progress: kiwiProgress,
  relevantLines: relevantKiwiLines,
};

function render(order: EngineOrder): Recipe {
  const profile = order.release?.kiwi?.profiles[order.request.imageType];
  return profile === undefined ? renderOwn(order) : renderProfile(order, profile);
}

/** By our own description. */
function renderOwn(order: EngineOrder): Recipe {
  const { root } = order;
  return {
    files: [{ path: `${layout.recipe}/config.xml`, content: describe(order) }, ...settings()],
    directories: [layout.cache, layout.temporary],
    steps: [kiwiStep(order, [], ['--description', `${root}/${layout.recipe}`])],
    // Paths of one workspace say nothing to those who read the recipe later.
    artifact: { name: 'config.xml', mediaType: 'application/xml', content: describe({ ...order, root: '' }) },
  };
}

/**
 * By a profile of fedora-kiwi-descriptions: its packages come from the build's repositories in the place of its own, and what was resolved besides is added.
 */
function renderProfile(order: EngineOrder, profile: string): Recipe {
  const content = recipeScript(renderProfileIn({ ...order, root: anyWorkspace }, profile), [
    `${order.request.label}: by the profile ${profile} of fedora-kiwi-descriptions.`,
  ]);
  return { ...renderProfileIn(order, profile), artifact: { name: 'recipe.sh', mediaType: 'text/x-shellscript', content } };
}

function renderProfileIn(order: EngineOrder, profile: string): Omit<Recipe, 'artifact'> {
  const { root, request, resolution, release, releasever } = order;
  const descriptions = release?.kiwi;
  if (!descriptions) throw new SpindleError('INTERNAL', 'a profile was asked for of a release that has none');
  const isNew = isAtLeast10(order.toolVersion);
  return {
    files: settings(),
    directories: [layout.cache, layout.temporary],
    steps: [
      kiwiStep(
        order,
        ['--type', 'iso', '--profile', profile, '--kiwi-file', descriptions.file],
        [
          ...['--description', descriptions.description, '--ignore-repos'],
          ...['--add-repo', addRepo(`dir://${root}/${layout.stable}`, 'stable', isNew), '--add-repo', addRepo(`dir://${root}/${layout.side}`, 'side', isNew)],
          ...packageNames(resolution.packages).flatMap((name) => ['--add-package', name]),
          ...request.excludePackages.filter((spec) => !spec.startsWith('@')).flatMap((spec) => ['--delete-package', spec]),
          // KIWI 9 knows neither.
          ...(isNew ? ['--set-release-version', releasever, '--set-type-attr', `volid=${request.label}`] : []),
        ],
        [descriptions.description],
      ),
    ],
  };
}

/**
 * One list with commas: source, type, alias, priority, imageinclude, package_gpgcheck, {keys}, components, distribution, repo_gpgcheck, and since KIWI 10 the sourcetype. Both have the same priority, and
 * every RPM was checked before it came into them.
 */
function addRepo(source: string, alias: string, isNew: boolean): string {
  return [source, 'rpm-md', alias, '1', 'false', 'false', '', '', '', 'false', ...(isNew ? ['baseurl'] : [])].join(',');
}

/** Debian has 9.24; Fedora has 10 and 11, whose command line is that of 10. A version that nobody knows is taken for the one that set-up installs. */
function isAtLeast10(version: string | undefined): boolean {
  return Number(/^\d+/.exec(version ?? '')?.[0] ?? 9) >= 10;
}

function settings(): Recipe['files'] {
  return [
    // Debian's rpm keeps its database elsewhere; KIWI asks the host's rpm where the image's is.
    { path: `${layout.home}/.rpmmacros`, content: '%_dbpath /usr/lib/sysimage/rpm\n' },
    // KIWI falls back to the host's /etc/kiwi.yml where the home has none; two hosts must not build differently.
    { path: `${layout.home}/.config/kiwi/config.yml`, content: 'xz:\n  - options: --threads=0\n' },
  ];
}

function kiwiStep({ root, resolution }: EngineOrder, choice: readonly string[], build: readonly string[], readOnly: readonly string[] = []): RecipeStep {
  return {
    what: 'making the image',
    // It mounts the root file system's image while it fills it.
    sandbox: { readOnly, loopDevices: true },
    run: {
      command: 'kiwi-ng',
      args: [
        '--debug',
        ...choice,
        ...['--shared-cache-dir', `${root}/${layout.cache}`],
        ...['--temp-dir', `${root}/${layout.temporary}`],
        ...['--target-arch', resolution.arch],
        ...['system', 'build'],
        ...build,
        ...['--target-dir', `${root}/${layout.output}`],
      ],
      env: { HOME: `${root}/${layout.home}` },
      isolation: 'private-no-network',
    },
  };
}

/** Compression by what the request asks for. For `fast`, lz4: on the sample system a tenth of zstd's time for a tenth more size, and it also starts faster. */
const squashfsCompression = { fast: 'lz4', small: 'xz' } as const;

function describe({ request, resolution, releasever, root, toolVersion }: EngineOrder): string {
  const has = new Set(resolution.packages.map(({ name }) => name));
  const repository = (alias: string, path: string) => element('repository', { type: 'rpm-md', alias }, [element('source', { path: `dir://${root}/${path}` })]);
  // Neither repository has a priority: the lower number would win even over a newer version. The set holds one version of each package anyway.
  const repositories = [repository('stable', layout.stable), repository('side', layout.side)];
  // KIWI writes these through systemd's tool in the image; without it they would only be warnings.
  const locale = /^[a-z]{2,3}_[A-Z]{2}/.exec(request.locale)?.[0];
  const systemSettings = has.has('systemd')
    ? [...(locale ? [element('locale', {}, locale)] : []), element('keytable', {}, request.keyboard), element('timezone', {}, request.timezone)]
    : [];
  // KIWI adds users with the image's own useradd. The empty password lets the live user in, as on Fedora's live media.
  const users = has.has('shadow-utils')
    ? [
        element('users', {}, [
          element('user', { name: request.liveUser, password: '', pwdformat: 'encrypted', home: `/home/${request.liveUser}`, groups: 'wheel' }),
        ]),
      ]
    : [];
  return formatXml(
    element('image', { schemaversion: '7.5', name: request.label }, [
      element('description', { type: 'system' }, [
        element('author', {}, 'Spindle'),
        element('contact', {}, 'none'),
        element('specification', {}, `${request.label}: ${resolution.release}, ${resolution.arch}`),
      ]),
      element('preferences', {}, [
        element('version', {}, '1.0.0'),
        // KIWI 9.24 knows one dnf; newer ones tell them apart, and Fedora's hosts have the fifth.
        element('packagemanager', {}, isAtLeast10(toolVersion) ? 'dnf5' : 'dnf'),
        element('release-version', {}, releasever),
        ...systemSettings,
        // Every RPM was checked against its digest before it came into these repositories.
        element('rpm-check-signatures', {}, 'false'),
        element(
          'type',
          {
            image: 'iso',
            // dracut's own live modules, which every Fedora release has; `overlay` would need KIWI's.
            flags: 'dmsquash',
            // Boots by BIOS and by UEFI.
            firmware: 'efi',
            volid: request.label,
            publisher: 'Spindle',
            // The last console is /dev/console: the boot test reads the serial line. An overlay file system works without device-mapper.
            kernelcmdline: 'quiet console=tty0 console=ttyS0,115200 rd.live.overlay.overlayfs=1',
            hybridpersistent: 'false',
            mediacheck: 'false',
            squashfscompression: squashfsCompression[request.compression],
          },
          [element('bootloader', { name: 'grub2', console: 'console serial', timeout: '1' })],
        ),
      ]),
      ...users,
      ...repositories,
      element('packages', { type: 'image' }),
      // All of them in the first phase, which needs no package manager in the image.
      element(
        'packages',
        { type: 'bootstrap' },
        packageNames(resolution.packages).map((name) => element('package', { name })),
      ),
    ]),
  );
}

/** By name, since the repositories hold one version of each; where they hold more (kernels, two architectures), exactly. Sorted. */
function packageNames(packages: readonly ResolvedPackage[]): readonly string[] {
  const count = new Map<string, number>();
  for (const { name } of packages) count.set(name, (count.get(name) ?? 0) + 1);
  return packages.map(({ name, nevra }) => (count.get(name) === 1 ? name : nevra)).sort();
}
