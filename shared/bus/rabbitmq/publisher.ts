/** Publishing with confirms: a promise for each message, few on their way at once, and a bound on every wait. */
import type { Message as ReturnedMessage } from 'amqplib';
import { SpindleError } from '../../build/failure.ts';
import type { Clock } from '../../clock/clock.ts';
import { type Link, openChannel } from './link.ts';

/** Messages that the broker has not confirmed yet; whoever comes then waits. */
const unconfirmedMax = 1_000;
/** Waiting ones; whoever comes then is refused. */
const waitingMax = 10_000;
/** From the call to the confirm: what a broker that is blocked, or whose disk is slow, may take. */
const publishTimeoutMs = 10_000;

interface Publication {
  readonly id: string;
  readonly exchange: string;
  readonly routingKey: string;
  readonly content: Buffer;
  readonly mandatory: boolean;
  readonly headers?: Readonly<Record<string, string | number>>;
}

export interface Publisher {
  /** Resolves when every bound queue holds the message; rejects with BUS_UNROUTABLE where none is bound, with BUS_UNAVAILABLE where it may not have arrived. */
  publish(publication: Publication): Promise<void>;
  isReady(): boolean;
  close(): Promise<void>;
}

interface Waiter {
  readonly go: () => void;
  readonly refuse: (error: SpindleError) => void;
}

/** `prepare` runs before each new channel: the broker may have lost what is published to. */
export function confirmedPublisher(options: { readonly link: Link; readonly clock: Pick<Clock, 'after'>; readonly prepare: () => Promise<void> }): Publisher {
  const { link, clock, prepare } = options;
  const waiting = new Set<Waiter>();
  let unconfirmed = 0;
  let isBufferFull = false;

  const kept = link.keep('messages cannot be published', async (model) => {
    await prepare();
    const channel = await openChannel(model.createConfirmChannel());
    // A returned message is told before it is confirmed. Two under way with one id are told apart by nothing, and need not be: both go the same way.
    const returned = new Map<string, number>();
    channel.on('return', ({ properties }: ReturnedMessage) => {
      const id = String(properties.messageId);
      returned.set(id, (returned.get(id) ?? 0) + 1);
    });
    channel.on('drain', () => {
      isBufferFull = false;
      letGo();
    });
    isBufferFull = false;
    return { channel, kept: { channel, returned } };
  });

  const canSend = () => kept.current() !== undefined && !link.isBlocked() && !isBufferFull && unconfirmed < unconfirmedMax;

  const letGo = () => {
    for (const waiter of waiting) {
      if (link.current() === undefined) waiter.refuse(link.unavailable());
      else if (canSend()) waiter.go();
      else return;
    }
  };
  link.onChange(letGo);

  const wasReturned = (returned: Map<string, number>, id: string): boolean => {
    const count = returned.get(id);
    if (count === undefined) return false;
    if (count > 1) returned.set(id, count - 1);
    else returned.delete(id);
    return true;
  };

  const send = (publication: Publication, resolve: () => void, reject: (error: SpindleError) => void): void => {
    const now = kept.current();
    if (now === undefined) {
      reject(link.unavailable());
      return;
    }
    const { id, exchange, routingKey, content, mandatory, headers } = publication;
    const settle = (error: unknown) => {
      unconfirmed -= 1;
      const isReturned = wasReturned(now.returned, id);
      if (error) reject(refusal(publication, error));
      else if (isReturned) reject(new SpindleError('BUS_UNROUTABLE', `no queue is bound for ${routingKey}, so message ${id} was not taken`));
      else resolve();
      letGo();
    };
    unconfirmed += 1;
    try {
      isBufferFull = !now.channel.publish(
        exchange,
        routingKey,
        content,
        { messageId: id, mandatory, persistent: true, contentType: 'application/json', appId: 'spindle', ...(headers ? { headers } : {}) },
        settle,
      );
    } catch (error) {
      unconfirmed -= 1;
      reject(refusal(publication, error));
    }
  };

  return {
    isReady: () => kept.current() !== undefined,
    publish: (publication) =>
      new Promise((resolve, reject) => {
        if (link.current() === undefined) return reject(link.unavailable());
        if (waiting.size >= waitingMax)
          return reject(new SpindleError('BUS_UNAVAILABLE', `${waiting.size} messages wait for the broker already; publish ${publication.id} again later`));
        let isOver = false;
        const over = () => {
          isOver = true;
          forget();
          waiting.delete(waiter);
        };
        const refuse = (error: SpindleError) => {
          if (isOver) return;
          over();
          reject(error);
        };
        const go = () => {
          waiting.delete(waiter);
          send(
            publication,
            () => {
              if (isOver) return;
              over();
              resolve();
            },
            refuse,
          );
        };
        const waiter: Waiter = { go, refuse };
        const forget = clock.after(publishTimeoutMs, () => {
          const why = link.isBlocked() ? 'it takes no messages now' : 'it did not confirm';
          refuse(new SpindleError('BUS_UNAVAILABLE', `the broker ${link.place} had ${publishTimeoutMs / 1000} s for message ${publication.id}: ${why}`));
        });
        if (waiting.size === 0 && canSend()) go();
        else waiting.add(waiter);
      }),
    close: () => kept.close(),
  };
}

function refusal({ id, routingKey }: Publication, error: unknown): SpindleError {
  if (error instanceof RangeError) return new SpindleError('INTERNAL', `message ${id} cannot be published: ${error.message}`);
  const why = error instanceof Error ? error.message : String(error);
  const said = why === 'message nacked' ? 'the broker refused it: its queue is full, or has lost most of its members' : why;
  return new SpindleError('BUS_UNAVAILABLE', `message ${id} for ${routingKey} may not have been queued: ${said}`, { cause: error });
}
