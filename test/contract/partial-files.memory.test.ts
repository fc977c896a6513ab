/** Partial files in memory against their contract. */
import { memoryDisk } from '../../shared/downloads/memory.ts';
import { memoryFiles } from '../../shared/files/memory.ts';
import { memoryWorkspaces } from '../../shared/workspace/memory.ts';
import { partialFilesContract } from './partial-files.contract.ts';

partialFilesContract('partial files in memory', async () => {
  const start = Date.UTC(2026, 10, 22);
  let now = start;
  const disk = memoryDisk(memoryWorkspaces({ files: memoryFiles() }));
  const open = () => disk.partialFiles('/downloads', { now: () => now });
  return {
    parts: open(),
    now: start,
    write: async (path, content, at) => {
      now = at;
      disk.write(path, new TextEncoder().encode(content));
      now = start;
    },
    reopen: open,
    close: async () => {},
  };
});
