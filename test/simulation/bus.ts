/** A broker with bad luck: the bus port with duplicates, reordering, delays, lost channels, acknowledgements and confirms. It outlives the processes that use it. */
import { SpindleError } from '../../shared/build/failure.ts';
import type { Bus, Delivery, Disposition, Message, Subscription, Topology } from '../../shared/bus/bus.ts';
import type { DeadLetter } from '../../shared/bus/dead-letter.ts';
import { routingKeyMatches } from '../../shared/bus/routing-key.ts';
import type { VirtualClock } from '../../shared/clock/virtual.ts';
import type { Faults } from './faults.ts';
import type { SimulatedProcess } from './process.ts';

interface Queued {
  readonly message: Message;
  readonly redelivered: boolean;
}

interface Subscriber {
  readonly process: SimulatedProcess;
  readonly queues: readonly string[];
  readonly prefetch: number;
  readonly handler: (delivery: Delivery) => Promise<Disposition>;
  readonly inHand: Map<number, { readonly queue: string; readonly queued: Queued }>;
  isPaused: boolean;
  isClosed: boolean;
}

export interface BusWatcher {
  published(message: Message, process: SimulatedProcess): void;
  /** The same delivery is named when it is acknowledged. */
  handedOut(delivery: Delivery): void;
  acknowledged(delivery: Delivery, process: SimulatedProcess, othersInHand: number): Promise<void>;
}

export interface SimulatedBus {
  /** The bus as one process has it. */
  connect(process: SimulatedProcess): Bus;
  /** What a restart of an embedded bus does: all messages are gone, also those in hand. */
  empty(): void;
  /** Messages queued or in hand. */
  depth(): number;
  readonly deadLetters: readonly DeadLetter[];
}

export function simulatedBus(options: {
  readonly clock: VirtualClock;
  readonly random: () => number;
  readonly faults: Faults;
  readonly watcher: BusWatcher;
}): SimulatedBus {
  const { clock, random, faults, watcher } = options;
  const queues = new Map<string, { readonly bindings: Set<string>; messages: Queued[] }>();
  const subscribers: Subscriber[] = [];
  const listeners = new Map<string, Set<{ readonly process: SimulatedProcess; readonly listener: (payload: unknown) => void }>>();
  const deadLetters: DeadLetter[] = [];
  let nextTag = 0;
  let waiting = 0;

  const between = (fromMs: number, toMs: number) => fromMs + Math.floor(random() * (toMs - fromMs));

  const enqueue = (name: string, queued: Queued, delayMs: number): void => {
    waiting += 1;
    clock.after(delayMs, () => {
      waiting -= 1;
      const queue = queues.get(name);
      if (!queue) return;
      const place = faults.strikes('reorder') ? Math.floor(random() * (queue.messages.length + 1)) : queue.messages.length;
      queue.messages.splice(place, 0, queued);
      pump(name);
    });
  };

  const pump = (name: string): void => {
    const queue = queues.get(name);
    while (queue && queue.messages.length > 0) {
      const free = subscribers.filter(
        (each) => each.queues.includes(name) && !each.isPaused && !each.isClosed && !each.process.isDead() && each.inHand.size < each.prefetch,
      );
      const chosen = free[Math.floor(random() * free.length)];
      const queued = queue.messages[0];
      if (!chosen || !queued) return;
      queue.messages.shift();
      deliver(chosen, name, queued);
    }
  };

  const deliver = (subscriber: Subscriber, queue: string, queued: Queued): void => {
    const tag = nextTag;
    nextTag += 1;
    subscriber.inHand.set(tag, { queue, queued });
    const delivery: Delivery = { ...queued.message, queue, redelivered: queued.redelivered };
    watcher.handedOut(delivery);
    if (faults.strikes('channel lost')) {
      clock.after(between(1, 20_000), () => {
        if (subscriber.inHand.delete(tag)) enqueue(queue, { ...queued, redelivered: true }, 1);
      });
    }
    const settle = async (disposition: Disposition): Promise<void> => {
      if (!subscriber.inHand.has(tag)) return;
      if (disposition === 'ack' && faults.strikes('acknowledgement lost')) {
        subscriber.inHand.delete(tag);
        enqueue(queue, { ...queued, redelivered: true }, between(1, 5_000));
      } else if (disposition === 'ack') {
        const others = subscribers.flatMap(({ inHand }) => [...inHand.values()]).filter((each) => each.queued.message.id === queued.message.id).length - 1;
        await watcher.acknowledged(delivery, subscriber.process, others);
        subscriber.inHand.delete(tag);
      } else if (disposition === 'requeue') {
        subscriber.inHand.delete(tag);
        enqueue(queue, { ...queued, redelivered: true }, between(50, 1_000));
      } else {
        subscriber.inHand.delete(tag);
        deadLetters.push({
          id: queued.message.id,
          at: '',
          stage: 'bus',
          queue,
          routingKey: queued.message.routingKey,
          reason: disposition.deadLetter,
          code: 'INTERNAL',
          attempts: 1,
          body: queued.message.body,
        });
      }
      for (const name of subscriber.queues) pump(name);
    };
    void subscriber.process
      .gate()
      .then(() => subscriber.handler(delivery))
      .catch((): Disposition => 'requeue')
      .then((disposition) => subscriber.process.gate().then(() => settle(disposition)));
  };

  const connect = (process: SimulatedProcess): Bus => {
    process.onDeath(() => {
      for (const subscriber of subscribers.filter((each) => each.process === process)) {
        for (const { queue, queued } of subscriber.inHand.values()) enqueue(queue, { ...queued, redelivered: true }, between(1, 2_000));
        subscriber.inHand.clear();
        subscribers.splice(subscribers.indexOf(subscriber), 1);
      }
    });
    return {
      assert: async ({ queues: wanted }: Topology) => {
        for (const { name, bindings } of wanted) queues.set(name, { bindings: new Set(bindings), messages: queues.get(name)?.messages ?? [] });
      },
      publish: async (message) => {
        await process.gate();
        if (faults.strikes('publish refused')) throw new SpindleError('BUS_UNAVAILABLE', 'the simulated broker refused');
        watcher.published(message, process);
        const bound = [...queues].filter(([, { bindings }]) => [...bindings].some((binding) => routingKeyMatches(binding, message.routingKey)));
        if (bound.length === 0 && message.mandatory !== false) throw new SpindleError('BUS_UNROUTABLE', `no queue for ${message.routingKey}`);
        for (const [name] of bound) {
          for (let copies = faults.strikes('duplicate') ? 2 : 1; copies > 0; copies -= 1) {
            enqueue(name, { message, redelivered: false }, faults.strikes('delay') ? between(1_000, 60_000) : between(1, 10));
          }
        }
        if (faults.strikes('confirm lost')) throw new SpindleError('BUS_UNAVAILABLE', 'the simulated broker did not confirm');
        await process.gate();
      },
      subscribe: async ({ queues: names, prefetch }, handler) => {
        const subscriber: Subscriber = { process, queues: names, prefetch, handler, inHand: new Map(), isPaused: false, isClosed: false };
        subscribers.push(subscriber);
        for (const name of names) pump(name);
        const subscription: Subscription = {
          pause: () => {
            subscriber.isPaused = true;
          },
          resume: () => {
            subscriber.isPaused = false;
            for (const name of names) pump(name);
          },
          close: async () => {
            subscriber.isClosed = true;
            while (subscriber.inHand.size > 0 && !process.isDead()) await clock.sleep(100);
          },
        };
        return subscription;
      },
      deadLetter: async (letter) => {
        await process.gate();
        if (!deadLetters.some(({ id, stage }) => id === letter.id && stage === letter.stage)) deadLetters.push(letter);
      },
      deadLetters: async (limit) => deadLetters.slice(0, limit),
      takeDeadLetter: async (id, act) => {
        const found = deadLetters.find((letter) => letter.id === id);
        if (!found) return false;
        await act(found);
        deadLetters.splice(deadLetters.indexOf(found), 1);
        return true;
      },
      broadcast: (topic, payload) => {
        if (process.isDead()) return;
        for (const each of listeners.get(topic) ?? []) {
          if (faults.strikes('broadcast lost')) continue;
          clock.after(1, () => void each.process.gate().then(() => each.listener(payload)));
        }
      },
      listen: (topic, listener) => {
        const entry = { process, listener };
        const all = listeners.get(topic) ?? new Set();
        listeners.set(topic, all.add(entry));
        process.onDeath(() => all.delete(entry));
        return () => void all.delete(entry);
      },
      ping: async () => undefined,
      close: async () => undefined,
    };
  };

  return {
    connect,
    empty: () => {
      for (const queue of queues.values()) queue.messages = [];
      for (const subscriber of subscribers) subscriber.inHand.clear();
    },
    depth: () =>
      waiting + [...queues.values()].reduce((sum, { messages }) => sum + messages.length, 0) + subscribers.reduce((sum, { inHand }) => sum + inHand.size, 0),
    deadLetters,
  };
}
