/** Names and summaries of a collection's packages, to be searched in milliseconds. Pure. */

export interface IndexedPackage {
  readonly name: string;
  /** `[epoch:]version-release`, the epoch only where it is not 0. */
  readonly evr: string;
  readonly arch: string;
  /** Id of the repository that has this version. */
  readonly repository: string;
  readonly summary: string;
}

export interface PackageIndex {
  readonly size: number;
  /**
   * The packages that hold every word of the query in name or summary, whatever the case; best first: the exact name, names that begin with it, names that hold it, then summaries.
   * A query without a word finds nothing.
   */
  search(query: string, limit: number): readonly IndexedPackage[];
  /** Up to 3 names, `@groups` for a group, that somebody who wrote this may have meant. */
  nearest(spec: string): readonly string[];
}
