/** How many messages a second, counted in slices of time, so that counting one costs next to nothing. */
import type { Clock } from '../clock/clock.ts';

const sliceMs = 5_000;
const slices = 12;

export interface MessageRate {
  count(): void;
  /** Over the last minute; over the time since the counting began where that is less. Null in the first second. */
  perSecond(): number | null;
}

export function messageRate(clock: Pick<Clock, 'now'>): MessageRate {
  const startedAt = clock.now();
  /** Slice number → its count, at the place of that number modulo their count. */
  const counts = new Array<number>(slices).fill(0);
  let latest = Math.floor(startedAt / sliceMs);

  /** Empties the slices that have begun since. */
  const advance = (): number => {
    const now = clock.now();
    const slice = Math.floor(now / sliceMs);
    for (let next = Math.max(latest + 1, slice - slices + 1); next <= slice; next += 1) counts[next % slices] = 0;
    latest = Math.max(latest, slice);
    return now;
  };

  return {
    count: () => {
      advance();
      counts[latest % slices] = (counts[latest % slices] ?? 0) + 1;
    },
    perSecond: () => {
      const now = advance();
      // The oldest slice that is held began with it.
      const since = Math.max(startedAt, (latest - slices + 1) * sliceMs);
      if (now - since < 1000) return null;
      return Math.round((counts.reduce((sum, each) => sum + each, 0) * 100_000) / (now - since)) / 100;
    },
  };
}
