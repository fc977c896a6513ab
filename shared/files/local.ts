/** The files port on a local directory: each file is written beside its place, made durable, and only then given its name. */
import { randomBytes } from 'node:crypto';
import { type BigIntStats, chmodSync, constants, linkSync, lstatSync, mkdirSync } from 'node:fs';
import { chmod, copyFile, type FileHandle, link, lstat, mkdir, open, readdir, rename, unlink, utimes } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { SpindleError } from '../build/failure.ts';
import { forEachParallel } from '../parallel/for-each.ts';
import { fullDisk, isFullDisk } from './disk-full.ts';
import { checkFileKey, checkFilePrefix, cutRange } from './file-key.ts';
import type { FileKey, FileSource, FileStatus, Files, PutOptions } from './files.ts';
import { untilAborted } from './until-aborted.ts';

/** Where half-written files lie. No key begins with a dot, so none of them can be read. */
const incomingName = '.incoming';
/** Up to this size a file is read at once: one open and one read, and no body that changes under its reader. */
const wholeBytesMax = 64 * 1024;
const chunkBytes = 256 * 1024;
/** So many are looked at before others get their turn. */
const statsAtOnce = 64;
const syncsAtOnce = 8;
/** Tells this process's half-written files from those of a dead one that had the same process id. */
const processToken = randomBytes(6).toString('hex');
const incomingPattern = /^(\d+)\.([0-9a-f]{12})\.\d+$/;

/** Stores files below `directory`, which is made where it is missing. What a dead process left half-written is removed at the first call. */
export function localFiles({ directory: named }: { readonly directory: string }): Files {
  const directory = resolve(named);
  const incoming = join(directory, incomingName);
  const ready = prepare(directory, incoming);
  // Whoever calls first learns of a failure; until then it is nobody's.
  ready.catch(() => {});
  const directories = new Map<string, Promise<void>>([[directory, Promise.resolve()]]);
  /** Those that are there, durable or not. */
  const made = new Set<string>();
  /** Paths of files that are to be made durable by the next sync. */
  const unsynced = new Set<string>();
  let syncing: Promise<void> = Promise.resolve();
  const syncs = new Map<string, { running: Promise<void>; next: Promise<void> | undefined }>();
  /** Writes by key, so that a second writer of the same key is not told "it is there" before that is durable. */
  const writing = new Map<FileKey, Set<Promise<unknown>>>();
  const underWay = new Set<Promise<unknown>>();
  let counter = 0;
  let closed = false;

  // A key has nothing in it that joining paths would have to make anything of.
  const pathOf = (key: FileKey) => `${directory}/${checkFileKey(key)}`;
  const incomingPath = () => {
    counter += 1;
    return join(incoming, `${process.pid}.${processToken}.${counter}`);
  };

  async function start(): Promise<void> {
    if (closed) throw new SpindleError('PORT_CLOSED', 'the files were used after they were closed');
    await ready;
  }

  /** Makes a folder and all above it durable, once for each folder. */
  function ensureDirectory(path: string): Promise<void> {
    const known = directories.get(path);
    if (known !== undefined) return known;
    const made = (async () => {
      await ensureDirectory(dirname(path));
      await mkdir(path).catch((error: unknown) => {
        if (codeOf(error) !== 'EEXIST') throw error;
      });
      await syncDirectory(dirname(path));
    })();
    directories.set(path, made);
    made.catch(() => directories.delete(path));
    return made;
  }

  /** The same without making it durable, at once. */
  function makeDirectory(path: string): void {
    if (made.has(path)) return;
    mkdirSync(path, { recursive: true });
    made.add(path);
  }

  /** Makes the names in a folder durable. Calls that come while one runs share the next one. */
  function syncDirectory(path: string): Promise<void> {
    const running = syncs.get(path);
    if (running) {
      running.next ??= running.running.then(
        () => startSync(path),
        () => startSync(path),
      );
      return running.next;
    }
    return startSync(path);
  }

  function startSync(path: string): Promise<void> {
    const state: { running: Promise<void>; next: Promise<void> | undefined } = { running: syncOnce(path), next: undefined };
    syncs.set(path, state);
    const forget = () => {
      if (syncs.get(path) === state && !state.next) syncs.delete(path);
    };
    state.running.then(forget, forget);
    return state.running;
  }

  /** Gives a durable incoming file its name, and makes the name durable. False where `ifAbsent` found one. */
  async function settle(from: string, to: string, ifAbsent: boolean): Promise<boolean> {
    await ensureDirectory(dirname(to));
    if (ifAbsent) {
      const isNew = await link(from, to).then(
        () => true,
        (error: unknown) => {
          if (codeOf(error) === 'EEXIST') return false;
          throw error;
        },
      );
      await syncDirectory(dirname(to));
      return isNew;
    }
    await rename(from, to);
    await syncDirectory(dirname(to));
    return true;
  }

  /**
   * Gives a finished file a second name, which is not durable yet. False where that name is taken, undefined where the file system has no such names. Names alone: the kernel changes them in memory
   * within microseconds, and a turn through the thread pool would cost ten times that.
   */
  function linkOwn(path: string, to: string): boolean | undefined {
    const found = lookSync(path);
    if (!found) throw new SpindleError('FILE_MISSING', `${path} is not there, so it could not be stored`);
    if (!found.isFile()) throw notRegular(path);
    try {
      makeDirectory(dirname(to));
      if ((found.mode & 0o777n) !== 0o444n) chmodSync(path, 0o444);
      linkSync(path, to);
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false;
      if (linkRefused.has(codeOf(error))) return undefined;
      throw error;
    }
    unsynced.add(to);
    return true;
  }

  /** One after the other: who comes while one runs may have files that it did not see. */
  function syncAll(): Promise<void> {
    const mine = syncing.then(syncOpen, syncOpen);
    syncing = mine;
    mine.catch(() => {});
    return mine;
  }

  async function syncOpen(): Promise<void> {
    const paths = [...unsynced];
    const all = { atOnceMax: syncsAtOnce, signal: new AbortController().signal };
    let failure: unknown;
    await forEachParallel(paths, all, async (path) => {
      try {
        await syncFile(path);
      } catch (error) {
        // What the kernel could not write it forgets: the file may have anything in it now.
        failure ??= error;
        await unlink(path).catch(() => {});
      }
    });
    await forEachParallel([...new Set(paths.map((path) => dirname(path)))], all, async (folder) => {
      await ensureDirectory(folder);
      await syncDirectory(folder);
    });
    for (const path of paths) unsynced.delete(path);
    if (failure !== undefined) throw asSpindleError(failure, 'making stored files durable');
  }

  async function write(key: FileKey, to: string, source: FileSource, { ifAbsent = false, syncLater = false, signal }: PutOptions): Promise<boolean> {
    const temporary = incomingPath();
    if (ifAbsent && syncLater && typeof source === 'object' && 'path' in source && source.isOurs) {
      try {
        const isNew = linkOwn(source.path, to);
        if (isNew !== undefined) return isNew;
      } catch (error) {
        throw asSpindleError(error, `storing ${key}`);
      }
    }
    // The folder is made while the bytes are written. Who needs it learns of a failure in settle().
    ensureDirectory(dirname(to)).catch(() => {});
    try {
      if (typeof source === 'object' && 'path' in source) {
        await takeLocal(source.path, temporary, signal);
      } else {
        await writeAll(temporary, source, signal);
      }
      signal?.throwIfAborted();
      const isNew = await settle(temporary, to, ifAbsent);
      if (!ifAbsent) unsynced.delete(to);
      return isNew;
    } catch (error) {
      throw asSpindleError(error, `storing ${key}`);
    } finally {
      // After a link the file has two names; and a rename onto another name of the same file does nothing at all.
      await unlink(temporary).catch(() => {});
    }
  }

  function track<T>(key: FileKey, task: Promise<T>): Promise<T> {
    const ofKey = writing.get(key) ?? new Set();
    writing.set(key, ofKey.add(task));
    underWay.add(task);
    const forget = () => {
      underWay.delete(task);
      ofKey.delete(task);
      if (ofKey.size === 0 && writing.get(key) === ofKey) writing.delete(key);
    };
    task.then(forget, forget);
    return task;
  }

  return {
    async put(key, source, options = {}) {
      const to = pathOf(key);
      const { ifAbsent = false, syncLater = false, signal } = options;
      await start();
      signal?.throwIfAborted();
      if (ifAbsent && lookSync(to)?.isFile()) {
        await Promise.allSettled(writing.get(key) ?? []);
        if (!syncLater && unsynced.has(to)) await syncAll();
        if (lookSync(to)?.isFile()) return false;
      }
      return track(key, write(key, to, source, options));
    },

    async sync() {
      await start();
      await syncAll();
    },

    async get(key, range) {
      const path = pathOf(key);
      await start();
      const file = await openRegular(path);
      if (!file) return undefined;
      try {
        const { size, ino } = await file.stat();
        const { start: first, stop } = cutRange(size, range);
        if (stop - first <= wholeBytesMax) {
          const bytes = await readExactly(file, first, stop - first, key);
          return { size, body: only(bytes) };
        }
        // The body opens the file anew: one that is never read must not keep a descriptor.
        return { size, body: bodyOf(key, path, { first, stop, size, ino }) };
      } finally {
        await file.close();
      }
    },

    async stat(key) {
      const path = pathOf(key);
      await start();
      return statusOf(await lstat(path, { bigint: true }).catch(missing));
    },

    async stats(keys) {
      const paths = keys.map(pathOf);
      await start();
      const found: (FileStatus | undefined)[] = [];
      for (let from = 0; from < paths.length; from += statsAtOnce) {
        // The kernel answers from memory within microseconds; through the thread pool each call would cost ten times that. The first of a batch goes there, so that all others get their turn.
        const [first, ...rest] = paths.slice(from, from + statsAtOnce) as [string, ...string[]];
        found.push(statusOf(await lstat(first, { bigint: true }).catch(missing)), ...rest.map((path) => statusOf(lookSync(path))));
      }
      return found;
    },

    async setModified(key, modifiedAt) {
      const path = pathOf(key);
      await start();
      if (!(await isThere(path))) throw new SpindleError('FILE_MISSING', `stored file ${key} is gone`);
      await utimes(path, modifiedAt / 1000, modifiedAt / 1000);
    },

    async list(prefix) {
      const below = checkFilePrefix(prefix);
      await start();
      const keys: FileKey[] = [];
      const walk = async (relative: string): Promise<void> => {
        const entries = await readdir(join(directory, relative), { withFileTypes: true }).catch(missing);
        for (const entry of entries ?? []) {
          if (entry.name.startsWith('.')) continue;
          const key = relative === '' ? entry.name : `${relative}/${entry.name}`;
          if (entry.isDirectory()) await walk(key);
          else if (entry.isFile()) keys.push(key);
        }
      };
      await walk(below);
      return keys.sort();
    },

    async copy(from, to) {
      const fromPath = pathOf(from);
      const toPath = pathOf(to);
      await start();
      if (unsynced.has(fromPath)) await syncAll();
      await track(
        to,
        (async () => {
          const temporary = incomingPath();
          try {
            await link(fromPath, temporary).catch(async (error: unknown) => {
              if (codeOf(error) !== 'EMLINK') throw error;
              await copyDurably(fromPath, temporary);
            });
            await settle(temporary, toPath, false);
          } catch (error) {
            if (isMissing(error)) throw new SpindleError('FILE_MISSING', `stored file ${from} is gone, so it could not be copied to ${to}`);
            throw asSpindleError(error, `copying ${from} to ${to}`);
          } finally {
            await unlink(temporary).catch(() => {});
          }
        })(),
      );
    },

    async remove(key) {
      const path = pathOf(key);
      await start();
      await track(
        key,
        (async () => {
          unsynced.delete(path);
          const gone = await unlink(path).then(() => true, missing);
          if (gone) await syncDirectory(dirname(path));
        })(),
      );
    },

    async place(key, path) {
      const from = pathOf(key);
      await start();
      const gone = () => new SpindleError('FILE_MISSING', `stored file ${key} is gone, so it could not be put at ${path}`);
      const before = statusOf(lookSync(from))?.fingerprint;
      if (before === undefined) throw gone();
      try {
        await link(from, path);
      } catch (error) {
        if (!(await isThere(from))) throw gone();
        if (!linkRefused.has(codeOf(error))) throw asSpindleError(error, `putting ${key} at ${path}`);
        await copyFile(from, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE).catch((failure: unknown) => {
          throw asSpindleError(failure, `putting ${key} at ${path}`);
        });
        return { before, after: before, isLinked: false };
      }
      // Of the new name: the key may name another file by now.
      return { before, after: statusOf(lookSync(path))?.fingerprint ?? before, isLinked: true };
    },

    async link(key) {
      checkFileKey(key);
      await start();
      return undefined;
    },

    async ping() {
      await start();
      await readdir(incoming);
    },

    async close() {
      closed = true;
      await ready.catch(() => {});
      await Promise.allSettled(underWay);
      await syncAll().catch(() => {});
    },
  };
}

/** Makes the directories, and removes what no living process is writing. */
async function prepare(directory: string, incoming: string): Promise<void> {
  await mkdir(incoming, { recursive: true, mode: 0o700 });
  await syncOnce(directory);
  for (const name of await readdir(incoming)) {
    const [, pid, token] = incomingPattern.exec(name) ?? [];
    const isOurs = token === processToken;
    const isOthers = pid !== undefined && Number(pid) !== process.pid && isAlive(Number(pid));
    if (!isOurs && !isOthers) await unlink(join(incoming, name)).catch(() => {});
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

async function syncOnce(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** No error where it is gone by now. */
async function syncFile(path: string): Promise<void> {
  const file = await openRegular(path);
  try {
    await file?.datasync();
  } finally {
    await file?.close();
  }
}

async function writeAll(path: string, source: Uint8Array | string | AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): Promise<void> {
  const file = await open(path, 'wx', 0o444);
  try {
    if (typeof source === 'string' || source instanceof Uint8Array) {
      await file.writeFile(source, signal ? { signal } : {});
    } else {
      for await (const chunk of untilAborted(source, signal)) await file.writeFile(chunk);
    }
    await file.datasync();
  } finally {
    await file.close();
  }
}

const linkRefused: ReadonlySet<string | undefined> = new Set(['EXDEV', 'EPERM', 'EMLINK', 'EACCES', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/** Links a local file to `to`, or copies it where that cannot be. Symbolic links and devices are refused: a build's output must not name other files. */
async function takeLocal(path: string, to: string, signal: AbortSignal | undefined): Promise<void> {
  const source = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((error: unknown) => {
    if (codeOf(error) === 'ELOOP') throw notRegular(path);
    if (isMissing(error)) throw new SpindleError('FILE_MISSING', `${path} is not there, so it could not be stored`);
    throw error;
  });
  try {
    const before = await source.stat();
    if (!before.isFile()) throw notRegular(path);
    const linked = await link(path, to).then(
      () => true,
      (error: unknown) => {
        if (linkRefused.has(codeOf(error))) return false;
        throw error;
      },
    );
    if (linked) {
      const after = await lstat(to);
      if (after.ino !== before.ino || after.dev !== before.dev) throw notRegular(path);
      await chmod(to, 0o444);
      await source.datasync();
      return;
    }
    const target = await open(to, 'wx', 0o444);
    try {
      const buffer = Buffer.allocUnsafe(4 * chunkBytes);
      for (let position = 0; ; ) {
        signal?.throwIfAborted();
        const { bytesRead } = await source.read(buffer, 0, buffer.byteLength, position);
        if (bytesRead === 0) break;
        await target.writeFile(buffer.subarray(0, bytesRead));
        position += bytesRead;
      }
      await target.datasync();
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

function notRegular(path: string): SpindleError {
  return new SpindleError('PATH_REFUSED', `${path} is not a regular file, so it is not stored`);
}

async function copyDurably(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  const file = await open(to, 'r');
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

async function openRegular(path: string): Promise<FileHandle | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(missing);
  if (!file) return undefined;
  if ((await file.stat()).isFile()) return file;
  await file.close();
  return undefined;
}

async function readExactly(file: FileHandle, start: number, length: number, key: FileKey): Promise<Uint8Array> {
  const bytes = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, length - done, start + done);
    if (bytesRead === 0) throw new SpindleError('FILE_CORRUPT', `stored file ${key} ended before its size`);
    done += bytesRead;
  }
  return bytes;
}

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.byteLength > 0) yield bytes;
}

async function* bodyOf(
  key: FileKey,
  path: string,
  expected: { readonly first: number; readonly stop: number; readonly size: number; readonly ino: number },
): AsyncGenerator<Uint8Array> {
  const file = await openRegular(path);
  if (!file) throw new SpindleError('FILE_MISSING', `stored file ${key} was removed before it was read`);
  try {
    const { size, ino } = await file.stat();
    if (size !== expected.size || ino !== expected.ino)
      throw new SpindleError('FILE_MISSING', `stored file ${key} was replaced before it was read; get it again`);
    for (let position = expected.first; position < expected.stop; position += chunkBytes) {
      yield await readExactly(file, position, Math.min(chunkBytes, expected.stop - position), key);
    }
  } finally {
    await file.close();
  }
}

/** A name that leads nowhere, or past a file, has nothing. */
function lookSync(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    return missing(error);
  }
}

/** Nobody but the kernel sets a file's ctime: a change of the content shows in it, whatever else was put back. */
function statusOf(found: BigIntStats | undefined): FileStatus | undefined {
  if (!found?.isFile()) return undefined;
  const { dev, ino, size, mtimeMs, mtimeNs, ctimeNs } = found;
  return { size: Number(size), modifiedAt: Number(mtimeMs), fingerprint: `${dev}-${ino}-${size}-${mtimeNs}-${ctimeNs}` };
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(missing))?.isFile() ?? false;
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

function isMissing(error: unknown): boolean {
  return codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR';
}

function missing(error: unknown): undefined {
  if (!isMissing(error)) throw error;
  return undefined;
}

function asSpindleError(error: unknown, doing: string): unknown {
  const code = codeOf(error);
  if (error instanceof SpindleError || code === undefined || !/^E[A-Z0-9]+$/.test(code)) return error;
  if (isFullDisk(error)) return fullDisk(error, doing);
  if (code === 'EEXIST' || code === 'EISDIR' || code === 'ENOTDIR' || code === 'ENOTEMPTY') {
    return new SpindleError('PATH_REFUSED', `${doing} failed: another file or folder has that name (${code})`, { cause: error });
  }
  return new SpindleError('INTERNAL', `${doing} failed: ${(error as Error).message}`, { cause: error });
}
