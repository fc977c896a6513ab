/** What every adapter of the port for partial files promises: parts by key, found again, swept by age and by size. */
import { describe, expect, test } from 'vitest';
import type { PartialFiles } from '../../shared/downloads/partial-files.ts';

export interface PartialFilesSetup {
  readonly parts: PartialFiles;
  /** Writes a part that was last touched at this time, in milliseconds since 1970. */
  write(path: string, content: string, at: number): Promise<void>;
  /** As the next process sees them. */
  reopen(): PartialFiles;
  /** What the parts' clock says. */
  readonly now: number;
  close(): Promise<void>;
}

export function partialFilesContract(name: string, make: () => Promise<PartialFilesSetup>): void {
  describe(name, () => {
    const withSetup = async (action: (setup: PartialFilesSetup) => Promise<void>) => {
      const setup = await make();
      try {
        await action(setup);
      } finally {
        await setup.close();
      }
    };

    test('a part is found by its key, by the next process too, until it is removed', () =>
      withSetup(async ({ parts, write, reopen, now }) => {
        expect(await parts.size('a1')).toBe(0);
        await write(parts.pathOf('a1'), 'half', now);
        await write(parts.pathOf('b2'), 'other', now);
        expect(await parts.size('a1')).toBe(4);
        expect(await reopen().size('a1')).toBe(4);
        await parts.remove('a1');
        await parts.remove('a1');
        expect([await parts.size('a1'), await parts.size('b2')]).toEqual([0, 5]);
        expect(parts.pathOf('a1').startsWith(`${parts.directory}/`)).toBe(true);
      }));

    test('the start of a part is read, as far as it is there', () =>
      withSetup(async ({ parts, write, now }) => {
        await write(parts.pathOf('a1'), 'half', now);
        await write(parts.pathOf('b2'), 'other', now);
        // Asked for together, each has its own.
        const [first, second] = await Promise.all([parts.start('a1', 3), parts.start('b2', 100)]);
        expect([first, second].map((bytes) => Buffer.from(bytes).toString())).toEqual(['hal', 'other']);
        expect((await parts.start('none', 10)).byteLength).toBe(0);
      }));

    test('a key that could be another path is a bug', () =>
      withSetup(async ({ parts }) => {
        for (const key of ['', '..', 'a/b', 'a.b', 'a b', 'ä', 'x'.repeat(121), '\0']) expect(() => parts.pathOf(key)).toThrow('no key of a partial file');
      }));

    test('old parts are swept, then the oldest of too many', () =>
      withSetup(async ({ parts, write, now }) => {
        const minute = 60_000;
        await write(parts.pathOf('old'), 'x', now - 60 * minute);
        await write(parts.pathOf('first'), '12345', now - 3 * minute);
        await write(parts.pathOf('second'), '12345', now - 2 * minute);
        await write(parts.pathOf('third'), '12345', now - minute);
        expect(await parts.sweep({ ageMsMax: 30 * minute, bytesMax: 1000 })).toBe(1);
        expect([await parts.size('old'), await parts.size('first')]).toEqual([0, 5]);
        expect(await parts.sweep({ ageMsMax: 30 * minute, bytesMax: 10 })).toBe(1);
        expect([await parts.size('first'), await parts.size('second'), await parts.size('third')]).toEqual([0, 5, 5]);
        expect(await parts.sweep({ ageMsMax: 30 * minute, bytesMax: 10 })).toBe(0);
      }));

    test('there is room, and it is told', () =>
      withSetup(async ({ parts }) => {
        expect(await parts.room()).toEqual({ bytes: expect.any(Number), directory: parts.directory });
        expect((await parts.room()).bytes).toBeGreaterThan(0);
      }));
  });
}
