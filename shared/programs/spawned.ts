/**
 * The programs port on the host: each tool is a process group of its own that ends with its run and with this process, however either of them ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { constants as osConstants, setPriority } from 'node:os';
import type { Duplex } from 'node:stream';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import { systemClock } from '../clock/system.ts';
import { type CommandHost, commandLine, findProgram, gateDescriptor, statusDescriptor } from './command-line.ts';
import type { Controller } from './control-group-places.ts';
import { type ControlGroup, type ControlGroups, openControlGroups, sweepControlGroups } from './control-groups.ts';
import { endGroup } from './end-group.ts';
import { exceeded } from './exceeded.ts';
import { lineReader } from './line-reader.ts';
import { keepFirst, keepLast } from './output.ts';
import type { ProcessStat } from './proc-files.ts';
import { isGone, processStat } from './processes.ts';
import { type Bounds, checkRequest, type ProgramRequest, type ProgramResult, type Programs, type RunningProgram } from './programs.ts';
import { type Watch, watchBounds } from './watch-bounds.ts';

export interface SpawnedProgramsOptions {
  readonly clock?: Clock;
  /** From SIGTERM to SIGKILL. */
  readonly killAfterMs?: number;
  /** Searched after the system's own directories; the service's PATH, with `:` between. */
  readonly extraPath?: string;
  /** Of every sandboxed run, where its request names no other. */
  readonly bounds?: Bounds;
  /** Directories that no sandboxed tool sees: the service's state. */
  readonly hides?: readonly string[];
  /** Names this service's control groups: no two living services on a host share it. Left out: bounds are held by looking alone. */
  readonly controlGroups?: string;
}

export interface Enforcement extends Readonly<Record<'memory' | 'processes', 'control group' | 'looking'>> {
  readonly problem: string | undefined;
}

/** The adapter, and what its owner does with it at start and end. */
export interface SpawnedPrograms extends Programs {
  /** By what bounds are held here, and why no tool can be isolated here at all; undefined where it can. */
  enforcement(): Promise<Enforcement>;
  /** Ends what a dead predecessor of this service left in control groups; resolves with their number. */
  sweep(): Promise<number>;
  /** Removes the service's own control groups. Nothing is started afterwards. */
  close(): Promise<void>;
}

const systemPath = '/usr/sbin:/usr/bin:/sbin:/bin';
const outputBytesDefault = 1024 * 1024;
/** How long output is still read after the tool has gone: somebody outside its group may hold the pipe open. */
const drainMs = 1000;
/** Of sandboxed runs, behind the service: for processors, and since the kernel derives it from this, for disks. */
const niceness = 10;
/** Where the host runs out of memory, the kernel takes the build before the service. */
const oomScore = 500;

interface Host extends CommandHost {
  readonly clock: Clock;
  readonly killAfterMs: number;
  readonly groups: () => Promise<ControlGroups | undefined>;
  readonly measure: (directory: string) => Promise<number | undefined>;
}

export function spawnedPrograms(options: SpawnedProgramsOptions = {}): SpawnedPrograms {
  const clock = options.clock ?? systemClock();
  const path = options.extraPath ? `${systemPath}:${options.extraPath}` : systemPath;
  const name = options.controlGroups;
  let groups: Promise<ControlGroups> | undefined;
  const guards = new Map<string, string>();
  const host: Host = {
    clock,
    killAfterMs: options.killAfterMs ?? 5000,
    path,
    hides: options.hides ?? [],
    groups: async () => {
      if (name === undefined || process.getuid?.() !== 0) return undefined;
      groups ??= openControlGroups({ name, clock });
      return groups;
    },
    guard: async (command) => {
      const known = guards.get(command);
      if (known !== undefined) return known;
      const found = await findProgram(command, path);
      guards.set(command, found);
      return found;
    },
    makeLoopDevice: async (number) => {
      // Another run may have been faster.
      const { ended } = await start({ command: 'mknod', args: ['--mode=0660', `/dev/loop${number}`, 'b', '7', String(number)], deadlineMs: 10_000 });
      await ended;
    },
    measure: async (directory) => {
      const result = await start({ command: 'du', args: ['--summarize', '--one-file-system', '--block-size=1', '--', directory], deadlineMs: 60_000 })
        .then(({ ended }) => ended)
        .catch(() => undefined);
      // It tells what it saw also where files vanished under it.
      const bytes = Number.parseInt(result?.stdout ?? '', 10);
      return Number.isSafeInteger(bytes) ? bytes : undefined;
    },
  };

  const start = async (request: ProgramRequest): Promise<RunningProgram> => {
    request.signal?.throwIfAborted();
    checkRequest(request);
    const all = { ...(request.sandbox ? options.bounds : {}), ...request.bounds };
    const bounds = Object.keys(all).length > 0 ? all : undefined;
    const [command, args] = await commandLine(request, host, bounds);
    request.signal?.throwIfAborted();
    const group = bounds && (await makeGroup(request, host, bounds));
    try {
      return await launch(request, command, args, host, bounds && { bounds, group, counted: (await host.groups())?.controllers ?? new Set() });
    } catch (error) {
      await group?.remove();
      throw error;
    }
  };
  return {
    has: (command) =>
      findProgram(command, path).then(
        () => true,
        () => false,
      ),
    start,
    run: async (request) => (await start(request)).ended,
    enforcement: async () => {
      const controllers = (await host.groups())?.controllers;
      const by = (controller: Controller) => (controllers?.has(controller) ? 'control group' : 'looking');
      const trial = start({ command: 'true', args: [], isolation: 'private-no-network', bounds: { processesMax: 100 }, deadlineMs: 10_000 });
      const problem = await trial.then(({ ended }) => ended).then(noProblem, (error: unknown) => (error instanceof Error ? error.message : String(error)));
      return { memory: by('memory'), processes: by('pids'), problem };
    },
    sweep: () => (name === undefined ? Promise.resolve(0) : sweepControlGroups({ name, clock })),
    close: async () => {
      await (await groups)?.close();
    },
  };
}

const noProblem = () => undefined;

async function makeGroup({ command }: ProgramRequest, host: Host, bounds: Bounds): Promise<ControlGroup | undefined> {
  try {
    return await (await host.groups())?.create(bounds);
  } catch (error) {
    throw notIsolated(command, `its control group could not be made: ${error instanceof Error ? error.message : 'unknown'}`);
  }
}

function notIsolated(command: string, why: string, details: readonly string[] = []): SpindleError {
  return new SpindleError('ISOLATION_FAILED', `${command} was to run in namespaces of its own, but ${why}; docs/isolation.md says what this host must allow`, {
    details,
  });
}

/** `isUrgent`: without SIGTERM before SIGKILL. */
type Ending = { readonly kind: 'exit' } | { readonly kind: 'stop' } | { readonly kind: 'fail'; readonly error: unknown; readonly isUrgent?: boolean };

interface Bounding {
  readonly bounds: Bounds;
  /** Absent where this host has none for us. */
  readonly group: ControlGroup | undefined;
  /** What the group counts. */
  readonly counted: ReadonlySet<Controller>;
}

function launch(request: ProgramRequest, command: string, args: readonly string[], host: Host, bounding: Bounding | undefined): Promise<RunningProgram> {
  const { clock, path } = host;
  const startedAt = clock.now();
  const bytesMax = request.outputBytesMax ?? outputBytesDefault;
  const stdout = keepFirst(bytesMax);
  const stderr = keepLast(bytesMax);
  const isPrivate = (request.isolation ?? 'host') !== 'host';
  const child = spawn(command, args, {
    detached: true,
    stdio: [
      request.stdin === undefined && !request.keepsInput ? 'ignore' : 'pipe',
      'pipe',
      'pipe',
      ...(isPrivate ? (['pipe'] as const) : []),
      ...(bounding ? (['pipe'] as const) : []),
    ],
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
          ? lineReader(clock, (line) => {
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
      const lastWords = () => stderr.text().split('\n').filter(Boolean).slice(-10);
      // A tool that does not read its input is no error of ours.
      child.stdin?.on('error', () => {});
      if (request.stdin !== undefined) child.stdin?.end(request.stdin);

      const namespace = isPrivate ? readStatus(child) : undefined;
      const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
      child.once('exit', () => end({ kind: 'exit' }));
      const forgetDeadline = clock.after(request.deadlineMs, () =>
        end({
          kind: 'fail',
          error: new SpindleError('TOOL_TIMED_OUT', `${request.command} did not end within ${Math.round(request.deadlineMs / 1000)} s and was ended`, {
            details: lastWords(),
          }),
        }),
      );
      const abort = () => end({ kind: 'fail', error: request.signal?.reason });
      request.signal?.addEventListener('abort', abort, { once: true });
      if (request.signal?.aborted) abort();

      let watch: Watch | undefined;
      /** Bounds the first process while it waits at the gate, and opens it. */
      const prepare = async (): Promise<void> => {
        const gate = child.stdio[gateDescriptor] as Duplex | null | undefined;
        gate?.on('error', () => {});
        const init = await namespace?.init;
        if (!init || !bounding) return;
        const { bounds, group, counted } = bounding;
        try {
          if (request.sandbox) setPriority(init.pid, niceness);
          await writeFile(`/proc/${init.pid}/oom_score_adj`, String(oomScore));
          await group?.add(init.pid);
        } catch (error) {
          // Where it has ended meanwhile, its own words say why; else it must not go on unbounded.
          if (await isGone(init)) return;
          end({
            kind: 'fail',
            error: notIsolated(request.command, `it could not be bounded: ${error instanceof Error ? error.message : 'unknown'}`),
            isUrgent: true,
          });
          return;
        }
        const counts = { memory: counted.has('memory'), processes: counted.has('pids') };
        watch = watchBounds(
          { command: request.command, bounds, init: init.pid, group, counts, directory: request.sandbox?.directory, measure: host.measure, clock },
          (error) => end({ kind: 'fail', error, isUrgent: true }),
        );
        gate?.end();
        gate?.resume();
      };
      const prepared = prepare();

      const finish = async (): Promise<ProgramResult> => {
        await woken;
        forgetDeadline();
        request.signal?.removeEventListener('abort', abort);
        watch?.end();
        try {
          await endGroup(child, pid, {
            ...host,
            command: request.command,
            first: namespace?.init,
            isUrgent: ending?.kind === 'fail' && ending.isUrgent === true,
          });
          if (!(await within(clock, drainMs, closed))) for (const stream of child.stdio) stream?.destroy();
          await prepared;
          watch?.end();
          for (const giveOut of lastLines) giveOut();
          if (ending?.kind === 'fail') throw ending.error;
          const verdict = ending?.kind === 'exit' ? await watch?.verdict() : undefined;
          if (verdict) throw verdict;
        } finally {
          await bounding?.group?.remove();
        }
        if (ending?.kind === 'exit' && namespace && child.exitCode !== null && !namespace.hasRun()) {
          throw notIsolated(request.command, `they could not be made: ${lastWords().at(-1) ?? 'no reason was given'}`, lastWords());
        }
        const [exitCode, signal] = outcome(child, request.isolation ?? 'host');
        const diskBytesMax = bounding?.bounds.diskBytesMax;
        if (diskBytesMax !== undefined && (signal === 'SIGXFSZ' || (exitCode !== 0 && /File size limit exceeded|File too large/.test(stderr.text())))) {
          throw exceeded(request.command, 'disk', diskBytesMax, lastWords());
        }
        return { exitCode, signal, stdout: stdout.text(), stderr: stderr.text(), truncated: stdout.truncated, durationMs: clock.now() - startedAt };
      };
      const ended = finish();
      // Whoever only stops the program need not look at `ended`.
      ended.catch(() => {});
      const running: RunningProgram = {
        pid,
        ended,
        write: (text) => {
          if (request.keepsInput && child.stdin?.writable) child.stdin.write(text);
        },
        stop: () => {
          end({ kind: 'stop' });
          return ended;
        },
      };
      void prepared.then(() => started(running));
    });
  });
}

interface Namespace {
  /** Its first process; undefined where bubblewrap ended before it made one. */
  readonly init: Promise<ProcessStat | undefined>;
  /** Once the program has ended: whether it ever began. */
  readonly hasRun: () => boolean;
}

/** bubblewrap's words about the namespaces: one JSON object when they stand, and one when what ran in them has ended. */
function readStatus(child: ChildProcess): Namespace {
  const stream = child.stdio[statusDescriptor] as Duplex;
  let text = '';
  const init = new Promise<number | undefined>((resolve) => {
    stream.on('data', (chunk: Buffer) => {
      text = (text + chunk.toString('latin1')).slice(-4096);
      const pid = /"child-pid"\s*:\s*(\d+)\b/.exec(text)?.[1];
      if (pid !== undefined) resolve(Number(pid));
    });
    stream.on('error', () => {});
    stream.on('close', () => resolve(undefined));
    child.once('exit', () => resolve(undefined));
  });
  return { init: init.then((pid) => (pid === undefined ? undefined : processStat(pid))), hasRun: () => text.includes('"exit-code"') };
}

/** Where a number has two names, the first is the usual one: SIGABRT, not SIGIOT. */
const signalNames: ReadonlyMap<number, string> = new Map(
  Object.entries(osConstants.signals)
    .reverse()
    .map(([name, number]) => [number, name]),
);

/** Behind the guards of a private run, death by signal arrives as a shell would report it: as 128 and the signal's number. */
function outcome(child: ChildProcess, isolation: NonNullable<ProgramRequest['isolation']>): readonly [number | null, string | null] {
  const { exitCode, signalCode } = child;
  if (isolation !== 'host' && exitCode !== null && exitCode > 128) {
    const name = signalNames.get(exitCode - 128);
    if (name !== undefined) return [null, name];
  }
  return [exitCode, signalCode];
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
