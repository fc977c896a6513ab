/** Many tasks, so many at once: order, bounds, and what a failure or a cancel does to the others. */
import { describe, expect, it } from 'vitest';
import { forEachParallel } from '../../shared/parallel/for-each.ts';

const never = new AbortController().signal;

describe('forEachParallel', () => {
  it('begins in order and keeps its bound', async () => {
    const begun: number[] = [];
    let running = 0;
    let most = 0;
    await forEachParallel([1, 2, 3, 4, 5, 6, 7], { atOnceMax: 3, signal: never }, async (item) => {
      begun.push(item);
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
    });
    expect([begun, most, running]).toEqual([[1, 2, 3, 4, 5, 6, 7], 3, 0]);
    await forEachParallel([], { atOnceMax: 3, signal: never }, async () => {
      throw new Error('there is nothing to do');
    });
  });

  it('rejects with the first failure, after it has told the others and they have ended', async () => {
    const ended: string[] = [];
    const work = forEachParallel(['fails', 'waits', 'never begins'], { atOnceMax: 2, signal: never }, async (item, signal) => {
      if (item === 'fails') throw new Error('first');
      await new Promise<void>((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true })));
      ended.push(item);
      throw new Error('second');
    });
    await expect(work).rejects.toThrow('first');
    expect(ended).toEqual(['waits']);
  });

  it("rejects with the signal's reason", async () => {
    const reason = new Error('canceled');
    await expect(forEachParallel([1], { atOnceMax: 1, signal: AbortSignal.abort(reason) }, async () => {})).rejects.toBe(reason);
    const ending = new AbortController();
    const work = forEachParallel([1, 2], { atOnceMax: 1, signal: ending.signal }, async () => ending.abort(reason));
    await expect(work).rejects.toBe(reason);
  });
});
