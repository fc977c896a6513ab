/** Reading a tool that prints without end: a bounded number of lines, the first and the last among them, and every byte either read or counted. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { virtualClock } from '../../shared/clock/virtual.ts';
import { type FloodLimits, floodGate } from '../../shared/programs/flood.ts';
import { lineReader } from '../../shared/programs/line-reader.ts';

const limits: FloodLimits = { burst: { bytes: 1000, lines: 20 }, perSecond: { bytes: 500, lines: 10 }, held: { bytes: 200, lines: 5 } };

function gated(own: FloodLimits = limits) {
  const said: string[] = [];
  let bytesRead = 0;
  let leftOut = { bytes: 0, lines: 0 };
  const lines = {
    push: (chunk: Uint8Array) => {
      bytesRead += chunk.byteLength;
      said.push(...Buffer.from(chunk).toString('latin1').split('\n').filter(Boolean));
    },
    end: () => {},
  };
  const gate = floodGate(
    lines,
    (missing) => {
      said.push(`-- ${missing.lines} lines`);
      leftOut = { bytes: leftOut.bytes + missing.bytes, lines: leftOut.lines + missing.lines };
    },
    own,
  );
  return { gate, said, read: () => bytesRead, leftOut: () => leftOut };
}

const line = (number: number) => `line ${String(number).padStart(5, '0')}\n`;

describe('the gate', () => {
  test('what comes at a pace that can be read is read as it comes', () => {
    const { gate, said } = gated();
    for (let number = 0; number < 100; number += 1) gate.push(Buffer.from(line(number)), number * 100);
    expect(gate.isHolding).toBe(false);
    expect(said).toHaveLength(100);
  });

  test('of a flood the beginning and the end are read, and between them it says how many lines are missing', () => {
    const { gate, said } = gated();
    for (let number = 0; number < 1000; number += 1) gate.push(Buffer.from(line(number)), 0);
    expect(gate.isHolding).toBe(true);
    gate.end();
    expect(said).toEqual([
      ...Array.from({ length: 20 }, (_, at) => line(at).trim()),
      '-- 975 lines',
      ...Array.from({ length: 5 }, (_, at) => line(995 + at).trim()),
    ]);
  });

  test('a flood that goes on is read in parts, once a second', () => {
    const { gate, said } = gated();
    for (let at = 0; at < 10_000; at += 1) gate.push(Buffer.from(line(at)), at);
    gate.end();
    const gaps = said.filter((text) => text.startsWith('--'));
    expect(gaps.length).toBeGreaterThan(5);
    expect(gaps.length).toBeLessThan(15);
    expect(said.length).toBeLessThan(20 + 10 * 11 + 30);
    expect(said.at(-1)).toBe('line 09999');
  });

  test('what is held is given out when the tool falls silent', async () => {
    const clock = virtualClock({ seed: 1, startMs: 0 });
    const said: string[] = [];
    const reader = lineReader(clock, (text) => said.push(text));
    const flood = Buffer.from('y\n'.repeat(50_000));
    for (let count = 0; count < 20; count += 1) reader.push(flood);
    reader.push(Buffer.from('the last word\n'));
    expect(said.at(-1)).toBe('y');
    await clock.advance(5000);
    expect(said.at(-1)).toBe('the last word');
    expect(said.find((text) => text.startsWith('--'))).toMatch(/^-- \d+ bytes in 8\d{5} lines came too fast, and are left out here --$/);
    expect(clock.pending()).toBe(0);
    reader.end();
    expect(said.length).toBeLessThan(110_000);
  });

  test('long lines are bounded by their bytes', () => {
    const { gate, read, leftOut } = gated();
    for (let count = 0; count < 10; count += 1) gate.push(Buffer.from(`${'x'.repeat(999)}\n`), 0);
    gate.end();
    expect(read()).toBeLessThan(1500);
    expect(read() + leftOut().bytes).toBe(10_000);
  });

  test('whatever comes when, each byte and each line end is read or counted', () => {
    const chunk = fc.tuple(fc.array(fc.constantFrom('a', 'bcd', '\n', '\r', '\n\n'), { maxLength: 120 }), fc.nat({ max: 900 }));
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 40 }), (chunks) => {
        const { gate, read, leftOut } = gated();
        let now = 0;
        let total = 0;
        for (const [parts, later] of chunks) {
          now += later;
          const bytes = Buffer.from(parts.join(''));
          total += bytes.byteLength;
          gate.push(bytes, now);
        }
        gate.end();
        expect(read() + leftOut().bytes).toBe(total);
        expect(gate.isHolding).toBe(false);
      }),
    );
  });
});
