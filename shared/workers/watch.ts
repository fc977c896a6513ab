/** Looks whether somebody will take the builds that wait for a build node, and writes into those that nobody will take why. Forgets workers that are long gone. */
import { type Build, buildTargetOf, withProblem } from '../build/build.ts';
import { buildStates } from '../build/states.ts';
import { buildTopic } from '../build/topics.ts';
import type { OpenBuildLog } from '../build-log/build-log.ts';
import type { Bus } from '../bus/bus.ts';
import type { Clock } from '../clock/clock.ts';
import type { Log } from '../log/log.ts';
import type { Leadership } from '../stage/leadership.ts';
import type { Collection, Versioned } from '../store/store.ts';
import { isForgotten, type Worker, whyNobodyCan } from './worker.ts';

const defaultIntervalMs = 1_000;
/** A build that has just come gets the time to be handed out, and a worker that has just started the time to say what it can do. */
const patienceMs = 3_000;
const forgetEveryMs = 600_000;
export const workersMax = 1_000;
const batchMax = 500;

export interface WorkerWatch {
  /** One look; resolves with how many builds were written to. */
  pass(): Promise<number>;
  stop(): Promise<void>;
}

export function startWorkerWatch(options: {
  readonly workers: Collection<Worker>;
  readonly builds: Collection<Build>;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly logger: Log;
  readonly openBuildLog: OpenBuildLog;
  /** Where other processes have a watch too; one of them looks. */
  readonly leadership?: Leadership;
  readonly intervalMs?: number;
}): WorkerWatch {
  const { workers, builds, bus, clock, logger, openBuildLog, leadership } = options;
  const stopping = new AbortController();
  let forgetAt = clock.now() + forgetEveryMs;

  const tell = async ({ document: build, version }: Versioned<Build>, known: readonly Worker[]): Promise<boolean> => {
    const target = buildTargetOf(build);
    const now = clock.now();
    if (!target || !build.stage || now - Date.parse(build.stage.waitingSince) < patienceMs) return false;
    const message = whyNobodyCan(known, target, now);
    const before = build.stage.problem;
    // How long a worker has been silent changes with every look; that is no news.
    if (generalized(message) === generalized(before?.message)) return false;
    // A lost race means that somebody took the build, or ended it, or wrote the same.
    if (!(await builds.replace(withProblem(build, message === undefined ? null : { code: 'NO_WORKER', message }, now), version))) return false;
    bus.broadcast(buildTopic(build.id), build.state);
    if (message !== undefined && !before) {
      logger.warn({ buildId: build.id, ...target }, 'no build node can make an image that waits');
      const run = { buildId: build.id, stage: build.stage.name, stageIndex: buildStates.indexOf(build.state), attempt: build.stage.attempt, token: clock.id() };
      const log = openBuildLog(run);
      log.line(build.stage.name, `NO_WORKER: ${message}; the build waits until one can`);
      await log.close().catch((error: unknown) => logger.warn({ err: error, buildId: build.id }, 'the build log could not be written'));
    }
    return true;
  };

  const pass = async (): Promise<number> => {
    const now = clock.now();
    const found = await builds.find({ index: 'byState', prefix: ['building'], limit: batchMax });
    const waiting = found.filter(({ document }) => document.stage?.startedAt === null && document.claim === null);
    const isForgetting = now >= forgetAt;
    if (waiting.length === 0 && !isForgetting) return 0;
    const known = await workers.find({ index: 'byId', prefix: ['all'], limit: workersMax });
    if (isForgetting) {
      forgetAt = now + forgetEveryMs;
      for (const { document, version } of known) if (isForgotten(document, now)) await workers.remove(document.id, version);
    }
    let count = 0;
    for (const build of waiting) {
      if (stopping.signal.aborted) break;
      const documents = known.map(({ document }) => document);
      if (await tell(build, documents)) count += 1;
    }
    return count;
  };

  const loop = (async () => {
    while (!stopping.signal.aborted) {
      await clock.sleep(options.intervalMs ?? defaultIntervalMs, stopping.signal).catch(() => undefined);
      if (stopping.signal.aborted) return;
      try {
        if (!leadership || (await leadership.leads())) await pass();
      } catch (error) {
        logger.warn({ err: error }, 'the look for builds that nobody can make failed');
      }
    }
  })();

  return {
    pass,
    stop: async () => {
      stopping.abort(new Error('the watch over workers stops'));
      await loop;
      await leadership?.resign().catch(() => undefined);
    },
  };
}

function generalized(message: string | undefined): string | undefined {
  return message?.replaceAll(/for \d+ s\b/g, 'for a while');
}
