/** The workspace port: a private directory for one run of one stage. Whatever way the run ends, `dispose` leaves nothing of it. */
import type { FileRef } from '../files/content-ref.ts';

export interface Workspace {
  /** Absolute path of the directory; on the same file system as the local files where that is possible. */
  readonly path: string;
  /** Writes a file (and its folders). `relative` may not climb out. */
  write(relative: string, content: string | Uint8Array): Promise<void>;
  makeDirectory(relative: string): Promise<void>;
  /** Rejects with FILE_MISSING, or FILE_TOO_LARGE above `bytesMax`. */
  read(relative: string, bytesMax: number): Promise<Uint8Array>;
  readText(relative: string, bytesMax: number): Promise<string>;
  /** At most `length` bytes from `start` on; fewer where the file ends before. Rejects with FILE_MISSING. */
  readRange(relative: string, start: number, length: number): Promise<Uint8Array>;
  /** Size in bytes, or undefined where there is no regular file. */
  size(relative: string): Promise<number | undefined>;
  /** Names in a directory, sorted; empty where there is none. */
  list(relative: string): Promise<readonly string[]>;
  move(from: string, to: string): Promise<void>;
  /** Removes a file or a whole directory below the workspace; no error where there is none. */
  remove(relative: string): Promise<void>;
  /** Puts a stored file here, by hard link where possible: it must not be written to. */
  place(ref: FileRef, relative: string): Promise<void>;
  /**
   * What a file of this workspace would be stored as. Its bytes go to the disk meanwhile: `store` of the unchanged file has little left to do. For large files, beside other work that
   * only reads them.
   */
  digest(relative: string, signal?: AbortSignal): Promise<FileRef>;
  /** Stores a file of this workspace by its content. It must not be written to afterwards. */
  store(relative: string, signal?: AbortSignal): Promise<FileRef>;
  /** Bytes that can still be written on the file system of this directory; 0 where it has no room for another file's name. */
  freeBytes(): Promise<number>;
  /** Removes the directory with everything in it, mounts below it undone first. Twice is once. Never throws. */
  dispose(): Promise<void>;
}

export interface Workspaces {
  /** A new, empty directory with mode 0700. `label` (for people) may hold a build id and a stage. */
  create(label: string): Promise<Workspace>;
  /** Removes what dead predecessors of this process left. Returns how many directories that were. */
  sweep(): Promise<number>;
}
