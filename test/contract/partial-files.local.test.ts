/** Partial files in a local directory against their contract. */
import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { localPartialFiles } from '../../shared/downloads/local.ts';
import { tempDirectory } from '../support/temp-directory.ts';
import { partialFilesContract } from './partial-files.contract.ts';

partialFilesContract('partial files in a local directory', async () => {
  const temporary = await tempDirectory();
  const now = Date.UTC(2026, 10, 22);
  const open = () => localPartialFiles({ directory: join(temporary.path, 'downloads'), clock: { now: () => now } });
  return {
    parts: open(),
    now,
    write: async (path, content, at) => {
      await writeFile(path, content);
      await utimes(path, at / 1000, at / 1000);
    },
    reopen: open,
    close: temporary.remove,
  };
});
