/** The repositories port: the metadata of package repositories, fetched, checked and kept on this machine. Packages themselves are not fetched here. */

/** Where a repository is: exactly one address, variables filled in. */
export interface RepositorySource {
  readonly id: string;
  /** What people call it, where that is not the id. */
  readonly title?: string;
  readonly metalink?: string;
  readonly mirrorlist?: string;
  readonly baseurl?: string;
}

export const shownName = ({ id, title }: RepositorySource): string => title ?? id;

/** One state of a repository's metadata, complete and checked. The directory stays as it is until `release`. */
export interface RepositorySnapshot {
  /** Absolute; has a `repodata/repomd.xml` that names primary, filelists, group and updateinfo as far as there are any, those files, and no others. */
  readonly directory: string;
  /** SHA-256 of repomd.xml, 64 lower-case hex digits: names this state. */
  readonly digest: string;
  /** Of repomd.xml; empty where it has none. */
  readonly revision: string;
  /** Base URLs of the mirrors, best first, each with a slash at its end; at most 10. */
  readonly mirrors: readonly string[];
  /** Bytes of all its files, uncompressed. */
  readonly openBytes: number;
  /** From here on the cache may remove the directory. Twice is once. */
  release(): void;
}

export interface OpenOptions {
  readonly signal: AbortSignal;
  /** Lines for the log of whoever asks: mirrors that were passed over, and why. */
  readonly log?: (line: string) => void;
}

export interface Repositories {
  /**
   * The repository's present state; what was looked at lately is not asked for again. Concurrent calls for one repository fetch it once. Rejects with REPOSITORY_UNREACHABLE (no
   * mirror gave the metadata), REPOSITORY_ABSENT (every mirror says that there is none), REPOSITORY_METADATA_REFUSED (wrong checksum everywhere, too large, entities, a location that leads out of the repository), DISK_FULL,
   * REMOTE_REFUSED, or the signal's reason.
   */
  open(source: RepositorySource, options: OpenOptions): Promise<RepositorySnapshot>;
  close(): Promise<void>;
}
