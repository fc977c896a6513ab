/** What every clock promises. Called by the adapters' own small test files. */
import { beforeEach, describe, expect, test } from 'vitest';
import { type Clock, timestamp } from '../../shared/clock/clock.ts';

export interface ClockSetup {
  readonly clock: Clock;
  /** Lets time pass until the promise settles, and gives its outcome. */
  through<T>(promise: Promise<T>): Promise<T>;
}

export function clockContract(name: string, make: () => ClockSetup): void {
  describe(`the clock contract, ${name}`, () => {
    let clock: Clock;
    let through: ClockSetup['through'];

    beforeEach(() => {
      ({ clock, through } = make());
    });

    test('sleep is never early, whatever its length', async () => {
      for (const ms of [0, 1, 2, 5, 5.5, 20, 1, 3]) {
        const startedAt = clock.now();
        await through(clock.sleep(ms));
        expect(clock.now() - startedAt, `${ms} ms`).toBeGreaterThanOrEqual(Math.floor(ms));
      }
    });

    test('shorter sleeps end first, equal ones in the order they began', async () => {
      const ended: string[] = [];
      const sleeps = [30, 10, 20, 10].map((ms, index) => clock.sleep(ms).then(() => ended.push(`${ms}.${index}`)));
      await through(Promise.all(sleeps));
      expect(ended).toEqual(['10.1', '10.3', '20.2', '30.0']);
    });

    test('an abort ends a sleep at once with its reason, before it as well as during it', async () => {
      const reason = new Error('planted: canceled');
      await expect(clock.sleep(1e6, AbortSignal.abort(reason))).rejects.toBe(reason);
      const controller = new AbortController();
      const sleeping = clock.sleep(1e6, controller.signal);
      clock.after(1, () => controller.abort(reason));
      await expect(through(sleeping)).rejects.toBe(reason);
    });

    test('an abort after the sleep changes nothing', async () => {
      const controller = new AbortController();
      await through(clock.sleep(1, controller.signal));
      expect(() => controller.abort()).not.toThrow();
    });

    test('a task runs once, after its time; a forgotten one never does; forgetting twice or late does nothing', async () => {
      const ran: string[] = [];
      const startedAt = clock.now();
      const forgetKept = clock.after(5, () => ran.push(`kept ${clock.now() - startedAt >= 5}`));
      const forget = clock.after(5, () => ran.push('forgotten'));
      forget();
      forget();
      await through(clock.sleep(15));
      forgetKept();
      await through(clock.sleep(5));
      expect(ran).toEqual(['kept true']);
    });

    test('a wait longer than the system’s timers reach does not end at once', async () => {
      let ended = false;
      const forget = clock.after(2 ** 33, () => {
        ended = true;
      });
      const controller = new AbortController();
      const sleeping = clock.sleep(2 ** 33, controller.signal).then(
        () => 'ended',
        () => 'aborted',
      );
      await through(clock.sleep(10));
      controller.abort();
      forget();
      expect(ended).toBe(false);
      expect(await sleeping).toBe('aborted');
    });

    test('time never runs backwards, and reads as ISO text', () => {
      let last = clock.now();
      for (let round = 0; round < 1000; round += 1) {
        const now = clock.now();
        expect(now).toBeGreaterThanOrEqual(last);
        last = now;
      }
      expect(timestamp(clock)).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    });

    test('ids are UUIDs of version 7, all different, each greater than those before it', async () => {
      const ids = Array.from({ length: 10_000 }, () => clock.id());
      await through(clock.sleep(2));
      ids.push(clock.id());
      for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      expect([...ids].sort()).toEqual(ids);
      expect(new Set(ids).size).toBe(ids.length);
    });

    test('chance is in [0, 1) and spread evenly', () => {
      const buckets = new Array<number>(10).fill(0);
      for (let round = 0; round < 10_000; round += 1) {
        const value = clock.random();
        expect(value >= 0 && value < 1).toBe(true);
        const bucket = Math.floor(value * 10);
        buckets[bucket] = (buckets[bucket] ?? 0) + 1;
      }
      for (const count of buckets) expect(Math.abs(count - 1000)).toBeLessThan(200);
    });
  });
}
