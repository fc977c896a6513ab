/** Output of tools and machines made safe to show: one line of bytes at a time, bounded, without anything that a terminal or a browser would act on. Pure. */

/** A colour, a cursor move, a window title: what a terminal would act on and nobody wants to read. */
const escapeSequence = /\u001b(?:\[[0-9;:?<=>]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[ -/]*[0-Z\\^-~])/g;
/** C0 but the tab, DEL, C1, line and paragraph separators, and the marks that turn the direction of text round. */
const control = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** Most lines have none of it, and a tool may print millions. */
const anything = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/;

/** Terminal sequences removed, every other control character but the tab shown as U+FFFD. */
export function printable(text: string): string {
  return anything.test(text) ? text.replace(escapeSequence, '').replace(control, '\ufffd') : text;
}

export interface LineSplitter {
  push(chunk: Uint8Array): void;
  /** Gives out a last line that has no end. */
  end(): void;
}

const newline = 0x0a;
const carriageReturn = 0x0d;

/** Some times faster than a TextDecoder, for short pieces. */
const textOf = (bytes: Uint8Array, start: number, end: number) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8', start, end);

/**
 * Cuts a stream of bytes into printable lines. A line longer than `lineBytesMax` loses its rest, so memory stays bounded whatever comes. As on a
 * terminal, what follows a lone carriage return replaces the line so far: of a progress bar only its last state becomes a line.
 */
export function splitLines(onLine: (line: string) => void, lineBytesMax = 8192): LineSplitter {
  let held = Buffer.alloc(0);
  const give = (bytes: Uint8Array) => {
    let end = bytes.length;
    while (end > 0 && bytes[end - 1] === carriageReturn) end -= 1;
    const start = end === 0 ? 0 : bytes.lastIndexOf(carriageReturn, end - 1) + 1;
    onLine(printable(textOf(bytes, start, Math.min(end, start + lineBytesMax))));
  };
  const hold = (bytes: Uint8Array) => {
    // A carriage return that does not end what is held makes all before it invisible.
    const shownFrom = bytes.length < 2 ? 0 : bytes.lastIndexOf(carriageReturn, bytes.length - 2) + 1;
    const parts =
      shownFrom > 0 ? [bytes.subarray(shownFrom)] : held.length > 0 && held.at(-1) === carriageReturn && bytes[0] !== carriageReturn ? [bytes] : [held, bytes];
    const joined = Buffer.concat(parts);
    // One byte is replaced, so that a carriage return after the cut is still seen.
    held = joined.length > lineBytesMax + 1 ? Buffer.concat([joined.subarray(0, lineBytesMax), joined.subarray(joined.length - 1)]) : joined;
  };
  return {
    push: (chunk) => {
      let from = 0;
      for (let at = chunk.indexOf(newline); at !== -1; at = chunk.indexOf(newline, from)) {
        if (held.length > 0) {
          if (at > from) hold(chunk.subarray(from, at));
          const line = held;
          held = Buffer.alloc(0);
          give(line);
        } else {
          give(chunk.subarray(from, at));
        }
        from = at + 1;
      }
      if (from < chunk.length) hold(chunk.subarray(from));
    },
    end: () => {
      if (held.length === 0) return;
      const line = held;
      held = Buffer.alloc(0);
      give(line);
    },
  };
}
