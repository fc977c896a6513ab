/** Partial files in a local directory, which belongs to one process at a time: the one that has the state directory. */
import { closeSync, constants, lstatSync, mkdirSync, openSync, readSync, rmSync } from 'node:fs';
import { lstat, readdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock/clock.ts';
import { leavings, type PartialFiles, partialName } from './partial-files.ts';

export interface LocalPartialFilesOptions {
  readonly directory: string;
  readonly clock: Pick<Clock, 'now'>;
  /** Directories that whole files go to: they may be on other file systems, and need the room as well. */
  readonly goTo?: readonly string[];
}

/** The directory is made where it is missing, at once, so that whoever gets a path can write to it. */
export function localPartialFiles({ directory, clock, goTo = [] }: LocalPartialFilesOptions): PartialFiles {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const pathOf = (key: string) => `${directory}/${partialName(key)}`;
  const missing = (error: NodeJS.ErrnoException): undefined => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  };

  return {
    directory,
    pathOf,
    // Of parts that were just written the kernel answers from memory, and takes names away there, within microseconds; a turn through the thread pool costs ten times that.
    size: async (key) => lstatSync(pathOf(key), { throwIfNoEntry: false })?.size ?? 0,
    start: async (key, bytes) => {
      try {
        const file = openSync(pathOf(key), constants.O_RDONLY | constants.O_NOFOLLOW);
        try {
          const buffer = Buffer.allocUnsafe(bytes);
          return buffer.subarray(0, readSync(file, buffer, 0, bytes, 0));
        } finally {
          closeSync(file);
        }
      } catch (error) {
        return missing(error as NodeJS.ErrnoException) ?? new Uint8Array();
      }
    },
    remove: async (key) => rmSync(pathOf(key), { force: true }),
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
    room: async () => {
      const rooms = await Promise.all(
        [directory, ...goTo].map(async (place) => {
          const { bavail, bsize } = await statfs(place);
          return { bytes: bavail * bsize, directory: place };
        }),
      );
      return rooms.reduce((least, room) => (room.bytes < least.bytes ? room : least));
    },
  };
}
