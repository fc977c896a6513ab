/** The files port in memory, for tests and the simulation: nothing touches the disk, nothing takes time. */
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import { checkFileKey, checkFilePrefix, cutRange } from './file-key.ts';
import type { FileKey, FileSource, FileStatus, Files } from './files.ts';

export interface MemoryFilesOptions {
  /** Dates the files. Without it all are from 1970. */
  readonly clock?: Pick<Clock, 'now'>;
  /** The content of a `{path}` source, or undefined where there is no such file. Without it every `{path}` is missing. */
  readonly readPath?: (path: string) => Uint8Array | undefined;
  /** Takes what `place` puts at a path. Without it `place` is refused. */
  readonly writePath?: (path: string, content: Uint8Array) => void;
}

export interface MemoryFiles extends Files {
  /** A file's content at this moment, without waiting. A copy. */
  peek(key: FileKey): Uint8Array | undefined;
}

export function memoryFiles(options: MemoryFilesOptions = {}): MemoryFiles {
  const stored = new Map<FileKey, { readonly bytes: Uint8Array; readonly modifiedAt: number; readonly change: number }>();
  let changes = 0;
  let closed = false;

  const check = (key: FileKey) => {
    if (closed) throw new SpindleError('PORT_CLOSED', 'the files were used after they were closed');
    return checkFileKey(key);
  };
  const existing = (key: FileKey) => {
    const file = stored.get(check(key));
    if (!file) throw new SpindleError('FILE_MISSING', `stored file ${key} is gone`);
    return file;
  };
  /** The keys by their first two segments: a simulation holds the files of thousands of builds, and asks for those of one at a time. */
  const folders = new Map<string, Set<FileKey>>();
  const write = (key: FileKey, bytes: Uint8Array) => {
    changes += 1;
    stored.set(key, { bytes, modifiedAt: options.clock?.now() ?? 0, change: changes });
    const folder = folderOf(key);
    const keys = folders.get(folder);
    if (keys) keys.add(key);
    else folders.set(folder, new Set([key]));
  };

  const statusOf = (key: FileKey): FileStatus | undefined => {
    const file = stored.get(key);
    return file && { size: file.bytes.byteLength, modifiedAt: file.modifiedAt, fingerprint: String(file.change) };
  };

  async function bytesOf(source: FileSource, signal: AbortSignal | undefined): Promise<Uint8Array> {
    if (typeof source === 'string') return new TextEncoder().encode(source);
    if (source instanceof Uint8Array) return new Uint8Array(source);
    if ('path' in source) {
      const bytes = options.readPath?.(source.path);
      if (!bytes) throw new SpindleError('FILE_MISSING', `${source.path} is not there, so it could not be stored`);
      return new Uint8Array(bytes);
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of source) {
      signal?.throwIfAborted();
      chunks.push(new Uint8Array(chunk));
    }
    return new Uint8Array(Buffer.concat(chunks));
  }

  return {
    peek(key) {
      const file = stored.get(key);
      return file ? new Uint8Array(file.bytes) : undefined;
    },
    async put(key, source, { ifAbsent = false, signal } = {}) {
      check(key);
      signal?.throwIfAborted();
      if (ifAbsent && stored.has(key)) return false;
      const bytes = await bytesOf(source, signal);
      signal?.throwIfAborted();
      check(key);
      // Another writer may have come first while the source was read.
      if (ifAbsent && stored.has(key)) return false;
      write(key, bytes);
      return true;
    },
    async sync() {
      if (closed) throw new SpindleError('PORT_CLOSED', 'the files were used after they were closed');
    },
    async get(key, range) {
      const file = stored.get(check(key));
      if (!file) return undefined;
      const { start, stop } = cutRange(file.bytes.byteLength, range);
      const body = (async function* () {
        if (stop > start) yield file.bytes.slice(start, stop);
      })();
      return { size: file.bytes.byteLength, body };
    },
    async stat(key) {
      return statusOf(check(key));
    },
    async stats(keys) {
      return keys.map((key) => statusOf(check(key)));
    },
    async setModified(key, modifiedAt) {
      const { bytes } = existing(key);
      changes += 1;
      stored.set(key, { bytes, modifiedAt, change: changes });
    },
    async list(prefix) {
      if (closed) throw new SpindleError('PORT_CLOSED', 'the files were used after they were closed');
      const start = checkFilePrefix(prefix) === '' ? '' : `${prefix}/`;
      const isOneFolder = prefix.split('/').length >= 2;
      const keys = isOneFolder ? (folders.get(folderOf(start)) ?? []) : stored.keys();
      return [...keys].filter((key) => key.startsWith(start)).sort();
    },
    async copy(from, to) {
      const file = existing(from);
      write(check(to), file.bytes);
    },
    async remove(key) {
      stored.delete(check(key));
      folders.get(folderOf(key))?.delete(key);
    },
    async place(key, path) {
      const file = existing(key);
      if (!options.writePath) throw new SpindleError('INTERNAL', `these files have no way to put ${key} at ${path}: make them with writePath`);
      options.writePath(path, new Uint8Array(file.bytes));
      const fingerprint = String(file.change);
      return { before: fingerprint, after: fingerprint, isLinked: false };
    },
    async link(key) {
      check(key);
      return undefined;
    },
    async ping() {
      if (closed) throw new SpindleError('PORT_CLOSED', 'the files were used after they were closed');
    },
    async close() {
      closed = true;
    },
  };
}

function folderOf(key: FileKey): string {
  return key.split('/', 2).join('/');
}
