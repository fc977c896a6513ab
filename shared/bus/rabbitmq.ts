/**
 * The bus port on RabbitMQ, 3.10 and later: quorum queues behind one topic exchange, confirms, dead letters in a queue, broadcasts to queues of the listeners' own. Publishing and
 * consuming have a connection each, since a broker that is short of memory stops to read from those who publish.
 */
import { type ChannelModel, connect } from 'amqplib';
import { SpindleError } from '../build/failure.ts';
import { type Clock, timestamp } from '../clock/clock.ts';
import type { Bus, Delivery, Message, Topology } from './bus.ts';
import { brokerBroadcasts } from './rabbitmq/broadcasts.ts';
import { brokerObjects, deadLetterExchange, stageExchange } from './rabbitmq/broker-objects.ts';
import { readDeadLetters, takeDeadLetter } from './rabbitmq/dead-letters.ts';
import { declareObjects } from './rabbitmq/declare.ts';
import { bounded, openChannel, openLink } from './rabbitmq/link.ts';
import { confirmedPublisher } from './rabbitmq/publisher.ts';
import { brokerSubscriber } from './rabbitmq/subscription.ts';
import { letterHeadersOf } from './rabbitmq/wire.ts';
import { isRoutingKey, routingKeyMatches } from './routing-key.ts';

export interface RabbitMqBusOptions {
  /** `amqp:` or `amqps:`, with user, password and virtual host. */
  readonly url: string;
  readonly clock: Clock;
  /** Names this process in the broker's list of connections. */
  readonly worker: string;
  /** Told of each rejection of a handler: by the port's rules they should return what becomes of a message. */
  readonly onHandlerError?: (error: unknown, delivery: Delivery) => void;
  /** Told what is wrong with the broker, in words; nothing that was promised is broken by it. */
  readonly onTrouble?: (error: unknown, what: string) => void;
}

/** RabbitMQ takes 128 MiB in 3.10 and 16 MiB in 4; the embedded bus takes as much as here. */
const bodyLengthMax = 8 * 1024 * 1024;
/** A service may start before its broker does. */
const startTimeoutMs = 60_000;
const subscribeTimeoutMs = 10_000;
/**
 * A queue that was deleted is not made again at once: RabbitMQ 3.10 would then never tell its readers that theirs is gone, and they would wait for ever on one that nobody can
 * publish to.
 */
const deletedQueueMs = 1_000;
const pingTimeoutMs = 2_000;
const readTimeoutMs = 15_000;

/** Returns at once; `assert` waits for the broker, everything else rejects with BUS_UNAVAILABLE while it is away. Goes on by itself when it is back. */
export function rabbitMqBus(options: RabbitMqBusOptions): Bus {
  const { clock, worker, onHandlerError = () => {}, onTrouble = () => {} } = options;
  const url = new URL(options.url);
  const link = (role: string) => openLink({ dial: connect, url, name: `spindle ${worker} ${role}`, clock, onTrouble });
  const publishing = link('publishes');
  const consuming = link('consumes');
  /** queue → what it was asserted with, to be asserted again on a broker that lost it. */
  const known = new Map<string, Topology['queues'][number]>();
  const subscriptions = new Set<{ close(): Promise<void> }>();
  let lastReading: Promise<unknown> = Promise.resolve();
  let isClosed = false;
  let closing: Promise<void> | undefined;

  const check = () => {
    if (isClosed) throw new SpindleError('PORT_CLOSED', 'the bus was used after it was closed');
  };

  const declare = async (topology: Topology): Promise<void> => {
    const model = publishing.current();
    if (!model) throw publishing.unavailable();
    await declareObjects(model, brokerObjects(topology));
  };
  /** The connection whose broker is known to hold everything. */
  let declaredOn: unknown;
  let declaring: Promise<void> | undefined;
  /** After a lost connection the broker may be another one, or an empty one. Many channels come back at once; one of them asks. `isSuspect`: something is missing for certain. */
  const declareAgain = (isSuspect = false): Promise<void> => {
    const model = publishing.current();
    if (isSuspect) declaredOn = undefined;
    if (known.size === 0 || (declaredOn === model && model !== undefined)) return Promise.resolve();
    declaring ??= (isSuspect ? clock.sleep(deletedQueueMs) : Promise.resolve())
      .then(() => declare({ queues: [...known.values()] }))
      .then(
        () => {
          declaredOn = model;
        },
        (error: unknown) => {
          if (!(error instanceof SpindleError && error.code === 'BUS_TOPOLOGY_DRIFT')) throw error;
          // What stands can be worked with; at the next start this is fatal, and says so.
          declaredOn = model;
          onTrouble(error, 'the broker came back with another topology');
        },
      )
      .finally(() => {
        declaring = undefined;
      });
    return declaring;
  };

  const publisher = confirmedPublisher({ link: publishing, clock, prepare: declareAgain });
  const broadcasts = brokerBroadcasts({ publishing, consuming, clock });

  /** Whoever bound everything would make the broker accept what no stage reads. */
  const lookForCatchAll = async (): Promise<void> => {
    const routingKey = `nothing-is-bound-for.${clock.id()}`;
    try {
      await publisher.publish({ id: clock.id(), exchange: stageExchange, routingKey, content: Buffer.from('{}'), mandatory: true });
      onTrouble(
        undefined,
        `a queue is bound to everything on the exchange ${stageExchange}: an event whose stage has no queue would not be noticed; bind it to the keys it needs`,
      );
    } catch (error) {
      if (!(error instanceof SpindleError && error.code === 'BUS_UNROUTABLE')) throw error;
    }
  };

  /** A queue that nobody asserted here may have been by another process. */
  const checkQueues = async (queues: readonly string[]): Promise<void> => {
    if (queues.length === 0) return;
    const model = await consuming.ready(subscribeTimeoutMs);
    for (const queue of queues) {
      try {
        const channel = await openChannel(model.createChannel());
        await channel.checkQueue(queue);
        await channel.close();
      } catch (error) {
        if ((error as { code?: unknown } | null)?.code === 404)
          throw new SpindleError('BUS_UNROUTABLE', `there is no queue ${queue} to subscribe to; assert the topology first`);
        throw new SpindleError('BUS_UNAVAILABLE', `queue ${queue} cannot be read: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      }
    }
  };

  /** Within one connection the broker knows no turns. */
  const inTurn = <T>(read: (model: ChannelModel) => Promise<T>): Promise<T> => {
    const model = consuming.current();
    if (!model) throw consuming.unavailable();
    const reading = lastReading.then(() => read(model));
    lastReading = reading.catch(() => undefined);
    return bounded(clock, readTimeoutMs, reading);
  };

  return {
    async assert(topology) {
      check();
      const names = topology.queues.flatMap(({ name, bindings }) => [name, ...bindings]);
      const wrong = names.find((text) => text === '' || !isRoutingKey(text));
      if (wrong !== undefined) throw new SpindleError('INTERNAL', `${JSON.stringify(wrong.slice(0, 80))} cannot name a queue or a binding`);
      await publishing.ready(startTimeoutMs);
      await declare(topology);
      for (const queue of topology.queues) {
        const earlier = known.get(queue.name)?.bindings ?? [];
        known.set(queue.name, { ...queue, bindings: [...new Set([...earlier, ...queue.bindings])] });
      }
      declaredOn = publishing.current();
      await lookForCatchAll();
    },
    async publish(message) {
      check();
      const content = checkedContent(message);
      const { id, routingKey, mandatory = true } = message;
      const publish = () => publisher.publish({ id, exchange: stageExchange, routingKey, content, mandatory });
      try {
        await publish();
      } catch (error) {
        const isRoutable = [...known.values()].some(({ bindings }) => bindings.some((binding) => routingKeyMatches(binding, routingKey)));
        if (!(error instanceof SpindleError && error.code === 'BUS_UNROUTABLE' && isRoutable)) throw error;
        // Its queue was there: somebody deleted it.
        await declareAgain(true);
        await publish();
      }
    },
    async subscribe({ queues: names, prefetch }, handler) {
      check();
      if (closing !== undefined) throw new SpindleError('PORT_CLOSED', 'the bus is closing, so nothing can be subscribed to');
      if (!Number.isInteger(prefetch) || prefetch < 1) throw new SpindleError('INTERNAL', `prefetch is ${prefetch}; it is a whole number from 1`);
      const queues = [...new Set(names)];
      // What was asserted here is there, or will be when the broker is back.
      await checkQueues(queues.filter((queue) => !known.has(queue)));
      const subscriber = brokerSubscriber({
        link: consuming,
        publisher,
        clock,
        queues,
        prefetch,
        handler,
        prepare: declareAgain,
        onHandlerError,
        timestamp: () => timestamp(clock),
      });
      subscriptions.add(subscriber);
      return {
        pause: () => subscriber.pause(),
        resume: (room) => subscriber.resume(room),
        close: async () => {
          await subscriber.close();
          subscriptions.delete(subscriber);
        },
      };
    },
    async deadLetter({ id, body, routingKey, ...letter }) {
      check();
      await publisher.publish({ id, exchange: deadLetterExchange, routingKey, content: Buffer.from(body), mandatory: true, headers: letterHeadersOf(letter) });
    },
    async deadLetters(limit) {
      check();
      return inTurn((model) => readDeadLetters(model, clock, limit));
    },
    async takeDeadLetter(id, act) {
      check();
      return inTurn((model) => takeDeadLetter(model, clock, id, act));
    },
    broadcast(topic, payload) {
      if (!isClosed) broadcasts.broadcast(topic, payload);
    },
    listen(topic, listener) {
      check();
      return broadcasts.listen(topic, listener);
    },
    async ping() {
      check();
      if (!consuming.current()) throw consuming.unavailable();
      const model = publishing.current();
      if (!model || !publisher.isReady()) throw publishing.unavailable();
      if (publishing.isBlocked()) throw new SpindleError('BUS_UNAVAILABLE', `the broker ${publishing.place} takes no messages: it is short of memory or disk`);
      await bounded(clock, pingTimeoutMs, roundTrip(model));
    },
    close() {
      closing ??= (async () => {
        await Promise.all([...subscriptions].map((subscription) => subscription.close()));
        await broadcasts.close();
        await publisher.close();
        isClosed = true;
        await Promise.all([publishing.close(), consuming.close()]);
      })();
      return closing;
    },
  };
}

function checkedContent({ id, routingKey, body }: Message): Buffer {
  if (!isRoutingKey(routingKey)) throw new SpindleError('INTERNAL', `${JSON.stringify(routingKey.slice(0, 80))} is too long for a routing key`);
  if (body.length > bodyLengthMax) {
    throw new SpindleError('INTERNAL', `message ${id} has ${body.length} characters; at most ${bodyLengthMax} go through the bus`);
  }
  return Buffer.from(body);
}

async function roundTrip(model: Parameters<typeof readDeadLetters>[0]): Promise<void> {
  const channel = await openChannel(model.createChannel());
  await channel.close();
}
