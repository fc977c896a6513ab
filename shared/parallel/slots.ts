/** Lets so many tasks run at once; the others wait in the order they came. */

export interface Slots {
  /** Rejects with the signal's reason while it waits; once the task runs, the signal is the task's matter. */
  use<T>(signal: AbortSignal, task: () => Promise<T>): Promise<T>;
}

export function slots(atOnceMax: number): Slots {
  let free = atOnceMax;
  const waiting = new Set<() => void>();

  const take = async (signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    if (free > 0) {
      free -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const leave = () => {
        waiting.delete(admit);
        reject(signal.reason);
      };
      // The slot is handed over, so nobody can come in between.
      const admit = () => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      waiting.add(admit);
      signal.addEventListener('abort', leave, { once: true });
    });
  };

  const give = (): void => {
    const [next] = waiting;
    if (next === undefined) {
      free += 1;
      return;
    }
    waiting.delete(next);
    next();
  };

  return {
    use: async (signal, task) => {
      await take(signal);
      try {
        return await task();
      } finally {
        give();
      }
    },
  };
}
