/** What every bus adapter promises, happy half and unhappy half. Called by the adapters' own small test files. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Bus, Delivery, Disposition, Message } from '../../shared/bus/bus.ts';
import type { DeadLetter } from '../../shared/bus/dead-letter.ts';
import { until } from '../support/until.ts';

export interface BusSetup {
  readonly bus: Bus;
  /** A second client of the same queues. */
  readonly other: Bus;
  /** Ends the second client's connection as a crash would. */
  cutOther(): Promise<void>;
  dispose(): Promise<void>;
}

export interface BusPromises {
  /** One subscriber with prefetch 1 sees the messages of one publisher in their order. */
  readonly ordered: boolean;
}

const ack = async (): Promise<Disposition> => 'ack';

/** `make` resolves with a reason where there is no broker to try: the tests are skipped with it. */
export function busContract(name: string, make: () => Promise<BusSetup | string>, promises: BusPromises): void {
  describe(`the bus contract, ${name}`, () => {
    let setup: BusSetup;
    let bus: Bus;

    // The first one may wait for a broker to start.
    beforeEach(async ({ skip }) => {
      const made = await make();
      if (typeof made === 'string') return skip(made);
      setup = made;
      bus = setup.bus;
      await bus.assert({
        queues: [
          { name: 'one', bindings: ['thing.one'] },
          { name: 'two', bindings: ['thing.two', 'both'] },
          { name: 'any', bindings: ['wild.*', 'deep.#', 'both'] },
        ],
      });
    }, 120_000);
    afterEach(async () => {
      if (!setup) return;
      await bus.close();
      await setup.other.close().catch(() => {});
      await setup.dispose();
    });

    let counter = 0;
    const message = (routingKey: string, body = '{}'): Message => {
      counter += 1;
      return { id: `m${counter}`, routingKey, body };
    };
    /** Collects deliveries of a queue and acknowledges them. */
    const collect = async (queue: string, on: Bus = bus): Promise<Delivery[]> => {
      const seen: Delivery[] = [];
      await on.subscribe({ queues: [queue], prefetch: 10 }, async (delivery) => {
        seen.push(delivery);
        return 'ack';
      });
      return seen;
    };

    test('a message reaches each bound queue once, by exact key and by wildcard', async () => {
      const seen = { one: await collect('one'), two: await collect('two'), any: await collect('any') };
      for (const key of ['thing.one', 'thing.two', 'both', 'wild.x', 'deep', 'deep.a.b']) await bus.publish(message(key));
      await until(() => seen.one.length === 1 && seen.two.length === 2 && seen.any.length === 4);
      expect(seen.one.map(({ routingKey }) => routingKey)).toEqual(['thing.one']);
      expect(seen.two.map(({ routingKey }) => routingKey).sort()).toEqual(['both', 'thing.two']);
      expect(seen.any.map(({ routingKey }) => routingKey).sort()).toEqual(['both', 'deep', 'deep.a.b', 'wild.x']);
    });

    test('a delivery holds what was published, and says so when it is the first', async () => {
      const seen = await collect('one');
      const sent = message('thing.one', JSON.stringify({ text: '"ß\u0000\u{1f9f5}' }));
      await bus.publish(sent);
      await until(() => seen.length === 1);
      expect(seen[0]).toEqual({ ...sent, queue: 'one', redelivered: false });
    });

    test('a message that no queue is bound for is refused, or dropped where nobody needs to know', async () => {
      await expect(bus.publish(message('wild.x.y'))).rejects.toMatchObject({ code: 'BUS_UNROUTABLE' });
      await expect(bus.publish(message(''))).rejects.toMatchObject({ code: 'BUS_UNROUTABLE' });
      await expect(bus.publish({ ...message('nobody'), mandatory: false })).resolves.toBeUndefined();
    });

    test('a message waits for its first subscriber', async () => {
      const sent = message('thing.one');
      await bus.publish(sent);
      const seen = await collect('one');
      await until(() => seen.length === 1);
      expect(seen[0]?.id).toBe(sent.id);
    });

    test('asserting again keeps messages and adds bindings', async () => {
      await bus.publish(message('thing.one'));
      await bus.assert({ queues: [{ name: 'one', bindings: ['thing.one', 'late'] }] });
      await bus.publish(message('late'));
      const seen = await collect('one');
      await until(() => seen.length === 2);
    });

    test('competing subscribers share a queue, and each message goes to one of them', async () => {
      const first = await collect('one');
      const second = await collect('one', setup.other);
      const sent = Array.from({ length: 100 }, () => message('thing.one'));
      await Promise.all(sent.map((one) => bus.publish(one)));
      await until(() => first.length + second.length >= 100);
      expect([...first, ...second].map(({ id }) => id).sort()).toEqual(sent.map(({ id }) => id).sort());
      expect(Math.min(first.length, second.length)).toBeGreaterThan(0);
    });

    test('no more than prefetch messages are in a subscriber’s hands', async () => {
      let inHand = 0;
      let most = 0;
      let done = 0;
      const release: (() => void)[] = [];
      await bus.subscribe({ queues: ['one', 'two'], prefetch: 3 }, async () => {
        inHand += 1;
        most = Math.max(most, inHand);
        await new Promise<void>((resolve) => release.push(resolve));
        inHand -= 1;
        done += 1;
        return 'ack';
      });
      for (let index = 0; index < 10; index += 1) await bus.publish(message(index % 2 ? 'thing.one' : 'thing.two'));
      await until(() => {
        if (inHand === 3) release.shift()?.();
        return done >= 7;
      });
      await until(() => {
        release.shift()?.();
        return done === 10;
      });
      expect(most).toBe(3);
    });

    test('one subscriber of several queues is handed all of them, none starved', async () => {
      const seen: Delivery[] = [];
      for (let index = 0; index < 50; index += 1) await bus.publish(message('thing.one'));
      for (let index = 0; index < 5; index += 1) await bus.publish(message('thing.two'));
      await bus.subscribe({ queues: ['one', 'two'], prefetch: 1 }, async (delivery) => {
        seen.push(delivery);
        return 'ack';
      });
      await until(() => seen.length === 55);
      expect(seen.slice(0, 25).filter(({ queue }) => queue === 'two').length).toBeGreaterThan(1);
    });

    test('a requeued message comes again, marked as redelivered', async () => {
      const seen: Delivery[] = [];
      await bus.subscribe({ queues: ['one'], prefetch: 1 }, async (delivery) => {
        seen.push(delivery);
        return seen.length < 3 ? 'requeue' : 'ack';
      });
      const sent = message('thing.one');
      await bus.publish(sent);
      await until(() => seen.length === 3);
      expect(seen.map(({ id }) => id)).toEqual([sent.id, sent.id, sent.id]);
      expect(seen.map(({ redelivered }) => redelivered)).toEqual([false, true, true]);
    });

    test('a requeued message is the same for whoever takes it next, and others are not kept waiting by it', async () => {
      const sent = message('thing.two', '{"of":"the first"}');
      const seen: Delivery[] = [];
      const first = await setup.other.subscribe({ queues: ['two'], prefetch: 2 }, async ({ id }) => (id === sent.id ? 'requeue' : 'ack'));
      await bus.publish(sent);
      for (let index = 0; index < 5; index += 1) await bus.publish(message('thing.two'));
      await bus.subscribe({ queues: ['two'], prefetch: 2 }, async (delivery) => {
        seen.push(delivery);
        return 'ack';
      });
      await until(() => seen.some(({ id }) => id === sent.id));
      expect(seen.find(({ id }) => id === sent.id)).toEqual({ ...sent, queue: 'two', redelivered: expect.any(Boolean) });
      await first.close();
    });

    test('a subscriber that pauses before it answers is handed nothing more, and what came too many goes to others', async () => {
      const taken: string[] = [];
      const full = await setup.other.subscribe({ queues: ['one', 'two'], prefetch: 3 }, async ({ id }) => {
        // As a stage with two slots does whose message is answered as soon as its claim is stored.
        if (taken.length >= 2) return 'requeue';
        taken.push(id);
        if (taken.length === 2) full.pause();
        return 'ack';
      });
      const sent = Array.from({ length: 12 }, (_, index) => message(index % 2 ? 'thing.one' : 'thing.two'));
      for (const one of sent) await bus.publish(one);
      await until(() => taken.length === 2);
      const others = [...(await Promise.all([collect('one'), collect('two')]))];
      await until(() => others.flat().length === 10);
      expect([...taken, ...others.flat().map(({ id }) => id)].sort()).toEqual(sent.map(({ id }) => id).sort());
      taken.length = 0;
      full.resume(1);
      for (let index = 0; index < 40; index += 1) await bus.publish(message('thing.one'));
      await until(() => taken.length > 0);
    });

    test('a subscriber that had little room for a while is handed as many as it can take when it has room', async () => {
      const release: (() => void)[] = [];
      const subscription = await bus.subscribe({ queues: ['one'], prefetch: 8 }, async () => {
        await new Promise<void>((resolve) => release.push(resolve));
        return 'ack';
      });
      subscription.pause();
      subscription.resume(1);
      await bus.publish(message('thing.one'));
      await until(() => release.length === 1);
      // Not idle, and with room for all but the one in hand.
      subscription.resume(8);
      for (let index = 0; index < 9; index += 1) await bus.publish(message('thing.one'));
      await until(() => release.length === 8);
      for (const resolve of release) resolve();
      await until(() => release.length === 10);
      for (const resolve of release) resolve();
    });

    test('many messages at once are all taken or refused, each by what it is', async () => {
      const seen = await collect('one');
      const results = await Promise.allSettled(
        Array.from({ length: 3000 }, (_, index) =>
          bus.publish({ id: `x${Math.floor(index / 3)}`, routingKey: index % 3 === 0 ? 'nobody' : 'thing.one', body: '{}' }),
        ),
      );
      expect(results.map(({ status }) => status)).toEqual(Array.from({ length: 3000 }, (_, index) => (index % 3 === 0 ? 'rejected' : 'fulfilled')));
      await until(() => seen.length === 2000);
    });

    test('a handler that rejects or throws counts as requeue, stops nobody, and does not spin', async () => {
      let calls = 0;
      const good: string[] = [];
      await bus.subscribe({ queues: ['one'], prefetch: 4 }, (delivery): Promise<Disposition> => {
        if (delivery.body === 'bad') {
          calls += 1;
          if (calls % 2) throw new Error('planted: thrown at once');
          return Promise.reject(new Error('planted: rejected'));
        }
        good.push(delivery.id);
        return ack();
      });
      const startedAt = performance.now();
      await bus.publish(message('thing.one', 'bad'));
      for (let index = 0; index < 20; index += 1) await bus.publish(message('thing.one'));
      await until(() => good.length === 20 && calls >= 4);
      // Doubling delays: four calls take 10 + 20 + 40 ms at least.
      expect((performance.now() - startedAt) / calls).toBeGreaterThan(5);
    });

    test('a message given up goes to the dead letters with its reason, and is not delivered again', async () => {
      let calls = 0;
      await bus.subscribe({ queues: ['one'], prefetch: 1 }, async () => {
        calls += 1;
        return { deadLetter: 'it is not JSON' };
      });
      const sent = message('thing.one', 'not JSON');
      await bus.publish(sent);
      const letters = await until(async () => {
        const found = await bus.deadLetters(10);
        return found.length > 0 && found;
      });
      expect(letters).toMatchObject([
        { id: sent.id, queue: 'one', routingKey: 'thing.one', body: 'not JSON', reason: 'it is not JSON', stage: 'bus', attempts: 1 },
      ]);
      const seen = await collect('two');
      await bus.publish(message('thing.two'));
      await until(() => seen.length === 1);
      expect(calls).toBe(1);
    });

    test('dead letters are kept once by id and come oldest first', async () => {
      const letter = (id: string, at: string): DeadLetter => ({
        id,
        at,
        stage: 'resolver',
        queue: 'one',
        routingKey: 'thing.one',
        reason: 'Koji is gone',
        code: 'KOJI_UNREACHABLE',
        buildId: 'b1',
        attempts: 6,
        body: '{}',
      });
      await bus.deadLetter(letter('late', '2026-11-22T10:00:02.000Z'));
      await bus.deadLetter(letter('early', '2026-11-22T10:00:01.000Z'));
      await bus.deadLetter({ ...letter('late', '2026-11-22T10:00:00.000Z'), reason: 'again' });
      expect(await bus.deadLetters(10)).toEqual([letter('early', '2026-11-22T10:00:01.000Z'), letter('late', '2026-11-22T10:00:02.000Z')]);
      expect(await setup.other.deadLetters(1)).toEqual([letter('early', '2026-11-22T10:00:01.000Z')]);
    });

    test('two who read the dead letters at once both see all of them', async () => {
      const letter = (id: string): DeadLetter => ({
        id,
        at: '2026-11-22T10:00:02.000Z',
        stage: 'resolver',
        queue: 'one',
        routingKey: 'thing.one',
        reason: 'Koji is gone — ça va “mal”',
        code: 'KOJI_UNREACHABLE',
        attempts: 6,
        body: '{}',
      });
      for (let index = 0; index < 20; index += 1) await bus.deadLetter(letter(`l${index}`));
      const [mine, theirs] = await Promise.all([bus.deadLetters(100), setup.other.deadLetters(100)]);
      expect(mine).toHaveLength(20);
      expect(theirs).toEqual(mine);
      expect(await bus.deadLetters(100)).toEqual(mine);
    });

    test('a dead letter is taken by one, for good once that is done; where it is not, the letter stays', async () => {
      const letter = (id: string, reason = 'Koji is gone'): DeadLetter => ({
        id,
        at: '2026-11-22T10:00:01.000Z',
        stage: 'resolver',
        queue: 'one',
        routingKey: 'thing.one',
        reason,
        code: 'KOJI_UNREACHABLE',
        attempts: 6,
        body: '{"a":1}',
      });
      for (const id of ['a', 'b']) await bus.deadLetter(letter(id));
      const seen: DeadLetter[] = [];
      const take = (on: Bus, id: string) =>
        on.takeDeadLetter(id, async (taken) => {
          seen.push(taken);
        });
      await expect(take(bus, 'nobody')).resolves.toBe(false);
      const planted = new Error('planted: it cannot be done now');
      await expect(bus.takeDeadLetter('a', () => Promise.reject(planted))).rejects.toBe(planted);
      expect(await bus.deadLetters(10)).toHaveLength(2);
      const outcomes = await Promise.all([take(bus, 'a'), take(setup.other, 'a'), take(bus, 'a')]);
      expect(outcomes.filter(Boolean)).toHaveLength(1);
      expect(seen).toEqual([letter('a')]);
      expect((await setup.other.deadLetters(10)).map(({ id }) => id)).toEqual(['b']);
      await expect(take(bus, 'a')).resolves.toBe(false);
      // What its reader gives up again meanwhile is another letter.
      let again: Promise<void> | undefined;
      const taken = await bus.takeDeadLetter('b', async () => {
        again = setup.other.deadLetter(letter('b', 'again'));
      });
      await again;
      expect(taken).toBe(true);
      expect((await bus.deadLetters(10)).map(({ reason }) => reason)).toEqual(['again']);
    });

    test('pause stops new deliveries but not those under way; resume goes on; each twice is once', async () => {
      const started: string[] = [];
      const release: (() => void)[] = [];
      const subscription = await bus.subscribe({ queues: ['one'], prefetch: 1 }, async ({ id }) => {
        started.push(id);
        await new Promise<void>((resolve) => release.push(resolve));
        return 'ack';
      });
      await bus.publish(message('thing.one'));
      await until(() => started.length === 1);
      subscription.pause();
      subscription.pause();
      await bus.publish(message('thing.one'));
      release.shift()?.();
      // What another queue's subscriber has seen in the meantime bounds how long the paused one was left alone.
      const seen = await collect('two');
      for (let index = 0; index < 20; index += 1) await bus.publish(message('thing.two'));
      await until(() => seen.length === 20);
      expect(started).toHaveLength(1);
      subscription.resume();
      subscription.resume();
      await until(() => started.length === 2);
      release.shift()?.();
    });

    test('closing a subscription waits for its handlers, and leaves the rest queued for others', async () => {
      let release = () => {};
      let returned = false;
      const subscription = await bus.subscribe({ queues: ['one'], prefetch: 1 }, async () => {
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        returned = true;
        return 'ack';
      });
      await bus.publish(message('thing.one'));
      const second = message('thing.one');
      await bus.publish(second);
      await until(() => release.name !== 'release');
      const closing = subscription.close();
      const again = subscription.close();
      expect(returned).toBe(false);
      release();
      await Promise.all([closing, again]);
      expect(returned).toBe(true);
      const seen = await collect('one', setup.other);
      await until(() => seen.length === 1);
      expect(seen[0]?.id).toBe(second.id);
    });

    test('what a vanished client had in its hands is handed out again; what it still says is not heard', async () => {
      const started: string[] = [];
      const finish: (() => void)[] = [];
      await setup.other.subscribe({ queues: ['one'], prefetch: 2 }, async ({ id }) => {
        started.push(id);
        await new Promise<void>((resolve) => finish.push(resolve));
        return 'ack';
      });
      const sent = [message('thing.one'), message('thing.one'), message('thing.one')];
      for (const one of sent) await bus.publish(one);
      await until(() => started.length === 2);
      await setup.cutOther();
      for (const resolve of finish) resolve();
      const seen = await collect('one');
      await until(() => seen.length === 3);
      expect(seen.map(({ id }) => id).sort()).toEqual(sent.map(({ id }) => id).sort());
      expect(
        seen
          .filter(({ redelivered }) => redelivered)
          .map(({ id }) => id)
          .sort(),
      ).toEqual([...started].sort());
      await expect(setup.other.publish(message('thing.one'))).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
    });

    if (promises.ordered) {
      test('one publisher’s messages come in their order', async () => {
        const seen = await collect('one');
        const sent = Array.from({ length: 1000 }, () => message('thing.one'));
        for (const one of sent) await bus.publish(one);
        await until(() => seen.length === 1000);
        expect(seen.map(({ id }) => id)).toEqual(sent.map(({ id }) => id));
      });
    }

    test('a broadcast is heard on its topic only, by every client, as a value of its own', async () => {
      const heard: unknown[] = [];
      const heardByOther: unknown[] = [];
      const forget = bus.listen('cancel', (payload) => heard.push(payload));
      setup.other.listen('cancel', (payload) => heardByOther.push(payload));
      bus.listen('progress', () => heard.push('wrong topic'));
      bus.listen('cancel', () => {
        throw new Error('planted: a listener that breaks');
      });
      // One may be lost, above all just after somebody began to listen: so it is said until all have heard something.
      await until(() => {
        bus.broadcast('cancel', 'is anybody there');
        return heard.length > 0 && heardByOther.length > 0;
      });
      const payload = { buildId: 'b1', list: [1] };
      bus.broadcast('cancel', payload);
      await until(() => [heard, heardByOther].every((all) => all.at(-1) !== 'is anybody there'));
      for (const all of [heard, heardByOther]) {
        expect(all.filter((value) => value !== 'is anybody there')).toEqual([payload]);
        expect(all.at(-1)).not.toBe(payload);
      }
      const count = heard.length;
      forget();
      forget();
      bus.broadcast('cancel', { second: true });
      await until(() => heardByOther.at(-1) !== undefined && (heardByOther.at(-1) as { second?: boolean }).second === true);
      expect(heard).toHaveLength(count);
    });

    test('a broadcast never throws, whatever it is given', () => {
      const circular: Record<string, unknown> = {};
      circular['self'] = circular;
      bus.listen('odd', () => {});
      for (const payload of [circular, 1n, undefined, () => {}, Symbol('odd')]) expect(() => bus.broadcast('odd', payload)).not.toThrow();
    });

    test('what cannot be asserted, subscribed to or published is refused, and the bus goes on', async () => {
      await expect(bus.assert({ queues: [{ name: 'x'.repeat(300), bindings: ['a'] }] })).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(bus.subscribe({ queues: ['nowhere'], prefetch: 1 }, ack)).rejects.toMatchObject({ code: 'BUS_UNROUTABLE' });
      await expect(bus.subscribe({ queues: ['one'], prefetch: 0 }, ack)).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(bus.publish(message('k'.repeat(300)))).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(bus.publish(message('thing.one', 'x'.repeat(9 * 1024 * 1024)))).rejects.toMatchObject({ code: 'INTERNAL' });
      await bus.ping();
      const seen = await collect('one');
      await bus.publish(message('thing.one', 'x'.repeat(1024 * 1024)));
      await until(() => seen.length === 1);
      expect(seen[0]?.body).toHaveLength(1024 * 1024);
    });

    test('close waits for handlers, refuses everything afterwards, and twice is once', async () => {
      let release = () => {};
      let returned = false;
      const subscription = await bus.subscribe({ queues: ['one'], prefetch: 1 }, async () => {
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        returned = true;
        return 'ack';
      });
      await bus.publish(message('thing.one'));
      await until(() => release.name !== 'release');
      const closing = Promise.all([bus.close(), bus.close()]);
      release();
      await closing;
      expect(returned).toBe(true);
      await subscription.close();
      await bus.close();
      const refused = { code: 'PORT_CLOSED' };
      await expect(bus.publish(message('thing.one'))).rejects.toMatchObject(refused);
      await expect(bus.assert({ queues: [] })).rejects.toMatchObject(refused);
      await expect(bus.subscribe({ queues: ['one'], prefetch: 1 }, ack)).rejects.toMatchObject(refused);
      await expect(bus.deadLetters(1)).rejects.toMatchObject(refused);
      await expect(bus.ping()).rejects.toMatchObject(refused);
      expect(() => bus.broadcast('cancel', {})).not.toThrow();
    });
  });
}
