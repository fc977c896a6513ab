/** One task for all who wait for it at the same time: each may leave, and it ends when nobody waits any more. */

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
  const result = task(AbortSignal.any([leaving.signal, ending]));
  let waiters = 0;
  let isOver = false;
  const ended = result.then(
    () => {},
    () => {},
  );
  void ended.then(() => {
    isOver = true;
  });
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
