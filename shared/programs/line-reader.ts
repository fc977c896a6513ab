/** Makes lines of what a program prints, as it comes: printable, and of a flood only so many that reading them slows nothing else. */
import type { Clock } from '../clock/clock.ts';
import { floodGate } from './flood.ts';
import { splitLines } from './printable.ts';

/** Between two looks whether what was held back of a flood may be read. */
const lookEveryMs = 500;

export interface LineReader {
  push(chunk: Uint8Array): void;
  /** Gives out what is left. */
  end(): void;
}

export function lineReader(clock: Pick<Clock, 'now' | 'after'>, onLine: (line: string) => void): LineReader {
  const gate = floodGate(splitLines(onLine), ({ bytes, lines }) => onLine(`-- ${bytes} bytes in ${lines} lines came too fast, and are left out here --`));
  let forget: (() => void) | undefined;
  const look = () => {
    forget = undefined;
    gate.tick(clock.now());
    if (gate.isHolding) lookLater();
  };
  const lookLater = () => {
    forget ??= clock.after(lookEveryMs, look);
  };
  return {
    push: (chunk) => {
      gate.push(chunk, clock.now());
      if (gate.isHolding) lookLater();
    },
    end: () => {
      forget?.();
      gate.end();
    },
  };
}
