/**
 * The image-builder engine, which is osbuild's tool of that name: an installation DVD with its packages on it, from a blueprint. Of its ISO types only this one takes packages. The
 * command line and the blueprint follow its own source; it has not been run here, since Debian has no osbuild.
 */
import type { KickstartCommand } from '../../../shared/kickstart/kickstart.ts';
import { optionValue } from '../../../shared/kickstart/kickstart.ts';
import { type EngineOrder, type EngineProgress, type ImageEngine, layout, type Recipe, type RelevantLines } from './engine.ts';
import { relevantToolLines, toolProgress } from './tool-lines.ts';

const baseName = 'image';
/** Of the types that `image-builder list` names for Fedora. */
const imageKind = 'minimal-installer';
const blueprintPath = `${layout.recipe}/blueprint.json`;

export const osbuild: ImageEngine = {
  name: 'image-builder',
  imageTypes: ['dvd'],
  needs: {
    commands: ['image-builder', 'osbuild', 'implantisomd5', 'checkisomd5'],
    install: { debian: [], fedora: ['image-builder', 'osbuild', 'osbuild-depsolve-dnf', 'osbuild-lvm2', 'osbuild-luks2', 'osbuild-ostree', 'isomd5sum'] },
  },
  version: { command: 'image-builder', args: ['version'], read: (stdout) => /(?:^|\s|:)v?(\d+(?:\.\d+)*)\b/m.exec(stdout)?.[1] },
  render,
  logs: [`${layout.output}/${baseName}.buildlog`, `${layout.output}/${baseName}.osbuild-manifest.json`],
  findImages: (names) => names.filter((name) => name === `${baseName}.iso`),
  phase: osbuildPhase,
  progress: toolProgress,
  relevantLines: relevantOsbuildLines,
};

function render(order: EngineOrder): Recipe {
  const { root, resolution } = order;
  const blueprint = `${JSON.stringify(blueprintOf(order), undefined, 2)}\n`;
  return {
    files: [{ path: blueprintPath, content: blueprint }],
    directories: [layout.output, layout.cache, layout.home],
    steps: [
      {
        what: 'making the image',
        // Its stages run in namespaces that it makes itself.
        sandbox: { loopDevices: true, networkAdmin: true },
        run: {
          command: 'image-builder',
          args: [
            ...['build', imageKind, '--distro', distributionOf(order), '--arch', resolution.arch, '--blueprint', `${root}/${blueprintPath}`],
            // In the place of the tool's own repositories: nothing that was not resolved.
            ...['--force-repo', `file://${root}/${layout.stable}`, '--force-repo', `file://${root}/${layout.side}`],
            ...['--output-dir', `${root}/${layout.output}`, '--output-name', baseName],
            ...['--cache', `${root}/${layout.cache}/store`, '--rpmmd-cache', `${root}/${layout.cache}/rpmmd`],
            ...['--with-manifest', '--with-buildlog', '--progress', 'verbose'],
          ],
          env: { HOME: `${root}/${layout.home}` },
          isolation: 'private-no-network',
        },
      },
    ],
    artifact: { name: 'blueprint.json', mediaType: 'application/json', content: blueprint.replace(/("password": ")[^"]*/g, '$1*') },
  };
}

/** `fedora-44`; of Rawhide the number that its packages carry. */
function distributionOf({ releasever, release }: EngineOrder): string {
  return `fedora-${/^\d+$/.test(releasever) ? releasever : (/\d+$/.exec(release?.dist ?? '')?.[0] ?? releasever)}`;
}

/** Unknown keys are errors for the tool, so nothing is written that was not asked for. */
function blueprintOf({ request, resolution, kickstart }: EngineOrder): object {
  const commands = kickstart?.kickstart.commands ?? [];
  const of = (name: string) => commands.filter((command) => command.name === name);
  const users = of('user').map(userOf);
  const append = text(of('bootloader').at(-1), 'append');
  const hostname = text(of('network').at(-1), 'hostname');
  const services = of('services').at(-1);
  const firewall = of('firewall').at(-1);
  const sshkeys = of('sshkey').map(({ words }) => ({ user: optionValue(words, 'username'), key: words.filter((word) => !word.startsWith('--')).at(-1) }));
  return {
    name: request.label,
    version: '1.0.0',
    packages: resolution.packages.map(({ name, version, release }) => ({ name, version: `${version}-${release}` })),
    customizations: {
      ...(hostname === undefined ? {} : { hostname }),
      ...(append === undefined ? {} : { kernel: { append } }),
      locale: { languages: [request.locale], keyboard: request.keyboard },
      timezone: { timezone: request.timezone },
      ...(users.length > 0 ? { user: users } : {}),
      ...(sshkeys.length > 0 ? { sshkey: sshkeys } : {}),
      ...(services ? { services: { enabled: list(services, 'enabled'), disabled: list(services, 'disabled') } } : {}),
      ...(firewall
        ? { firewall: { ports: list(firewall, 'port'), services: { enabled: list(firewall, 'service'), disabled: list(firewall, 'remove-service') } } }
        : {}),
      // As a DVD by the other engines: it installs by itself.
      installer: { unattended: true },
    },
  };
}

function text(command: KickstartCommand | undefined, option: string): string | undefined {
  const value = command && optionValue(command.words, option);
  return typeof value === 'string' ? value : undefined;
}

function list(command: KickstartCommand, option: string): readonly string[] {
  return (text(command, option) ?? '').split(',').filter((item) => item !== '');
}

function userOf(command: KickstartCommand): object {
  const number = (option: string) => (text(command, option) === undefined ? undefined : Number(text(command, option)));
  const fields = {
    name: text(command, 'name'),
    description: text(command, 'gecos'),
    password: text(command, 'password'),
    home: text(command, 'homedir'),
    shell: text(command, 'shell'),
    groups: list(command, 'groups'),
    uid: number('uid'),
    gid: number('gid'),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0)));
}

/** osbuild names each stage as it begins: `org.osbuild.rpm: 77f47c… {`. */
const stages: readonly (readonly [marker: RegExp, what: string])[] = [
  [/^org\.osbuild\.rpm[:\s]/, 'installing packages'],
  [/^org\.osbuild\.(?:locale|keymap|timezone|users|systemd|selinux)[:\s]/, 'setting the system up'],
  [/^org\.osbuild\.dracut[:\s]/, 'making the initramfs'],
  [/^org\.osbuild\.(?:squashfs|erofs|tar)[:\s]/, 'compressing the root file system'],
  [/^org\.osbuild\.(?:xorrisofs|implantisomd5)[:\s]/, 'writing the ISO'],
];

function osbuildPhase(line: string): EngineProgress | undefined {
  const index = stages.findIndex(([marker]) => marker.test(line.trim()));
  const stage = stages[index];
  return stage && { done: index, total: stages.length, what: stage[1] };
}

/** Of the end of osbuild's log the failing stage's own words; of a set that cannot be solved, the solver's. */
const own: readonly RegExp[] = [
  /missing packages: .+/,
  /DNF error occurred: .+/,
  /cannot (?:depsolve|build manifest): .+/,
  /blueprint validation failed.*|unknown key.*|not supported.*/i,
];

function relevantOsbuildLines(lines: readonly string[]): RelevantLines {
  const found = relevantToolLines(lines.filter((line) => !/^\s*Traceback|^\s+File "/.test(line)));
  const said = own.map((pattern) => lines.map((line) => pattern.exec(line)?.[0]).findLast((match) => match !== undefined)).find((match) => match !== undefined);
  return said === undefined ? found : { reason: said.slice(0, 1000), lines: found.lines };
}
