/**
 * The KIWI engine: a live ISO from exactly the resolved packages. It has been run with the sample distribution; what Fedora's content needs
 * besides (system users, locale, live user) is in the description by the packages that bring it, but has not been run.
 */
import type { ResolvedPackage } from '../../../shared/resolution/resolution.ts';
import { type EngineOrder, type ImageEngine, layout, type Recipe } from './engine.ts';
import { kiwiPhase, relevantKiwiLines } from './kiwi-log.ts';
import { element, formatXml, type XmlElement } from './xml.ts';

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
  findImage: (names) => names.find((name) => name.endsWith('.iso')),
  phase: kiwiPhase,
  relevantLines: relevantKiwiLines,
};

function render(order: EngineOrder): Recipe {
  const { root } = order;
  const description = describe(order);
  return {
    files: [
      { path: `${layout.recipe}/config.xml`, content: description },
      // Debian's rpm keeps its database elsewhere; KIWI asks the host's rpm where the image's is.
      { path: `${layout.home}/.rpmmacros`, content: '%_dbpath /usr/lib/sysimage/rpm\n' },
      // KIWI falls back to the host's /etc/kiwi.yml where the home has none; two hosts must not build differently.
      { path: `${layout.home}/.config/kiwi/config.yml`, content: 'xz:\n  - options: --threads=0\n' },
    ],
    directories: [layout.cache, layout.temporary],
    steps: [
      {
        what: 'making the image',
        run: {
          command: 'kiwi-ng',
          args: [
            '--debug',
            ...['--shared-cache-dir', `${root}/${layout.cache}`],
            ...['--temp-dir', `${root}/${layout.temporary}`],
            ...['--target-arch', order.resolution.arch],
            ...['system', 'build'],
            ...['--description', `${root}/${layout.recipe}`],
            ...['--target-dir', `${root}/${layout.output}`],
          ],
          env: { HOME: `${root}/${layout.home}` },
          isolation: 'private-no-network',
        },
      },
    ],
    // Paths of one workspace say nothing to those who read the recipe later.
    artifact: { name: 'config.xml', mediaType: 'application/xml', content: describe({ ...order, root: '' }) },
  };
}

/** Compression by what the request asks for. For `fast`, lz4: on the sample system a tenth of zstd's time for a tenth more size, and it also starts faster. */
const squashfsCompression = { fast: 'lz4', small: 'xz' } as const;

function describe({ request, resolution, releasever, root }: EngineOrder): string {
  const has = new Set(resolution.packages.map(({ name }) => name));
  const repository = (alias: string, path: string) => element('repository', { type: 'rpm-md', alias }, [element('source', { path: `dir://${root}/${path}` })]);
  // Neither repository has a priority: the lower number would win even over a newer version. The set holds one version of each package anyway.
  const repositories = [repository('stable', layout.stable), repository('side', layout.side)];
  // KIWI writes these through systemd's tool in the image; without it they would only be warnings.
  const locale = /^[a-z]{2,3}_[A-Z]{2}/.exec(request.locale)?.[0];
  const settings = has.has('systemd')
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
        element('packagemanager', {}, 'dnf'),
        element('release-version', {}, releasever),
        ...settings,
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
      element('packages', { type: 'bootstrap' }, packageElements(resolution.packages)),
    ]),
  );
}

/** By name, since the repositories hold one version of each; where they hold more (kernels, two architectures), exactly. */
function packageElements(packages: readonly ResolvedPackage[]): readonly XmlElement[] {
  const count = new Map<string, number>();
  for (const { name } of packages) count.set(name, (count.get(name) ?? 0) + 1);
  return packages
    .map(({ name, nevra }) => (count.get(name) === 1 ? name : nevra))
    .sort()
    .map((name) => element('package', { name }));
}
