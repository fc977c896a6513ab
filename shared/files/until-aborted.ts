/** Ends the wait for a source that hangs. Pure. */

/** The chunks of a source that may hang: an abort ends the wait for the next one. */
export async function* untilAborted(source: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  if (!signal) {
    yield* source;
    return;
  }
  const iterator = source[Symbol.asyncIterator]();
  let fire = (_reason: unknown) => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    fire = reject;
  });
  aborted.catch(() => {});
  const onAbort = () => fire(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = await Promise.race([iterator.next(), aborted]);
      if (next.done) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    // Not awaited: a source that hangs in next() would hang here as well.
    iterator.return?.().catch(() => {});
  }
}
