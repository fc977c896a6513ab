/** The notifier: consumes end events, records whom to tell, and sends each letter until it is in other hands. */
import { type Build, notified } from '../../shared/build/build.ts';
import { retryKindOf } from '../../shared/build/failure.ts';
import { isEnded } from '../../shared/build/states.ts';
import { readBuildLog } from '../../shared/build-log/read-build-log.ts';
import type { Bus, Delivery as BusDelivery, Disposition } from '../../shared/bus/bus.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import { Envelope } from '../../shared/events/envelope.ts';
import type { Files } from '../../shared/files/files.ts';
import type { Log } from '../../shared/log/log.ts';
import type { Mail } from '../../shared/mail/mail.ts';
import { dispositionOf } from '../../shared/stage/disposition.ts';
import type { RunningStage } from '../../shared/stage/run.ts';
import type { Probe } from '../../shared/stage/steps.ts';
import type { Collection, Versioned } from '../../shared/store/store.ts';
import { type Delivery, deliveriesOf, deliveryClaimed, deliveryGivenUp, deliveryPostponed, deliverySent } from './delivery.ts';
import { letterOf } from './letter.ts';

/** One try, the mail server's part included. A delivery whose sender vanished is tried again after it. */
const sendMs = 60_000;
const defaultIntervalMs = 1_000;
const attemptsMax = 8;
const atOnceMax = 4;
const logTailLines = 15;

export interface NotifierPorts {
  readonly bus: Bus;
  readonly builds: Collection<Build>;
  readonly deliveries: Collection<Delivery>;
  readonly files: Files;
  readonly mail: Mail;
  readonly clock: Clock;
  readonly logger: Log;
  /** Where readers reach the service: the links of the letters begin with it. */
  readonly publicUrl: string;
  readonly probe?: Probe;
}

export async function runNotifier(
  ports: NotifierPorts,
  options: { readonly queues: readonly string[]; readonly intervalMs?: number },
): Promise<Pick<RunningStage, 'name' | 'running' | 'stop'>> {
  const { bus, builds, deliveries, clock, mail, probe } = ports;
  const logger = ports.logger.child({ stage: 'notifier' });
  // A Message-ID's right-hand side takes no brackets or colons, as addresses of IPv6 have them.
  const { hostname } = new URL(ports.publicUrl);
  const domain = /^[A-Za-z0-9.-]+$/.test(hostname) ? hostname : 'spindle.localdomain';
  const stopping = new AbortController();
  const inHand = new Map<string, Promise<void>>();

  const receive = async (message: BusDelivery): Promise<Disposition> => {
    const event = readEnvelope(message.body);
    if (!event) return { deadLetter: 'unreadable end event' };
    for (;;) {
      const found = await builds.get(event.subject);
      if (!found) return { deadLetter: `no build ${event.subject} is recorded` };
      if (!isEnded(found.document.state)) return { deadLetter: `build ${event.subject} has not ended` };
      // The outbox holds the end event until its deliveries are recorded: what is not in it was answered before.
      if (!found.document.outbox.some((entry) => entry.consumer === 'notifier' && entry.event.id === event.id)) return 'ack';
      const wanted = deliveriesOf(found.document, event, domain, clock.now());
      await Promise.all(wanted.map((delivery) => deliveries.insert(delivery)));
      await probe?.('letter-recorded', event.subject);
      if (await builds.replace(notified(found.document), found.version)) {
        for (const { id } of wanted) sendSoon(id);
        return 'ack';
      }
    }
  };

  const sendSoon = (id: string): void => {
    if (stopping.signal.aborted || inHand.has(id) || inHand.size >= atOnceMax * 4) return;
    const sending = send(id)
      .catch((error: unknown) => logger.warn({ err: error, deliveryId: id }, 'a delivery is tried again later'))
      .finally(() => inHand.delete(id));
    inHand.set(id, sending);
  };

  const send = async (id: string): Promise<void> => {
    const found = await deliveries.get(id);
    if (found?.document.state !== 'pending' || (found.document.wakeAt ?? 0) > clock.now()) return;
    const document = deliveryClaimed(found.document, clock.id(), clock.now() + sendMs);
    if (!(await deliveries.replace(document, found.version))) return;
    await probe?.('letter-claimed', document.buildId);
    const next = await outcomeOf(document);
    await probe?.('letter-sent', document.buildId);
    await mark(next, document.claim?.token);
    await probe?.('letter-marked', document.buildId);
  };

  /** Records the outcome as long as the claim is ours; who lost it leaves the record to the new holder. */
  const mark = async (next: Delivery, token: string | undefined): Promise<void> => {
    for (;;) {
      const current = await deliveries.get(next.id);
      if (current?.document.claim?.token !== token || !current) return;
      if (await deliveries.replace(next, current.version)) return;
    }
  };

  const outcomeOf = async (delivery: Delivery): Promise<Delivery> => {
    try {
      const build = await builds.get(delivery.buildId);
      if (!build) return deliveryGivenUp(delivery, 'the build is gone');
      const { subject, text } = letterOf(build.document, ports.publicUrl, await logTail(build));
      await mail.send(
        {
          messageId: delivery.messageId,
          to: delivery.recipient,
          subject,
          text,
          date: new Date(delivery.date),
          headers: { 'Auto-Submitted': 'auto-generated' },
        },
        stopping.signal,
      );
      return deliverySent(delivery);
    } catch (error) {
      if (stopping.signal.aborted) return deliveryPostponed(delivery, 'the service stopped', clock.now());
      const problem = error instanceof Error ? error.message.slice(0, 500) : 'unknown';
      const disposition = dispositionOf(retryKindOf(error), delivery.attempts, attemptsMax, clock.random());
      logger.warn({ err: error, buildId: delivery.buildId, outcome: disposition.kind }, 'a letter could not be sent');
      return disposition.kind === 'retry' ? deliveryPostponed(delivery, problem, clock.now() + disposition.delayMs) : deliveryGivenUp(delivery, problem);
    }
  };

  const logTail = async ({ document }: Versioned<Build>): Promise<readonly string[]> => {
    if (document.state !== 'failed' || (document.failure?.details?.length ?? 0) > 0) return [];
    let tail: string[] = [];
    for await (const part of readBuildLog(ports.files, document.id)) {
      tail = [...tail, ...new TextDecoder().decode(part).split('\n').filter(Boolean)].slice(-logTailLines);
    }
    return tail;
  };

  const loop = (async () => {
    while (!stopping.signal.aborted) {
      try {
        const due = await deliveries.find({ index: 'byWake', prefix: ['due'], to: clock.now(), limit: atOnceMax * 4 });
        for (const { document } of due) sendSoon(document.id);
      } catch (error) {
        logger.warn({ err: error }, 'deliveries could not be read');
      }
      await clock.sleep(options.intervalMs ?? defaultIntervalMs, stopping.signal).catch(() => undefined);
    }
  })();

  const subscription = await bus.subscribe({ queues: options.queues, prefetch: 16 }, receive);
  let stopped: Promise<void> | undefined;
  return {
    name: 'notifier',
    running: () => [...inHand.keys()],
    stop: () => {
      stopped ??= (async () => {
        await subscription.close();
        stopping.abort(new Error('the service stops'));
        await Promise.allSettled([loop, ...inHand.values()]);
      })();
      return stopped;
    },
  };
}

function readEnvelope(body: string): Envelope | undefined {
  try {
    return Envelope.parse(JSON.parse(body));
  } catch {
    return undefined;
  }
}
