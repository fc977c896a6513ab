/** How many bytes, as people are told in logs, progress and results. Pure. */

/** `12.3 MB`, of a million bytes each. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
