/** Asking a worker to finish what it has and take nothing new, and the way back. The wish is stored first, then broadcast. */
import type { Bus } from '../bus/bus.ts';
import type { Collection } from '../store/store.ts';
import { type Worker, workerTopic } from './worker.ts';

/** Resolves with the record as it is afterwards; undefined where there is no such worker. The wish outlives a restart of the worker, and may be told to one that is away. */
export async function drainWorker(
  { workers, bus }: { readonly workers: Collection<Worker>; readonly bus: Pick<Bus, 'broadcast'> },
  workerId: string,
  draining: boolean,
): Promise<Worker | undefined> {
  for (;;) {
    const found = await workers.get(workerId);
    if (!found || found.document.draining === draining) return found?.document;
    const next = { ...found.document, draining };
    // A lost race: its heartbeat came between. There are few of those.
    if (!(await workers.replace(next, found.version))) continue;
    bus.broadcast(workerTopic(workerId), {});
    return next;
  }
}
