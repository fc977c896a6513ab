/**
 * One subscriber: consumers on a channel of its own, its handlers, and what becomes of each message. When the channel is lost its messages are the broker's again; handlers under
 * way go on, and what they answer counts for nothing.
 */
import type { Channel, ConsumeMessage } from 'amqplib';
import type { Clock } from '../../clock/clock.ts';
import type { Delivery, Disposition, Subscription } from '../bus.ts';
import { unreadableLetter } from '../unreadable-letter.ts';
import { deadLetterExchange } from './broker-objects.ts';
import { type Link, openChannel } from './link.ts';
import type { Publisher } from './publisher.ts';
import { deliveryOf, earlierDeliveries, letterHeadersOf, requeueHeaders } from './wire.ts';

/** The delay of a message that is handed back: doubled each time, so that one that nobody can take now does not keep the processor busy. */
const requeueMinMs = 10;
const requeueMaxMs = 1_000;
/** A consumer that the broker ended is begun again after this. */
const consumeAgainMs = 500;
/** Of AMQP: there is no such queue. */
const notFound = 404;
/** Of AMQP: a number of 16 bits. */
const prefetchMax = 65_535;

export interface SubscriberOptions {
  readonly link: Link;
  readonly publisher: Publisher;
  readonly clock: Pick<Clock, 'now' | 'after'>;
  readonly queues: readonly string[];
  readonly prefetch: number;
  readonly handler: (delivery: Delivery) => Promise<Disposition>;
  /** Runs before each new channel: the broker may have lost the queues. `isSuspect`: it has. */
  readonly prepare: (isSuspect?: boolean) => Promise<void>;
  readonly onHandlerError: (error: unknown, delivery: Delivery) => void;
  readonly timestamp: () => string;
}

/** One channel's life. */
interface Session {
  readonly channel: Channel;
  /** queue → its consumer's tag. */
  readonly tags: Map<string, string>;
  /** The prefetch that its consumers were begun with. */
  width: number;
  /** queue → messages that the broker waits for an answer to. */
  readonly unanswered: Map<string, number>;
  isSteering: boolean;
  isLost: boolean;
}

interface Held {
  readonly session: Session;
  readonly queue: string;
  readonly message: ConsumeMessage;
}

export interface Subscriber extends Subscription {
  /** True as soon as its consumers stand. */
  isConsuming(): boolean;
}

export function brokerSubscriber(options: SubscriberOptions): Subscriber {
  const { link, publisher, clock, queues, handler, prepare, onHandlerError, timestamp } = options;
  const prefetch = Math.min(options.prefetch, prefetchMax);
  /** Delivered and not yet handed to the handler, each queue's in their order. */
  const buffers = new Map<string, Held[]>(queues.map((queue) => [queue, []]));
  /** Handed back by the handler, until their delay is over. */
  const delayed = new Set<{ readonly held: Held; readonly forget: () => void }>();
  let session: Session | undefined;
  let running = 0;
  /** Answers that are still to be published: a dead letter, a message at the end of its queue. */
  const answering = new Set<Promise<void>>();
  /** Whose turn it is among the queues. */
  let turn = 0;
  let isPaused = false;
  let isClosed = false;
  let onIdle: (() => void) | undefined;
  /** The prefetch that consumers should have: less than `prefetch` while the subscriber has less room. */
  let width = prefetch;

  const kept = link.keep(`${queues.join(', ')} cannot be read`, async (model) => {
    await prepare();
    const channel = await openChannel(model.createChannel());
    const made: Session = { channel, tags: new Map(), width, unanswered: new Map(), isSteering: false, isLost: false };
    channel.once('close', () => {
      made.isLost = true;
      if (session === made) session = undefined;
      for (const [queue, held] of buffers)
        buffers.set(
          queue,
          held.filter((one) => one.session !== made),
        );
    });
    try {
      await begin(made);
    } catch (error) {
      if ((error as { code?: unknown } | null)?.code === notFound) await prepare(true);
      throw error;
    }
    session = made;
    void steer(made);
    return { channel, kept: made };
  });

  const wantsMessages = () => !isPaused && !isClosed;

  const begin = async (on: Session): Promise<void> => {
    if (!wantsMessages()) return;
    on.width = width;
    await on.channel.prefetch(on.width);
    for (const queue of queues) await consume(on, queue);
  };

  const consume = async (on: Session, queue: string): Promise<void> => {
    const { consumerTag } = await on.channel.consume(queue, (message) => (message === null ? ended(on, queue) : arrived({ session: on, queue, message })));
    on.tags.set(queue, consumerTag);
  };

  /** The broker ended the consumer: its queue was deleted or moved, or (4.x) an answer took too long. The channel and the other consumers live on. */
  const ended = (on: Session, queue: string): void => {
    on.tags.delete(queue);
    clock.after(consumeAgainMs, () => {
      if (on.isLost || !wantsMessages() || on.tags.has(queue)) return;
      prepare(true)
        .then(() => consume(on, queue))
        // A channel that fails here is closed, and a new one begins from the start.
        .catch(() => on.channel.close().catch(() => undefined));
    });
  };

  /** Brings the consumers to what is wanted now, and again if that changed meanwhile. */
  const steer = async (on: Session): Promise<void> => {
    if (on.isSteering) return;
    on.isSteering = true;
    try {
      for (;;) {
        const isBegun = on.tags.size > 0;
        if (on.isLost || (isBegun === wantsMessages() && (!isBegun || on.width === width))) return;
        if (isBegun) await end(on);
        else await begin(on);
      }
    } catch {
      await on.channel.close().catch(() => undefined);
    } finally {
      on.isSteering = false;
    }
  };

  /** The first frame goes out before this returns: what is answered afterwards brings no new message. */
  const end = async (on: Session): Promise<void> => {
    const tags = [...on.tags.values()];
    on.tags.clear();
    await Promise.all(tags.map((tag) => on.channel.cancel(tag)));
  };

  const arrived = (held: Held): void => {
    const { session: on, queue } = held;
    on.unanswered.set(queue, (on.unanswered.get(queue) ?? 0) + 1);
    if (!wantsMessages()) {
      giveBack(held);
      return;
    }
    buffers.get(queue)?.push(held);
    pump();
  };

  const pump = (): void => {
    while (running < prefetch && wantsMessages()) {
      const held = next();
      if (!held) return;
      hand(held);
    }
  };

  /** From the queue after the one that was served last: else the first of them would starve the others. */
  const next = (): Held | undefined => {
    for (let offset = 0; offset < queues.length; offset += 1) {
      const index = (turn + offset) % queues.length;
      const held = buffers.get(queues[index] ?? '')?.shift();
      if (held) {
        turn = index + 1;
        return held;
      }
    }
    return undefined;
  };

  const hand = (held: Held): void => {
    const delivery = deliveryOf(held.message, held.queue);
    running += 1;
    let outcome: Promise<Disposition>;
    try {
      outcome = handler(delivery);
    } catch (error) {
      outcome = Promise.reject(error);
    }
    void Promise.resolve(outcome)
      .catch((error: unknown): Disposition => {
        onHandlerError(error, delivery);
        return 'requeue';
      })
      .then((disposition) => {
        running -= 1;
        settle(held, delivery, disposition);
        pump();
        if (running === 0) onIdle?.();
      });
  };

  const settle = (held: Held, delivery: Delivery, disposition: Disposition): void => {
    if (held.session.isLost) return;
    if (disposition === 'ack') answer(held, (channel, message) => channel.ack(message));
    else if (disposition === 'requeue') requeueLater(held);
    else {
      const reason = typeof disposition?.deadLetter === 'string' ? disposition.deadLetter : 'its handler said nothing that the bus understands';
      const attempts = earlierDeliveries(held.message) + 1;
      const letter = unreadableLetter(delivery, { reason, at: timestamp(), attempts });
      instead(
        held,
        publisher.publish({
          id: letter.id,
          exchange: deadLetterExchange,
          routingKey: letter.routingKey,
          // Byte for byte as it came: that is what a person wants to see of it.
          content: held.message.content,
          mandatory: true,
          headers: letterHeadersOf(letter),
        }),
        delivery,
      );
    }
  };

  /** Answers the message once something else stands for it; where that fails, it comes again. */
  const instead = (held: Held, published: Promise<void>, delivery: Delivery): void => {
    const answered = published.then(
      () => answer(held, (channel, message) => channel.ack(message)),
      (error: unknown) => {
        onHandlerError(error, delivery);
        // It comes again at once, so not before the broker may take what is published.
        clock.after(requeueMaxMs, () => giveBack(held));
      },
    );
    answering.add(answered);
    void answered.finally(() => answering.delete(answered));
  };

  /**
   * To the end of its queue as a new message, since the broker counts what is handed back against the queue's limit of deliveries, which is meant for messages whose
   * readers die: a store that is away for an hour must not make dead letters of all that waits for it.
   */
  const requeueLater = (held: Held): void => {
    if (isClosed) {
      giveBack(held);
      return;
    }
    const waits = {
      held,
      forget: clock.after(Math.min(requeueMaxMs, requeueMinMs * 2 ** Math.min(earlierDeliveries(held.message), 10)), () => {
        delayed.delete(waits);
        if (held.session.isLost) return;
        const { message, queue } = held;
        const delivery = deliveryOf(message, queue);
        instead(
          held,
          publisher.publish({ id: delivery.id, exchange: '', routingKey: queue, content: message.content, mandatory: true, headers: requeueHeaders(message) }),
          delivery,
        );
      }),
    };
    delayed.add(waits);
  };

  /** To the front of its queue, for anyone. */
  const giveBack = (held: Held): void => answer(held, (channel, message) => channel.nack(message, false, true));

  const answer = (held: Held, say: (channel: Channel, message: ConsumeMessage) => void): void => {
    const { session: on, queue } = held;
    if (on.isLost) return;
    // An answer makes room for another message, which a paused subscriber does not want: first no more consumers, then the answer.
    if (!wantsMessages()) void steer(on);
    on.unanswered.set(queue, (on.unanswered.get(queue) ?? 1) - 1);
    try {
      say(on.channel, held.message);
    } catch {
      // The channel is just closing: its messages are the broker's again.
    }
  };

  const giveBackBuffered = (): void => {
    for (const [queue, held] of buffers) {
      buffers.set(queue, []);
      for (const one of held.toReversed()) giveBack(one);
    }
  };

  let closing: Promise<void> | undefined;
  return {
    isConsuming: () => session !== undefined && session.tags.size > 0,
    pause: () => {
      if (isPaused || isClosed) return;
      isPaused = true;
      const on = session;
      if (!on) return;
      // A subscriber whose hands are full is sent nothing anyway, and most are only for a moment: then nothing is said to the broker.
      const mayBeSent = queues.some((queue) => (on.unanswered.get(queue) ?? 0) < on.width);
      if (mayBeSent || [...buffers.values()].some(({ length }) => length > 0)) void steer(on);
      giveBackBuffered();
    },
    resume: (room = prefetch) => {
      if (isClosed) return;
      const wanted = Math.max(1, Math.min(prefetch, room));
      // A new prefetch means new consumers, two round trips: so it only grows where it at least doubles.
      if (isPaused || wanted >= width * 2) width = wanted;
      isPaused = false;
      if (session) void steer(session);
      pump();
    },
    close: () => {
      closing ??= (async () => {
        isClosed = true;
        const on = session;
        if (on) void steer(on);
        giveBackBuffered();
        for (const { held, forget } of [...delayed]) {
          forget();
          giveBack(held);
        }
        delayed.clear();
        if (running > 0)
          await new Promise<void>((resolve) => {
            onIdle = resolve;
          });
        await Promise.all([...answering]);
        await kept.close();
      })();
      return closing;
    },
  };
}
