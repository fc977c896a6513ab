/** What follows a failed try: bounded tries, delays that grow and are bounded, and a dead letter only for what was given up. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RetryKind } from '../../shared/build/failure.ts';
import { dispositionOf, lostAttemptsMax } from '../../shared/stage/disposition.ts';

const kinds = ['remote', 'local', 'bug', 'lost'] as const satisfies readonly RetryKind[];
const kind = fc.constantFrom(...kinds);
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const delayMs = (of: RetryKind, attempt: number, chance: number) => {
  const next = dispositionOf(of, attempt, 1_000, chance);
  return next.kind === 'retry' ? next.delayMs : undefined;
};

describe('a failed try', () => {
  test('that can never go better ends the build at once, without a dead letter', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), random, (attempt, chance) => {
        expect(dispositionOf('never', attempt, 100, chance)).toEqual({ kind: 'fail', isDeadLetter: false });
      }),
    );
  });

  test('is followed by another one as often as the kind allows, and then by a dead letter', () => {
    const tries = (of: RetryKind, attemptsMax: number) => {
      let attempt = 1;
      while (dispositionOf(of, attempt, attemptsMax, 0).kind === 'retry') attempt += 1;
      expect(dispositionOf(of, attempt, attemptsMax, 0)).toEqual({ kind: 'fail', isDeadLetter: true });
      return attempt;
    };
    expect(kinds.map((of) => tries(of, 1_000))).toEqual([8, 4, 3, lostAttemptsMax]);
    expect(
      kinds.map((of) => tries(of, 2)),
      'the stage sets a lower limit',
    ).toEqual([2, 2, 2, 2]);
    expect(tries('remote', 1)).toBe(1);
  });

  test('waits longer each time on the mean, never under three quarters of it nor over five quarters', () => {
    fc.assert(
      fc.property(kind, fc.integer({ min: 1, max: 7 }), random, (of, attempt, chance) => {
        const mean = delayMs(of, attempt, 0.5);
        const actual = delayMs(of, attempt, chance);
        if (mean === undefined) return;
        expect(actual).toBeGreaterThanOrEqual(Math.floor(mean * 0.75));
        expect(actual).toBeLessThanOrEqual(Math.ceil(mean * 1.25));
        expect(mean).toBeLessThanOrEqual(60_000);
        const next = delayMs(of, attempt + 1, 0.5);
        if (next !== undefined) expect(next).toBeGreaterThanOrEqual(mean);
      }),
    );
  });

  test('of a vanished worker is repeated without a wait', () => {
    expect(delayMs('lost', 1, 0.99)).toBe(0);
  });
});
