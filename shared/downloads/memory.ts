/** Partial files in memory, for tests, benches and the simulation: beside the workspaces, as if on one file system with them. */
import type { Clock } from '../clock/clock.ts';
import type { MemoryWorkspaces } from '../workspace/memory.ts';
import { leavings, type PartialFiles, partialName } from './partial-files.ts';

/** Files by absolute path, those of the workspaces too: what a simulated egress and files in memory read from and write to. */
export interface MemoryDisk {
  write(path: string, content: Uint8Array): void;
  read(path: string): Uint8Array | undefined;
  remove(path: string): void;
  /** Partial files below a directory of their own: one a process. */
  partialFiles(directory: string, clock: Pick<Clock, 'now'>): PartialFiles;
}

export function memoryDisk(workspaces: MemoryWorkspaces): MemoryDisk {
  const held = new Map<string, { readonly content: Uint8Array; readonly writtenAt: number }>();
  const clocks = new Map<string, Pick<Clock, 'now'>>();
  const clockOf = (path: string) => clocks.get(path.slice(0, path.lastIndexOf('/')));
  return {
    write: (path, content) => {
      const clock = clockOf(path);
      if (clock) held.set(path, { content, writtenAt: clock.now() });
      else workspaces.writeAt(path, content);
    },
    read: (path) => (clockOf(path) ? held.get(path)?.content : workspaces.readAt(path)),
    remove: (path) => void held.delete(path),
    partialFiles: (directory, clock) => {
      clocks.set(directory, clock);
      const pathOf = (key: string) => `${directory}/${partialName(key)}`;
      return {
        directory,
        pathOf,
        size: async (key) => held.get(pathOf(key))?.content.byteLength ?? 0,
        start: async (key, bytes) => new Uint8Array(held.get(pathOf(key))?.content.subarray(0, bytes) ?? []),
        remove: async (key) => void held.delete(pathOf(key)),
        sweep: async ({ ageMsMax, bytesMax }) => {
          const parts = [...held]
            .filter(([path]) => path.startsWith(`${directory}/`))
            .map(([path, { content, writtenAt }]) => ({ key: path.slice(directory.length + 1, -'.part'.length), bytes: content.byteLength, writtenAt }));
          const gone = leavings(parts, { now: clock.now(), ageMsMax, bytesMax });
          for (const key of gone) held.delete(pathOf(key));
          return gone.length;
        },
        // Memory has no end that a test would want to meet.
        room: async () => ({ bytes: Number.MAX_SAFE_INTEGER, directory }),
      };
    },
  };
}
