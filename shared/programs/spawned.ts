/**
 * The programs port on the host: each tool is a process group of its own that ends with its run and with this process, however either of them ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants as fsConstants } from 'node:fs';
import { access, readdir, readFile, stat } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import { systemClock } from '../clock/system.ts';
import { keepFirst, keepLast } from './output.ts';
import { splitLines } from './printable.ts';
import { checkUser, type ProgramRequest, type ProgramResult, type Programs, type ProgramUser, type RunningProgram } from './programs.ts';

export interface SpawnedProgramsOptions {
  readonly clock?: Clock;
  /** From SIGTERM to SIGKILL. */
  readonly killAfterMs?: number;
  /** Searched after the system's own directories; the service's PATH, with `:` between. */
  readonly extraPath?: string;
}

const systemPath = '/usr/sbin:/usr/bin:/sbin:/bin';
const outputBytesDefault = 1024 * 1024;
/** A process that is in the kernel's hands may take a while to go after SIGKILL; after this we say so instead of waiting for ever. */
const goneWithinMs = 30_000;
/** Between two SIGTERMs to a tool in namespaces. */
const askAgainMs = 250;
/** How long output is still read after the tool has gone: somebody outside its group may hold the pipe open. */
const drainMs = 1000;

export function spawnedPrograms(options: SpawnedProgramsOptions = {}): Programs {
  const clock = options.clock ?? systemClock();
  const killAfterMs = options.killAfterMs ?? 5000;
  const path = options.extraPath ? `${systemPath}:${options.extraPath}` : systemPath;

  const start = async (request: ProgramRequest): Promise<RunningProgram> => {
    request.signal?.throwIfAborted();
    const [command, args] = await commandLine(request, path);
    request.signal?.throwIfAborted();
    return launch(request, command, args, { clock, killAfterMs, path });
  };
  return {
    has: (command) =>
      findProgram(command, path).then(
        () => true,
        () => false,
      ),
    start,
    run: async (request) => (await start(request)).ended,
  };
}

/** The tool with what stands before it on the command line: the guards that tie its life to ours. */
async function commandLine(request: ProgramRequest, path: string): Promise<readonly [string, readonly string[]]> {
  const isolation = request.isolation ?? 'host';
  if (isolation !== 'host' && process.getuid?.() !== 0) {
    throw new SpindleError(
      'TOOL_MISSING',
      `${request.command} was to run in namespaces of its own, which needs root; this service runs as user ${process.getuid?.()}: start it as root`,
    );
  }
  const { user } = request;
  if (user) {
    checkUser(user);
    if (process.getuid?.() !== 0) {
      throw new SpindleError(
        'TOOL_MISSING',
        `${request.command} was to run as user ${user.uid}, which needs root; this service runs as user ${process.getuid?.()}: start it as root`,
      );
    }
  }
  if (request.cwd !== undefined) {
    const cwd = await stat(request.cwd).catch(() => undefined);
    if (!cwd?.isDirectory()) throw new SpindleError('FILE_MISSING', `${request.command} was to run in ${request.cwd}, which is no directory`);
  }
  const tool = await findProgram(request.command, path);
  // The kernel kills the first process of the group when we die, also by SIGKILL.
  const setpriv = await findProgram('setpriv', path);
  const bound = [setpriv, '--pdeathsig', 'KILL'];
  if (isolation === 'host') return [setpriv, [...bound.slice(1), ...(user ? asUser(user) : []), '--', tool, ...request.args]];
  const guards = [
    ...bound,
    '--',
    await findProgram('unshare', path),
    ...['--mount', '--pid', '--ipc', '--fork', '--mount-proc', '--kill-child'],
    ...(isolation === 'private-no-network' ? ['--net'] : []),
    // The first process of a PID namespace ignores SIGTERM unless it handles it, and most tools do not. `timeout` does, and hands it on; 0 is no time-out.
    ...['--', await findProgram('timeout', path), '--foreground', '0'],
    ...(user ? [setpriv, ...asUser(user), '--'] : []),
  ];
  return [guards[0] as string, [...guards.slice(1), tool, ...request.args]];
}

/** The user, and the loss of every right that a user may have or get. */
function asUser({ uid, gid, groups = [] }: ProgramUser): readonly string[] {
  return [
    ...['--reuid', String(uid), '--regid', String(gid)],
    ...(groups.length > 0 ? ['--groups', groups.join(',')] : ['--clear-groups']),
    ...['--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all', '--no-new-privs'],
  ];
}

async function findProgram(command: string, path: string): Promise<string> {
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

type Ending = { readonly kind: 'exit' } | { readonly kind: 'stop' } | { readonly kind: 'fail'; readonly error: unknown };

function launch(
  request: ProgramRequest,
  command: string,
  args: readonly string[],
  { clock, killAfterMs, path }: { readonly clock: Clock; readonly killAfterMs: number; readonly path: string },
): Promise<RunningProgram> {
  const startedAt = clock.now();
  const bytesMax = request.outputBytesMax ?? outputBytesDefault;
  const stdout = keepFirst(bytesMax);
  const stderr = keepLast(bytesMax);
  const child = spawn(command, args, {
    detached: true,
    stdio: [request.stdin === undefined && !request.keepsInput ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    env: { LC_ALL: 'C.UTF-8', ...request.env, PATH: path },
    ...(request.cwd === undefined ? {} : { cwd: request.cwd }),
  });

  return new Promise((started, refused) => {
    child.once('error', (error) => refused(new SpindleError('TOOL_MISSING', `${request.command} could not be started: ${error.message}`, { cause: error })));
    child.once('spawn', () => {
      const pid = child.pid as number;
      let ending: Ending | undefined;
      let wake: () => void = () => {};
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const end = (how: Ending) => {
        ending ??= how;
        wake();
      };

      const listen = (stream: 'stdout' | 'stderr', keep: typeof stdout) => {
        const { onLine } = request;
        const lines = onLine
          ? splitLines((line) => {
              try {
                onLine(line, stream);
              } catch (error) {
                end({ kind: 'fail', error });
              }
            })
          : undefined;
        child[stream]?.on('data', (chunk: Buffer) => {
          keep.push(chunk);
          lines?.push(chunk);
        });
        child[stream]?.on('error', () => {});
        return () => lines?.end();
      };
      const lastLines = [listen('stdout', stdout), listen('stderr', stderr)];
      // A tool that does not read its input is no error of ours.
      child.stdin?.on('error', () => {});
      if (request.stdin !== undefined) child.stdin?.end(request.stdin);

      const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
      child.once('exit', () => end({ kind: 'exit' }));
      const forgetDeadline = clock.after(request.deadlineMs, () =>
        end({
          kind: 'fail',
          error: new SpindleError('TOOL_TIMED_OUT', `${request.command} did not end within ${Math.round(request.deadlineMs / 1000)} s and was ended`, {
            details: stderr.text().split('\n').filter(Boolean).slice(-10),
          }),
        }),
      );
      const abort = () => end({ kind: 'fail', error: request.signal?.reason });
      request.signal?.addEventListener('abort', abort, { once: true });
      if (request.signal?.aborted) abort();

      const finish = async (): Promise<ProgramResult> => {
        await woken;
        forgetDeadline();
        request.signal?.removeEventListener('abort', abort);
        await endGroup(child, pid, { clock, killAfterMs, command: request.command, isolation: request.isolation ?? 'host' });
        if (!(await within(clock, drainMs, closed))) {
          child.stdout?.destroy();
          child.stderr?.destroy();
        }
        for (const giveOut of lastLines) giveOut();
        if (ending?.kind === 'fail') throw ending.error;
        const [exitCode, signal] = outcome(child, request.isolation ?? 'host');
        return { exitCode, signal, stdout: stdout.text(), stderr: stderr.text(), truncated: stdout.truncated, durationMs: clock.now() - startedAt };
      };
      const ended = finish();
      // Whoever only stops the program need not look at `ended`.
      ended.catch(() => {});
      started({
        pid,
        ended,
        write: (text) => {
          if (request.keepsInput && child.stdin?.writable) child.stdin.write(text);
        },
        stop: () => {
          end({ kind: 'stop' });
          return ended;
        },
      });
    });
  });
}

const signalNames: ReadonlyMap<number, string> = new Map(Object.entries(osConstants.signals).map(([name, number]) => [number, name]));

/** Behind the guards of a private run, death by signal arrives as a shell would report it: as 128 and the signal's number. */
function outcome(child: ChildProcess, isolation: NonNullable<ProgramRequest['isolation']>): readonly [number | null, string | null] {
  const { exitCode, signalCode } = child;
  if (isolation !== 'host' && exitCode !== null && exitCode > 128) {
    const name = signalNames.get(exitCode - 128);
    if (name !== undefined) return [null, name];
  }
  return [exitCode, signalCode];
}

/** Resolves once no process of the group lives: at once after an orderly end, otherwise by SIGTERM and, where that does not help in time, SIGKILL. */
async function endGroup(
  child: ChildProcess,
  pgid: number,
  {
    clock,
    killAfterMs,
    command,
    isolation,
  }: { readonly clock: Clock; readonly killAfterMs: number; readonly command: string; readonly isolation: NonNullable<ProgramRequest['isolation']> },
): Promise<void> {
  const isGone = async () => (child.exitCode !== null || child.signalCode !== null) && !(await groupLives(pgid));
  const goneBy = async (deadlineAt: number, ask?: () => void): Promise<boolean> => {
    let askAt = clock.now() + askAgainMs;
    for (let pauseMs = 2; ; pauseMs = Math.min(50, pauseMs * 2)) {
      if (await isGone()) return true;
      const left = deadlineAt - clock.now();
      if (left <= 0) return false;
      if (ask && clock.now() >= askAt) {
        ask();
        askAt = clock.now() + askAgainMs;
      }
      await clock.sleep(Math.min(pauseMs, left));
    }
  };
  if (await isGone()) return;
  const ask = () => {
    signalGroup(pgid, 'SIGTERM');
    // A stopped process acts on SIGTERM only once it goes on.
    signalGroup(pgid, 'SIGCONT');
  };
  ask();
  // Asked again where namespaces are: their first process has no ears for SIGTERM until its guard has put them on.
  if (await goneBy(clock.now() + killAfterMs, isolation === 'host' ? undefined : ask)) return;
  signalGroup(pgid, 'SIGKILL');
  if (await goneBy(clock.now() + goneWithinMs)) return;
  throw new SpindleError(
    'TOOL_TIMED_OUT',
    `processes of ${command} (group ${pgid}) are still there ${goneWithinMs / 1000} s after SIGKILL: look at this worker's disks`,
  );
}

function signalGroup(pgid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-pgid, signal);
    return true;
  } catch (error) {
    // EPERM: there is one, though not ours to signal.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Whether a process of the group still runs. Zombies do not count: they have let go of everything, and it is not for us to reap them. */
async function groupLives(pgid: number): Promise<boolean> {
  if (!signalGroup(pgid, 0)) return false;
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const text = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => undefined);
    // The command, in brackets, may hold anything; state, parent and group follow the last bracket.
    const [state, , group] = text?.slice(text.lastIndexOf(')') + 2).split(' ') ?? [];
    if (Number(group) === pgid && state !== 'Z' && state !== 'X') return true;
  }
  return false;
}

async function within(clock: Clock, ms: number, done: Promise<void>): Promise<boolean> {
  let forget = () => {};
  const late = new Promise<false>((resolve) => {
    forget = clock.after(ms, () => resolve(false));
  });
  const isDone = await Promise.race([done.then(() => true as const), late]);
  forget();
  return isDone;
}
