/** The line that stands in a log for what it does not keep, and how those who read the log by bytes count it. Pure. */

/** No line of a tool or a stage begins like this: they begin with their time. `lines` is undefined where that is not known. */
export function leftOutLine(bytes: number, lines: number | undefined): string {
  return `-- ${bytes} bytes${lines === undefined ? '' : ` in ${lines} lines`} are left out here --\n`;
}

const pattern = /^-- (\d{1,15}) bytes(?: in \d{1,15} lines)? are left out here --$/;
const lengthMax = 100;
const newline = 0x0a;

export interface LogPosition {
  /** Bytes as they were received. */
  push(bytes: Uint8Array): void;
  /** What to ask for to go on: the bytes of the log so far, those that were left out among them. */
  readonly offset: number;
}

/** Counts a log that is being read. A line that stands for left-out bytes counts as these. */
export function logPosition(): LogPosition {
  let offset = 0;
  /** The beginning of the line that has not ended yet. */
  let line = '';
  let lineBytes = 0;
  return {
    push: (bytes) => {
      for (let from = 0; from < bytes.byteLength; ) {
        const end = bytes.indexOf(newline, from);
        const until = end === -1 ? bytes.byteLength : end;
        if (line.length < lengthMax) line += Buffer.from(bytes.subarray(from, Math.min(until, from + lengthMax))).toString('latin1');
        lineBytes += until - from;
        from = until;
        if (end === -1) break;
        const leftOut = lineBytes <= lengthMax ? pattern.exec(line)?.[1] : undefined;
        offset += leftOut === undefined ? lineBytes + 1 : Number(leftOut);
        line = '';
        lineBytes = 0;
        from += 1;
      }
    },
    get offset() {
      return offset + lineBytes;
    },
  };
}
