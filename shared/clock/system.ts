/** The clock port on the system's clock. The only file that asks the system for time, chance or a timer. */
import { v7 as uuidV7 } from 'uuid';
import type { Clock } from './clock.ts';

export function systemClock(): Clock {
  let latest = 0;
  const after = (ms: number, task: () => void): (() => void) => {
    const timer = setTimeout(task, ms);
    timer.unref();
    return () => clearTimeout(timer);
  };
  return {
    now: () => {
      latest = Math.max(latest, Date.now());
      return latest;
    },
    after,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason);
          return;
        }
        const end = () => {
          clearTimeout(timer);
          reject(signal?.reason);
        };
        const timer = setTimeout(() => {
          signal?.removeEventListener('abort', end);
          resolve();
        }, ms);
        signal?.addEventListener('abort', end, { once: true });
      }),
    id: () => uuidV7(),
    random: () => Math.random(),
  };
}
