/**
 * The files port: byte sequences under keys. Large things (images, packages, logs) live here; records only name them. The store may be on another machine: nobody may take a key for a path, `stat` may
 * cost a round trip, `setModified` and `copy` a copy on the server.
 */

/** Segments of letters, digits and `._+~@-`, joined by `/`; no segment is `.` or `..` or begins with a dot. At most 512 characters. */
export type FileKey = string;

export type FileSource =
  | Uint8Array
  | string
  | AsyncIterable<Uint8Array>
  /** `isOurs`: nobody but the caller can write to it or give its name to another file, as in a folder of the service's own. */
  | { readonly path: string; readonly isOurs?: boolean };

export interface PutOptions {
  readonly ifAbsent?: boolean;
  readonly signal?: AbortSignal;
  /** The file is there for every reader, but survives no crash of the machine before `sync` was called. For many files that are of use only together. */
  readonly syncLater?: boolean;
}

export interface FileStatus {
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly modifiedAt: number;
  /**
   * Opaque. Another one wherever the content may have changed since: also where somebody changed it past this port and put size and time back. `place` and `setModified` change it too,
   * though the content stays.
   */
  readonly fingerprint: string;
}

/** What placing made of a stored file's fingerprint, so that who trusted the earlier one may trust the later one. */
interface PlacedFile {
  readonly before: string;
  readonly after: string;
  /** The path and the key name one file: what one of them shows, the other does. False where a copy was made. */
  readonly isLinked: boolean;
}

export interface Files {
  /**
   * Stores the whole source or nothing: a reader never sees a part of it. After it resolves the file survives a crash. With `ifAbsent` an existing file is left as it is
   * and `false` comes back. A string is stored as UTF-8. `{path}` may be hard-linked: its content must not change afterwards.
   */
  put(key: FileKey, source: FileSource, options?: PutOptions): Promise<boolean>;
  /** What was stored with `syncLater` survives a crash once this has resolved. Rejects where the disk failed; what it failed for is removed. */
  sync(): Promise<void>;
  /** The bytes from `start` to `end` (both inclusive, as in HTTP ranges), or undefined where there is no such file. `size` is the whole file's. */
  get(
    key: FileKey,
    range?: { readonly start?: number; readonly end?: number },
  ): Promise<{ readonly size: number; readonly body: AsyncIterable<Uint8Array> } | undefined>;
  stat(key: FileKey): Promise<FileStatus | undefined>;
  /** `stat` of many files in one call, which is much cheaper; in their order. */
  stats(keys: readonly FileKey[]): Promise<readonly (FileStatus | undefined)[]>;
  /** Sets the time of last change, in milliseconds since 1970. Rejects with FILE_MISSING. */
  setModified(key: FileKey, modifiedAt: number): Promise<void>;
  /** Keys below `prefix/`, sorted. */
  list(prefix: FileKey): Promise<readonly FileKey[]>;
  /** Makes `to` the same file as `from`, replacing. Rejects with FILE_MISSING where `from` is not there. */
  copy(from: FileKey, to: FileKey): Promise<void>;
  /** Removes a file; no error where there is none. */
  remove(key: FileKey): Promise<void>;
  /**
   * Puts a copy at a local path that does not exist yet, with the file's time of last change. By hard link where the store is on the same file system, which costs nothing: the caller must not write
   * to it. From a store elsewhere the whole file is fetched, and one that is named by its digest held to it. Rejects with FILE_MISSING or FILE_CORRUPT.
   */
  place(key: FileKey, path: string): Promise<PlacedFile>;
  /**
   * An address where everybody can read this file past the service, for as long as the store's settings say; undefined where it gives none. Whether the file is there is not looked at.
   */
  link(key: FileKey, as: { readonly fileName: string; readonly mediaType: string }): Promise<string | undefined>;
  ping(): Promise<void>;
  close(): Promise<void>;
}
