/** A worker's side of its record: it says what it can do and does, again and again, and hears whether it is to drain. */
import type { Bus } from '../bus/bus.ts';
import { type Clock, isoTime } from '../clock/clock.ts';
import type { Log } from '../log/log.ts';
import type { Collection } from '../store/store.ts';
import { heartbeatMs, type Worker, type WorkerBuild, type WorkerEngine, workerTopic } from './worker.ts';

/** What stays the same while it runs. */
export type WorkerFacts = Pick<Worker, 'id' | 'role' | 'host' | 'version' | 'arch' | 'slots' | 'memoryBytes' | 'kvm'>;

export interface WorkerDuties {
  readonly engines: () => readonly WorkerEngine[];
  readonly builds: () => readonly WorkerBuild[];
  /** Null where it cannot be asked. */
  readonly freeBytes: () => Promise<number | null>;
  /** Begins nothing new from here on. Resolves when nothing that was handed out before can begin any more. */
  readonly hold: () => Promise<void>;
  /** Takes builds. Called once the record says so. */
  readonly take: () => void;
}

export interface AnnouncedWorker {
  /** Something changed: the record is written soon. */
  changed(): void;
  /** Says goodbye. Twice is once. */
  stop(): Promise<void>;
}

/** Lost races in one heartbeat; the next one comes soon. */
const racesMax = 10;

/**
 * Announces a worker until it is stopped. It holds until its first record is written: only then is it known whether an operator wants it to drain, also from before it was
 * started. Store errors are logged; a worker that cannot write goes on with what it does, and is listed as lost.
 */
export function announceWorker(
  ports: { readonly workers: Collection<Worker>; readonly bus: Bus; readonly clock: Clock; readonly logger: Log },
  facts: WorkerFacts,
  duties: WorkerDuties,
  everyMs = heartbeatMs,
): AnnouncedWorker {
  const { workers, bus, clock, logger } = ports;
  const stopping = new AbortController();
  const startedAt = isoTime(clock.now());
  let isTaking = false;
  let isChanged = false;
  let wake: () => void = () => undefined;

  const written = async (stoppedAt: string | null): Promise<void> => {
    for (let race = 0; race < racesMax; race += 1) {
      const found = await workers.get(facts.id);
      const draining = found?.document.draining ?? false;
      const wants = !draining && stoppedAt === null;
      if (!wants && isTaking) {
        isTaking = false;
        await duties.hold();
      }
      const document: Worker = {
        ...facts,
        engines: [...duties.engines()],
        builds: [...duties.builds()],
        freeBytes: await duties.freeBytes(),
        startedAt,
        heartbeatAt: clock.now(),
        stoppedAt,
        draining,
        isTaking: wants,
      };
      if (!(found ? await workers.replace(document, found.version) : await workers.insert(document))) continue;
      if (wants && !isTaking) {
        isTaking = true;
        duties.take();
      }
      if (found && found.document.isTaking !== wants)
        logger.info({ worker: facts.id, draining }, wants ? 'this worker takes builds' : 'this worker takes no new builds');
      return;
    }
  };

  const changed = () => {
    isChanged = true;
    wake();
  };
  const forget = bus.listen(workerTopic(facts.id), changed);
  const loop = (async () => {
    while (!stopping.signal.aborted) {
      isChanged = false;
      try {
        await written(null);
      } catch (error) {
        logger.warn({ err: error, worker: facts.id }, 'a worker could not write its heartbeat');
      }
      if (isChanged) {
        // At most so often, whatever happens meanwhile.
        await clock.sleep(everyMs / 10, stopping.signal).catch(() => undefined);
        continue;
      }
      const waiting = new AbortController();
      const end = () => waiting.abort();
      wake = end;
      stopping.signal.addEventListener('abort', end, { once: true });
      if (stopping.signal.aborted) return;
      await clock.sleep(everyMs, waiting.signal).catch(() => undefined);
      stopping.signal.removeEventListener('abort', end);
    }
  })();

  let stopped: Promise<void> | undefined;
  return {
    changed,
    stop: () => {
      stopped ??= (async () => {
        stopping.abort(new Error('the worker stops'));
        forget();
        await loop;
        await written(isoTime(clock.now())).catch((error: unknown) => logger.warn({ err: error, worker: facts.id }, 'a worker could not say goodbye'));
      })();
      return stopped;
    },
  };
}
