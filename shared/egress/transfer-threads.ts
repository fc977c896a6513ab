/**
 * Threads that fetch files: each has connections of its own, hashes what comes and writes it down. All that the egress promises holds there, since each of them has an egress in it; but a disk that is
 * slow makes none of the service's own work wait.
 */
import { Worker } from 'node:worker_threads';
import { SpindleError } from '../build/spindle-error.ts';
import type { DownloadAnswer, DownloadRequest } from './egress.ts';
import type { HttpEgressOptions } from './http.ts';
import { receivedError, sentRequest, type TransferOrder, type TransferReport } from './transfer-messages.ts';

export interface TransferThreads {
  /** As Egress.download. What it says of a signal that fired is the caller's to replace. */
  download(request: DownloadRequest, path: string): Promise<DownloadAnswer>;
  close(): Promise<void>;
}

interface Transfer {
  readonly host: string;
  readonly report: (report: TransferReport) => void;
  readonly fail: (error: unknown) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly transfers: Map<number, Transfer>;
}

/** What comes is hashed and written at once, so a thread needs little of its own. In MiB. */
const resourceLimits = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 128 };

/** They are started with the first downloads, and again where one ended. */
export function transferThreads({ lookup, ...options }: HttpEgressOptions, threadsMax: number): TransferThreads {
  if (lookup) throw new Error('a transfer thread looks names up by itself');
  // Of one host the transfers are spread evenly, so together they have no more connections than are allowed.
  const connectionsPerHostMax = Math.ceil((options.connectionsPerHostMax ?? 8) / threadsMax);
  const threads = new Set<Thread>();
  let nextId = 0;
  let closed = false;

  const start = (): Thread => {
    const isCompiled = !import.meta.url.endsWith('.ts');
    const file = new URL(`./transfer-thread.${isCompiled ? 'js' : 'ts'}`, import.meta.url);
    // In tests, the sources as they are need what compiles them.
    const worker = new Worker(isCompiled ? file : `import('tsx/esm/api').then(({ register }) => { register(); import('${file.href}') })`, {
      eval: !isCompiled,
      workerData: { ...options, connectionsPerHostMax, transferThreads: 0 } satisfies HttpEgressOptions,
      resourceLimits,
    });
    const thread: Thread = { worker, transfers: new Map() };
    threads.add(thread);
    const end = (error: unknown) => {
      threads.delete(thread);
      for (const { fail } of thread.transfers.values()) fail(error);
      thread.transfers.clear();
    };
    worker.on('message', (report: TransferReport) => thread.transfers.get(report.id)?.report(report));
    worker.on('error', (error) => end(new SpindleError('INTERNAL', `a thread that fetches files broke: ${error.message}`, { cause: error })));
    worker.on('exit', () => end(new SpindleError('PORT_CLOSED', 'the egress was used after it was closed')));
    // Idle, it keeps nothing alive.
    worker.unref();
    return thread;
  };

  /** The one with the fewest transfers from this host, and of those the one with the fewest in all. */
  const pick = (host: string): Thread => {
    if (threads.size < threadsMax) return start();
    const load = ({ transfers }: Thread) => [...transfers.values()].filter((transfer) => transfer.host === host).length * 1000 + transfers.size;
    return [...threads].reduce((best, thread) => (load(thread) < load(best) ? thread : best));
  };

  return {
    download: (request, path) =>
      new Promise((resolve, reject) => {
        if (closed) throw new SpindleError('PORT_CLOSED', 'the egress was used after it was closed');
        const id = nextId;
        nextId += 1;
        const host = new URL(request.url).host;
        const { worker, transfers } = pick(host);
        const tell = (order: TransferOrder) => worker.postMessage(order);
        const abort = () => tell({ kind: 'abort', id });
        const settle = (how: () => void): void => {
          if (!transfers.delete(id)) return;
          if (transfers.size === 0) worker.unref();
          request.signal?.removeEventListener('abort', abort);
          how();
        };
        if (transfers.size === 0) worker.ref();
        transfers.set(id, {
          host,
          report: ({ answered, bytes, end }) => {
            try {
              if (answered) request.resume?.onAnswer?.(answered);
              if (bytes !== undefined) request.onBytes?.(bytes);
              if (end) settle(() => ('answer' in end ? resolve(end.answer) : reject(receivedError(end.error))));
            } catch (error) {
              settle(() => reject(error as Error));
              abort();
            }
          },
          fail: (error) => settle(() => reject(error as Error)),
        });
        tell({ kind: 'download', id, request: sentRequest(request), path });
        request.signal?.addEventListener('abort', abort, { once: true });
        if (request.signal?.aborted) abort();
      }),
    close: async () => {
      closed = true;
      await Promise.all(
        [...threads].map(
          ({ worker }) =>
            new Promise<void>((resolve) => {
              worker.once('exit', () => resolve());
              worker.ref();
              worker.postMessage({ kind: 'close' } satisfies TransferOrder);
            }),
        ),
      );
    },
  };
}
