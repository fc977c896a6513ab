/** The scheduler: of all intakes one lets queued builds into the pipeline as slots come free. */
import { admitted, type Build } from '../../shared/build/build.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import type { Log } from '../../shared/log/log.ts';
import type { Leadership } from '../../shared/stage/leadership.ts';
import { type RelayPorts, relayOutbox } from '../../shared/stage/outbox.ts';
import { toAdmit } from './admission.ts';

/** Looked at so often even where nobody said that something changed. */
const defaultIntervalMs = 500;
const batchMax = 100;

export interface Scheduler {
  /** Something changed: a build came, or one ended. */
  poke(): void;
  stop(): Promise<void>;
}

export function startScheduler(
  options: RelayPorts & {
    readonly clock: Clock;
    readonly logger: Log;
    readonly leadership: Leadership;
    readonly inFlightMax: number;
    readonly intervalMs?: number;
  },
): Scheduler {
  const { builds, clock, logger, leadership, inFlightMax, probe } = options;
  const stopping = new AbortController();
  let wake: () => void = () => undefined;
  let isPoked = false;

  const admit = async (build: Build, version: number): Promise<void> => {
    const document = admitted(build, clock.now());
    // A lost race: somebody canceled it, or another leader took it.
    if (!(await builds.replace(document, version))) return;
    await probe?.('admitted', document.id);
    await relayOutbox(options, { document, version: version + 1 }).catch((error: unknown) =>
      logger.warn({ err: error, buildId: document.id }, 'committed events wait in the outbox'),
    );
  };

  const pass = async (): Promise<void> => {
    if (!(await leadership.leads())) return;
    for (;;) {
      const activeCount = await builds.count({ index: 'byPhase', prefix: ['active'] });
      if (activeCount >= inFlightMax) return;
      const queued = await builds.find({ index: 'byPhase', prefix: ['queued'], limit: Math.min(batchMax, inFlightMax - activeCount) });
      const versions = new Map(queued.map(({ document, version }) => [document.id, version]));
      const chosen = toAdmit(
        queued.map(({ document }) => document),
        activeCount,
        inFlightMax,
      );
      if (chosen.length === 0 || stopping.signal.aborted) return;
      await Promise.all(chosen.map((build) => admit(build, versions.get(build.id) ?? 0)));
    }
  };

  const loop = (async () => {
    while (!stopping.signal.aborted) {
      isPoked = false;
      try {
        await pass();
      } catch (error) {
        logger.warn({ err: error }, 'scheduler pass failed');
      }
      if (isPoked) continue;
      if (stopping.signal.aborted) return;
      await new Promise<void>((resolve) => {
        const forget = clock.after(options.intervalMs ?? defaultIntervalMs, resolve);
        wake = () => {
          forget();
          resolve();
        };
      });
    }
  })();

  return {
    poke: () => {
      isPoked = true;
      wake();
    },
    stop: async () => {
      stopping.abort(new Error('scheduler stopped'));
      wake();
      await loop;
      await leadership.resign().catch(() => undefined);
    },
  };
}
