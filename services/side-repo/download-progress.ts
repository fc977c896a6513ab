/** How far one build's packages have come, by bytes: for those who wait, and in tenths for the build's log. Pure. */

import { megabytes } from '../../shared/log/byte-size.ts';

export interface DownloadProgress {
  /** It was in the store already. */
  stored(bytes: number): void;
  /** So many of a file's bytes are here; they may become fewer, where it had to be begun anew. */
  arrived(name: string, bytes: number): void;
  /** The file is whole and stored. */
  ended(name: string, file: { readonly bytes: number; readonly bytesFetched: number; readonly bytesKept: number }): void;
  summary(): string;
}

export interface DownloadProgressOptions {
  readonly packages: number;
  readonly bytesTotal: number;
  readonly now: () => number;
  readonly progress: (done: number, total: number, what: string) => void;
  readonly say: (line: string) => void;
}

export function downloadProgress({ packages, bytesTotal, now, progress, say }: DownloadProgressOptions): DownloadProgress {
  const startedAt = now();
  const underWay = new Map<string, number>();
  const totals = { stored: 0, fetched: 0, kept: 0 };
  let packagesDone = 0;
  let bytesDone = 0;
  /** Of files that this build waits for: what came since it began. */
  let bytesCome = 0;
  let tenths = 0;

  const tell = (what: string): void => {
    progress(bytesDone, bytesTotal, what);
    // The last line is for when every file is whole and stored, not only on its way.
    const reached = packagesDone === packages ? 10 : Math.min(9, bytesTotal === 0 ? 0 : Math.floor((bytesDone * 10) / bytesTotal));
    if (reached <= tenths) return;
    tenths = reached;
    const seconds = (now() - startedAt) / 1000;
    const rate = bytesCome > 0 && seconds > 0 ? `, ${megabytes(bytesCome / seconds)}/s` : '';
    say(`${packagesDone} of ${packages} packages, ${megabytes(bytesDone)} of ${megabytes(bytesTotal)}${rate}, ${megabytes(bytesTotal - bytesDone)} to go`);
  };

  return {
    stored: (bytes) => {
      totals.stored += bytes;
      packagesDone += 1;
      bytesDone += bytes;
      tell('stored packages');
    },
    arrived: (name, bytes) => {
      const more = bytes - (underWay.get(name) ?? 0);
      underWay.set(name, bytes);
      bytesDone += more;
      bytesCome += more;
      tell(name);
    },
    ended: (name, { bytes, bytesFetched, bytesKept }) => {
      bytesDone += bytes - (underWay.get(name) ?? 0);
      underWay.delete(name);
      packagesDone += 1;
      totals.fetched += bytesFetched;
      totals.kept += bytesKept;
      tell(name);
    },
    summary: () => {
      const kept = totals.kept > 0 ? `, ${megabytes(totals.kept)} were left by an earlier try` : '';
      return `all ${packages} packages are there and checked; ${megabytes(totals.fetched)} were fetched${kept}, ${megabytes(totals.stored)} were stored already`;
    },
  };
}
