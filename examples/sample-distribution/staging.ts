/** The folders that become RPMs: each package's files are laid out in one, as they will stand in the system. */
import { chmod, cp, link, lstat, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { FileEntry } from './package-definition.ts';

export interface StagedPackage {
  readonly root: string;
  text(path: string, content: string, mode?: number): Promise<void>;
  link(path: string, target: string): Promise<void>;
  /** A second name of a file that is already staged. */
  hardLink(path: string, of: string): Promise<void>;
  directory(path: string, mode?: number): Promise<void>;
  /** Copies a file of the host, following links. */
  copy(path: string, from: string, mode?: number): Promise<void>;
  copyTree(path: string, from: string, wanted: (name: string) => boolean): Promise<void>;
  /** What `%files` has to list: every file, and every folder that the package called `filesystem` does not have. */
  entries(sharedDirectories?: ReadonlySet<string>): Promise<FileEntry[]>;
}

export function stagedPackage(root: string): StagedPackage {
  const place = async (path: string) => {
    const target = join(root, path);
    await mkdir(dirname(target), { recursive: true, mode: 0o755 });
    return target;
  };
  return {
    root,
    async text(path, content, mode = 0o644) {
      const target = await place(path);
      await writeFile(target, content, { mode });
      await chmod(target, mode);
    },
    async link(path, target) {
      await symlink(target, await place(path));
    },
    async hardLink(path, of) {
      await link(join(root, of), await place(path));
    },
    async directory(path, mode = 0o755) {
      const target = join(root, path);
      await mkdir(target, { recursive: true, mode: 0o755 });
      await chmod(target, mode);
    },
    async copy(path, from, mode = 0o644) {
      const target = await place(path);
      await cp(from, target, { dereference: true, force: true });
      await chmod(target, mode);
    },
    async copyTree(path, from, wanted) {
      await cp(from, await place(path), { recursive: true, filter: (source) => source === from || wanted(basename(source)) });
    },
    async entries(sharedDirectories = new Set()) {
      const found: FileEntry[] = [];
      const walk = async (directory: string): Promise<void> => {
        for (const name of (await readdir(join(root, directory))).sort()) {
          const path = directory === '' ? name : `${directory}/${name}`;
          const isDirectory = (await lstat(join(root, path))).isDirectory();
          if (!isDirectory || !sharedDirectories.has(path)) found.push({ path, isDirectory });
          if (isDirectory) await walk(path);
        }
      };
      await walk('');
      return found;
    },
  };
}
