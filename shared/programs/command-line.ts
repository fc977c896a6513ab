/** The command line by which a tool is started: the tool, and before it the guards that bound it, isolate it and tie its life to ours. */
import { constants as fsConstants } from 'node:fs';
import { access, readFile, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { SpindleError } from '../build/failure.ts';
import { boundingSet, namespaces, sandboxArguments, wholeHost } from './bubblewrap.ts';
import { hardLimit } from './proc-files.ts';
import type { Bounds, ProgramRequest, ProgramUser } from './programs.ts';
import { sandboxFacts } from './sandbox-facts.ts';

export interface CommandHost {
  /** Where programs are looked for, with `:` between. */
  readonly path: string;
  /** Directories that no sandboxed tool sees. */
  readonly hides: readonly string[];
  /** A guard's own programs, looked for once. */
  readonly guard: (command: string) => Promise<string>;
  readonly makeLoopDevice: (number: number) => Promise<void>;
}

/** Of bounded runs: some tools close every descriptor that they might have, so the limit is also a matter of time. */
const openFilesMax = { soft: 4096, hard: 16_384 } as const;

/**
 * The first process of the namespace: waits for the tool, and also for what comes to it when its parent has gone. The script is the same for every tool; the tool and its
 * arguments are the shell's own, and nothing of them is read as a script.
 */
const firstProcess = ['-c', '"$@"; exit $?', 'sh'];
/** Where bubblewrap reports, and where it waits until we have bounded it. */
export const [statusDescriptor, gateDescriptor] = [3, 4];

/** The tool with what stands before it on the command line: the guards that tie its life to ours. */
export async function commandLine(request: ProgramRequest, host: CommandHost, bounds: Bounds | undefined): Promise<readonly [string, readonly string[]]> {
  const { isolation = 'host', user, sandbox } = request;
  if ((isolation !== 'host' || user) && process.getuid?.() !== 0) {
    throw new SpindleError(
      'TOOL_MISSING',
      `${request.command} was to run ${user ? `as user ${user.uid}` : 'in namespaces of its own'}, which needs root; this service runs as user ${process.getuid?.()}: start it as root`,
    );
  }
  if (request.cwd !== undefined) {
    const cwd = await stat(request.cwd).catch(() => undefined);
    if (!cwd?.isDirectory()) throw new SpindleError('FILE_MISSING', `${request.command} was to run in ${request.cwd}, which is no directory`);
  }
  const tool = await findProgram(request.command, host.path);
  const setpriv = await host.guard('setpriv');
  // The kernel kills the first process of the group when we die, also by SIGKILL.
  const bound = ['--pdeathsig', 'KILL'];
  if (isolation === 'host') return [setpriv, [...bound, ...(user ? asUser(user) : []), '--', tool, ...request.args]];
  const env = await host.guard('env');
  const hasNetwork = isolation === 'private';
  const facts = sandbox ? await sandboxFacts(sandbox, { ...host, hasNetwork }) : undefined;
  const guards = [
    ...bound,
    ...(facts ? ['--bounding-set', boundingSet(facts)] : []),
    '--',
    ...(bounds ? [await host.guard('prlimit'), ...(await limits(bounds)), '--'] : []),
    // SIGTERM to the group is for the tool. bubblewrap would die of it at once, and the kernel then end the tool before it can clean up.
    ...[env, '--ignore-signal=TERM', await host.guard('bwrap')],
    ...namespaces(hasNetwork),
    ...(sandbox && facts ? sandboxArguments(sandbox, facts, user !== undefined) : wholeHost),
    ...['--json-status-fd', String(statusDescriptor)],
    ...(bounds ? ['--block-fd', String(gateDescriptor)] : []),
    ...(request.cwd === undefined ? [] : ['--chdir', request.cwd]),
    ...['--', await host.guard('sh'), ...firstProcess],
    // Shells and bubblewrap add these to the environment.
    ...[env, ...['PWD', 'OLDPWD', 'SHLVL', '_'].filter((name) => !Object.hasOwn(request.env ?? {}, name)).flatMap((name) => ['-u', name])],
    '--default-signal=TERM',
    // `env` would take a path with an equals sign for a variable.
    ...(user ? [setpriv, ...asUser(user), '--'] : tool.includes('=') ? [setpriv, '--no-new-privs', '--'] : []),
  ];
  return [setpriv, [...guards, tool, ...request.args]];
}

async function limits({ diskBytesMax }: Bounds): Promise<readonly string[]> {
  const own = hardLimit(await readFile('/proc/self/limits', 'utf8'), 'Max open files') ?? openFilesMax.hard;
  const hard = Math.min(own, openFilesMax.hard);
  return ['--core=0', `--nofile=${Math.min(hard, openFilesMax.soft)}:${hard}`, ...(diskBytesMax === undefined ? [] : [`--fsize=${diskBytesMax}`])];
}

/** The user, and the loss of every right that a user may have or get. */
function asUser({ uid, gid, groups = [] }: ProgramUser): readonly string[] {
  return [
    ...['--reuid', String(uid), '--regid', String(gid)],
    ...(groups.length > 0 ? ['--groups', groups.join(',')] : ['--clear-groups']),
    ...['--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all', '--no-new-privs'],
  ];
}

export async function findProgram(command: string, path: string): Promise<string> {
  const candidates = isAbsolute(command) ? [command] : command.includes('/') ? [] : path.split(':').map((directory) => join(directory, command));
  for (const candidate of candidates) {
    const found = await stat(candidate).catch(() => undefined);
    if (!found?.isFile()) continue;
    const runs = await access(candidate, fsConstants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs) return candidate;
  }
  throw new SpindleError('TOOL_MISSING', `the program ${command} is not installed on this worker (looked in ${path}); install it and retry the build`);
}
