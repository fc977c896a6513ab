/** Who may run at once, and who shares one run: bounds, order, and what becomes of those who leave. */
import { describe, expect, it } from 'vitest';
import { sharedFlight } from '../../shared/parallel/shared-flight.ts';
import { slots } from '../../shared/parallel/slots.ts';

const never = new AbortController().signal;
/** A promise that is settled from outside. */
function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    [resolve, reject] = [yes, no];
  });
  return { promise, resolve, reject };
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('slots', () => {
  it('let so many run, and the others in the order they came', async () => {
    const gates = Array.from({ length: 5 }, () => deferred<void>());
    const begun: number[] = [];
    const two = slots(2);
    const all = gates.map(({ promise }, index) =>
      two.use(never, () => {
        begun.push(index);
        return promise;
      }),
    );
    await turn();
    expect(begun).toEqual([0, 1]);
    gates[1]?.resolve();
    await turn();
    expect(begun).toEqual([0, 1, 2]);
    for (const gate of gates) gate.resolve();
    await Promise.all(all);
    expect(begun).toEqual([0, 1, 2, 3, 4]);
  });

  it('give a slot back from whoever fails, and none to whoever left the queue', async () => {
    const one = slots(1);
    const gate = deferred<void>();
    const first = one.use(never, () => gate.promise);
    const leaving = new AbortController();
    const left = one.use(leaving.signal, async () => 'ran');
    const last = one.use(never, async () => 'ran');
    leaving.abort(new Error('left'));
    gate.reject(new Error('failed'));
    await expect(first).rejects.toThrow('failed');
    await expect(left).rejects.toThrow('left');
    expect(await last).toBe('ran');
    await expect(one.use(AbortSignal.abort(new Error('late')), async () => 'ran')).rejects.toThrow('late');
    expect(await one.use(never, async () => 'free')).toBe('free');
  });
});

describe('a shared flight', () => {
  it('gives all the same, and goes on for those who stay', async () => {
    const gate = deferred<string>();
    let signal: AbortSignal | undefined;
    const flight = sharedFlight((ending) => {
      signal = ending;
      return gate.promise;
    }, never);
    const leaving = new AbortController();
    const [left, stayed] = [flight.join(leaving.signal), flight.join(never)];
    leaving.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    expect([flight.isOver(), signal?.aborted]).toEqual([false, false]);
    gate.resolve('landed');
    expect(await stayed).toBe('landed');
    await flight.ended;
    expect(flight.isOver()).toBe(true);
  });

  it('ends when nobody waits any more, or when it is told to', async () => {
    const stopped = (ending: AbortSignal) => new Promise<never>((_, reject) => ending.addEventListener('abort', () => reject(ending.reason), { once: true }));
    const leaving = new AbortController();
    const lonely = sharedFlight(stopped, never);
    const only = lonely.join(leaving.signal);
    leaving.abort(new Error('left'));
    await expect(only).rejects.toThrow('left');
    await lonely.ended;
    const ending = new AbortController();
    const told = sharedFlight(stopped, ending.signal);
    const waiter = told.join(never);
    ending.abort(new Error('closed'));
    await expect(waiter).rejects.toThrow('closed');
  });
});
