/** The kickstart of one build: generated from its request and resolution, merged with the requester's own, where that says something else. Pure. */
import type { SingleBuildRequest } from '../build/request.ts';
import type { Resolution } from '../resolution/resolution.ts';
import type { KickstartContent } from './content.ts';
import { type KickstartCommand, optionValue } from './kickstart.ts';

/**
 * `live`: installed by livemedia-creator into the file system of a live image. `install`: on a medium with its packages, installs by itself, and takes over the whole disk.
 * `assist`: on a network installer, gives its questions their first answers.
 */
export type KickstartPurpose = 'live' | 'install' | 'assist';

export interface KickstartOrder {
  /** With the kickstart's packages, repositories and language in it already. */
  readonly request: SingleBuildRequest;
  readonly resolution: Resolution;
  readonly purpose: KickstartPurpose;
  /** URLs of the build's repositories as the installer sees them: `live` needs both, `assist` the side one. An `install` finds one repository at the root of its medium. */
  readonly repositories: { readonly stable?: string; readonly side?: string };
  readonly own: KickstartContent | undefined;
}

/** Commands that say the same thing: one of the requester's stands in the place of ours. */
const families: readonly (readonly string[])[] = [
  ['lang'],
  ['keyboard'],
  ['timezone'],
  ['rootpw'],
  ['selinux'],
  ['firewall'],
  ['services'],
  ['network'],
  ['bootloader'],
  // Whoever says anything of disks says all of it: ours would take over more than was meant.
  [
    'zerombr',
    'clearpart',
    'ignoredisk',
    'part',
    'partition',
    'autopart',
    'logvol',
    'volgroup',
    'raid',
    'btrfs',
    'reqpart',
    'mount',
    'stratisfs',
    'stratispool',
  ],
  ['shutdown', 'poweroff', 'reboot', 'halt'],
  ['text', 'cmdline', 'graphical'],
  ['xconfig', 'skipx'],
  ['firstboot'],
];

/** On a machine's disks whoever says anything says all of it: ours would take over more than was meant. A live image's file is nobody's but the build's. */
const diskPreparation: readonly string[] = ['zerombr', 'clearpart', 'ignoredisk'];

function familyOf(name: string, purpose: KickstartPurpose): readonly string[] {
  const family = families.find((names) => names.includes(name)) ?? [name];
  const isOfDisks = family.includes('part') || diskPreparation.includes(name);
  return isOfDisks && purpose !== 'live' ? [...diskPreparation, ...(families.find((names) => names.includes('part')) ?? [])] : family;
}

/** A whole kickstart, as text. Every one is valid for pykickstart where the requester's own was. */
export function renderKickstart(order: KickstartOrder): string {
  const { request, resolution, own } = order;
  const theirs = own?.kickstart.commands.filter(({ name }) => name !== 'repo') ?? [];
  const isTheirs = new Set(theirs.flatMap(({ name }) => familyOf(name, order.purpose)));
  const ours = ourCommands(order).filter((line) => !isTheirs.has(line.split(' ')[0] ?? ''));
  const scripts = own?.kickstart.sections.filter(({ name }) => name !== '%packages') ?? [];
  return `${[
    `# Made by Spindle: ${request.label}, ${resolution.release}, ${resolution.arch}.`,
    '',
    '# The repositories of this build, which hold the resolved packages and nothing else.',
    ...sources(order),
    '',
    ...ours,
    ...(theirs.length > 0 ? ['', "# The requester's own commands.", ...theirs.map(({ text }) => text.trim())] : []),
    '',
    ...packagesSection(order),
    ...(order.purpose === 'live' ? ['', ...liveUserSection(order, theirs)] : []),
    ...scripts.flatMap(({ text, lines }) => ['', text.trim(), ...lines.map((line) => line.text), '%end']),
  ].join('\n')}\n`;
}

function sources({ purpose, repositories }: KickstartOrder): readonly string[] {
  const side = `repo --name="spindle-side" --baseurl="${repositories.side ?? ''}"`;
  if (purpose === 'assist') return [side];
  return purpose === 'live' ? [`url --url="${repositories.stable ?? ''}"`, side] : ['cdrom'];
}

function ourCommands(order: KickstartOrder): readonly string[] {
  const { request, resolution, purpose } = order;
  const has = new Set(resolution.packages.map(({ name }) => name));
  const basics = [`lang ${request.locale}`, `keyboard --vckeymap=${request.keyboard}`, `timezone ${request.timezone} --utc`];
  if (purpose === 'assist') return basics;
  const system = [
    'rootpw --lock',
    has.has('selinux-policy-targeted') ? 'selinux --enforcing' : 'selinux --disabled',
    ...(has.has('firewalld') ? ['firewall --enabled --service=mdns'] : ['firewall --disabled']),
    ...servicesLine(has),
  ];
  if (purpose === 'install') return [...basics, ...system, 'text', 'zerombr', 'clearpart --all --initlabel', 'bootloader', 'autopart', 'poweroff'];
  return [
    ...basics,
    ...system,
    // livemedia-creator refuses a kickstart without; it reaches nothing.
    'network --bootproto=dhcp --device=link --activate',
    ...(has.has('xorg-x11-server-Xorg') || has.has('gdm') || has.has('sddm') ? ['xconfig --startxonboot'] : []),
    'zerombr',
    'clearpart --all',
    `part / --fstype=ext4 --size=${rootMebibytes(resolution)}`,
    'shutdown',
  ];
}

/** As on Fedora's live media, of what is there: the installer fails over a service that is not. */
function servicesLine(has: ReadonlySet<string>): readonly string[] {
  const enabled = ['NetworkManager', 'ModemManager'].filter((name) => has.has(name));
  const disabled = has.has('openssh-server') ? ['sshd'] : [];
  if (enabled.length + disabled.length === 0) return [];
  return [`services${enabled.length > 0 ? ` --enabled="${enabled.join(',')}"` : ''}${disabled.length > 0 ? ` --disabled="${disabled.join(',')}"` : ''}`];
}

/** Half as much again as the packages, and a gibibyte for what they write. */
const rootMebibytes = ({ installedBytes }: Resolution) => Math.ceil((installedBytes * 1.5) / 2 ** 20) + 1024;

/** livemedia-creator looks for this very word among the packages. */
const namedPlainly = 'dracut-live';

function packagesSection({ request, resolution, purpose, own }: KickstartOrder): readonly string[] {
  const options = ['--nocore', ...(own?.packages.options ?? [])].join(' ');
  const excluded = request.excludePackages.filter((spec) => !spec.startsWith('@')).map((spec) => `-${spec}`);
  if (purpose === 'assist') {
    return request.packages.length === 0 ? [] : ['%packages', ...request.packages, ...request.excludePackages.map((spec) => `-${spec}`), '%end'];
  }
  const groups = request.packages.filter((spec) => spec.startsWith('@'));
  return [
    `%packages ${options}`,
    ...(groups.length > 0 ? [`# Resolved from ${groups.join(' ')} and what else was asked for: exactly these.`] : ['# Resolved: exactly these.']),
    ...resolution.packages.map(({ name, nevra }) => (name === namedPlainly ? name : nevra)),
    ...excluded,
    '%end',
  ];
}

/** An account without a password that may become root, as Fedora's live media have it. */
function liveUserSection({ request, resolution }: KickstartOrder, theirs: readonly KickstartCommand[]): readonly string[] {
  const { liveUser } = request;
  const isTheirs = theirs.some(({ name, words }) => name === 'user' && optionValue(words, 'name') === liveUser);
  if (isTheirs || !resolution.packages.some(({ name }) => name === 'shadow-utils')) return [];
  return ['%post', `useradd --comment "Live System User" --groups wheel ${liveUser}`, `usermod --password '' ${liveUser}`, '%end'];
}
