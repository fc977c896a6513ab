/**
 * Writes one build's log onto the files and bus ports. Lines are stored in chunks; of a log that grows too large the first and the last part stay. A build whose stages log
 * nothing costs no file and no timer.
 */
import type { Bus } from '../bus/bus.ts';
import { type Clock, timestamp } from '../clock/clock.ts';
import type { FileKey, Files } from '../files/files.ts';
import { printable } from '../programs/printable.ts';
import { type BuildLogRun, type ChunkPlace, chunkKey, logPrefix, placeOf, runPrefix } from './chunk-key.ts';

/** A chunk is stored at this size at the latest. */
const chunkBytesMax = 256 * 1024;
/** Of one line, in characters. */
const lineLengthMax = 8 * 1024;
/** How long a line waits for others before it is stored. */
const flushAfterMs = 1000;
/** Text that could not be stored yet and is kept for the next try. */
const pendingBytesMax = 8 * 1024 * 1024;
const mebibyte = 1024 * 1024;

export interface BuildLog {
  /** Adds a line (or several, where the text has line ends). Never throws, never waits. `tool`: the program it comes from, or the stage's own name. */
  line(tool: string, text: string): void;
  /** Resolves when every line so far is stored. Rejects with the files port's error; the lines are kept for the next try. */
  flush(): Promise<void>;
  /** Flushes and ends; later lines are dropped. Rejects as `flush` does. Twice is once. */
  close(): Promise<void>;
}

/** The topic on which followers of one build's log are woken. */
export function logTopic(buildId: string): string {
  return `log.${buildId}`;
}

/** One line of foreign text made fit to show, and cut. */
function shown(text: string): string {
  const clean = printable(text.slice(0, lineLengthMax * 2));
  return clean.length > lineLengthMax ? `${clean.slice(0, lineLengthMax)}…` : clean;
}

export type OpenBuildLog = (run: BuildLogRun) => BuildLog;

export interface BuildLogPorts {
  readonly files: Pick<Files, 'put' | 'list' | 'remove'>;
  readonly bus: Pick<Bus, 'broadcast'>;
  readonly clock: Clock;
  /** Texts that are replaced by `***`. */
  readonly secrets?: readonly string[];
  /** Of one build, over all stages and attempts: so much of its beginning is kept, 16 MiB but in tests. */
  readonly firstBytesMax?: number;
  /** And so much of its end, 48 MiB but in tests: it says why a build failed. */
  readonly lastBytesMax?: number;
}

/** Makes the opener that the stage runtime uses. */
export function buildLogs(ports: BuildLogPorts): OpenBuildLog {
  return (run) => openBuildLog({ ...ports, ...run });
}

/** Opens the log of one run of one stage. The lines of different stages, attempts and runs are read back in pipeline order. */
export function openBuildLog(options: BuildLogPorts & BuildLogRun): BuildLog {
  const { files, bus, clock, buildId, stage, firstBytesMax = 16 * mebibyte, lastBytesMax = 48 * mebibyte } = options;
  const secrets = (options.secrets ?? []).filter((secret) => secret.length > 0);
  const run = runPrefix(options);

  /** Lines not yet in a chunk. */
  let lines: string[] = [];
  let lineBytes = 0;
  /** Chunks not yet stored, oldest first. A chunk's text never changes once it has its place: putting it again is harmless. */
  const chunks: { readonly place: ChunkPlace; readonly text: string }[] = [];
  let pendingBytes = 0;
  /** Where the next chunk begins, counted from this run's first. */
  let start = 0;
  let startLine = 0;
  /** Undefined until the first chunk asks what earlier runs wrote. */
  let stored: StoredLog | undefined;
  let isClosed = false;
  let forgetTimer: (() => void) | undefined;
  let tail: Promise<void> = Promise.resolve();

  const seal = () => {
    if (lines.length === 0) return;
    chunks.push({ place: { start, startLine, bytes: lineBytes, lines: lines.length }, text: lines.join('') });
    pendingBytes += lineBytes;
    start += lineBytes;
    startLine += lines.length;
    lines = [];
    lineBytes = 0;
    // The storage does not take them in time. The first may be on its way to it; of the others the later ones matter more, and readers see from the places that something is missing.
    while (pendingBytes > pendingBytesMax && chunks.length > 1) pendingBytes -= chunks.splice(1, 1)[0]?.place.bytes ?? 0;
  };

  /** Of what stands behind the first part, the oldest makes room for the newest. */
  const makeRoom = async ({ last }: StoredLog, bytes: number) => {
    for (let oldest = last.chunks[0]; oldest && last.bytes + bytes > lastBytesMax; oldest = last.chunks[0]) {
      await files.remove(oldest.key);
      last.chunks.shift();
      last.bytes -= oldest.bytes;
    }
  };

  const store = async () => {
    seal();
    for (let chunk = chunks[0]; chunk; chunk = chunks[0]) {
      stored ??= await storedLog(files, buildId, firstBytesMax);
      const { bytes } = chunk.place;
      const place = { ...chunk.place, start: stored.end + chunk.place.start, startLine: stored.endLine + chunk.place.startLine };
      const key = chunkKey(run, place);
      const isLast = place.start + bytes > firstBytesMax;
      if (isLast) await makeRoom(stored, bytes);
      await files.put(key, chunk.text, { ifAbsent: true });
      if (isLast) {
        stored.last.chunks.push({ key, bytes });
        stored.last.bytes += bytes;
      }
      chunks.shift();
      pendingBytes -= bytes;
    }
    bus.broadcast(logTopic(buildId), {});
  };

  /** Runs of `store` follow each other: chunks are stored in order. */
  const flush = (): Promise<void> => {
    forgetTimer?.();
    forgetTimer = undefined;
    if (lines.length === 0 && chunks.length === 0) return tail;
    tail = tail.catch(() => {}).then(store);
    return tail;
  };

  /** In the background: what fails is kept and tried again with the next lines, or by the flush that somebody waits for. */
  const flushSoon = () => {
    flush().catch(() => schedule());
  };
  const schedule = () => {
    if (!isClosed) forgetTimer ??= clock.after(flushAfterMs, flushSoon);
  };

  return {
    line: (tool, text) => {
      if (isClosed) return;
      let isSealed = false;
      for (const part of text.split(/\r\n|[\r\n]/)) {
        const line = `${timestamp(clock)} ${stage} ${shown(tool)}| ${shown(redacted(part, secrets))}\n`;
        lines.push(line);
        lineBytes += Buffer.byteLength(line);
        if (lineBytes < chunkBytesMax) continue;
        seal();
        isSealed = true;
      }
      if (isSealed) flushSoon();
      else schedule();
    },
    flush,
    close: async () => {
      if (isClosed) return;
      isClosed = true;
      await flush();
    },
  };
}

function redacted(text: string, secrets: readonly string[]): string {
  return secrets.reduce((clean, secret) => clean.replaceAll(secret, '***'), text);
}

interface StoredLog {
  /** Where the log ends, with what was left out of it. */
  readonly end: number;
  readonly endLine: number;
  /** What stands behind the first part, oldest first. */
  readonly last: { readonly chunks: { readonly key: FileKey; readonly bytes: number }[]; bytes: number };
}

async function storedLog(files: Pick<Files, 'list'>, buildId: string, firstBytesMax: number): Promise<StoredLog> {
  const found = (await files.list(logPrefix(buildId))).flatMap((key) => {
    const place = placeOf(key);
    return place ? [{ key, ...place }] : [];
  });
  const chunks = found.filter(({ start, bytes }) => start + bytes > firstBytesMax).map(({ key, bytes }) => ({ key, bytes }));
  return {
    end: found.reduce((end, { start, bytes }) => Math.max(end, start + bytes), 0),
    endLine: found.reduce((end, { startLine, lines }) => Math.max(end, startLine + lines), 0),
    last: { chunks, bytes: chunks.reduce((sum, { bytes }) => sum + bytes, 0) },
  };
}
