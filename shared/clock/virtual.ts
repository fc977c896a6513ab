/** The clock port on a clock that only moves when told to: a run with the same seed is the same run, to the last id. */
import type { Clock } from './clock.ts';

export interface VirtualClockOptions {
  /** Any integer. Decides every number and id that the clock gives. */
  readonly seed: number;
  /** Where time begins, in milliseconds since 1970. */
  readonly startMs: number;
}

interface RunLimits {
  /** Timers that may fire before the run gives up. */
  readonly timersMax: number;
  /** Virtual time that may pass before the run gives up. */
  readonly elapsedMsMax?: number;
}

/** Why a run ended: its condition held, no timer was left, or a limit was reached. */
type RunEnd = 'done' | 'idle' | 'limit';

export interface VirtualClock extends Clock {
  /** Timers that have neither fired nor been forgotten. */
  pending(): number;
  /** When the next of them fires, or undefined where there is none. */
  nextAt(): number | undefined;
  /** Moves time on by `ms` and fires, in order, every timer that falls due, letting the program settle before and after each. */
  advance(ms: number): Promise<void>;
  /** Lets the program settle and jumps to the next timer, again and again, until `done` holds. */
  run(done: () => boolean, limits: RunLimits): Promise<RunEnd>;
  /** A generator of its own, seeded from this clock's seed and `name`: further draws there do not shift the draws here. */
  fork(name: string): () => number;
}

interface Timer {
  readonly at: number;
  readonly sequence: number;
  readonly task: () => void;
  isForgotten: boolean;
}

export function virtualClock({ seed, startMs }: VirtualClockOptions): VirtualClock {
  const random = seededRandom(seed, 'random');
  const nextId = seededIds(seededRandom(seed, 'id'));
  const timers: Timer[] = [];
  let nowMs = startMs;
  let sequence = 0;
  let live = 0;

  const after = (ms: number, task: () => void): (() => void) => {
    sequence += 1;
    // As with the system's timers, what is no positive number means "as soon as possible".
    const timer: Timer = { at: nowMs + (ms > 0 ? Math.ceil(ms) : 0), sequence, task, isForgotten: false };
    pushTimer(timers, timer);
    live += 1;
    return () => {
      if (timer.isForgotten) return;
      timer.isForgotten = true;
      live -= 1;
    };
  };

  const next = (): Timer | undefined => {
    while (timers[0]?.isForgotten) popTimer(timers);
    return timers[0];
  };

  const fire = (timer: Timer) => {
    popTimer(timers);
    timer.isForgotten = true;
    live -= 1;
    nowMs = Math.max(nowMs, timer.at);
    timer.task();
  };

  return {
    now: () => nowMs,
    after,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason);
          return;
        }
        const end = () => {
          forget();
          reject(signal?.reason);
        };
        const forget = after(ms, () => {
          signal?.removeEventListener('abort', end);
          resolve();
        });
        signal?.addEventListener('abort', end, { once: true });
      }),
    id: () => nextId(nowMs),
    random,
    pending: () => live,
    nextAt: () => next()?.at,
    fork: (name) => seededRandom(seed, `fork:${name}`),
    async advance(ms) {
      const end = nowMs + ms;
      await settle();
      for (let timer = next(); timer && timer.at <= end; timer = next()) {
        fire(timer);
        await settle();
      }
      nowMs = Math.max(nowMs, end);
    },
    async run(done, { timersMax, elapsedMsMax = Number.POSITIVE_INFINITY }) {
      const startedMs = nowMs;
      for (let fired = 0; ; fired += 1) {
        await settle();
        if (done()) return 'done';
        const timer = next();
        if (!timer) return 'idle';
        if (fired >= timersMax || timer.at - startedMs > elapsedMsMax) return 'limit';
        fire(timer);
      }
    },
  };
}

/** One turn of the event loop: every promise that can resolve without the outside has resolved after it. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const isBefore = (a: Timer, b: Timer) => a.at < b.at || (a.at === b.at && a.sequence < b.sequence);

/** A binary heap: a simulation has many heartbeats waiting at once. */
function pushTimer(heap: Timer[], timer: Timer): void {
  let index = heap.push(timer) - 1;
  while (index > 0) {
    const parentIndex = (index - 1) >> 1;
    const parent = heap[parentIndex];
    if (!parent || !isBefore(timer, parent)) break;
    heap[index] = parent;
    index = parentIndex;
  }
  heap[index] = timer;
}

function popTimer(heap: Timer[]): void {
  const last = heap.pop();
  if (!last || heap.length === 0) return;
  let index = 0;
  for (;;) {
    let childIndex = 2 * index + 1;
    let child = heap[childIndex];
    if (!child) break;
    const right = heap[childIndex + 1];
    if (right && isBefore(right, child)) {
      child = right;
      childIndex += 1;
    }
    if (!isBefore(child, last)) break;
    heap[index] = child;
    index = childIndex;
  }
  heap[index] = last;
}

/** Numbers in [0, 1) with 53 random bits, from sfc32 seeded by the seed and a name. */
export function seededRandom(seed: number, name: string): () => number {
  // FNV-1a mixes the name in; the rounds below spread it over all of the state.
  let hash = 0x811c9dc5;
  for (const char of name) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193);
  let a = hash >>> 0;
  let b = seed >>> 0;
  let c = Math.floor(seed / 2 ** 32) >>> 0;
  let counter = 1;
  const next32 = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return sum >>> 0;
  };
  for (let round = 0; round < 15; round += 1) next32();
  return () => ((next32() >>> 5) * 2 ** 26 + (next32() >>> 6)) / 2 ** 53;
}

/** UUIDs version 7: the time, then a counter within the millisecond, then chance. Each is greater than all before it. */
function seededIds(random: () => number): (nowMs: number) => string {
  let lastMs = 0;
  let counter = 0;
  return (nowMs) => {
    if (nowMs > lastMs) {
      lastMs = nowMs;
      counter = 0;
    } else {
      counter += 1;
      if (counter > 0xfff) {
        lastMs += 1;
        counter = 0;
      }
    }
    const time = lastMs.toString(16).padStart(12, '0');
    const hex = (digits: number) =>
      Math.floor(random() * 16 ** digits)
        .toString(16)
        .padStart(digits, '0');
    const variant = (8 + Math.floor(random() * 4)).toString(16);
    return `${time.slice(0, 8)}-${time.slice(8)}-7${counter.toString(16).padStart(3, '0')}-${variant}${hex(3)}-${hex(12)}`;
  };
}
