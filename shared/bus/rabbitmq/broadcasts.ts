/** Broadcasts: a queue of this process's own that holds only what it listens for, gone with its connection. */
import type { Channel } from 'amqplib';
import { isRoutingKey } from '../routing-key.ts';
import { broadcastExchange } from './broker-objects.ts';
import { type Link, openChannel } from './link.ts';

/** Unread ones in the follower's queue; the oldest go. */
const unreadMax = 10_000;

export interface Broadcasts {
  /** Never throws; lost where the broker cannot take it at once. */
  broadcast(topic: string, payload: unknown): void;
  listen(topic: string, listener: (payload: unknown) => void): () => void;
  close(): Promise<void>;
}

/** `prepare` runs before each new queue: the broker may have lost the exchange. */
export function brokerBroadcasts(options: { readonly publishing: Link; readonly consuming: Link; readonly prepare: () => Promise<void> }): Broadcasts {
  const { publishing, consuming, prepare } = options;
  const listeners = new Map<string, Set<(payload: unknown) => void>>();
  let isBufferFull = false;
  let follower: { readonly channel: Channel; readonly queue: string } | undefined;

  const speaker = publishing.keep('broadcasts cannot be sent', async (model) => {
    await prepare();
    const channel = await openChannel(model.createChannel());
    isBufferFull = false;
    channel.on('drain', () => {
      isBufferFull = false;
    });
    return { channel, kept: channel };
  });

  const hear = (topic: string, content: Buffer) => {
    const hearing = listeners.get(topic);
    if (!hearing) return;
    const text = content.toString('utf8');
    for (const listener of [...hearing]) {
      if (!hearing.has(listener)) continue;
      try {
        // Each its own value: what one does to it the others must not see.
        listener(JSON.parse(text));
      } catch {
        // Broadcasts only save time: a listener that breaks, and one that nobody can read, must not keep the others from hearing.
      }
    }
  };

  const ear = consuming.keep('broadcasts cannot be heard', async (model) => {
    await prepare();
    const channel = await openChannel(model.createChannel());
    const { queue } = await channel.assertQueue('', {
      exclusive: true,
      autoDelete: true,
      durable: false,
      arguments: { 'x-max-length': unreadMax, 'x-overflow': 'drop-head' },
    });
    await channel.consume(
      queue,
      (message) => {
        if (message !== null) hear(message.fields.routingKey, message.content);
        // The queue is gone: with a new channel comes a new one.
        else void channel.close().catch(() => undefined);
      },
      { noAck: true, exclusive: true },
    );
    // Whoever begins to listen while this runs is bound by the next round.
    const bound = new Set<string>();
    for (let topics = missing(bound); topics.length > 0; topics = missing(bound)) {
      for (const topic of topics) {
        await channel.bindQueue(queue, broadcastExchange, topic);
        bound.add(topic);
      }
    }
    follower = { channel, queue };
    channel.once('close', () => {
      if (follower?.channel === channel) follower = undefined;
    });
    return { channel, kept: channel };
  });

  const missing = (bound: ReadonlySet<string>) => [...listeners.keys()].filter((topic) => !bound.has(topic));

  return {
    broadcast: (topic, payload) => {
      const channel = speaker.current();
      if (!channel || publishing.isBlocked() || isBufferFull || !isRoutingKey(topic)) return;
      try {
        isBufferFull = !channel.publish(broadcastExchange, topic, Buffer.from(JSON.stringify(payload ?? null)), { persistent: false });
      } catch {
        // What cannot be said as JSON, or a channel that is just closing.
      }
    },
    listen: (topic, listener) => {
      const hearing = listeners.get(topic) ?? new Set();
      if (!listeners.has(topic)) {
        listeners.set(topic, hearing);
        void follower?.channel.bindQueue(follower.queue, broadcastExchange, topic).catch(() => undefined);
      }
      // A function of its own, so that the same listener can be told twice and be taken away once.
      const own = (payload: unknown) => listener(payload);
      hearing.add(own);
      return () => {
        if (!hearing.delete(own) || hearing.size > 0) return;
        listeners.delete(topic);
        void follower?.channel.unbindQueue(follower.queue, broadcastExchange, topic).catch(() => undefined);
      };
    },
    close: async () => {
      listeners.clear();
      await Promise.all([speaker.close(), ear.close()]);
    },
  };
}
