/** The clock port on the system's clock. The only file that asks the system for time, chance or a timer. */
import { v7 as uuidV7 } from 'uuid';
import type { Clock } from './clock.ts';

export function systemClock(): Clock {
  let latest = 0;
  const ids = orderedIds();
  const after = (ms: number, task: () => void): (() => void) => startTimer(ms, task, false);
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
          forget();
          reject(signal?.reason);
        };
        const done = () => {
          signal?.removeEventListener('abort', end);
          resolve();
        };
        const forget = startTimer(ms, done, true);
        signal?.addEventListener('abort', end, { once: true });
      }),
    id: ids,
    random: () => Math.random(),
  };
}

/** UUIDs version 7 that sort in the order they were made in, also within one millisecond. Random bytes are drawn for many at once: one draw costs more than the rest. */
function orderedIds(): () => string {
  const pool = new Uint8Array(16 * 256);
  let used = pool.length;
  let msecs = 0;
  let seq = 0;
  return () => {
    if (used === pool.length) {
      crypto.getRandomValues(pool);
      used = 0;
    }
    const random = pool.subarray(used, used + 16);
    used += 16;
    const now = Date.now();
    if (now > msecs) {
      msecs = now;
      // The counter's highest bit is left free, so that it cannot overflow within a millisecond.
      seq = (((random[0] ?? 0) & 0x7f) << 24) | ((random[1] ?? 0) << 16) | ((random[2] ?? 0) << 8) | (random[3] ?? 0);
    } else {
      seq += 1;
    }
    return uuidV7({ msecs, seq, random });
  };
}

/** Of Node's timers: a longer one would fire at once. */
const timerMsMax = 2 ** 31 - 1;

/** Node's timers may also fire a fraction of a millisecond early, so what is left is waited for again. `keepsAlive`: the process does not end before it. */
function startTimer(ms: number, task: () => void, keepsAlive: boolean): () => void {
  const end = performance.now() + Math.max(0, ms);
  let timer: NodeJS.Timeout;
  const arm = (leftMs: number) => {
    timer = setTimeout(fire, Math.min(Math.ceil(leftMs), timerMsMax));
    if (!keepsAlive) timer.unref();
  };
  const fire = () => {
    const leftMs = end - performance.now();
    if (leftMs > 0) arm(leftMs);
    else task();
  };
  arm(Math.max(0, ms));
  return () => clearTimeout(timer);
}
