/** The embedded bus against the bus contract, and its own limits and delays. */
import { describe, expect, test } from 'vitest';
import { deadLetterCollection } from '../../shared/bus/dead-letter-collection.ts';
import { type EmbeddedBusOptions, embeddedBroker, embeddedBus } from '../../shared/bus/embedded.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { virtualClock } from '../../shared/clock/virtual.ts';
import { memoryStore } from '../../shared/store/memory.ts';
import { until } from '../support/until.ts';
import { busContract } from './bus.contract.ts';

async function options(overrides: Partial<EmbeddedBusOptions> = {}): Promise<EmbeddedBusOptions> {
  return { deadLetters: await memoryStore().collection(deadLetterCollection), clock: systemClock(), ...overrides };
}

busContract(
  'embedded',
  async () => {
    const broker = embeddedBroker(await options());
    const other = broker.connect();
    return { bus: broker.connect(), other, cutOther: async () => other.cut(), dispose: async () => {} };
  },
  { ordered: true },
);

const topology = { queues: [{ name: 'one', bindings: ['one'] }] };

describe('the embedded bus', () => {
  test('its queues have a limit, and take messages again when there is room', async () => {
    const bus = embeddedBus(await options({ messagesMax: 3 }));
    await bus.assert(topology);
    for (const id of ['1', '2', '3']) await bus.publish({ id, routingKey: 'one', body: '' });
    await expect(bus.publish({ id: '4', routingKey: 'one', body: '' })).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
    let seen = 0;
    await bus.subscribe({ queues: ['one'], prefetch: 1 }, async () => {
      seen += 1;
      return 'ack';
    });
    await until(() => seen === 3);
    await bus.publish({ id: '4', routingKey: 'one', body: '' });
    await until(() => seen === 4);
    await bus.close();
  });

  test('a dead letter that cannot be stored is not forgotten: the message comes again', async () => {
    const clock = virtualClock({ seed: 1, startMs: 0 });
    const { deadLetters } = await options();
    let failures = 2;
    const bus = embeddedBus({
      clock,
      deadLetters: {
        ...deadLetters,
        insert: (letter) => {
          failures -= 1;
          return failures >= 0 ? Promise.reject(new Error('planted: the store is away')) : deadLetters.insert(letter);
        },
      },
    });
    await bus.assert(topology);
    await bus.publish({ id: 'm', routingKey: 'one', body: 'x' });
    await bus.subscribe({ queues: ['one'], prefetch: 1 }, async () => ({ deadLetter: 'unreadable' }));
    expect(await clock.run(() => failures < 0, { timersMax: 10 })).toBe('done');
    expect(await bus.deadLetters(5)).toMatchObject([{ id: 'm', attempts: 3, at: '1970-01-01T00:00:00.030Z' }]);
    await bus.close();
  });

  test('the delay of a message that is handed back again and again grows to a second and no further', async () => {
    const clock = virtualClock({ seed: 1, startMs: 0 });
    const bus = embeddedBus(await options({ clock }));
    await bus.assert(topology);
    const at: number[] = [];
    await bus.subscribe({ queues: ['one'], prefetch: 1 }, async () => {
      at.push(clock.now());
      return 'requeue';
    });
    await bus.publish({ id: 'm', routingKey: 'one', body: '' });
    await clock.run(() => at.length === 12, { timersMax: 20 });
    expect(at.slice(1).map((time, index) => time - (at[index] ?? 0))).toEqual([10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000]);
    await bus.close();
  });

  test('a flood of messages leaves the event loop to others', async () => {
    const bus = embeddedBus(await options());
    await bus.assert(topology);
    let handled = 0;
    for (let index = 0; index < 20_000; index += 1) await bus.publish({ id: String(index), routingKey: 'one', body: '' });
    await bus.subscribe({ queues: ['one'], prefetch: 64 }, async () => {
      handled += 1;
      return 'ack';
    });
    const atTurns: number[] = [];
    while (handled < 20_000) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      atTurns.push(handled);
    }
    expect(Math.max(...atTurns.map((count, index) => count - (atTurns[index - 1] ?? 0)))).toBeLessThanOrEqual(1024);
    await bus.close();
  });

  test('depths tell what waits and what is in hand', async () => {
    const broker = embeddedBroker(await options());
    const bus = broker.connect();
    await bus.assert(topology);
    for (const id of ['1', '2', '3']) await bus.publish({ id, routingKey: 'one', body: '' });
    let release = () => {};
    await bus.subscribe({ queues: ['one'], prefetch: 1 }, async () => {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      return 'ack';
    });
    await until(() => release.name !== 'release');
    expect(broker.depths()).toEqual([{ name: 'one', ready: 2, unacknowledged: 1 }]);
    bus.cut();
    expect(broker.depths()).toEqual([{ name: 'one', ready: 3, unacknowledged: 0 }]);
  });
});
