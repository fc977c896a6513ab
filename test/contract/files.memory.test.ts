/** Files in memory against the files contract. */
import { memoryFiles } from '../../shared/files/memory.ts';
import { filesContract } from './files.contract.ts';

filesContract(
  'in memory',
  async () => {
    const local = new Map<string, Uint8Array>();
    let counter = 0;
    const freshPath = () => {
      counter += 1;
      return `/virtual/${counter}`;
    };
    return {
      files: memoryFiles({ readPath: (path) => local.get(path), writePath: (path, content) => void local.set(path, content) }),
      freshPath,
      localFile: async (content) => {
        const path = freshPath();
        local.set(path, content);
        return path;
      },
      readLocal: async (path) => local.get(path) ?? new Uint8Array(),
      dispose: async () => {},
    };
  },
  { survivesRestart: false },
);
