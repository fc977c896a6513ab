/** Reads a build's log back, and follows one that grows: each byte once, and a line wherever something is not kept. */
import type { Bus } from '../bus/bus.ts';
import type { Clock } from '../clock/clock.ts';
import type { FileKey, Files } from '../files/files.ts';
import { logTopic } from './build-log.ts';
import { logPrefix, placeOf } from './chunk-key.ts';
import { leftOutLine } from './left-out.ts';

/** How often a follower looks although nobody woke it: a broadcast may be lost. */
const followEveryMs = 3000;

type LogFiles = Pick<Files, 'list' | 'get' | 'stat'>;

/** What is stored of a build's log, in order, part by part; each ends with a whole line. Nothing where there is no log. */
export async function* readBuildLog(files: LogFiles, buildId: string): AsyncGenerator<Uint8Array> {
  const read = logReader(files, 0);
  for (const key of await files.list(logPrefix(buildId))) yield* read(key);
}

/** Gives what a reader who has `offset` bytes of the log lacks of each chunk, and before it the line for what was left out since the chunk before. */
function logReader(files: LogFiles, offset: number): (key: FileKey) => AsyncGenerator<Uint8Array> {
  let end = offset;
  /** Lines up to `end`, where that is known. */
  let endLine: number | undefined = offset === 0 ? 0 : undefined;
  let numberedEnd = 0;

  /** Chunks of earlier versions follow each other without a gap. */
  const numbered = async (key: FileKey) => {
    const bytes = (await files.stat(key))?.size ?? 0;
    const place = { start: numberedEnd, startLine: 0, bytes, lines: 0 };
    numberedEnd += bytes;
    return place;
  };

  return async function* read(key) {
    const place = placeOf(key) ?? (await numbered(key));
    const chunkEnd = place.start + place.bytes;
    const chunkEndLine = place.startLine + place.lines;
    if (chunkEnd <= offset) {
      if (chunkEnd === offset) endLine = chunkEndLine;
      return;
    }
    const skip = Math.max(0, offset - place.start);
    const found = await files.get(key, skip > 0 ? { start: skip } : undefined);
    // It made room for later ones since it was listed: the next one shows how much is missing.
    if (!found) return;
    const bytes = await bytesOf(found.body);
    if (place.start > end) yield Buffer.from(leftOutLine(place.start - end, endLine === undefined ? undefined : Math.max(0, place.startLine - endLine)));
    yield bytes;
    if (chunkEnd >= end) endLine = chunkEndLine;
    end = Math.max(end, chunkEnd);
  };
}

async function bytesOf(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of body) parts.push(part);
  return Buffer.concat(parts);
}

/**
 * The log from byte `offset` on, and then what is added, until `isEnded` says that the build has ended (its writers flush before that is recorded). Bytes that a reader has
 * counted (left-out.ts says how) are its position: after a cut it goes on from there. Ends early, without an error, when `signal` fires.
 */
export async function* followBuildLog(options: {
  readonly files: LogFiles;
  readonly bus: Pick<Bus, 'listen'>;
  readonly clock: Pick<Clock, 'sleep'>;
  readonly buildId: string;
  readonly offset?: number;
  readonly isEnded: () => Promise<boolean>;
  /** Further topics that wake it, such as that of the build's changes. */
  readonly topics?: readonly string[];
  readonly signal?: AbortSignal;
}): AsyncGenerator<Uint8Array> {
  const { files, bus, clock, buildId, signal } = options;
  let isWoken = false;
  let wake: (() => void) | undefined;
  const woken = () => {
    isWoken = true;
    wake?.();
  };
  const forget = [logTopic(buildId), ...(options.topics ?? [])].map((topic) => bus.listen(topic, woken));
  signal?.addEventListener('abort', woken);
  const read = logReader(files, options.offset ?? 0);
  let seen: ReadonlySet<FileKey> = new Set();
  try {
    while (!signal?.aborted) {
      isWoken = false;
      // Asked before the look: what was stored before the end is then seen by it.
      const ended = await options.isEnded();
      const keys = await files.list(logPrefix(buildId));
      for (const key of keys) {
        if (signal?.aborted) break;
        if (!seen.has(key)) yield* read(key);
      }
      // Those that are gone need not be remembered.
      seen = new Set(keys);
      if (ended) return;
      if (isWoken) continue;
      const waiting = new AbortController();
      wake = () => waiting.abort();
      await clock.sleep(followEveryMs, waiting.signal).catch(() => {});
      wake = undefined;
    }
  } finally {
    signal?.removeEventListener('abort', woken);
    for (const end of forget) end();
  }
}
