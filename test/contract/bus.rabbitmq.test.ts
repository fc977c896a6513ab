/** The RabbitMQ bus against the bus contract, on a real broker, and what only a broker can do to it. */
import { connect } from 'amqplib';
import { afterEach, test as base, describe, expect } from 'vitest';
import type { Bus, Delivery, Message } from '../../shared/bus/bus.ts';
import { brokerObjects } from '../../shared/bus/rabbitmq/broker-objects.ts';
import { rabbitMqBus } from '../../shared/bus/rabbitmq.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { managementApi, type RabbitMq, type VirtualHost, virtualHost } from '../support/servers/rabbitmq.ts';
import { sharedRabbitMq } from '../support/servers/shared.ts';
import { type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/until.ts';
import { busContract } from './bus.contract.ts';

let count = 0;
/** The shared one may have to be started first. */
const startTimeoutMs = 120_000;

interface Place {
  readonly server: RabbitMq;
  readonly host: VirtualHost;
  readonly proxy: TcpProxy;
  /** The virtual host through the proxy. Heartbeats every second. */
  readonly proxiedUrl: string;
  dispose(): Promise<void>;
}

async function place(): Promise<Place | string> {
  const server = await sharedRabbitMq();
  if (typeof server === 'string') return server;
  count += 1;
  const host = await virtualHost(server, `bus ${process.pid} ${count}`);
  const proxied = new URL(host.url);
  const proxy = await tcpProxy({ host: proxied.hostname, port: Number(proxied.port) });
  proxied.hostname = '127.0.0.1';
  proxied.port = String(proxy.port);
  proxied.searchParams.set('heartbeat', '1');
  return {
    server,
    host,
    proxy,
    proxiedUrl: proxied.href,
    dispose: async () => {
      await proxy.close();
      await host.remove();
    },
  };
}

const isReady = (bus: Bus) =>
  bus.ping().then(
    () => true,
    () => false,
  );
const clock = systemClock();

busContract(
  'RabbitMQ',
  async () => {
    const at = await place();
    if (typeof at === 'string') return at;
    const bus = rabbitMqBus({ url: at.host.url, clock, worker: 'one' });
    const other = rabbitMqBus({ url: at.proxiedUrl, clock, worker: 'other' });
    // The contract's second client is there from the start.
    await until(() => isReady(other));
    return {
      bus,
      other,
      cutOther: async () => {
        at.proxy.cut();
        await until(async () => !(await isReady(other)));
      },
      dispose: at.dispose,
    };
  },
  { ordered: true },
);

interface Client {
  readonly bus: Bus;
  /** What it said is wrong. */
  readonly troubles: string[];
}

interface Fixture {
  readonly at: Place;
  client(url?: string): Client;
}

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const test = base.extend<{ f: Fixture }>({
  f: async ({ skip }, use) => {
    const at = await place();
    if (typeof at === 'string') return skip(at);
    closers.push(at.dispose);
    await use({
      at,
      client: (url = at.host.url) => {
        const troubles: string[] = [];
        const bus = rabbitMqBus({
          url,
          clock,
          worker: 'test',
          onTrouble: (error, what) => troubles.push(`${what}: ${error instanceof Error ? error.message : ''}`),
        });
        closers.push(() => bus.close());
        return { bus, troubles };
      },
    });
  },
});

const topology = { queues: [{ name: 'one', bindings: ['thing.one'] }] };
let counter = 0;
const message = (routingKey = 'thing.one'): Message => {
  counter += 1;
  return { id: `m${counter}`, routingKey, body: '{}' };
};
const collect = async (bus: Bus, queue = 'one'): Promise<Delivery[]> => {
  const seen: Delivery[] = [];
  await bus.subscribe({ queues: [queue], prefetch: 10 }, async (delivery) => {
    seen.push(delivery);
    return 'ack';
  });
  return seen;
};
/** Declares and publishes as somebody else on the same broker would. */
async function stranger(at: Place) {
  const model = await connect(at.host.url);
  closers.push(() => model.close());
  const channel = await model.createChannel();
  channel.on('error', () => {});
  return channel;
}
const queueApi = (at: Place, name: string) => `queues/${encodeURIComponent(at.host.name)}/${encodeURIComponent(name)}`;

describe('the RabbitMQ bus', { timeout: startTimeoutMs }, () => {
  describe('its topology', () => {
    test('is on the broker as it is in the data: quorum queues with every argument said', async ({ f: { at, client } }) => {
      const wanted = { queues: [...topology.queues, { name: 'two', bindings: ['a.b', 'c'], deliveriesMax: 7 }] };
      await client().bus.assert(wanted);
      const { exchanges, queues, bindings } = brokerObjects(wanted);
      for (const { name, arguments: args } of queues) {
        expect(await managementApi(at.server.managementUrl, 'GET', queueApi(at, name))).toMatchObject({ name, durable: true, type: 'quorum', arguments: args });
      }
      for (const { name, type } of exchanges) {
        const path = `exchanges/${encodeURIComponent(at.host.name)}/${name}`;
        expect(await managementApi(at.server.managementUrl, 'GET', path)).toMatchObject({ type, durable: true });
        const found = (await managementApi(at.server.managementUrl, 'GET', `${path}/bindings/source`)) as { destination: string; routing_key: string }[];
        // Each process hears broadcasts in a queue of its own, whose name the broker makes up.
        const named = found.filter(({ destination }) => !destination.startsWith('amq.gen-'));
        expect(named.map(({ destination, routing_key }) => `${destination} ${routing_key}`).sort()).toEqual(
          bindings
            .filter(({ exchange }) => exchange === name)
            .map(({ queue, key }) => `${queue} ${key}`)
            .sort(),
        );
      }
    });

    test('what stands in another shape is told by name with what differs, all at once, and the rest is made', async ({ f: { at, client } }) => {
      const channel = await stranger(at);
      await channel.assertQueue('one', { durable: true });
      await channel.assertQueue('two', { durable: true, arguments: { ...brokerObjects(topology).queues[1]?.arguments, 'x-delivery-limit': 3 } });
      const { bus } = client();
      const error = await bus.assert({ queues: [...topology.queues, { name: 'two', bindings: ['b'] }, { name: 'three', bindings: ['c'] }] }).then(
        () => undefined,
        (thrown: unknown) => thrown as { code: string; message: string; details: string[] },
      );
      expect(error).toMatchObject({ code: 'BUS_TOPOLOGY_DRIFT' });
      expect(error?.details).toHaveLength(2);
      expect(error?.details.join('\n')).toMatch(/inequivalent arg '[a-z-]+' for queue 'one'/);
      expect(error?.details.join('\n')).toMatch(/x-delivery-limit.*'two'.*received '50' but current is '3'/);
      await bus.publish(message('c'));
    });

    test('a queue that somebody bound to everything is noticed, since then nothing is unroutable', async ({ f: { at, client } }) => {
      const quiet = client();
      await quiet.bus.assert(topology);
      expect(quiet.troubles).toEqual([]);
      const channel = await stranger(at);
      const { queue } = await channel.assertQueue('', { exclusive: true });
      await channel.bindQueue(queue, 'spindle', '#');
      const { bus, troubles } = client();
      await bus.assert(topology);
      expect(troubles.join()).toContain('bound to everything');
    });

    test('a queue that is full refuses, and the publisher is told', async ({ f: { at, client } }) => {
      const { bus } = client();
      await bus.assert(topology);
      await managementApi(at.server.managementUrl, 'PUT', `policies/${encodeURIComponent(at.host.name)}/short`, {
        pattern: '^one$',
        definition: { 'max-length': 2 },
        'apply-to': 'queues',
      });
      await until(async () => {
        const refused = await bus.publish(message()).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (refused !== undefined) expect(refused).toMatchObject({ code: 'BUS_UNAVAILABLE' });
        return refused !== undefined;
      });
    });
  });

  describe('messages of strangers', () => {
    test('one without an id has one that is always the same, and one that is no text does not stop anybody', async ({ f: { at, client } }) => {
      const { bus } = client();
      await bus.assert(topology);
      const channel = await stranger(at);
      channel.publish('spindle', 'thing.one', Buffer.from('no id'));
      channel.publish('spindle', 'thing.one', Buffer.from('no id'));
      channel.publish('spindle', 'thing.one', Buffer.from([0xff, 0xfe, 0x00]), { headers: { 'spindle-requeues': 'many', 'x-delivery-count': -5 } });
      const seen = await collect(bus);
      await until(() => seen.length === 3);
      expect(seen[0]?.id).toMatch(/^[0-9a-f-]{36}$/);
      expect(seen[1]?.id).toBe(seen[0]?.id);
      expect(seen.every(({ redelivered }) => !redelivered)).toBe(true);
    });

    test('one that is given up goes to the dead letters byte for byte, its reason beside it', async ({ f: { at, client } }) => {
      const { bus } = client();
      await bus.assert(topology);
      const body = Buffer.from([0xff, 0x00, 0x7b]);
      const channel = await stranger(at);
      channel.publish('spindle', 'thing.one', body, { messageId: 'odd' });
      await bus.subscribe({ queues: ['one'], prefetch: 1 }, async () => ({ deadLetter: 'it is not JSON' }));
      const letter = await until(async () => (await bus.deadLetters(1))[0]);
      expect(letter).toMatchObject({ id: 'odd', queue: 'one', routingKey: 'thing.one', reason: 'it is not JSON', code: 'MESSAGE_UNREADABLE', attempts: 1 });
      const kept = await channel.get('spindle.dead-letters');
      if (!kept) throw new Error('the dead letter is not in its queue');
      expect(kept.content.equals(body)).toBe(true);
      expect(kept.fields.routingKey).toBe('thing.one');
    });
  });

  describe('the limit of deliveries', () => {
    test('makes a dead letter of a message whose readers vanish with it', async ({ f: { at, client } }) => {
      const { bus } = client();
      await bus.assert({ queues: [{ name: 'one', bindings: ['thing.one'], deliveriesMax: 3 }] });
      const sent = message();
      await bus.publish(sent);
      for (let times = 0; times < 4; times += 1) {
        const model = await connect(at.host.url);
        const channel = await model.createChannel();
        await new Promise<void>((resolve) => void channel.consume('one', () => resolve()));
        await model.close();
      }
      const letter = await until(async () => (await bus.deadLetters(5))[0]);
      expect(letter).toMatchObject({ id: sent.id, queue: 'one', routingKey: 'thing.one', code: 'DELIVERY_LIMIT', body: '{}' });
      expect(Date.parse(letter.at)).toBeGreaterThan(Date.now() - 60_000);
    });

    test('does not count what handlers hand back, which may be for hours', async ({ f: { client } }) => {
      const { bus } = client();
      await bus.assert({ queues: [{ name: 'one', bindings: ['thing.one'], deliveriesMax: 2 }] });
      const seen: Delivery[] = [];
      await bus.subscribe({ queues: ['one'], prefetch: 1 }, async (delivery) => {
        seen.push(delivery);
        return seen.length < 7 ? 'requeue' : 'ack';
      });
      const sent = message();
      await bus.publish(sent);
      await until(() => seen.length === 7);
      expect(new Set(seen.map(({ id, routingKey, queue }) => `${id} ${routingKey} ${queue}`))).toEqual(new Set([`${sent.id} thing.one one`]));
      expect(await bus.deadLetters(5)).toEqual([]);
    });
  });

  describe('a broker that goes away', () => {
    test('while it is away everything is refused at once; when it is back subscribers, broadcasts and publishers go on', async ({ f: { at, client } }) => {
      const { bus, troubles } = client(at.proxiedUrl);
      await bus.assert(topology);
      const seen = await collect(bus);
      const heard: unknown[] = [];
      bus.listen('topic', (payload) => heard.push(payload));
      await bus.publish(message());
      await until(() => seen.length === 1);
      for (let times = 1; times <= 3; times += 1) {
        at.proxy.cut();
        await until(async () => !(await isReady(bus)));
        await expect(bus.publish(message())).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
        await expect(bus.deadLetters(1)).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
        expect(() => bus.broadcast('topic', 'lost')).not.toThrow();
        at.proxy.heal();
        await until(() => isReady(bus), { timeoutMs: 15_000 });
        const sent = message();
        await bus.publish(sent);
        // What was acknowledged just when the connection was lost may come again.
        await until(() => seen.some(({ id }) => id === sent.id));
        await until(() => {
          bus.broadcast('topic', times);
          return heard.at(-1) === times;
        });
      }
      expect(heard).not.toContain('lost');
      expect(troubles.join('\n')).toContain('is gone');
      expect(troubles.join('\n')).not.toContain('guest');
    });

    test('what is subscribed to while it is away is read when it is back', async ({ f: { at, client } }) => {
      const { bus } = client(at.proxiedUrl);
      await bus.assert(topology);
      await bus.publish(message());
      at.proxy.cut();
      await until(async () => !(await isReady(bus)));
      const seen = await collect(bus);
      at.proxy.heal();
      await until(() => seen.length === 1, { timeoutMs: 15_000 });
    });

    test('a peer that is silent on an open socket is given up by its heartbeats', async ({ f: { at, client } }) => {
      const { bus } = client(at.proxiedUrl);
      await bus.assert(topology);
      const seen = await collect(bus);
      at.proxy.stall();
      const startedAt = performance.now();
      await expect(bus.ping()).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
      await expect(bus.publish(message())).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
      // Two to three intervals of a second.
      expect(performance.now() - startedAt).toBeLessThan(6_000);
      at.proxy.heal();
      await until(() => isReady(bus), { timeoutMs: 30_000 });
      await bus.publish(message());
      await until(() => seen.length === 1);
    });

    test('a broker that lost everything has its topology again, and the same subscriptions go on', async ({ f: { at, client } }) => {
      const { bus } = client(at.proxiedUrl);
      await bus.assert(topology);
      const seen = await collect(bus);
      at.proxy.cut();
      await until(async () => !(await isReady(bus)));
      await at.host.remove();
      await virtualHost(at.server, at.host.name);
      at.proxy.heal();
      await until(() => isReady(bus), { timeoutMs: 15_000 });
      await bus.publish(message());
      await until(() => seen.length === 1, { timeoutMs: 15_000 });
    });

    test('a queue that was deleted under its reader is made and read again', async ({ f: { at, client } }) => {
      const { bus } = client();
      await bus.assert({ queues: [...topology.queues, { name: 'two', bindings: ['thing.two'] }] });
      const seen: Delivery[] = [];
      await bus.subscribe({ queues: ['one', 'two'], prefetch: 4 }, async (delivery) => {
        seen.push(delivery);
        return 'ack';
      });
      await bus.publish(message());
      await until(() => seen.length === 1);
      await managementApi(at.server.managementUrl, 'DELETE', queueApi(at, 'one'));
      await until(() =>
        bus.publish(message()).then(
          () => true,
          () => false,
        ),
      );
      await until(() => seen.length === 2);
      await managementApi(at.server.managementUrl, 'DELETE', queueApi(at, 'two'));
      await until(() =>
        bus.publish(message('thing.two')).then(
          () => true,
          () => false,
        ),
      );
      await until(() => seen.length === 3);
      await bus.publish(message('thing.two'));
      await until(() => seen.length === 4);
    });

    test('a queue without a reader that was deleted is made again by whoever publishes to it', async ({ f: { at, client } }) => {
      const { bus } = client();
      await bus.assert(topology);
      await managementApi(at.server.managementUrl, 'DELETE', queueApi(at, 'one'));
      await bus.publish(message());
      await expect(bus.publish(message('nobody'))).rejects.toMatchObject({ code: 'BUS_UNROUTABLE' });
      const seen = await collect(bus);
      await until(() => seen.length === 1);
    });

    test('a start waits for it, and says where it looked when it does not come', async ({ f: { at, client } }) => {
      at.proxy.cut();
      const { bus } = client(at.proxiedUrl);
      const asserted = bus.assert(topology);
      await expect(bus.publish(message())).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE', message: expect.stringContaining(`127.0.0.1:${at.proxy.port}`) });
      at.proxy.heal();
      await asserted;
      await bus.publish(message());
    });

    test('a wrong password is told as such, without the password', async ({ f: { at, client } }) => {
      const wrong = new URL(at.host.url);
      wrong.password = 'hunter2';
      const { bus, troubles } = client(wrong.href);
      await until(() => troubles.length > 0);
      expect(troubles.join()).toContain('ACCESS');
      expect(troubles.join()).not.toContain('hunter2');
      await expect(bus.ping()).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE', message: expect.not.stringContaining('hunter2') });
    });
  });
});
