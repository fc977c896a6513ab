/** The clock port: time, waiting, ids and chance. Everything that would make two runs differ comes through here. */
export interface Clock {
  /** Milliseconds since 1970, UTC. Never runs backwards within one process. */
  now(): number;
  /** Resolves after `ms`; rejects with the signal's reason as soon as `signal` fires. Never resolves early. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `task` once after `ms`. The returned function forgets it; calling that twice does nothing. Does not keep the process alive. */
  after(ms: number, task: () => void): () => void;
  /** A new UUID version 7: ids made later by this clock sort later, also within one millisecond. */
  id(): string;
  /** A number in [0, 1). */
  random(): number;
}

/** `clock.now()` as the ISO 8601 text, in UTC, that events, records and logs carry. */
export function timestamp(clock: Pick<Clock, 'now'>): string {
  return isoTime(clock.now());
}

let latestMs = Number.NaN;
let latestText = '';

/** Milliseconds since 1970 as ISO 8601 text in UTC. Many records and lines are written within one millisecond, so the latest text is kept. */
export function isoTime(ms: number): string {
  if (ms !== latestMs) {
    latestText = new Date(ms).toISOString();
    latestMs = ms;
  }
  return latestText;
}
