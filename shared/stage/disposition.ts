/** What follows a failed try: another one after a delay, or the end of the build. Pure. */
import type { RetryKind } from '../build/failure.ts';

/** Tries of a stage whose process vanished, before its build is given up: a request that kills its worker must not do so for ever. */
export const lostAttemptsMax = 5;

/** Delays before the second, third … try, in milliseconds; the last one repeats. */
const delaysMs: Readonly<Record<Exclude<RetryKind, 'never'>, readonly number[]>> = {
  remote: [2_000, 5_000, 15_000, 30_000, 60_000],
  local: [5_000, 20_000, 60_000],
  bug: [1_000, 5_000],
  lost: [0],
};

/** Bugs seldom go away by themselves, and a full disk not in a minute: they get fewer tries than a host that does not answer. */
const attemptsMaxOf: Readonly<Record<Exclude<RetryKind, 'never'>, number>> = { remote: 8, local: 4, bug: 3, lost: lostAttemptsMax };

export type Disposition = { readonly kind: 'retry'; readonly delayMs: number } | { readonly kind: 'fail'; readonly isDeadLetter: boolean };

/** `attempt` is the one that failed, from 1. `random` in [0, 1) spreads the delays, so that those who failed together do not come back together. */
export function dispositionOf(kind: RetryKind, attempt: number, attemptsMax: number, random: number): Disposition {
  if (kind === 'never') return { kind: 'fail', isDeadLetter: false };
  if (attempt >= Math.min(attemptsMax, attemptsMaxOf[kind])) return { kind: 'fail', isDeadLetter: true };
  const delays = delaysMs[kind];
  const delayMs = delays[Math.min(attempt - 1, delays.length - 1)] ?? 0;
  return { kind: 'retry', delayMs: Math.round(delayMs * (0.75 + random / 2)) };
}
