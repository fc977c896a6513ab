/** Slots by host: bounded in all and for each host, in the order of asking, and never lost to who left while waiting. */
import { describe, expect, it } from 'vitest';
import { hostSlots } from '../../shared/parallel/host-slots.ts';

function world(bounds: { readonly atOnceMax: number; readonly perHostMax: number }) {
  const slots = hostSlots(bounds);
  const running: string[] = [];
  const order: string[] = [];
  const endings = new Map<string, () => void>();
  const never = new AbortController().signal;
  /** A task that runs until it is ended. */
  const ask = (name: string, signal: AbortSignal = never) =>
    slots.use(name.split('/')[0] ?? '', signal, async () => {
      running.push(name);
      order.push(name);
      await new Promise<void>((resolve) => endings.set(name, resolve));
      running.splice(running.indexOf(name), 1);
    });
  const end = async (name: string, asked: Promise<void>) => {
    endings.get(name)?.();
    await asked;
    await turn();
  };
  return { slots, running, order, ask, end };
}

/** Until promises that are settled have been heard of. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('slots by host', () => {
  it('let so many run for one host, and leave the rest to others', async () => {
    const { running, ask } = world({ atOnceMax: 3, perHostMax: 2 });
    for (const name of ['a/1', 'a/2', 'a/3', 'b/1', 'b/2']) void ask(name);
    await turn();
    expect(running).toEqual(['a/1', 'a/2', 'b/1']);
  });

  it('hand a slot to the first that may have it, in the order they came', async () => {
    const { order, ask, end } = world({ atOnceMax: 2, perHostMax: 1 });
    const asked = new Map(['a/1', 'b/1', 'a/2', 'b/2', 'c/1'].map((name) => [name, ask(name)]));
    await turn();
    await end('b/1', asked.get('b/1') ?? Promise.reject());
    // a is full: the next of b was first among those that may run.
    expect(order).toEqual(['a/1', 'b/1', 'b/2']);
    await end('b/2', asked.get('b/2') ?? Promise.reject());
    await end('a/1', asked.get('a/1') ?? Promise.reject());
    expect(order).toEqual(['a/1', 'b/1', 'b/2', 'c/1', 'a/2']);
  });

  it('are given back by a task that fails', async () => {
    const { slots } = world({ atOnceMax: 1, perHostMax: 1 });
    const never = new AbortController().signal;
    await expect(slots.use('a', never, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    expect(await slots.use('a', never, async () => 'next')).toBe('next');
  });

  it('are not kept for who left while waiting, nor given to who was gone before', async () => {
    const { order, ask, end } = world({ atOnceMax: 1, perHostMax: 1 });
    const first = ask('a/1');
    const leaving = new AbortController();
    const left = ask('a/2', leaving.signal);
    const third = ask('a/3');
    leaving.abort(new Error('canceled'));
    await expect(left).rejects.toThrow('canceled');
    await expect(ask('a/4', leaving.signal)).rejects.toThrow('canceled');
    await end('a/1', first);
    expect(order).toEqual(['a/1', 'a/3']);
    await end('a/3', third);
  });

  it('hold for any order of asking and ending: seeded', async () => {
    let state = 42;
    const random = (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state % below;
    };
    const { running, order, ask, end } = world({ atOnceMax: 5, perHostMax: 2 });
    const asked = new Map<string, Promise<void>>();
    for (let step = 0; step < 300; step += 1) {
      if (step < 150 && random(2) === 0) {
        const name = `${'abcd'[random(4)]}/${step}`;
        asked.set(name, ask(name));
        await turn();
      } else if (running.length > 0) {
        const name = running[random(running.length)] ?? '';
        await end(name, asked.get(name) ?? Promise.reject());
      }
      expect(running.length).toBeLessThanOrEqual(5);
      for (const host of 'abcd') expect(running.filter((name) => name.startsWith(host)).length).toBeLessThanOrEqual(2);
    }
    expect([running, order.toSorted()]).toEqual([[], [...asked.keys()].toSorted()]);
  });
});
