/** One task for all who wait for it at the same time: each may leave, and it ends when nobody waits any more. */
import { setMaxListeners } from 'node:events';

export interface SharedFlight<T> {
  /** Rejects with the task's failure, or with the signal's reason; the others go on waiting then. */
  join(signal: AbortSignal): Promise<T>;
  /** True where it ended, or was given up: the next one has to start another. */
  isOver(): boolean;
  /** Settles with the task, and never rejects. */
  readonly ended: Promise<void>;
}

/** `ending`: fires where the task has to stop whoever waits. */
export function sharedFlight<T>(task: (signal: AbortSignal) => Promise<T>, ending: AbortSignal): SharedFlight<T> {
  const leaving = new AbortController();
  // AbortSignal.any would be shorter, and costs more than the rest of this together where `ending` lives for long.
  const end = () => leaving.abort(ending.reason);
  setMaxListeners(0, ending);
  if (ending.aborted) end();
  else ending.addEventListener('abort', end, { once: true });
  const result = task(leaving.signal);
  let waiters = 0;
  let isOver = false;
  const over = () => {
    isOver = true;
    ending.removeEventListener('abort', end);
  };
  const ended = result.then(over, over);
  return {
    ended,
    isOver: () => isOver,
    join: async (signal) => {
      signal.throwIfAborted();
      waiters += 1;
      let leave = () => {};
      const left = new Promise<never>((_, reject) => {
        leave = () => reject(signal.reason);
        signal.addEventListener('abort', leave, { once: true });
      });
      try {
        return await Promise.race([result, left]);
      } finally {
        signal.removeEventListener('abort', leave);
        waiters -= 1;
        if (waiters === 0 && !isOver) {
          isOver = true;
          leaving.abort(signal.reason);
        }
      }
    },
  };
}
