/** The port for files that are being downloaded: each under a key that a later try, or the next process, finds it by. What is in them counts for nothing until its digest was seen. */

export interface PartialFiles {
  /** Absolute path of the part under this key (letters, digits and `-`), whether it is there or not. Made for one writer at a time. */
  pathOf(key: string): string;
  /** Its bytes; 0 where nothing is there. */
  size(key: string): Promise<number>;
  /** Its first bytes, at most so many; nothing where there is no such part. */
  start(key: string, bytes: number): Promise<Uint8Array>;
  /** No error where there is none. */
  remove(key: string): Promise<void>;
  /**
   * Removes parts that were not written to for `ageMsMax`, then the oldest ones until all together have at most `bytesMax`. Nobody may be
   * writing to one meanwhile. Resolves with their number.
   */
  sweep(bounds: { readonly ageMsMax: number; readonly bytesMax: number }): Promise<number>;
  /** Bytes that can still be written: where the parts lie, or where whole files go, whichever has fewer; and that place, as an operator would look for it. */
  room(): Promise<{ readonly bytes: number; readonly directory: string }>;
  /** The place, as an operator would look for it. */
  readonly directory: string;
}

/** Throws an Error for a key that is none: keys are made by us, so that is a bug. */
export function partialName(key: string): string {
  if (!/^[A-Za-z0-9-]{1,120}$/.test(key)) throw new Error(`${JSON.stringify(key.slice(0, 200))} is no key of a partial file`);
  return `${key}.part`;
}

/** Which parts have to go, by the promise of `sweep`. Pure. */
export function leavings(
  parts: readonly { readonly key: string; readonly bytes: number; readonly writtenAt: number }[],
  { now, ageMsMax, bytesMax }: { readonly now: number; readonly ageMsMax: number; readonly bytesMax: number },
): readonly string[] {
  let bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
  const gone: string[] = [];
  for (const part of parts.toSorted((a, b) => a.writtenAt - b.writtenAt)) {
    const isOld = now - part.writtenAt > ageMsMax;
    if (!isOld && bytes <= bytesMax) continue;
    gone.push(part.key);
    bytes -= part.bytes;
  }
  return gone;
}
