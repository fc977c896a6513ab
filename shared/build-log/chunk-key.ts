/** Names the stored chunks of a build's log. The name says where in the whole log a chunk stands, so that readers see what is missing before it. Pure. */
import type { FileKey } from '../files/files.ts';

/** Counted over the whole log of a build, over all stages and attempts, with what was left out. */
export interface ChunkPlace {
  /** Bytes before it. */
  readonly start: number;
  /** Lines before it. */
  readonly startLine: number;
  readonly bytes: number;
  readonly lines: number;
}

export const logPrefix = (buildId: string): FileKey => `logs/${buildId}`;

const digits = (value: number, length: number) => String(value).padStart(length, '0');

/** Which run of which stage writes: what the runtime knows of it. */
export interface BuildLogRun {
  readonly buildId: string;
  readonly stage: string;
  /** The stage's place in the pipeline. */
  readonly stageIndex: number;
  readonly attempt: number;
  /** A UUID version 7 of its own, so that a run that was thought lost and its successor never write the same chunk. */
  readonly token: string;
}

/** Keys of different stages, attempts and runs sort in pipeline order. */
export function runPrefix({ buildId, stageIndex, attempt, token }: BuildLogRun): FileKey {
  // The time and the random end of the UUID: later runs sort later, and no two are the same.
  const hexadecimal = token.replaceAll('-', '');
  return `${logPrefix(buildId)}/${digits(stageIndex, 2)}-${digits(attempt, 3)}-${hexadecimal.slice(0, 12)}${hexadecimal.slice(-6)}`;
}

/** Keys of one run's chunks sort as they were written. */
export function chunkKey(run: FileKey, { start, startLine, bytes, lines }: ChunkPlace): FileKey {
  return `${run}/${digits(start, 13)}-${startLine}-${bytes}-${lines}`;
}

/** Undefined for the chunks of earlier versions, which are numbered only: with them nothing was left out. */
export function placeOf(key: FileKey): ChunkPlace | undefined {
  const match = /\/(\d{13,})-(\d+)-(\d+)-(\d+)$/.exec(key);
  return match ? { start: Number(match[1]), startLine: Number(match[2]), bytes: Number(match[3]), lines: Number(match[4]) } : undefined;
}
