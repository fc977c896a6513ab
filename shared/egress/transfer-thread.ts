/** One transfer thread: what transfer-threads.ts starts. Its own egress does what it is told. */
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../clock/system.ts';
import { type HttpEgressOptions, httpEgress } from './http.ts';
import { sentError, type TransferOrder, type TransferReport } from './transfer-messages.ts';

/** How far a file is is told at most so often: each telling costs both threads some of their time. */
const reportedEveryMs = 100;

type News = Omit<TransferReport, 'id' | 'end'>;

function serve(port: NonNullable<typeof parentPort>, options: HttpEgressOptions): void {
  const egress = httpEgress(options);
  const clock = systemClock();
  const endings = new Map<number, AbortController>();
  const news = new Map<number, News>();
  let isTelling = false;

  const report = (id: number, what: Omit<TransferReport, 'id'>): void => port.postMessage({ id, ...what } satisfies TransferReport);
  const tellLater = (id: number, more: News): void => {
    news.set(id, { ...news.get(id), ...more });
    if (isTelling) return;
    isTelling = true;
    clock.after(reportedEveryMs, () => {
      isTelling = false;
      for (const [each, what] of news) report(each, what);
      news.clear();
    });
  };
  const finish = (id: number, end: NonNullable<TransferReport['end']>): void => {
    endings.delete(id);
    report(id, { ...news.get(id), end });
    news.delete(id);
  };

  port.on('message', (order: TransferOrder) => {
    if (order.kind === 'close') {
      void egress.close().then(() => port.close());
      return;
    }
    if (order.kind === 'abort') {
      endings.get(order.id)?.abort();
      return;
    }
    const { id, path } = order;
    const { resume, ...request } = order.request;
    const ending = new AbortController();
    endings.set(id, ending);
    egress
      .download(
        {
          ...request,
          signal: ending.signal,
          onBytes: (bytes) => tellLater(id, { bytes }),
          ...(resume ? { resume: { ...resume, onAnswer: (answered) => tellLater(id, { answered }) } } : {}),
        },
        path,
      )
      .then(
        (answer) => finish(id, { answer }),
        (error: unknown) => finish(id, { error: sentError(error) }),
      );
  });
}

if (parentPort) serve(parentPort, workerData as HttpEgressOptions);
