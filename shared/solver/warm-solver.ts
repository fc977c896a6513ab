/** One running dnf process: it has the metadata of one collection, and answers questions that are put before it as files. */
import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { ProgramRequest, Programs } from '../programs/programs.ts';

/** What the process loads: checked metadata in local directories, and where it keeps what it makes of them. */
export interface LoadableCollection {
  readonly arch: string;
  readonly releasever: string;
  readonly repositories: readonly { readonly id: string; readonly directory: string; readonly cache: string }[];
}

export interface WarmSolverOptions {
  /** Made by `startWarmSolver`, and removed at its end. */
  readonly directory: string;
  readonly programs: Programs;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** `private-no-network` where this process may make namespaces: the metadata are local, so dnf has nothing to fetch. */
  readonly isolation?: NonNullable<ProgramRequest['isolation']>;
}

export interface WarmSolver {
  /**
   * Resolves with the answer's text. Rejects with WarmSolverEnded where the process died before it answered, SOLVER_FAILED where the question's own child broke, PACKAGE_MISMATCH where a header is not what it is said to be, TOOL_TIMED_OUT, or the signal's
   * reason; the child is ended then.
   */
  ask(verb: 'solve' | 'index', question: string, bytesMax: number, signal: AbortSignal): Promise<string>;
  /** Resolves when the process has gone, however that came about. */
  readonly ended: Promise<void>;
  /** Ends the process and removes its directory. Twice is once. Never rejects. */
  stop(): Promise<void>;
}

/** The process is gone; another one may answer. */
export class WarmSolverEnded extends Error {
  override readonly name = 'WarmSolverEnded';
  readonly details: readonly string[];
  constructor(message: string, details: readonly string[]) {
    super(message);
    this.details = details;
  }
}

/** The system's interpreter: dnf's bindings are built for no other. */
const interpreter = '/usr/bin/python3';
const script = fileURLToPath(new URL('./dnf4.py', import.meta.url));
const loadDeadlineMs = 5 * 60_000;
const questionDeadlineMs = 150_000;
/** Nothing lives for ever: a process that has served so long is replaced like one that died. */
const lifeMsMax = 24 * 3600_000;
const complaintsMax = 20;

interface Pending {
  settle(status: number): void;
  fail(error: Error): void;
}

/** Resolves once the metadata are loaded. Rejects with TOOL_MISSING, REPOSITORY_METADATA_REFUSED where dnf cannot load them, SOLVER_FAILED, or the signal's reason. */
export async function startWarmSolver(collection: LoadableCollection, options: WarmSolverOptions): Promise<WarmSolver> {
  const { directory, programs, clock, signal } = options;
  await mkdir(join(directory, 'home'), { recursive: true, mode: 0o700 });
  // libdnf opens its log there, and does not make the folder.
  await mkdir(join(directory, 'log'), { mode: 0o700 });
  const pending = new Map<string, Pending>();
  const complaints: string[] = [];
  let asked = 0;
  let onReady: (isReady: boolean) => void = () => {};
  const ready = new Promise<boolean>((resolve) => {
    onReady = resolve;
  });

  const program = await programs.start({
    command: interpreter,
    // Isolated from the user's own modules and settings, and without writing compiled files beside the script.
    args: ['-I', '-B', script],
    cwd: directory,
    env: { HOME: join(directory, 'home') },
    keepsInput: true,
    deadlineMs: lifeMsMax,
    signal,
    isolation: options.isolation ?? 'host',
    onLine: (line, stream) => {
      if (stream === 'stderr') {
        complaints.push(line.slice(0, 1000));
        if (complaints.length > complaintsMax) complaints.shift();
        return;
      }
      if (line === 'ready') onReady(true);
      const done = /^done (\d+) (-?\d+) \d+$/.exec(line);
      if (done?.[1] !== undefined) pending.get(done[1])?.settle(Number(done[2]));
    },
  });

  let isGone = false;
  const ended = program.ended
    .then(
      ({ exitCode, signal: killedBy }) => `ended with ${exitCode === null ? killedBy : `status ${exitCode}`}`,
      (error: Error) => `was ended: ${error.message}`,
    )
    .then((how) => {
      isGone = true;
      onReady(false);
      const error = new WarmSolverEnded(`the dependency solver ${how}: ${complaints.at(-1) ?? 'it gave no reason'}`, [...complaints]);
      for (const each of pending.values()) each.fail(error);
    });
  const removed = ended.then(() => rm(directory, { recursive: true, force: true })).catch(() => {});
  const stop = async (): Promise<void> => {
    if (!isGone) void program.stop().catch(() => {});
    await removed;
  };

  program.write(`${JSON.stringify({ ...collection, directory })}\n`);
  const forgetDeadline = clock.after(loadDeadlineMs, () => onReady(false));
  const isReady = await ready;
  forgetDeadline();
  if (!isReady) {
    const isLate = !isGone;
    await stop();
    signal.throwIfAborted();
    throw await notLoaded(isLate, (await program.ended.catch(() => undefined))?.exitCode ?? null, complaints);
  }

  const ask: WarmSolver['ask'] = async (verb, question, bytesMax, askSignal) => {
    askSignal.throwIfAborted();
    asked += 1;
    const id = String(asked);
    const file = join(directory, id);
    await writeFile(`${file}.json`, question, { mode: 0o600 });
    try {
      const status = await new Promise<number>((resolve, reject) => {
        const drop = (error: Error) => {
          if (!isGone) program.write(`drop ${id}\n`);
          reject(error);
        };
        const late = () =>
          drop(
            new SpindleError(
              'TOOL_TIMED_OUT',
              `the dependency solver did not answer within ${questionDeadlineMs / 1000} s; ask for fewer packages or sources at once`,
            ),
          );
        const forget = clock.after(questionDeadlineMs, late);
        const abort = () => drop(askSignal.reason);
        askSignal.addEventListener('abort', abort, { once: true });
        const over = () => {
          forget();
          askSignal.removeEventListener('abort', abort);
          pending.delete(id);
        };
        pending.set(id, {
          settle: (code) => {
            over();
            resolve(code);
          },
          fail: (error) => {
            over();
            reject(error);
          },
        });
        if (isGone) pending.get(id)?.fail(new WarmSolverEnded('the dependency solver has ended', []));
        else program.write(`${verb} ${id}\n`);
      });
      if (status !== 0) throw brokenChild(status, await readBounded(`${file}.error`, 64 * 1024).catch(() => ''));
      return await readBounded(`${file}.answer`, bytesMax);
    } finally {
      pending.delete(id);
      await Promise.all(['json', 'answer', 'partial', 'error'].map((ending) => rm(`${file}.${ending}`, { force: true })));
    }
  };
  return { ask, ended, stop };
}

async function notLoaded(isLate: boolean, exitCode: number | null, complaints: readonly string[]): Promise<SpindleError> {
  const details = [...complaints];
  const reason = details.at(-1) ?? 'it gave no reason';
  if (isLate) return new SpindleError('SOLVER_FAILED', `the dependency solver did not load the metadata within ${loadDeadlineMs / 1000} s`, { details });
  if (exitCode === 3) {
    return new SpindleError('TOOL_MISSING', "dnf's Python API (python3-dnf) is not installed on this worker; install it and retry the build", { details });
  }
  if (exitCode === 4) return new SpindleError('REPOSITORY_METADATA_REFUSED', `dnf cannot load the metadata of a repository: ${reason}`, { details });
  return new SpindleError('SOLVER_FAILED', `the dependency solver ended before it was ready: ${reason}`, { details });
}

function brokenChild(status: number, reason: string): SpindleError {
  const details = reason === '' ? [] : reason.split('\n');
  if (status === 5) return new SpindleError('REPOSITORY_METADATA_REFUSED', reason, { details });
  if (status === 6) return new SpindleError('PACKAGE_MISMATCH', reason, { details });
  // Its own bounds on time and memory end it so, or the host's lack of memory.
  if (status < 0) return new SpindleError('SOLVER_FAILED', `the dependency solver was ended by signal ${-status} while it worked on this request`);
  return new SpindleError('SOLVER_FAILED', `the dependency solver broke: ${reason || 'it gave no reason'}`, { details });
}

async function readBounded(path: string, bytesMax: number): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size > bytesMax) throw new SpindleError('SOLVER_FAILED', `the dependency solver answered with ${size} bytes; at most ${bytesMax} are read`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}
