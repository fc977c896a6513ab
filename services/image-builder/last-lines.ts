/** The last lines of a tool's output, bounded in number and size: among them is why it failed. Pure. */

export interface LastLines {
  push(line: string): void;
  readonly all: readonly string[];
}

/** At least the last `linesMax` lines are kept, unless they are longer than `charactersMax` together. */
export function lastLines(linesMax: number, charactersMax: number): LastLines {
  let lines: string[] = [];
  let characters = 0;
  return {
    push: (line) => {
      lines.push(line);
      characters += line.length;
      // Cut now and then, so that each line is moved a bounded number of times.
      if (lines.length <= 2 * linesMax && characters <= 2 * charactersMax) return;
      let from = lines.length;
      let kept = 0;
      while (from > 0 && lines.length - from < linesMax && kept + (lines[from - 1] ?? '').length <= charactersMax) {
        from -= 1;
        kept += (lines[from] ?? '').length;
      }
      lines = lines.slice(from);
      characters = kept;
    },
    get all() {
      return lines;
    },
  };
}
