/** What is kept of a tool's lines: the last ones, bounded in number and size. */
import { expect, test } from 'vitest';
import { lastLines } from '../../services/image-builder/last-lines.ts';

test('the last lines are kept, in their order', () => {
  const lines = lastLines(100, 1_000_000);
  for (let number = 0; number < 10_050; number += 1) lines.push(`line ${number}`);
  expect(lines.all.length).toBeGreaterThanOrEqual(100);
  expect(lines.all.length).toBeLessThanOrEqual(200);
  expect(lines.all).toEqual(Array.from({ length: lines.all.length }, (_, index) => `line ${10_050 - lines.all.length + index}`));
});

test('long lines are kept in a bounded number', () => {
  const lines = lastLines(5000, 100_000);
  for (let number = 0; number < 10_000; number += 1) lines.push(`${number}${'x'.repeat(8192)}`);
  expect(lines.all.reduce((sum, line) => sum + line.length, 0)).toBeLessThanOrEqual(200_000 + 8200);
  expect(lines.all.at(-1)?.startsWith('9999x')).toBe(true);
});
