/** The solver port on dnf: for each collection of repositories one process that has their metadata ready; it is started when first needed, anew when they change, and again when it dies. */
import { mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import { slots } from '../parallel/slots.ts';
import type { Programs } from '../programs/programs.ts';
import type { Repositories, RepositorySnapshot, RepositorySource } from '../repositories/repositories.ts';
import { type PackageIndex, readPackageIndex } from './package-index.ts';
import { type RepositoryCollection, type SolveOptions, type Solver, SolverAnswer, type SolverRequest, type UsedRepository } from './solver.ts';
import { startWarmSolver, type WarmSolver, WarmSolverEnded, type WarmSolverOptions } from './warm-solver.ts';

export interface DnfSolverOptions extends Pick<WarmSolverOptions, 'isolation'> {
  /** Its own: what is in it from an earlier process is used or removed. */
  readonly directory: string;
  readonly repositories: Repositories;
  readonly programs: Programs;
  readonly clock: Clock;
  /** Questions that are worked on at once. */
  readonly atOnceMax: number;
  /** Processes that are kept ready: each has some 100 to 400 MB. */
  readonly warmMax?: number;
  /** Without a question for so long a process is ended. */
  readonly idleMsMax?: number;
}

/** What dnf made of a repository's metadata is kept for so many states besides those in use. */
const cachedStatesMax = 12;
const sweepEveryMs = 60_000;
const answerBytesMax = 64 * 1024 * 1024;

interface Warm {
  readonly key: string;
  readonly state: string;
  readonly snapshots: readonly RepositorySnapshot[];
  readonly process: WarmSolver;
  index?: Promise<PackageIndex>;
  users: number;
  lastUsedAt: number;
  isRetired: boolean;
}

export function dnfSolver(options: DnfSolverOptions): Solver {
  const { directory, repositories, programs, clock, atOnceMax, warmMax = 3, idleMsMax = 30 * 60_000 } = options;
  const warms = new Map<string, Warm>();
  const starting = new Map<string, Promise<Warm>>();
  const questions = slots(atOnceMax);
  const ending = new AbortController();
  let runs = 0;
  const swept = rm(join(directory, 'run'), { recursive: true, force: true });

  const retire = async (warm: Warm): Promise<void> => {
    if (warms.get(warm.key) === warm) warms.delete(warm.key);
    warm.isRetired = true;
    if (warm.users > 0) return;
    await warm.process.stop();
    for (const snapshot of warm.snapshots) snapshot.release();
  };

  /** Ends what is idle for long, and the one that was idle longest where there are too many. */
  const makeRoom = (): void => {
    const idle = [...warms.values()].filter(({ users }) => users === 0).sort((a, b) => a.lastUsedAt - b.lastUsedAt);
    const surplus = warms.size - warmMax;
    const old = idle.filter(({ lastUsedAt }, place) => place < surplus || clock.now() - lastUsedAt > idleMsMax);
    for (const warm of old) void retire(warm).catch(() => {});
  };
  let forgetSweep = () => {};
  const sweepLater = () => {
    forgetSweep = clock.after(sweepEveryMs, () => {
      makeRoom();
      sweepLater();
    });
  };
  sweepLater();

  const start = async (key: string, collection: RepositoryCollection, snapshots: readonly RepositorySnapshot[]): Promise<Warm> => {
    await swept;
    runs += 1;
    const home = join(directory, 'run', String(runs));
    const process = await startWarmSolver(
      {
        arch: collection.arch,
        releasever: collection.releasever,
        repositories: await Promise.all(
          collection.repositories.map(async ({ id }, place) => ({ id, ...(await loadable(snapshots[place] as RepositorySnapshot)) })),
        ),
      },
      { directory: home, programs, clock, signal: ending.signal, ...(options.isolation ? { isolation: options.isolation } : {}) },
    );
    const warm: Warm = { key, state: stateOf(snapshots), snapshots, process, users: 0, lastUsedAt: clock.now(), isRetired: false };
    // One that dies by itself takes nobody's place: the next question starts another.
    void process.ended.then(() => retire(warm)).catch(() => {});
    return warm;
  };

  /** What dnf is told of a repository: where the checked metadata is, and where it keeps what it made of them. */
  const loadable = async ({ directory: checked, digest }: RepositorySnapshot): Promise<{ readonly directory: string; readonly cache: string }> => {
    const cache = join(directory, 'metadata', digest);
    await mkdir(cache, { recursive: true, mode: 0o700 });
    const now = new Date(clock.now());
    await utimes(cache, now, now);
    return { directory: checked, cache };
  };

  const pruneCaches = async (): Promise<void> => {
    const inUse = new Set([...warms.values()].flatMap(({ snapshots }) => snapshots.map(({ digest }) => digest)));
    const folder = join(directory, 'metadata');
    const names = (await readdir(folder).catch(() => [])).filter((name) => !inUse.has(name));
    const ages = await Promise.all(
      names.map(async (name) => ({
        name,
        at: await stat(join(folder, name)).then(
          ({ mtimeMs }) => mtimeMs,
          () => 0,
        ),
      })),
    );
    const old = ages.sort((a, b) => b.at - a.at).slice(cachedStatesMax);
    await Promise.all(old.map(({ name }) => rm(join(folder, name), { recursive: true, force: true })));
  };

  const openAll = async (sources: readonly RepositorySource[], { signal, log }: SolveOptions): Promise<readonly RepositorySnapshot[]> => {
    const opened = await Promise.allSettled(sources.map((source) => repositories.open(source, { signal, ...(log ? { log } : {}) })));
    const failed = opened.find((result) => result.status === 'rejected');
    const snapshots = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    if (!failed) return snapshots;
    for (const snapshot of snapshots) snapshot.release();
    throw failed.reason;
  };

  /** The process of the collection's present state, with one more user. */
  const warmFor = async (collection: RepositoryCollection, solveOptions: SolveOptions): Promise<Warm> => {
    const snapshots = await openAll(collection.repositories, solveOptions);
    const key = JSON.stringify([collection.arch, collection.releasever, collection.repositories]);
    const state = stateOf(snapshots);
    const use = (warm: Warm): Warm => {
      warm.users += 1;
      warm.lastUsedAt = clock.now();
      return warm;
    };
    const known = warms.get(key);
    if (known?.state === state) {
      for (const snapshot of snapshots) snapshot.release();
      return use(known);
    }
    const startKey = `${key} ${state}`;
    let started = starting.get(startKey);
    if (started !== undefined) {
      for (const snapshot of snapshots) snapshot.release();
    } else {
      started = start(key, collection, snapshots).then(
        (warm) => {
          const before = warms.get(key);
          warms.set(key, warm);
          if (before) void retire(before).catch(() => {});
          makeRoom();
          void pruneCaches().catch(() => {});
          return warm;
        },
        (error: unknown) => {
          for (const snapshot of snapshots) snapshot.release();
          throw error;
        },
      );
      const settled = started;
      starting.set(startKey, settled);
      const forget = () => starting.delete(startKey);
      settled.then(forget, forget);
    }
    // Who waits may leave; the start goes on for those who come after.
    return use(await orAborted(started, solveOptions.signal));
  };

  /** A question to a warm process; asked once more where that one died under it. */
  const ask = async <T>(collection: RepositoryCollection, solveOptions: SolveOptions, action: (warm: Warm) => Promise<T>): Promise<T> => {
    if (ending.signal.aborted) throw new SpindleError('PORT_CLOSED', 'the solver was used after it was closed');
    for (let attempt = 1; ; attempt += 1) {
      const warm = await warmFor(collection, solveOptions);
      try {
        return await action(warm);
      } catch (error) {
        solveOptions.signal.throwIfAborted();
        if (ending.signal.aborted) throw new SpindleError('PORT_CLOSED', 'the solver was closed while it worked');
        if (!(error instanceof WarmSolverEnded)) throw error;
        if (attempt > 1) throw new SpindleError('SOLVER_FAILED', error.message, { cause: error, details: error.details });
      } finally {
        warm.users -= 1;
        warm.lastUsedAt = clock.now();
        if (warm.isRetired) await retire(warm);
      }
    }
  };

  return {
    solve: (request, solveOptions) =>
      ask(request.collection, solveOptions, (warm) =>
        questions.use(solveOptions.signal, async () => {
          const further = await openAll(request.further, solveOptions).catch(asRequested);
          try {
            const loaded = await Promise.all(request.further.map(async ({ id }, place) => ({ id, ...(await loadable(further[place] as RepositorySnapshot)) })));
            const { enabled, install, exclude, engine, sets } = request;
            const question = JSON.stringify({ enabled, further: loaded, install, exclude, engine, sets });
            const text = await warm.process.ask('solve', question, answerBytesMax, solveOptions.signal);
            return { ...readAnswer(text), repositories: used(request, warm.snapshots, further) };
          } finally {
            for (const snapshot of further) snapshot.release();
          }
        }),
      ),
    index: (collection, solveOptions) =>
      ask(collection, solveOptions, (warm) => {
        warm.index ??= questions.use(ending.signal, async () => readPackageIndex(await warm.process.ask('index', '', answerBytesMax, ending.signal)));
        warm.index.catch(() => {
          delete warm.index;
        });
        return orAborted(warm.index, solveOptions.signal);
      }),
    close: async () => {
      forgetSweep();
      ending.abort(new SpindleError('PORT_CLOSED', 'the solver was closed'));
      await Promise.allSettled(starting.values());
      await Promise.all([...warms.values()].map((warm) => retire(warm)));
      await rm(join(directory, 'run'), { recursive: true, force: true });
    },
  };
}

/** What is wrong with a repository that the requester named is theirs to mend; that it cannot be reached may pass. */
function asRequested(error: unknown): never {
  if (error instanceof SpindleError && ['REMOTE_REFUSED', 'REMOTE_TOO_LARGE', 'REPOSITORY_METADATA_REFUSED', 'REPOSITORY_ABSENT'].includes(error.code)) {
    throw new SpindleError('REPOSITORY_REFUSED', `sources.repositories: ${error.message}`, { cause: error, details: error.details });
  }
  throw error;
}

const stateOf = (snapshots: readonly RepositorySnapshot[]) => snapshots.map(({ digest }) => digest).join(' ');

function used(
  { collection, enabled, further }: SolverRequest,
  snapshots: readonly RepositorySnapshot[],
  ofFurther: readonly RepositorySnapshot[],
): UsedRepository[] {
  const describe = (id: string, snapshot: RepositorySnapshot | undefined): UsedRepository[] =>
    snapshot ? [{ id, revision: snapshot.revision, digest: snapshot.digest, mirrors: snapshot.mirrors }] : [];
  return [
    ...collection.repositories.flatMap(({ id }, place) => (enabled.includes(id) ? describe(id, snapshots[place]) : [])),
    ...further.flatMap(({ id }, place) => describe(id, ofFurther[place])),
  ];
}

function readAnswer(text: string): SolverAnswer {
  try {
    return SolverAnswer.parse(JSON.parse(text));
  } catch (error) {
    throw new SpindleError('SOLVER_FAILED', 'the dependency solver answered in a form that Spindle does not know', { cause: error });
  }
}

async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let leave = () => {};
  const aborted = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
