/**
 * Stands between a tool's output and those who read its lines. Reading a line costs many times what printing it does: of a flood only so much is read in a second, from its beginning
 * and its end, and the rest is counted. Pure.
 */
import type { LineSplitter } from './printable.ts';

export interface FloodLimits {
  /** Read at once, after a while of silence. */
  readonly burst: Amount;
  readonly perSecond: Amount;
  /** The newest so much is held back while more comes than is read. */
  readonly held: Amount;
}

interface Amount {
  readonly bytes: number;
  readonly lines: number;
}

const mebibyte = 1024 * 1024;

/** Far above what image tools print when they work, and a small part of what one processor can read. */
const usual: FloodLimits = {
  burst: { bytes: 32 * mebibyte, lines: 100_000 },
  perSecond: { bytes: 4 * mebibyte, lines: 10_000 },
  held: { bytes: mebibyte, lines: 5000 },
};

export interface FloodGate {
  /** `now` in milliseconds, here and below. */
  push(chunk: Uint8Array, now: number): void;
  /** To be called now and then while `isHolding`: gives out what is held, where it may be read by now. */
  tick(now: number): void;
  /** Gives out what is held. */
  end(): void;
  readonly isHolding: boolean;
}

/** `lines` gets what is read. `onLeftOut` is called between: so much is missing there. */
export function floodGate(lines: LineSplitter, onLeftOut: (leftOut: Amount) => void, limits: FloodLimits = usual): FloodGate {
  const { burst, perSecond, held: heldMax } = limits;
  let allowed: Amount = burst;
  let allowedAt: number | undefined;
  let isHolding = false;
  let held: { readonly bytes: Buffer; readonly lines: number }[] = [];
  let heldBytes = 0;
  let leftOut: Amount = { bytes: 0, lines: 0 };

  const refill = (now: number) => {
    const seconds = Math.max(0, now - (allowedAt ?? now)) / 1000;
    allowedAt = now;
    allowed = {
      bytes: Math.min(burst.bytes, allowed.bytes + seconds * perSecond.bytes),
      lines: Math.min(burst.lines, allowed.lines + seconds * perSecond.lines),
    };
  };

  const read = (chunk: Uint8Array, count: number) => {
    allowed = { bytes: allowed.bytes - chunk.byteLength, lines: allowed.lines - count };
    lines.push(chunk);
  };

  const drop = (bytes: Uint8Array, count: number) => {
    leftOut = { bytes: leftOut.bytes + bytes.byteLength, lines: leftOut.lines + count };
  };

  const hold = (chunk: Uint8Array, count: number) => {
    isHolding = true;
    held.push({ bytes: Buffer.from(chunk), lines: count });
    heldBytes += chunk.byteLength;
    for (let oldest = held[0]; oldest && heldBytes - oldest.bytes.byteLength >= heldMax.bytes; oldest = held[0]) {
      held.shift();
      heldBytes -= oldest.bytes.byteLength;
      drop(oldest.bytes, oldest.lines);
    }
  };

  const release = () => {
    const all = Buffer.concat(held.map(({ bytes }) => bytes));
    const from = startOfLast(all, heldMax, leftOut.bytes > 0);
    drop(all.subarray(0, from), countLines(all.subarray(0, from)));
    held = [];
    heldBytes = 0;
    isHolding = false;
    if (leftOut.bytes > 0) {
      // The line that the gap begins in ends there.
      lines.end();
      onLeftOut(leftOut);
      leftOut = { bytes: 0, lines: 0 };
    }
    const rest = all.subarray(from);
    read(rest, countLines(rest));
  };

  /** After a pause for a second's worth: gaps that follow each other closely would be told of more than there is between them. */
  const mayRelease = () => allowed.bytes >= perSecond.bytes && allowed.lines >= perSecond.lines;

  return {
    push: (chunk, now) => {
      refill(now);
      if (isHolding && mayRelease()) release();
      const count = countLines(chunk);
      // Within a line of any length nearly nothing is to do: only its beginning is kept.
      if (!isHolding && count === 0) lines.push(chunk);
      else if (isHolding || allowed.bytes <= 0 || allowed.lines <= 0) hold(chunk, count);
      else read(chunk, count);
    },
    tick: (now) => {
      refill(now);
      if (isHolding && mayRelease()) release();
    },
    end: () => {
      if (isHolding) release();
      lines.end();
    },
    get isHolding() {
      return isHolding;
    },
  };
}

const newline = 0x0a;

function countLines(bytes: Uint8Array): number {
  let count = 0;
  for (let at = 0; at < bytes.length; at += 1) if (bytes[at] === newline) count += 1;
  return count;
}

/** Where the last so many bytes and lines begin; with a whole line, where something before it is missing. */
function startOfLast(all: Buffer, last: Amount, isCut: boolean): number {
  const earliest = Math.max(0, all.length - last.bytes);
  const firstEnd = earliest > 0 || isCut ? all.indexOf(newline, earliest) : -1;
  // Where not one line ends, the end of what there is says as much as anything.
  let from = firstEnd === -1 || firstEnd === all.length - 1 ? earliest : firstEnd + 1;
  for (let tooMany = countLines(all.subarray(from)) - last.lines; tooMany > 0; tooMany -= 1) from = all.indexOf(newline, from) + 1;
  return from;
}
