/** Orderly start and stop: what was started is stopped in reverse, once, each part within a bound. */
import type { Clock } from '../clock/clock.ts';
import type { Log } from '../log/log.ts';

/** For each part. A builder has to end its tool's process group and give its build back. */
const stopMs = 30_000;

export interface Lifecycle {
  /** Call right after the part was started. */
  add(name: string, stop: () => Promise<void>): void;
  /** Stops everything; a part that fails or hangs is logged and passed over. Twice is once. */
  stop(): Promise<void>;
}

export function lifecycle(options: { readonly clock: Clock; readonly logger: Log }): Lifecycle {
  const { clock, logger } = options;
  const parts: { readonly name: string; readonly stop: () => Promise<void> }[] = [];
  let stopped: Promise<void> | undefined;
  const bounded = (ending: Promise<void>): Promise<void> =>
    new Promise((resolve, reject) => {
      const forget = clock.after(stopMs, () => reject(new Error(`did not stop within ${stopMs / 1000} s`)));
      ending.then(resolve, reject).finally(forget);
    });
  return {
    add: (name, stop) => {
      parts.push({ name, stop });
    },
    stop: () => {
      stopped ??= (async () => {
        for (const { name, stop } of parts.toReversed()) {
          try {
            await bounded(stop());
          } catch (error) {
            logger.error({ err: error, part: name }, 'a part did not stop in order');
          }
        }
      })();
      return stopped;
    },
  };
}
