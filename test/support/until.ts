/** Waiting in tests: for a condition, with a bound, never for a fixed time. */

/** Resolves with the first value of `condition` that is neither false nor undefined nor null. Throws, naming `what`, after `timeoutMs`. */
export async function until<T>(
  condition: () => T | Promise<T>,
  { timeoutMs = 5000, what = 'the condition' }: { readonly timeoutMs?: number; readonly what?: string } = {},
): Promise<Exclude<T, false | undefined | null>> {
  const end = performance.now() + timeoutMs;
  for (let round = 0; ; round += 1) {
    const value = await condition();
    if (value !== false && value !== undefined && value !== null) return value as Exclude<T, false | undefined | null>;
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    // At first as fast as the event loop turns, then without burning the processor that the subject needs.
    await new Promise<void>((resolve) => (round < 20 ? setImmediate(resolve) : setTimeout(resolve, 5)));
  }
}
