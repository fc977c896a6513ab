/** Lets so many tasks run at once in all, and so many for each host: one host that is slow holds its own slots, and none that another host's tasks could use. */

export interface HostSlots {
  /** Rejects with the signal's reason while it waits; once the task runs, the signal is the task's matter. */
  use<T>(host: string, signal: AbortSignal, task: () => Promise<T>): Promise<T>;
}

export function hostSlots({ atOnceMax, perHostMax }: { readonly atOnceMax: number; readonly perHostMax: number }): HostSlots {
  let running = 0;
  const runningAt = new Map<string, number>();
  /** In the order they came. */
  const waiting = new Set<{ readonly host: string; readonly admit: () => void }>();

  const isFree = (host: string) => running < atOnceMax && (runningAt.get(host) ?? 0) < perHostMax;
  const take = (host: string): void => {
    running += 1;
    runningAt.set(host, (runningAt.get(host) ?? 0) + 1);
  };
  const give = (host: string): void => {
    running -= 1;
    const left = (runningAt.get(host) ?? 1) - 1;
    if (left > 0) runningAt.set(host, left);
    else runningAt.delete(host);
    for (const next of waiting) {
      if (running >= atOnceMax) return;
      if (!isFree(next.host)) continue;
      waiting.delete(next);
      // The slot is handed over, so nobody can come in between.
      take(next.host);
      next.admit();
    }
  };
  const wait = (host: string, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      const entry = {
        host,
        admit: () => {
          signal.removeEventListener('abort', leave);
          resolve();
        },
      };
      const leave = () => {
        waiting.delete(entry);
        reject(signal.reason);
      };
      waiting.add(entry);
      signal.addEventListener('abort', leave, { once: true });
    });

  return {
    use: async (host, signal, task) => {
      signal.throwIfAborted();
      if (isFree(host)) take(host);
      else await wait(host, signal);
      try {
        return await task();
      } finally {
        give(host);
      }
    },
  };
}
