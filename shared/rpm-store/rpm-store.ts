/**
 * The RPM store port: the stored files that repositories are made of, what is known of each, and the repositories themselves. The bytes stand in the files port under their digest; here is
 * remembered that they were seen to be whole, whose package they are and who signed it, so that a known file is not read again.
 */
import type { FileRef } from '../files/content-ref.ts';
import type { Programs } from '../programs/programs.ts';
import type { SignatureVerdict } from '../rpm/checksig.ts';
import type { Workspace } from '../workspace/workspace.ts';

/** What the header of a stored RPM says. */
export interface KnownRpm extends FileRef {
  /** As `formatNevra` writes it. */
  readonly nevra: string;
  readonly isSource: boolean;
  /** A path of its file list that leaves its place, cut for people. */
  readonly climbingPath: string | null;
}

export interface RepositoryFile extends FileRef {
  /** Below the repository. */
  readonly path: string;
}

export interface MakeOptions {
  readonly programs: Programs;
  readonly workspace: Workspace;
  /** Its groups, as the text of a comps.xml. */
  readonly comps?: string | undefined;
  readonly log: (tool: string, line: string) => void;
  readonly signal: AbortSignal;
}

/** Keeps files from being removed by the store's cap. */
export interface Pin {
  add(sha256: string): void;
  /** Twice is once. */
  release(): void;
}

export interface RpmStore {
  /** From now on none of these goes, whether they are here yet or not. What builds use by their records needs no pin between two stages. */
  pin(sha256s: Iterable<string>): Pin;
  /**
   * By digest, those that are here and whole. What was seen whole lately and has not changed since is not read again. A file that is torn or has other content is removed, and missing in the
   * answer: it has to be fetched anew. `isLasting`: no address of it is known, so the cap must not remove it. Rejects with PACKAGE_MISMATCH where a whole file is no RPM.
   */
  check(rpms: readonly (FileRef & { readonly isLasting?: boolean })[], signal: AbortSignal): Promise<ReadonlyMap<string, KnownRpm>>;
  /** By digest, what rpm said with this keyring; only of files that `check` knows. */
  verdicts(keyring: string, sha256s: readonly string[]): ReadonlyMap<string, SignatureVerdict>;
  noteVerdicts(keyring: string, verdicts: ReadonlyMap<string, SignatureVerdict>): void;
  /** Puts checked files into a folder of the workspace as `<sha256>.rpm`; calling the returned function takes them away again. */
  lend(rpms: readonly FileRef[], workspace: Workspace, folder: string): Promise<() => Promise<void>>;
  /**
   * The metadata of a repository with exactly these checked RPMs at these paths (in the order that the metadata have) and these groups, stored, by path. The same set is made once, also for those who ask at
   * the same time; and a known package is not read again, whatever repository it was in. Rejects as createRepository does, or with DISK_FULL.
   */
  makeRepository(rpms: readonly RepositoryFile[], options: MakeOptions): Promise<readonly RepositoryFile[]>;
  /**
   * Lets a repository appear at `at` in the workspace, read-only: nothing may write to it. Resolves with where it really stands, absolute: a sandbox has to show that too. Rejects with
   * FILE_MISSING or FILE_CORRUPT where a file of it is gone or harmed, which removes it.
   */
  showRepository(files: readonly RepositoryFile[], workspace: Workspace, at: string, signal: AbortSignal): Promise<string>;
  /**
   * Removes what was not used for longest until the store is within its cap, but nothing that is pinned, lasting, in use by a build that `inUse` tells of, or used in the last minutes. Resolves with
   * what was removed, and with how far the rest is over the cap.
   */
  evict(inUse: ReadonlySet<string>): Promise<{ readonly files: number; readonly bytes: number; readonly bytesOver: number }>;
  /** Reads again what was not read for longest, at most about so many bytes of it. Resolves with the number of files that were harmed, and removed. */
  recheck(bytesMax: number, signal: AbortSignal): Promise<number>;
  /** Writes what is not written yet. Every later call rejects with PORT_CLOSED. Twice is once. */
  close(): Promise<void>;
}
