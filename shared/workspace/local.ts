/** The workspace port on a local directory: one folder a run, unmounted and removed at its end, whatever the tools left in it. */
import type { Stats } from 'node:fs';
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, mkdtemp, open, readdir, readFile, realpath, rename, rm, statfs, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SpindleError } from '../build/failure.ts';
import { digestLocalFile, storeDigested, storeLocalFile } from '../files/content.ts';
import { contentKey, type FileRef } from '../files/content-ref.ts';
import { refuseFullDisk } from '../files/disk-full.ts';
import type { Files } from '../files/files.ts';
import { mountPoints } from '../programs/proc-files.ts';
import { endProcessesIn } from '../programs/processes.ts';
import type { Programs } from '../programs/programs.ts';
import { directoryLabel, segmentsOf } from './paths.ts';
import type { Workspace, Workspaces } from './workspace.ts';

export interface LocalWorkspacesOptions {
  /** Holds one directory a run; best on the same file system as the stored files, so that they can be linked. Made where it is missing. */
  readonly directory: string;
  readonly files: Files;
  /** Whose directories these are. After a restart under the same name `sweep` takes what the predecessor left, so no two living processes share one. */
  readonly owner: string;
  /** Runs `umount` and `losetup` where a tool left a mount or a loop device. Without it such a workspace is left for the next sweep. */
  readonly programs?: Programs;
}

export function localWorkspaces({ directory, files, owner, programs }: LocalWorkspacesOptions): Workspaces {
  const prefix = `${directoryLabel(owner).replaceAll('-', '_')}-`;
  const living = new Set<string>();
  return {
    create: async (label) => {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const root = await realpath(directory);
      // mkdtemp makes it with mode 0700.
      const path = await mkdtemp(join(root, `${prefix}${directoryLabel(label)}-`));
      living.add(path);
      return localWorkspace(path, files, async () => {
        await removeTree(path, programs);
        living.delete(path);
      });
    },
    sweep: async () => {
      const root = await realpath(directory).catch(() => undefined);
      if (root === undefined) return 0;
      const left = (await readdir(root)).filter((name) => name.startsWith(prefix)).map((name) => join(root, name));
      let count = 0;
      await endProcessesIn(left.filter((path) => !living.has(path)));
      for (const path of left) {
        if (living.has(path)) continue;
        await removeTree(path, programs);
        count += 1;
      }
      return count;
    },
  };
}

const full = refuseFullDisk('writing into a workspace');

function localWorkspace(root: string, files: Files, dispose: () => Promise<void>): Workspace {
  let disposed: Promise<void> | undefined;

  /** The absolute path. What a tool wrote is not trusted: a symbolic link in it must not lead out of the workspace either. */
  const inside = async (relative: string): Promise<string> => {
    const path = join(root, ...segmentsOf(relative));
    for (let parent = dirname(path); parent.length > root.length; parent = dirname(parent)) {
      const real = await realpath(parent).catch(() => undefined);
      if (real === undefined) continue;
      if (real !== root && !real.startsWith(`${root}/`)) {
        throw new SpindleError('PATH_REFUSED', `the path ${JSON.stringify(relative.slice(0, 200))} leads out of its workspace by a symbolic link`);
      }
      break;
    }
    return path;
  };
  /** Where something is made: its folders too. */
  const room = async (relative: string): Promise<string> => {
    const path = await inside(relative);
    await mkdir(dirname(path), { recursive: true }).catch(full);
    return path;
  };
  const missing = (relative: string) => new SpindleError('FILE_MISSING', `the workspace has no file ${relative.slice(0, 200)}`);
  const look = async (relative: string): Promise<Stats | undefined> => {
    const stats = await lstat(await inside(relative)).catch(ignoreMissing);
    return stats?.isFile() ? stats : undefined;
  };

  /** Opens a regular file, and nothing else that may have its name. */
  const reading = async <T>(relative: string, use: (handle: FileHandle, size: number) => Promise<T>): Promise<T> => {
    const path = await inside(relative);
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'ELOOP' || error.code === 'ENXIO') throw missing(relative);
      throw error;
    });
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) throw missing(relative);
      return await use(handle, stats.size);
    } finally {
      await handle.close();
    }
  };
  const read = (relative: string, bytesMax: number): Promise<Uint8Array> =>
    reading(relative, async (handle, size) => {
      if (size > bytesMax) {
        throw new SpindleError('FILE_TOO_LARGE', `${relative.slice(0, 200)} in the workspace has ${size} bytes; at most ${bytesMax} are read`);
      }
      return await handle.readFile();
    });

  /** Of digested files, by path. */
  const digests = new Map<string, { readonly fingerprint: string; readonly ref: FileRef }>();
  /** Nobody but the kernel sets a file's ctime: whatever is written shows in it. */
  const fingerprintOf = async (relative: string): Promise<string> => {
    const stats = await lstat(await inside(relative), { bigint: true }).catch(ignoreMissing);
    if (!stats?.isFile()) throw missing(relative);
    return `${stats.dev}-${stats.ino}-${stats.size}-${stats.mtimeNs}-${stats.ctimeNs}`;
  };

  return {
    path: root,
    write: async (relative, content) => writeFile(await room(relative), content).catch(full),
    makeDirectory: async (relative) => {
      await mkdir(await inside(relative), { recursive: true }).catch(full);
    },
    read,
    readText: async (relative, bytesMax) => new TextDecoder().decode(await read(relative, bytesMax)),
    readRange: (relative, start, length) =>
      reading(relative, async (handle, size) => {
        const bytes = new Uint8Array(Math.max(0, Math.min(length, size - start)));
        let done = 0;
        while (done < bytes.length) {
          const { bytesRead } = await handle.read(bytes, done, bytes.length - done, start + done);
          if (bytesRead === 0) break;
          done += bytesRead;
        }
        return bytes.subarray(0, done);
      }),
    size: async (relative) => (await look(relative))?.size,
    list: async (relative) => {
      const path = await inside(relative);
      if (!(await lstat(path).catch(ignoreMissing))?.isDirectory()) return [];
      return (await readdir(path)).sort();
    },
    move: async (from, to) => {
      const source = await inside(from);
      if (!(await lstat(source).catch(ignoreMissing))) throw missing(from);
      await rename(source, await room(to));
    },
    remove: async (relative) => {
      if (segmentsOf(relative).length === 0) throw new SpindleError('PATH_REFUSED', 'a workspace is removed by disposing of it');
      await rm(await inside(relative), { recursive: true, force: true });
    },
    place: async (ref, relative) => {
      const path = await room(relative);
      await files.place(contentKey(ref.sha256), path);
      const stats = await lstat(path);
      if (stats.size !== ref.size) {
        throw new SpindleError('FILE_CORRUPT', `stored file sha256:${ref.sha256} has ${stats.size} bytes instead of ${ref.size}`);
      }
    },
    digest: async (relative, signal) => {
      const before = await fingerprintOf(relative);
      const path = await inside(relative);
      const [hashed, flushed] = await Promise.allSettled([digestLocalFile(path, signal), flush(path)]);
      if (hashed.status === 'rejected') throw hashed.reason;
      // Storing it makes it durable in any case, and says why that cannot be.
      if (flushed.status === 'fulfilled') digests.set(path, { fingerprint: before, ref: hashed.value });
      return hashed.value;
    },
    store: async (relative, signal) => {
      const fingerprint = await fingerprintOf(relative);
      const path = await inside(relative);
      const known = digests.get(path);
      if (known?.fingerprint !== fingerprint) return storeLocalFile(files, path, signal);
      await storeDigested(files, path, known.ref, signal);
      return known.ref;
    },
    freeBytes: async () => {
      const { bavail, bsize, files: names, ffree } = await statfs(root);
      // Some file systems count no names: they say that they have none at all.
      return names > 0 && ffree === 0 ? 0 : bavail * bsize;
    },
    dispose: () => {
      disposed ??= dispose().catch(() => {});
      return disposed;
    },
  };
}

async function flush(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
  throw error;
}

/** Mounts below are undone first, the innermost before the outer. Where one stays, nothing is removed: what is mounted there may be somebody's files. */
async function removeTree(path: string, programs: Programs | undefined): Promise<void> {
  try {
    for (const mount of await mountsBelow(path)) {
      await programs?.run({ command: 'umount', args: ['-l', '--', mount], deadlineMs: 30_000 }).catch(() => {});
    }
    if ((await mountsBelow(path)).length > 0) return;
    for (const device of await loopDevicesOn(path, programs)) {
      for (const mapped of await mappedOn(device)) {
        await programs?.run({ command: 'dmsetup', args: ['remove', '--force', '--retry', mapped], deadlineMs: 30_000 }).catch(() => {});
      }
      await programs?.run({ command: 'losetup', args: ['--detach', device], deadlineMs: 30_000 }).catch(() => {});
    }
    await rm(path, { recursive: true, force: true, maxRetries: 3, retryDelay: 50 });
  } catch {
    // The next sweep tries again; a run must not fail because its leavings could not be removed.
  }
}

/** Device-mapper devices that stand on a loop device or on its partitions, by their names. While one is there its loop device cannot be given back. */
async function mappedOn(device: string): Promise<readonly string[]> {
  const block = join('/sys/block', basename(device));
  const parts = (await readdir(block).catch(() => [])).filter((name) => name.startsWith(basename(device))).map((name) => join(block, name));
  const holders = await Promise.all([block, ...parts].map((place) => readdir(join(place, 'holders')).catch(() => [])));
  const names = await Promise.all(holders.flat().map((holder) => readFile(join('/sys/block', holder, 'dm', 'name'), 'utf8').catch(() => '')));
  return names.map((name) => name.trim()).filter((name) => name !== '');
}

async function mountsBelow(path: string): Promise<readonly string[]> {
  return mountPoints(await readFile('/proc/self/mountinfo', 'utf8').catch(() => ''))
    .filter((mount) => mount === path || mount.startsWith(`${path}/`))
    .reverse();
}

/** A tool that was killed cannot give back its loop devices, and unlike its mounts they do not end with its namespaces. */
async function loopDevicesOn(path: string, programs: Programs | undefined): Promise<readonly string[]> {
  const names = (await readdir('/sys/block').catch(() => [])).filter((name) => /^loop\d+$/.test(name));
  // The kernel tells the file by its mount: of a sandbox that has gone that begins at the workspace, or at a temporary directory in it.
  const scratch = join(path, '.private');
  const starts = [path, ...(await readdir(scratch).catch(() => [])).map((name) => join(scratch, name))];
  const found: string[] = [];
  for (const name of names) {
    const file = (await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '')).replace(/\n$/, '');
    if (file === '') continue;
    const device = `/dev/${name}`;
    const here = (await Promise.all(starts.map((start) => lstat(start + file).catch(() => undefined)))).flatMap((stats) => (stats ? [String(stats.ino)] : []));
    // Another's file may be called alike.
    if (file.startsWith(`${path}/`) || (here.length > 0 && here.includes(await backingInode(device, programs)))) found.push(device);
  }
  return found;
}

async function backingInode(device: string, programs: Programs | undefined): Promise<string> {
  const request = { command: 'losetup', args: ['--list', '--noheadings', '--raw', '--output', 'BACK-INO', device], deadlineMs: 30_000 };
  return (await programs?.run(request).catch(() => undefined))?.stdout.trim() || 'unknown';
}
