/** What the client prints, and how: nothing foreign moves the cursor, and a live line never mixes with lines that stay. */
import { dump } from 'js-yaml';
import { printable } from '../../shared/programs/printable.ts';
import type { Output } from './settings.ts';

export interface Streams {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** Columns of the terminal behind stderr; undefined where it is none. */
  readonly columns?: number;
}

export interface Terminal {
  /** A line of the result, on standard output. */
  line(text: string): void;
  /** A line about what happens, on standard error. */
  note(text: string): void;
  /** Replaces the live line; nothing where there is no terminal. Empty text removes it. */
  live(text: string): void;
  readonly isLive: boolean;
}

export function openTerminal({ stdout, stderr, columns }: Streams): Terminal {
  let shown = '';
  const erase = () => {
    if (shown !== '') stderr('\r\u001b[K');
  };
  const withLine = (write: (text: string) => void, text: string) => {
    erase();
    write(`${text.split('\n').map(printable).join('\n')}\n`);
    if (shown !== '') stderr(shown);
  };
  return {
    isLive: columns !== undefined,
    line: (text) => withLine(stdout, text),
    note: (text) => withLine(stderr, text),
    live: (text) => {
      if (columns === undefined) return;
      erase();
      shown = printable(text).slice(0, Math.max(0, columns - 1));
      if (shown !== '') stderr(shown);
    },
  };
}

/** Columns as wide as their widest cell; two blanks between them. The first row is the heading. */
export function table(rows: readonly (readonly string[])[]): string {
  const clean = rows.map((row) => row.map((cell) => printable(cell.replaceAll(/\s+/g, ' '))));
  const widths = (clean[0] ?? []).map((_, column) => Math.max(...clean.map((row) => row[column]?.length ?? 0)));
  return clean
    .map((row) =>
      row
        .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** A value for `json` and `yaml`; `asTable` makes the text for `table`. */
export function formatted(output: Output, value: unknown, asTable: () => string): string {
  if (output === 'json') return JSON.stringify(value, undefined, 2);
  if (output === 'yaml') return dump(value, { lineWidth: 160, noRefs: true }).trimEnd();
  return asTable();
}

/** `0.4 s`, `59.9 s`, then as `elapsed`. */
export function took(ms: number): string {
  return ms < 60_000 ? `${(Math.max(0, ms) / 1000).toFixed(1)} s` : elapsed(ms);
}

/** `0:42`, `12:05`, `1:00:01`. */
export function elapsed(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const tail = String(seconds % 60).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${tail}` : `${minutes}:${tail}`;
}
