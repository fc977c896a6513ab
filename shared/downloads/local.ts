/** Partial files in a local directory, which belongs to one process at a time: the one that has the state directory. */
import { mkdirSync } from 'node:fs';
import { lstat, readdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock/clock.ts';
import { leavings, type PartialFiles, partialName } from './partial-files.ts';

/** The directory is made where it is missing, at once, so that whoever gets a path can write to it. */
export function localPartialFiles({ directory, clock }: { readonly directory: string; readonly clock: Pick<Clock, 'now'> }): PartialFiles {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const pathOf = (key: string) => join(directory, partialName(key));
  const missing = (error: NodeJS.ErrnoException): undefined => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  };

  return {
    directory,
    pathOf,
    size: async (key) => (await lstat(pathOf(key)).catch(missing))?.size ?? 0,
    remove: (key) => rm(pathOf(key), { force: true }),
    sweep: async ({ ageMsMax, bytesMax }) => {
      const names = (await readdir(directory)).filter((name) => name.endsWith('.part'));
      const parts = await Promise.all(
        names.map(async (name) => {
          const found = await lstat(join(directory, name)).catch(missing);
          return found ? [{ key: name.slice(0, -'.part'.length), bytes: found.size, writtenAt: found.mtimeMs }] : [];
        }),
      );
      const gone = leavings(parts.flat(), { now: clock.now(), ageMsMax, bytesMax });
      for (const key of gone) await rm(join(directory, `${key}.part`), { force: true });
      return gone.length;
    },
    freeBytes: async () => {
      const { bavail, bsize } = await statfs(directory);
      return bavail * bsize;
    },
  };
}
