/** Command lines for bubblewrap: namespaces, and what a tool sees of the host in them. Pure. */
import type { Sandbox } from './programs.ts';

/** Capabilities that tools keep in a sandbox, each with its reason for docs/isolation.md. Whatever is not named is gone, and no_new_privs keeps it from coming back. */
export const sandboxCapabilities = {
  CHOWN: 'files of packages have owners',
  DAC_OVERRIDE: 'install into folders that belong to others',
  FOWNER: 'set modes and times of files that belong to others',
  FSETID: 'keep set-group-id bits while doing so',
  SETFCAP: 'files of packages have capabilities, such as those of ping',
  SETUID: 'scriptlets and tools that drop rights',
  SETGID: 'likewise',
  KILL: 'end what they started as another user',
  MKNOD: 'device nodes in the image',
  SYS_CHROOT: 'install roots',
  SYS_ADMIN: 'mounts, and loop devices where they are given',
  AUDIT_WRITE: 'useradd reports what it does',
  MAC_ADMIN: 'SELinux labels that the host does not know',
} as const;

/** What bubblewrap itself needs to set up, and drops before the tool starts: the loopback device, which some tools keep, and the dropping. */
const setUpCapabilities = ['NET_ADMIN', 'SETPCAP'];

export interface SandboxFacts {
  /** Capabilities that the service has, without `CAP_`. */
  readonly capabilities: ReadonlySet<string>;
  /** Directories that no tool is to see, such as the state directory. */
  readonly hides: readonly string[];
  /** Where the sandbox's `readOnly` really stand. */
  readonly readOnly: readonly string[];
  /** Directories of the host that a tool gets its own of: those of `scratchDirectories` that exist, and what it is in the sandbox's directory. */
  readonly scratch: readonly { readonly from: string; readonly to: string }[];
  /** Device nodes besides null, zero, full, random, urandom, tty, ptmx, that exist. */
  readonly devices: readonly string[];
  /** Files in /run that a tool with network needs, such as those of the resolver; that exist. */
  readonly runtimeFiles: readonly string[];
}

/** Where tools keep temporary files, caches and logs. */
export const scratchDirectories = ['/tmp', '/var/tmp', '/var/cache', '/var/log'];

/** Homes, and sockets of the host's services. */
const emptied = ['/root', '/home', '/run'];

/** Namespaces alone: the host's files as they are. */
export const wholeHost: readonly string[] = ['--dev-bind', '/', '/', '--proc', '/proc'];

export function namespaces(hasNetwork: boolean): readonly string[] {
  return ['--die-with-parent', '--as-pid-1', '--unshare-pid', '--unshare-ipc', '--unshare-uts', ...(hasNetwork ? [] : ['--unshare-net'])];
}

/** What is left of root's capabilities, also for what bubblewrap starts: names for setpriv's bounding set. */
export function boundingSet({ capabilities }: Pick<SandboxFacts, 'capabilities'>): string {
  return [
    '-all',
    ...[...Object.keys(sandboxCapabilities), ...setUpCapabilities].filter((name) => capabilities.has(name)).map((name) => `+${name.toLowerCase()}`),
  ].join(',');
}

/** Later mounts go over earlier ones, so what is named by the request comes last. */
export function sandboxArguments(sandbox: Sandbox, facts: SandboxFacts, asUser: boolean): readonly string[] {
  const { directory } = sandbox;
  // To become a user, setpriv needs these three; they go with the change.
  const kept = asUser ? ['SETUID', 'SETGID', 'SETPCAP'] : [...Object.keys(sandboxCapabilities), ...(sandbox.networkAdmin ? ['NET_ADMIN'] : [])];
  const hides = facts.hides.filter((path) => !path.startsWith(`${directory}/`) && path !== directory);
  return [
    ...['--cap-drop', 'ALL'],
    ...kept.filter((name) => facts.capabilities.has(name)).flatMap((name) => ['--cap-add', `CAP_${name}`]),
    ...['--ro-bind', '/', '/'],
    ...['--dev', '/dev'],
    ...facts.devices.flatMap((path) => ['--dev-bind', path, path]),
    ...['--proc', '/proc'],
    // Some of these reach beyond every namespace: a careless `sysctl` must not change the host.
    ...['--ro-bind', '/proc/sys', '/proc/sys', '--ro-bind-try', '/proc/sysrq-trigger', '/proc/sysrq-trigger'],
    ...emptied.flatMap((path) => ['--tmpfs', path]),
    ...facts.runtimeFiles.flatMap((path) => ['--ro-bind-try', path, path]),
    ...facts.scratch.flatMap(({ from, to }) => ['--bind', from, to]),
    ...hides.flatMap((path) => ['--tmpfs', path]),
    ...facts.readOnly.flatMap((path) => ['--ro-bind', path, path]),
    // With devices: an image's own /dev has to work for what runs in it.
    ...['--dev-bind', directory, directory],
    // What would be written there would be gone with the run: better that it fails.
    ...hides.flatMap((path) => ['--remount-ro', path]),
  ];
}
