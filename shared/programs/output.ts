/** What is kept of a tool's output: the first bytes of one stream, or the last, never more than a bound. Pure. */

export interface KeptOutput {
  push(chunk: Uint8Array): void;
  /** True once something was left out. */
  readonly truncated: boolean;
  text(): string;
}

export function keepFirst(bytesMax: number): KeptOutput {
  const chunks: Uint8Array[] = [];
  let size = 0;
  let truncated = false;
  return {
    push: (chunk) => {
      const room = bytesMax - size;
      if (chunk.length > room) truncated = true;
      if (room <= 0) return;
      // Copied: a slice would keep the whole buffer it was read into.
      const part = Buffer.from(chunk.subarray(0, room));
      chunks.push(part);
      size += part.length;
    },
    get truncated() {
      return truncated;
    },
    text: () => new TextDecoder().decode(Buffer.concat(chunks)),
  };
}

export function keepLast(bytesMax: number): KeptOutput {
  let chunks: Buffer[] = [];
  let size = 0;
  let truncated = false;
  const shrink = () => {
    const joined = Buffer.concat(chunks);
    const kept = joined.subarray(Math.max(0, joined.length - bytesMax));
    if (kept.length < joined.length) truncated = true;
    chunks = [Buffer.from(kept)];
    size = kept.length;
  };
  return {
    push: (chunk) => {
      chunks.push(Buffer.from(chunk));
      size += chunk.length;
      // Joined only now and then, so that each byte is copied a bounded number of times.
      if (size > 2 * bytesMax + 65_536) shrink();
    },
    get truncated() {
      if (size > bytesMax) shrink();
      return truncated;
    },
    text: () => {
      if (size > bytesMax) shrink();
      return new TextDecoder().decode(Buffer.concat(chunks));
    },
  };
}
