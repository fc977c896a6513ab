/** The reference on RabbitMQ: messages relayed from queue to queue by amqplib alone, each confirmed before the one that led to it is acknowledged. */
import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';

export interface BareRelay {
  /** Sends so many through all hops, at most `atOnce` on their way; resolves with messages a second. */
  throughput(count: number, atOnce: number): Promise<number>;
  /** Milliseconds of one message through all hops, nothing else on its way. */
  latency(): Promise<number>;
  stop(): Promise<void>;
}

/** The size of an event. */
const content = Buffer.alloc(1024, 'x');

export async function bareRelay(url: string, options: { readonly hops: number; readonly prefetch: number }): Promise<BareRelay> {
  const model: ChannelModel = await connect(url, { noDelay: true });
  const publishing: ConfirmChannel = await model.createConfirmChannel();
  const queues = Array.from({ length: options.hops }, (_, index) => `relay.${index + 1}`);
  const publish = (queue: string) =>
    new Promise<void>((resolve, reject) => {
      publishing.sendToQueue(queue, content, { persistent: true, mandatory: true }, (error: unknown) => (error ? reject(error) : resolve()));
    });
  let onArrival = () => {};
  for (const [index, queue] of queues.entries()) {
    await publishing.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    await publishing.purgeQueue(queue);
    const channel = await model.createChannel();
    await channel.prefetch(options.prefetch);
    const next = queues[index + 1];
    await channel.consume(queue, (message) => {
      if (!message) return;
      const done = next === undefined ? Promise.resolve() : publish(next);
      void done.then(() => {
        channel.ack(message);
        if (next === undefined) onArrival();
      });
    });
  }
  const first = queues[0] ?? '';
  return {
    throughput: async (count, atOnce) => {
      const startedAt = performance.now();
      let sent = 0;
      let arrived = 0;
      await new Promise<void>((resolve, reject) => {
        const send = () => {
          if (sent >= count) return;
          sent += 1;
          publish(first).catch(reject);
        };
        onArrival = () => {
          arrived += 1;
          if (arrived === count) resolve();
          else send();
        };
        for (let index = 0; index < atOnce; index += 1) send();
      });
      return count / ((performance.now() - startedAt) / 1000);
    },
    latency: async () => {
      const startedAt = performance.now();
      const arrived = new Promise<void>((resolve) => {
        onArrival = resolve;
      });
      await publish(first);
      await arrived;
      return performance.now() - startedAt;
    },
    stop: () => model.close(),
  };
}
