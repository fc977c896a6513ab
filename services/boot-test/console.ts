/** One machine's serial console, as bytes come in: what it says so far, and its lines for the log, both bounded. Pure but for its own memory. */
import { splitLines } from '../../shared/programs/printable.ts';
import { noFinding, readSerialLine, readSerialPrompt, type SerialFinding } from './serial.ts';

const linesMax = 20_000;
const bytesMax = 4 * 1024 * 1024;
/** A prompt is short; only so much of an unfinished line is looked at. */
const promptMax = 200;

export interface SerialConsole {
  push(chunk: Uint8Array): void;
  /** Gives out a last line without an end. */
  end(): void;
  readonly finding: SerialFinding;
  readonly lines: readonly string[];
}

export function serialConsole(onLine: (line: string) => void): SerialConsole {
  let finding = noFinding;
  const lines: string[] = [];
  let size = 0;
  let unfinished = '';
  const decoder = new TextDecoder();
  const splitter = splitLines((line) => {
    finding = readSerialLine(finding, line);
    if (lines.length >= linesMax || size >= bytesMax) return;
    // Frames that a boot menu draws, and the blanks within, are no text.
    const text = line.replace(/\ufffd{3,}/g, '\ufffd').replace(/ {16,}/g, ' … ');
    lines.push(text);
    size += text.length;
    if (lines.length === linesMax || size >= bytesMax) lines.push('(more came, and was left out)');
    else onLine(text);
  });
  return {
    push: (chunk) => {
      splitter.push(chunk);
      const text = unfinished + decoder.decode(chunk, { stream: true });
      unfinished = text.slice(Math.max(text.lastIndexOf('\n') + 1, text.length - promptMax));
      if (unfinished !== '') finding = readSerialPrompt(finding, unfinished);
    },
    end: () => splitter.end(),
    get finding() {
      return finding;
    },
    lines,
  };
}
