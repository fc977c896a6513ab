/**
 * The bus port inside one process: a topic exchange, its queues and their subscribers. Messages live in memory only; what must survive a crash is the
 * builds' outboxes in the store, from which the reconciler publishes again. Dead letters are in the store.
 */
import { SpindleError } from '../build/failure.ts';
import { type Clock, timestamp } from '../clock/clock.ts';
import type { Collection } from '../store/store.ts';
import type { Bus, Delivery, Disposition, Message, Subscription } from './bus.ts';
import { type DeadLetter, deadLetterQueue } from './dead-letter.ts';
import { type MessageRate, messageRate } from './message-rate.ts';
import type { QueueReport } from './queue-report.ts';
import { isRoutingKey, routingKeyMatches } from './routing-key.ts';
import { unreadableLetter } from './unreadable-letter.ts';

export interface EmbeddedBusOptions {
  readonly deadLetters: Collection<DeadLetter>;
  readonly clock: Pick<Clock, 'now' | 'after'>;
  /** Messages in all queues together, those in handlers' hands included. */
  readonly messagesMax?: number;
  /** Told of each rejection of a handler: by the port's rules they should return what becomes of a message. */
  readonly onHandlerError?: (error: unknown, delivery: Delivery) => void;
}

interface QueueDepth {
  readonly name: string;
  /** Waiting for a subscriber, those whose delay runs included. */
  readonly ready: number;
  /** In the hands of a handler. */
  readonly unacknowledged: number;
}

/** One client's connection. Each has its own subscriptions; all share the queues. */
export interface EmbeddedConnection extends Bus {
  /** Ends the connection as if the network or the process were gone: its messages go back to their queues, what its handlers still return counts for nothing. */
  cut(): void;
}

export interface EmbeddedBroker extends QueueReport {
  connect(): EmbeddedConnection;
  depths(): readonly QueueDepth[];
}

/** The bus of a process that has everything in it. */
export function embeddedBus(options: EmbeddedBusOptions): EmbeddedConnection {
  return embeddedBroker(options).connect();
}

/** Enough for the work of hours; a queue that grows beyond it has no reader. */
const messagesMaxDefault = 200_000;
/** RabbitMQ's default is 16 MiB. */
const bodyLengthMax = 8 * 1024 * 1024;
/** Deliveries in one turn of the event loop: between turns everybody else gets the processor. */
const deliveriesPerTurn = 256;
const routesCachedMax = 10_000;

interface Entry {
  readonly message: Message;
  /** Times it was handed out. */
  attempts: number;
}

interface Queue {
  readonly name: string;
  readonly bindings: Set<string>;
  readonly ready: Fifo<Entry>;
  readonly consumers: Consumer[];
  delayed: number;
  unacknowledged: number;
  readonly published: MessageRate;
  readonly acknowledged: MessageRate;
  /** Whose turn it is among the consumers. */
  turn: number;
  isRunnable: boolean;
}

interface Consumer {
  readonly queues: readonly Queue[];
  readonly prefetch: number;
  readonly handler: (delivery: Delivery) => Promise<Disposition>;
  readonly handed: Set<Handed>;
  isPaused: boolean;
  isClosed: boolean;
  onIdle: (() => void) | undefined;
}

/** One message in one handler's hands. */
interface Handed {
  readonly queue: Queue;
  readonly entry: Entry;
  readonly consumer: Consumer;
  readonly delivery: Delivery;
}

export function embeddedBroker({ deadLetters, clock, messagesMax = messagesMaxDefault, onHandlerError = () => {} }: EmbeddedBusOptions): EmbeddedBroker {
  const queues = new Map<string, Queue>();
  const listeners = new Map<string, Set<(payload: unknown) => void>>();
  let routes = new Map<string, readonly Queue[]>();
  const runnable = new Fifo<Queue>();
  /** Ids of dead letters in somebody's hands → when that is over. */
  const beingTaken = new Map<string, Promise<void>>();
  let messageCount = 0;
  let deliveredThisTurn = 0;
  let isTurnCounted = false;
  let isPumpScheduled = false;
  let isPumping = false;

  function route(routingKey: string): readonly Queue[] {
    const known = routes.get(routingKey);
    if (known) return known;
    const bound = [...queues.values()].filter(({ bindings }) => [...bindings].some((binding) => routingKeyMatches(binding, routingKey)));
    if (routes.size >= routesCachedMax) routes = new Map();
    routes.set(routingKey, bound);
    return bound;
  }

  /** Puts the queue in line for the next pump. */
  function wake(queue: Queue): void {
    if (queue.isRunnable || queue.ready.length === 0) return;
    queue.isRunnable = true;
    runnable.push(queue);
    schedulePump();
  }

  function schedulePump(): void {
    if (isPumping || isPumpScheduled) return;
    isPumpScheduled = true;
    if (deliveredThisTurn < deliveriesPerTurn) queueMicrotask(pump);
    else setImmediate(pump);
  }

  /** Hands out one message of each queue in line, again and again, until nobody can take more or this turn's share is used up. */
  function pump(): void {
    isPumpScheduled = false;
    isPumping = true;
    for (let queue = nextRunnable(); queue; queue = nextRunnable()) {
      queue.isRunnable = false;
      const consumer = nextConsumer(queue);
      const entry = consumer && queue.ready.shift();
      if (!entry) continue;
      // In line again before the handler runs, behind the others.
      wake(queue);
      countDelivery();
      hand(queue, entry, consumer);
    }
    isPumping = false;
    if (runnable.length > 0) schedulePump();
  }

  function nextRunnable(): Queue | undefined {
    return deliveredThisTurn < deliveriesPerTurn ? runnable.shift() : undefined;
  }

  function countDelivery(): void {
    deliveredThisTurn += 1;
    if (isTurnCounted) return;
    isTurnCounted = true;
    setImmediate(() => {
      isTurnCounted = false;
      deliveredThisTurn = 0;
    });
  }

  function nextConsumer(queue: Queue): Consumer | undefined {
    const { consumers } = queue;
    for (let offset = 0; offset < consumers.length; offset += 1) {
      const index = (queue.turn + offset) % consumers.length;
      const consumer = consumers[index];
      if (consumer && !consumer.isPaused && !consumer.isClosed && consumer.handed.size < consumer.prefetch) {
        queue.turn = index + 1;
        return consumer;
      }
    }
    return undefined;
  }

  function hand(queue: Queue, entry: Entry, consumer: Consumer): void {
    entry.attempts += 1;
    queue.unacknowledged += 1;
    const { id, routingKey, body } = entry.message;
    const delivery: Delivery = { id, routingKey, body, queue: queue.name, redelivered: entry.attempts > 1 };
    const handed: Handed = { queue, entry, consumer, delivery };
    consumer.handed.add(handed);
    let outcome: Promise<Disposition>;
    try {
      outcome = consumer.handler(delivery);
    } catch (error) {
      outcome = Promise.reject(error);
    }
    Promise.resolve(outcome).then(
      (disposition) => settle(handed, disposition),
      (error: unknown) => {
        onHandlerError(error, delivery);
        settle(handed, 'requeue');
      },
    );
  }

  function settle(handed: Handed, disposition: Disposition): void {
    // A cut connection has given the message back already.
    if (!handed.consumer.handed.has(handed)) return;
    if (disposition === 'ack') {
      handed.queue.acknowledged.count();
      release(handed);
      messageCount -= 1;
    } else if (disposition === 'requeue') {
      release(handed);
      requeueLater(handed);
    } else {
      const { queue, entry, delivery } = handed;
      const reason = typeof disposition?.deadLetter === 'string' ? disposition.deadLetter : 'its handler said nothing that the bus understands';
      keepLetter(unreadableLetter({ ...delivery, queue: queue.name }, { reason, at: timestamp(clock), attempts: entry.attempts })).then(
        () => settle(handed, 'ack'),
        (error: unknown) => {
          onHandlerError(error, delivery);
          settle(handed, 'requeue');
        },
      );
    }
  }

  /** One of the same id that is being taken is another one: this waits until it is gone. */
  async function keepLetter(letter: DeadLetter): Promise<void> {
    await beingTaken.get(letter.id);
    await deadLetters.insert(letter);
  }

  async function takeLetter(id: string, act: (letter: DeadLetter) => Promise<void>): Promise<boolean> {
    while (beingTaken.has(id)) await beingTaken.get(id);
    let end = () => {};
    beingTaken.set(
      id,
      new Promise<void>((resolve) => {
        end = resolve;
      }),
    );
    try {
      const found = await deadLetters.get(id);
      if (!found) return false;
      await act(found.document);
      await deadLetters.remove(id, found.version);
      return true;
    } finally {
      beingTaken.delete(id);
      end();
    }
  }

  /** Takes the message out of the handler's hands, and gives its place to the next one. */
  function release(handed: Handed): void {
    const { queue, consumer } = handed;
    consumer.handed.delete(handed);
    queue.unacknowledged -= 1;
    // Beginning after the queue that was served: else the first of them would starve the others.
    const { queues: own } = consumer;
    const served = own.indexOf(queue);
    for (let offset = 0; offset < own.length; offset += 1) {
      const next = own[(served + 1 + offset) % own.length];
      if (next) wake(next);
    }
    if (consumer.handed.size === 0) consumer.onIdle?.();
  }

  /** With a growing delay, so that a message that nobody can take now does not keep the processor busy. */
  function requeueLater({ queue, entry }: Handed): void {
    queue.delayed += 1;
    clock.after(Math.min(1000, 10 * 2 ** Math.min(entry.attempts - 1, 10)), () => {
      queue.delayed -= 1;
      queue.ready.unshift(entry);
      wake(queue);
    });
  }

  function enqueue(message: Message): void {
    if (!isRoutingKey(message.routingKey))
      throw new SpindleError('INTERNAL', `${JSON.stringify(message.routingKey.slice(0, 80))} is too long for a routing key`);
    if (message.body.length > bodyLengthMax) {
      throw new SpindleError('INTERNAL', `message ${message.id} has ${message.body.length} characters; at most ${bodyLengthMax} go through the bus`);
    }
    const bound = route(message.routingKey);
    if (bound.length === 0) {
      if (message.mandatory === false) return;
      throw new SpindleError('BUS_UNROUTABLE', `no queue is bound for ${message.routingKey}, so message ${message.id} was not taken`);
    }
    if (messageCount + bound.length > messagesMax) {
      throw new SpindleError(
        'BUS_UNAVAILABLE',
        `the queues hold ${messageCount} messages already; message ${message.id} was not taken, publish it again later`,
      );
    }
    const { id, routingKey, body } = message;
    for (const queue of bound) {
      queue.ready.push({ message: { id, routingKey, body }, attempts: 0 });
      queue.published.count();
      messageCount += 1;
      wake(queue);
    }
  }

  function assertQueue(name: string, bindings: readonly string[]): void {
    const wrong = [name, ...bindings].find((text) => text === '' || !isRoutingKey(text));
    if (wrong !== undefined) throw new SpindleError('INTERNAL', `${JSON.stringify(wrong.slice(0, 80))} cannot name a queue or a binding`);
    const queue: Queue = queues.get(name) ?? {
      name,
      bindings: new Set(),
      ready: new Fifo(),
      consumers: [],
      delayed: 0,
      unacknowledged: 0,
      published: messageRate(clock),
      acknowledged: messageRate(clock),
      turn: 0,
      isRunnable: false,
    };
    queues.set(name, queue);
    for (const binding of bindings) queue.bindings.add(binding);
  }

  function connect(): EmbeddedConnection {
    const consumers = new Set<Consumer>();
    const endings: (() => void)[] = [];
    let closing: Promise<void> | undefined;
    let isClosed = false;
    let isCut = false;

    const check = () => {
      if (isClosed) throw new SpindleError('PORT_CLOSED', 'the bus was used after it was closed');
      if (isCut) throw new SpindleError('BUS_UNAVAILABLE', 'the connection to the bus is gone');
    };

    const detach = (consumer: Consumer) => {
      consumer.isClosed = true;
      consumers.delete(consumer);
      for (const queue of consumer.queues) {
        const index = queue.consumers.indexOf(consumer);
        if (index >= 0) queue.consumers.splice(index, 1);
      }
    };

    const closeConsumer = async (consumer: Consumer) => {
      detach(consumer);
      if (consumer.handed.size > 0) {
        await new Promise<void>((resolve) => {
          const earlier = consumer.onIdle;
          consumer.onIdle = () => {
            earlier?.();
            resolve();
          };
        });
      }
    };

    const endListening = () => {
      for (const end of endings.splice(0)) end();
    };

    return {
      async assert(topology) {
        check();
        for (const { name, bindings } of topology.queues) assertQueue(name, bindings);
        routes = new Map();
      },
      async publish(message) {
        check();
        enqueue(message);
      },
      async subscribe({ queues: names, prefetch }, handler): Promise<Subscription> {
        check();
        if (closing !== undefined) throw new SpindleError('PORT_CLOSED', 'the bus is closing, so nothing can be subscribed to');
        if (!Number.isInteger(prefetch) || prefetch < 1) throw new SpindleError('INTERNAL', `prefetch is ${prefetch}; it is a whole number from 1`);
        const found = [...new Set(names)].map((name) => {
          const queue = queues.get(name);
          if (!queue) throw new SpindleError('BUS_UNROUTABLE', `there is no queue ${name} to subscribe to; assert the topology first`);
          return queue;
        });
        const consumer: Consumer = { queues: found, prefetch, handler, handed: new Set(), isPaused: false, isClosed: false, onIdle: undefined };
        consumers.add(consumer);
        for (const queue of found) {
          queue.consumers.push(consumer);
          wake(queue);
        }
        let closed: Promise<void> | undefined;
        return {
          pause() {
            consumer.isPaused = true;
          },
          resume() {
            consumer.isPaused = false;
            for (const queue of found) wake(queue);
          },
          close() {
            closed ??= closeConsumer(consumer);
            return closed;
          },
        };
      },
      async deadLetter(letter) {
        check();
        await keepLetter(letter);
      },
      async takeDeadLetter(id, act) {
        check();
        return takeLetter(id, act);
      },
      async deadLetters(limit) {
        check();
        return (await deadLetters.find({ index: 'at', limit })).map(({ document }) => document);
      },
      broadcast(topic, payload) {
        if (isClosed || isCut) return;
        const hearing = listeners.get(topic);
        if (!hearing || hearing.size === 0) return;
        let text: string;
        try {
          text = JSON.stringify(payload ?? null);
        } catch {
          return;
        }
        queueMicrotask(() => {
          for (const listener of [...hearing]) {
            // One that was taken away by another one before it was told stays untold.
            if (!hearing.has(listener)) continue;
            try {
              listener(JSON.parse(text));
            } catch {
              // Broadcasts only save time: a listener that breaks must not keep the others from hearing.
            }
          }
        });
      },
      listen(topic, listener) {
        check();
        const hearing = listeners.get(topic) ?? new Set();
        listeners.set(topic, hearing);
        // A function of its own, so that the same listener can be told twice and be taken away once.
        const own = (payload: unknown) => listener(payload);
        hearing.add(own);
        const end = () => {
          hearing.delete(own);
          if (hearing.size === 0 && listeners.get(topic) === hearing) listeners.delete(topic);
          const index = endings.indexOf(end);
          if (index >= 0) endings.splice(index, 1);
        };
        endings.push(end);
        return end;
      },
      async ping() {
        check();
      },
      close() {
        closing ??= (async () => {
          await Promise.all([...consumers].map(closeConsumer));
          endListening();
          isClosed = true;
        })();
        return closing;
      },
      cut() {
        if (isCut || isClosed) return;
        isCut = true;
        endListening();
        for (const consumer of [...consumers]) {
          detach(consumer);
          const handed = [...consumer.handed];
          consumer.handed.clear();
          for (const { queue, entry } of handed.reverse()) {
            queue.unacknowledged -= 1;
            queue.ready.unshift(entry);
          }
          for (const queue of consumer.queues) wake(queue);
          consumer.onIdle?.();
        }
      },
    };
  }

  return {
    connect,
    queues: async () => [
      ...[...queues.values()].map((queue) => ({
        name: queue.name,
        depth: queue.ready.length + queue.delayed,
        inHand: queue.unacknowledged,
        publishRate: queue.published.perSecond(),
        ackRate: queue.acknowledged.perSecond(),
        consumers: queue.consumers.length,
      })),
      { name: deadLetterQueue, depth: await deadLetters.count({ index: 'at' }), inHand: beingTaken.size, publishRate: null, ackRate: null, consumers: 0 },
    ],
    depths: () => [...queues.values()].map(({ name, ready, delayed, unacknowledged }) => ({ name, ready: ready.length + delayed, unacknowledged })),
  };
}

/** First in, first out, with a way back to the front; each in constant time. */
class Fifo<T> {
  private items: (T | undefined)[] = [];
  private head = 0;

  get length(): number {
    return this.items.length - this.head;
  }

  push(item: T): void {
    this.items.push(item);
  }

  unshift(item: T): void {
    if (this.head === 0) {
      this.items.unshift(item);
    } else {
      this.head -= 1;
      this.items[this.head] = item;
    }
  }

  shift(): T | undefined {
    const item = this.items[this.head];
    if (this.head >= this.items.length) return undefined;
    this.items[this.head] = undefined;
    this.head += 1;
    if (this.head > 1024 && this.head * 2 > this.items.length) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    return item;
  }
}
