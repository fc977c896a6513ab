/**
 * One build's log on the files and bus ports. Writers append lines, which are stored as numbered chunks; readers fetch the chunks in order and then follow: no
 * gap, no repeat. A build whose stages log nothing costs no file and no timer.
 */
import type { Bus } from '../bus/bus.ts';
import { type Clock, timestamp } from '../clock/clock.ts';
import type { FileKey, Files } from '../files/files.ts';
import { printable } from '../programs/printable.ts';

/** A chunk is stored at this size at the latest. */
const chunkBytesMax = 64 * 1024;
/** Of one line, in characters. */
const lineLengthMax = 8 * 1024;
/** Of one build, over all stages and attempts. */
const buildLogBytesMax = 64 * 1024 * 1024;
/** How long a line waits for others before it is stored. */
const flushAfterMs = 1000;
/** How often a follower looks although nobody woke it: a broadcast may be lost. */
const followEveryMs = 3000;
/** Text that could not be stored yet and is kept for the next try; beyond it lines are dropped and counted. */
const pendingBytesMax = 8 * 1024 * 1024;

export interface BuildLog {
  /** Adds a line (or several, where the text has line ends). Never throws, never waits. `tool`: the program it comes from, or the stage's own name. */
  line(tool: string, text: string): void;
  /** Resolves when every line so far is stored. Rejects with the files port's error; the lines are kept for the next try. */
  flush(): Promise<void>;
  /** Flushes and ends; later lines are dropped. Rejects as `flush` does. Twice is once. */
  close(): Promise<void>;
}

const prefixOf = (buildId: string) => `logs/${buildId}`;

/** The topic on which followers of one build's log are woken. */
function logTopic(buildId: string): string {
  return `log.${buildId}`;
}

/** One line of foreign text made fit to show, and cut. */
function shown(text: string): string {
  const clean = printable(text.slice(0, lineLengthMax * 2));
  return clean.length > lineLengthMax ? `${clean.slice(0, lineLengthMax)}…` : clean;
}

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

export type OpenBuildLog = (run: BuildLogRun) => BuildLog;

export interface BuildLogPorts {
  readonly files: Pick<Files, 'put' | 'list' | 'stat'>;
  readonly bus: Pick<Bus, 'broadcast'>;
  readonly clock: Clock;
  /** Texts that are replaced by `***`. */
  readonly secrets?: readonly string[];
  /** For one build; another than 64 MiB only in tests. */
  readonly bytesMax?: number;
}

/** Makes the opener that the stage runtime uses. */
export function buildLogs(ports: BuildLogPorts): OpenBuildLog {
  return (run) => openBuildLog({ ...ports, ...run });
}

/** The time and the random end of a UUID version 7: later runs sort later, and no two are the same. */
function runName(token: string): string {
  const hexadecimal = token.replaceAll('-', '');
  return `${hexadecimal.slice(0, 12)}${hexadecimal.slice(-6)}`;
}

/** Opens the log of one run of one stage. The lines of different stages, attempts and runs are read back in pipeline order. */
export function openBuildLog(options: BuildLogPorts & BuildLogRun): BuildLog {
  const { files, bus, clock, buildId, stage } = options;
  const bytesMax = options.bytesMax ?? buildLogBytesMax;
  const secrets = (options.secrets ?? []).filter((secret) => secret.length > 0);
  const run = `${prefixOf(buildId)}/${digits(options.stageIndex, 2)}-${digits(options.attempt, 3)}-${runName(options.token)}`;

  /** Lines not yet in a chunk. */
  let lines: string[] = [];
  let lineBytes = 0;
  /** Chunks not yet stored, oldest first. A chunk's text never changes once it has its number: putting it again is harmless. */
  const chunks: { readonly key: FileKey; readonly text: string; readonly bytes: number }[] = [];
  let pendingBytes = 0;
  let chunkCount = 0;
  let dropped = 0;
  /** Bytes of the whole build; undefined until the first chunk asks what earlier runs wrote. */
  let written: number | undefined;
  let isCut = false;
  let isClosed = false;
  let forgetTimer: (() => void) | undefined;
  let tail: Promise<void> = Promise.resolve();

  const append = (tool: string, text: string) => {
    const line = `${timestamp(clock)} ${stage} ${tool}| ${text}\n`;
    lines.push(line);
    lineBytes += Buffer.byteLength(line);
  };

  const seal = () => {
    if (dropped > 0) {
      append('log', `${dropped} lines were lost here: the file storage did not take them in time`);
      dropped = 0;
    }
    if (lines.length === 0) return;
    const bytes = lineBytes;
    chunks.push({ key: `${run}/${digits(chunkCount, 6)}`, text: lines.join(''), bytes });
    chunkCount += 1;
    pendingBytes += bytes;
    lines = [];
    lineBytes = 0;
  };

  const store = async () => {
    seal();
    for (let chunk = chunks[0]; chunk; chunk = chunks[0]) {
      written ??= await storedBytes(files, buildId);
      if (!isCut) {
        const isTooMuch = written + chunk.bytes > bytesMax;
        const text = isTooMuch ? `${timestamp(clock)} ${stage} log| the log would grow above ${bytesMax} bytes; the rest is left out\n` : chunk.text;
        await files.put(chunk.key, text, { ifAbsent: true });
        written += chunk.bytes;
        isCut = isTooMuch;
      }
      chunks.shift();
      pendingBytes -= chunk.bytes;
    }
    bus.broadcast(logTopic(buildId), {});
  };

  /** Runs of `store` follow each other: chunks are stored in order. */
  const flush = (): Promise<void> => {
    forgetTimer?.();
    forgetTimer = undefined;
    if (lines.length === 0 && dropped === 0 && chunks.length === 0) return tail;
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
      if (isClosed || isCut) return;
      for (const part of text.split(/\r\n|[\r\n]/)) {
        if (pendingBytes + lineBytes > pendingBytesMax) {
          dropped += 1;
          continue;
        }
        append(shown(tool), shown(redacted(part, secrets)));
      }
      if (lineBytes < chunkBytesMax) {
        schedule();
      } else {
        seal();
        flushSoon();
      }
    },
    flush,
    close: async () => {
      if (isClosed) return;
      isClosed = true;
      await flush();
    },
  };
}

const digits = (value: number, length: number) => String(value).padStart(length, '0');

function redacted(text: string, secrets: readonly string[]): string {
  return secrets.reduce((clean, secret) => clean.replaceAll(secret, '***'), text);
}

async function storedBytes(files: Pick<Files, 'list' | 'stat'>, buildId: string): Promise<number> {
  let bytes = 0;
  for (const key of await files.list(prefixOf(buildId))) bytes += (await files.stat(key))?.size ?? 0;
  return bytes;
}

async function bytesOf(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of body) parts.push(part);
  return Buffer.concat(parts);
}

/** What is stored of a build's log, in order, chunk by chunk; each ends with a whole line. Nothing where there is no log. */
export async function* readBuildLog(files: Pick<Files, 'list' | 'get' | 'stat'>, buildId: string): AsyncGenerator<string> {
  for (const key of await files.list(prefixOf(buildId))) yield (await chunkBytes(files, key, 0)).bytes.toString('utf8');
}

/** A chunk without the `skip` bytes that the reader has; and how many it has of the next one. */
async function chunkBytes(files: Pick<Files, 'get' | 'stat'>, key: FileKey, skip: number): Promise<{ readonly bytes: Buffer; readonly skip: number }> {
  if (skip > 0) {
    const size = (await files.stat(key))?.size ?? 0;
    if (size <= skip) return { bytes: Buffer.alloc(0), skip: skip - size };
  }
  const found = await files.get(key, skip > 0 ? { start: skip } : undefined);
  return { bytes: found ? await bytesOf(found.body) : Buffer.alloc(0), skip: 0 };
}

/**
 * The log from byte `offset` on, and then what is added, until `isEnded` says that the build has ended (its writers flush before that is recorded). Bytes that a reader has
 * counted are its position: after a cut it goes on from there. Ends early, without an error, when `signal` fires.
 */
export async function* followBuildLog(options: {
  readonly files: Pick<Files, 'list' | 'get' | 'stat'>;
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
  const seen = new Set<FileKey>();
  let skip = options.offset ?? 0;
  try {
    while (!signal?.aborted) {
      isWoken = false;
      // Asked before the look: what was stored before the end is then seen by it.
      const ended = await options.isEnded();
      for (const key of await files.list(prefixOf(buildId))) {
        if (seen.has(key) || signal?.aborted) continue;
        const chunk = await chunkBytes(files, key, skip);
        seen.add(key);
        skip = chunk.skip;
        if (chunk.bytes.byteLength > 0) yield chunk.bytes;
      }
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
