/** Does a task for many items, so many at once. */
import { setMaxListeners } from 'node:events';

/**
 * Calls `task` for each item, at most `atOnceMax` at a time, in order. Rejects with the first failure, or the signal's reason; the signal that tasks get fires then, and the promise settles only
 * after all that had begun have ended.
 */
export async function forEachParallel<T>(
  items: readonly T[],
  { atOnceMax, signal }: { readonly atOnceMax: number; readonly signal: AbortSignal },
  task: (item: T, signal: AbortSignal, index: number) => Promise<void>,
): Promise<void> {
  signal.throwIfAborted();
  const ending = new AbortController();
  // Each task may listen, with all that it starts: many are no leak here.
  setMaxListeners(0, ending.signal);
  const abort = () => ending.abort(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  let next = 0;
  const lane = async () => {
    while (next < items.length && !ending.signal.aborted) {
      const index = next;
      next += 1;
      try {
        await task(items[index] as T, ending.signal, index);
      } catch (error) {
        // Only the first failure is the reason; the others are its consequences.
        ending.abort(error);
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(atOnceMax, items.length) }, lane));
    ending.signal.throwIfAborted();
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
