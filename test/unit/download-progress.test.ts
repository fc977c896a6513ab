/** What one build says of its downloads: bytes for those who wait, tenths for its log. */
import { expect, test } from 'vitest';
import { downloadProgress } from '../../services/side-repo/download-progress.ts';

function world(packages: number, bytesTotal: number) {
  let now = 0;
  const told: (readonly [done: number, total: number, what: string])[] = [];
  const lines: string[] = [];
  const seen = downloadProgress({ packages, bytesTotal, now: () => now, progress: (...what) => void told.push(what), say: (line) => void lines.push(line) });
  return {
    seen,
    told,
    lines,
    at: (ms: number) => {
      now = ms;
    },
  };
}

test('bytes are told as they come, and a line is written for each tenth', () => {
  const { seen, told, lines, at } = world(2, 100e6);
  seen.stored(50e6);
  at(10_000);
  seen.arrived('b', 4e6);
  seen.arrived('b', 20e6);
  seen.ended('b', { bytes: 50e6, bytesFetched: 45e6, bytesKept: 5e6 });
  expect(told).toEqual([
    [50e6, 100e6, 'stored packages'],
    [54e6, 100e6, 'b'],
    [70e6, 100e6, 'b'],
    [100e6, 100e6, 'b'],
  ]);
  expect(lines).toEqual([
    '1 of 2 packages, 50.0 MB of 100.0 MB, 50.0 MB to go',
    '1 of 2 packages, 70.0 MB of 100.0 MB, 2.0 MB/s, 30.0 MB to go',
    '2 of 2 packages, 100.0 MB of 100.0 MB, 2.0 MB/s, 0.0 MB to go',
  ]);
  expect(seen.summary()).toBe('all 2 packages are there and checked; 45.0 MB were fetched, 5.0 MB were left by an earlier try, 50.0 MB were stored already');
});

test('a file that is begun anew is not counted twice', () => {
  const { seen, told, lines } = world(1, 10e6);
  seen.arrived('a', 9e6);
  seen.arrived('a', 1e6);
  seen.ended('a', { bytes: 10e6, bytesFetched: 19e6, bytesKept: 0 });
  expect(told.map(([done]) => done)).toEqual([9e6, 1e6, 10e6]);
  // What was written of it stays as it was: no tenth comes again.
  expect(lines.map((line) => line.slice(0, 17))).toEqual(['0 of 1 packages, ', '1 of 1 packages, ']);
});

test('the last line waits for the last file, not for its last byte', () => {
  const { seen, lines } = world(1, 10e6);
  seen.arrived('a', 10e6);
  expect(lines.at(-1)).toMatch(/^0 of 1 packages/);
  seen.ended('a', { bytes: 10e6, bytesFetched: 10e6, bytesKept: 0 });
  expect(lines.at(-1)).toMatch(/^1 of 1 packages/);
});

test('packages without bytes divide by nothing', () => {
  const { seen, lines } = world(1, 0);
  seen.stored(0);
  expect([lines.length, seen.summary()]).toEqual([1, 'all 1 packages are there and checked; 0.0 MB were fetched, 0.0 MB were stored already']);
});
