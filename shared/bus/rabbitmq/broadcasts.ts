/**
 * Broadcasts: what a process says within a few milliseconds goes out as one message, to a queue of each process's own that goes with its connection. There they are sorted by who
 * listens. A busy pipeline says far more than it does, and nearly all of it in bursts: one message for each would cost more than the events themselves.
 */
import type { Channel, ChannelModel } from 'amqplib';
import type { Clock } from '../../clock/clock.ts';
import { broadcastExchange } from './broker-objects.ts';
import { type Link, openChannel } from './link.ts';

/** How long the first one waits for company. */
const gatherMs = 4;
/** Characters in one message, unless it is one alone; what would make it longer goes with the next. */
const messageLengthMax = 64 * 1024;
/** Unread messages in a process's queue; the oldest go. */
const unreadMax = 1_000;

export interface Broadcasts {
  /** Never throws; lost where the broker cannot take it soon. */
  broadcast(topic: string, payload: unknown): void;
  listen(topic: string, listener: (payload: unknown) => void): () => void;
  close(): Promise<void>;
}

export function brokerBroadcasts(options: { readonly publishing: Link; readonly consuming: Link; readonly clock: Pick<Clock, 'after'> }): Broadcasts {
  const { publishing, consuming, clock } = options;
  const listeners = new Map<string, Set<(payload: unknown) => void>>();
  /** `[topic, payload as JSON]`, as JSON, in their order. */
  let pending: string[] = [];
  let pendingLength = 0;
  let forget: (() => void) | undefined;
  let isBufferFull = false;

  const speaker = publishing.keep('broadcasts cannot be sent', async (model) => {
    const channel = await exchangeChannel(model);
    isBufferFull = false;
    channel.on('drain', () => {
      isBufferFull = false;
    });
    return { channel, kept: channel };
  });

  const flush = (): void => {
    forget?.();
    forget = undefined;
    const said = pending;
    pending = [];
    pendingLength = 0;
    const channel = speaker.current();
    if (said.length === 0 || !channel || publishing.isBlocked() || isBufferFull) return;
    try {
      isBufferFull = !channel.publish(broadcastExchange, '', Buffer.from(`[${said.join(',')}]`), { persistent: false, contentType: 'application/json' });
    } catch {
      // The channel is just closing. Broadcasts may be lost.
    }
  };

  const hear = (topic: string, text: string): void => {
    const hearing = listeners.get(topic);
    if (!hearing) return;
    for (const listener of [...hearing]) {
      if (!hearing.has(listener)) continue;
      try {
        // Each its own value: what one does to it the others must not see.
        listener(JSON.parse(text));
      } catch {
        // Broadcasts only save time: a listener that breaks must not keep the others from hearing.
      }
    }
  };

  const hearAll = (content: Buffer): void => {
    const said = parsed(content);
    if (!Array.isArray(said)) return;
    for (const entry of said as readonly unknown[]) {
      if (Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'string') hear(entry[0], entry[1]);
    }
  };

  const ear = consuming.keep('broadcasts cannot be heard', async (model) => {
    const channel = await exchangeChannel(model);
    const { queue } = await channel.assertQueue('', {
      exclusive: true,
      autoDelete: true,
      durable: false,
      arguments: { 'x-max-length': unreadMax, 'x-overflow': 'drop-head' },
    });
    await channel.bindQueue(queue, broadcastExchange, '');
    await channel.consume(
      queue,
      (message) => {
        if (message !== null) hearAll(message.content);
        // The queue is gone: with a new channel comes a new one.
        else void channel.close().catch(() => undefined);
      },
      { noAck: true, exclusive: true },
    );
    return { channel, kept: channel };
  });

  return {
    broadcast: (topic, payload) => {
      if (!speaker.current()) return;
      let entry: string;
      try {
        entry = JSON.stringify([topic, JSON.stringify(payload ?? null)]);
      } catch {
        return;
      }
      if (pendingLength + entry.length > messageLengthMax) flush();
      pending.push(entry);
      pendingLength += entry.length;
      forget ??= clock.after(gatherMs, flush);
    },
    listen: (topic, listener) => {
      const hearing = listeners.get(topic) ?? new Set();
      listeners.set(topic, hearing);
      // A function of its own, so that the same listener can be told twice and be taken away once.
      const own = (payload: unknown) => listener(payload);
      hearing.add(own);
      return () => {
        if (hearing.delete(own) && hearing.size === 0 && listeners.get(topic) === hearing) listeners.delete(topic);
      };
    },
    close: async () => {
      flush();
      listeners.clear();
      await Promise.all([speaker.close(), ear.close()]);
    },
  };
}

/** Nobody may have asserted the topology yet, or the broker may have lost it. */
async function exchangeChannel(model: ChannelModel): Promise<Channel> {
  const channel = await openChannel(model.createChannel());
  await channel.assertExchange(broadcastExchange, 'fanout', { durable: true });
  return channel;
}

function parsed(content: Buffer): unknown {
  try {
    return JSON.parse(content.toString('utf8'));
  } catch {
    return undefined;
  }
}
