/** A small file system of a test's own, to see what becomes of everything when a disk is full. */
import { spawnSync } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { testDirectory } from './temp-directory.ts';

export interface SmallDisk {
  readonly path: string;
  /** Leaves no byte free. */
  fill(): Promise<void>;
  /** Gives the room back. */
  clear(): Promise<void>;
}

/** `size`: as tmpfs takes it, such as `4m`. At `path`, which is made, or at a place of its own. Unmounted after the test; the test is skipped where none can be mounted. */
export async function smallDisk(size: string, skip: (why: string) => void, path?: string): Promise<SmallDisk> {
  const place = path ?? join(await testDirectory(), 'small');
  await mkdir(place, { recursive: true });
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', place], { encoding: 'utf8' });
  if (mounted.status !== 0) skip(`needs a small file system, and mount said: ${mounted.error?.message ?? mounted.stderr.trim()}`);
  onTestFinished(() => {
    expect(spawnSync('umount', ['--lazy', place]).status).toBe(0);
  });
  const filler = join(place, 'filler');
  return {
    path: place,
    fill: async () => {
      await writeFile(filler, '');
      expect(spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4k'], { encoding: 'utf8' }).stderr).toContain('No space left');
    },
    clear: () => rm(filler),
  };
}
