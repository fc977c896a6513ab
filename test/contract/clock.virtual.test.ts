/** The virtual clock against the clock contract, and what only it promises: the same run for the same seed. */
import { describe, expect, test } from 'vitest';
import { virtualClock } from '../../shared/clock/virtual.ts';
import { clockContract } from './clock.contract.ts';

const startMs = Date.UTC(2026, 10, 22);

clockContract('virtual', () => {
  const clock = virtualClock({ seed: 1, startMs });
  return {
    clock,
    async through(promise) {
      let settled = false;
      const end = () => {
        settled = true;
      };
      promise.then(end, end);
      await clock.run(() => settled, { timersMax: 1000 });
      return promise;
    },
  };
});

describe('the virtual clock', () => {
  test('gives the same run for the same seed, and another one for another seed', async () => {
    const run = async (seed: number) => {
      const clock = virtualClock({ seed, startMs });
      const trace: unknown[] = [];
      const worker = async (name: string) => {
        for (let round = 0; round < 20; round += 1) {
          await clock.sleep(Math.floor(clock.random() * 50));
          trace.push([name, clock.now(), clock.id(), clock.random()]);
        }
      };
      let done = 0;
      for (const name of ['a', 'b', 'c']) void worker(name).then(() => (done += 1));
      expect(await clock.run(() => done === 3, { timersMax: 1000 })).toBe('done');
      return trace;
    };
    expect(await run(7)).toEqual(await run(7));
    expect(await run(7)).not.toEqual(await run(8));
    expect(await run(2 ** 32 + 7)).not.toEqual(await run(7));
  });

  test('takes no real time', async () => {
    const clock = virtualClock({ seed: 1, startMs });
    const startedAt = performance.now();
    let done = false;
    void clock.sleep(365 * 24 * 3600 * 1000).then(() => (done = true));
    expect(await clock.run(() => done, { timersMax: 5 })).toBe('done');
    expect(clock.now()).toBe(startMs + 365 * 24 * 3600 * 1000);
    expect(performance.now() - startedAt).toBeLessThan(1000);
  });

  test('says when nothing is left to wait for, and when a run goes on too long', async () => {
    const clock = virtualClock({ seed: 1, startMs });
    expect(await clock.run(() => false, { timersMax: 10 })).toBe('idle');
    const again = (): void => void clock.after(1000, again);
    again();
    expect(await clock.run(() => false, { timersMax: 10 })).toBe('limit');
    expect(clock.now()).toBe(startMs + 10_000);
    expect(await clock.run(() => false, { timersMax: 1000, elapsedMsMax: 5000 })).toBe('limit');
    expect(clock.now()).toBe(startMs + 15_000);
  });

  test('counts and dates what is pending', async () => {
    const clock = virtualClock({ seed: 1, startMs });
    expect([clock.pending(), clock.nextAt()]).toEqual([0, undefined]);
    const forget = clock.after(5, () => {});
    clock.after(9, () => {});
    expect([clock.pending(), clock.nextAt()]).toEqual([2, startMs + 5]);
    forget();
    expect([clock.pending(), clock.nextAt()]).toEqual([1, startMs + 9]);
    await clock.advance(100);
    expect([clock.pending(), clock.nextAt(), clock.now()]).toEqual([0, undefined, startMs + 100]);
  });

  test('fires thousands of timers in the order of their times', async () => {
    const clock = virtualClock({ seed: 3, startMs });
    const fired: number[] = [];
    const forgets = Array.from({ length: 3000 }, () => {
      const at = Math.floor(clock.random() * 500);
      return clock.after(at, () => fired.push(at));
    });
    for (const [index, forget] of forgets.entries()) if (index % 3 === 0) forget();
    expect(clock.pending()).toBe(2000);
    await clock.advance(500);
    expect(fired).toHaveLength(2000);
    expect(fired).toEqual([...fired].sort((a, b) => a - b));
  });

  test('ids go up when more are made in one millisecond than its counter holds', () => {
    const clock = virtualClock({ seed: 1, startMs });
    const ids = Array.from({ length: 20_000 }, () => clock.id());
    expect([...ids].sort()).toEqual(ids);
    expect(new Set(ids).size).toBe(20_000);
  });

  test('a fork has numbers of its own, the same each time', () => {
    const draw = (name: string) => {
      const clock = virtualClock({ seed: 5, startMs });
      const fork = clock.fork(name);
      return [fork(), fork(), clock.random()];
    };
    expect(draw('faults')).toEqual(draw('faults'));
    expect(draw('faults').slice(0, 2)).not.toEqual(draw('delays').slice(0, 2));
    expect(draw('faults')[2]).toBe(draw('delays')[2]);
  });
});
