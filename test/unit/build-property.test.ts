/** Whatever the order of moves: the record stays one that can be read, work always has something that drives it, and an end stays an end. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  admitted,
  Build,
  cancelRequested,
  claimed,
  drivingEvent,
  eventId,
  failed,
  givenBack,
  hasLiveClaim,
  heartbeat,
  notified,
  outboxKey,
  relayed,
  retrying,
  stageOfState,
} from '../../shared/build/build.ts';
import { buildStates, isEnded, isPast } from '../../shared/build/states.ts';
import { BuildFailed } from '../../shared/events/catalog.ts';
import { Envelope } from '../../shared/events/envelope.ts';
import { reconciled, recovered } from '../../shared/stage/reconcile.ts';
import { endStage, queuedBuild, startMs, wellEnded } from '../support/build-records.ts';

const failure = { code: 'INTERNAL', stage: 'any', message: 'm'.repeat(900), fault: 'operator', retryable: true } as const;

/** Each is done where it is legal, and else leaves the build as it is: as the runtime does, which looks before it moves. */
const moves: Readonly<Record<string, (build: Build, now: number, text: string) => Build | undefined>> = {
  admit: (build, now) => (build.state === 'queued' ? admitted(build, now) : undefined),
  claim: (build, now) =>
    drivingEvent(build) && !hasLiveClaim(build, now) ? claimed(build, { token: `t${now}`, worker: 'w', expiresAt: now + 20_000 }, now) : undefined,
  heartbeat: (build, now) => (build.claim ? heartbeat(build, now + 20_000) : undefined),
  endWell: (build, now) => (drivingEvent(build) ? endStage(build, wellEnded(build.state), now) : undefined),
  sayNo: (build, now) =>
    drivingEvent(build) ? endStage(build, [BuildFailed({ failure: { ...failure, fault: 'requester' }, artifacts: [] })], now) : undefined,
  retry: (build, now, text) => (drivingEvent(build) ? retrying(build, text, 5_000, now) : undefined),
  giveBack: (build, now) => (drivingEvent(build) ? givenBack(build, now) : undefined),
  fail: (build, now) => (drivingEvent(build) ? failed(build, { stage: 'any', failure, now, isDeadLetter: true }) : undefined),
  cancel: (build, now) => cancelRequested(build, now),
  relay: (build) => relayed(build, new Set(build.outbox.map(outboxKey))),
  notify: (build) => (isEnded(build.state) ? notified(build) : undefined),
  reconcile: (build, now) => reconciled(build, now),
  recover: (build, now) => recovered(build, now),
};
/** So that builds get somewhere: what ends them, or ends them in the long run, is rarer. */
const often = { endWell: 24, admit: 4, relay: 4, notify: 4, claim: 4, fail: 1, cancel: 1, sayNo: 1 } as const;
const names = Object.keys(moves).flatMap((name) => Array<string>(often[name as keyof typeof often] ?? 2).fill(name));
const step = fc.record({ move: fc.constantFrom(...names), afterMs: fc.integer({ min: 0, max: 40_000 }), text: fc.string({ maxLength: 700 }) });
const history = fc.array(step, { maxLength: 120, size: 'max' });
const recipients = fc.constantFrom([], ['me@example.org']);

function* run(steps: readonly { readonly move: string; readonly afterMs: number; readonly text: string }[], email: readonly string[]) {
  let build = queuedBuild({ notify: { email } });
  let now = startMs;
  for (const { move, afterMs, text } of steps) {
    now += afterMs;
    const next = moves[move]?.(build, now, text) ?? build;
    yield { before: build, after: next, now };
    build = next;
  }
}

function forEachStep(check: (step: { readonly before: Build; readonly after: Build; readonly now: number }) => void): void {
  fc.assert(
    fc.property(history, recipients, (steps, email) => {
      for (const each of run(steps, email)) check(each);
    }),
    { seed: 20261122, numRuns: 60 },
  );
}

describe('any order of legal moves', () => {
  test('leaves a record that its schema reads back unchanged, within its bounds', () => {
    forEachStep(({ after }) => {
      expect(Build.parse(JSON.parse(JSON.stringify(after)))).toEqual(after);
      expect(after.timeline.length).toBeLessThanOrEqual(200);
      expect(after.outbox.length).toBeLessThanOrEqual(5);
    });
  });

  test('never takes a build back, and never out of an end', () => {
    forEachStep(({ before, after }) => {
      if (before.state !== after.state) expect(isPast(after.state, before.state), `${before.state} → ${after.state}`).toBe(true);
      if (isEnded(before.state)) expect({ ...after, outbox: [], wakeAt: 0, relays: 0 }).toEqual({ ...before, outbox: [], wakeAt: 0, relays: 0 });
    });
  });

  test('keeps the one event in the outbox that drives an unfinished build, and a time at which somebody looks', () => {
    forEachStep(({ after }) => {
      if (after.state === 'queued') return;
      const driving = after.outbox.filter(({ consumer, deadLetter }) => consumer === stageOfState[after.state] && consumer !== undefined && !deadLetter);
      expect(driving.length).toBe(isEnded(after.state) ? 0 : 1);
      if (!isEnded(after.state) || after.outbox.length > 0) expect(after.wakeAt, 'nobody would come back to it').not.toBeNull();
    });
  });

  test('lets nothing of a claim outlive its stage', () => {
    forEachStep(({ before, after }) => {
      if (before.state !== after.state) expect(after.claim).toBeNull();
      if (isEnded(after.state)) expect(after).toMatchObject({ claim: null, stage: null, retryAt: null });
      else expect(after.endedAt).toBeNull();
      expect(after.failure !== null).toBe(after.state === 'failed');
      if (after.state === 'canceled') expect(after.cancelRequestedAt).not.toBeNull();
    });
  });

  test('gives each event a derived id, and all of a build one correlation', () => {
    forEachStep(({ before, after }) => {
      const known = new Set(before.outbox.map(({ event }) => event.id));
      for (const { event } of after.outbox) {
        expect(Envelope.parse(event)).toEqual(event);
        expect(event.id).toBe(eventId(after.id, event.causationid ?? null, event.source.replace('spindle/', ''), event.type));
        if (!known.has(event.id) && before.outbox[0]) expect(event.correlationid).toBe(before.outbox[0].event.correlationid);
      }
    });
  });

  test('writes a timeline that begins at the beginning and runs forward', () => {
    forEachStep(({ after }) => {
      expect(after.timeline[0]?.state).toBe('queued');
      expect(after.timeline.at(-1)?.state).toBe(after.state);
      for (const [index, entry] of after.timeline.entries()) {
        const previous = after.timeline[index - 1];
        if (previous) expect(entry.at >= previous.at).toBe(true);
      }
    });
  });
});

test('the walks above get everywhere', () => {
  const reached = new Set<string>();
  fc.assert(
    fc.property(history, recipients, (steps, email) => {
      for (const { after } of run(steps, email)) reached.add(after.state);
    }),
    { seed: 20261122, numRuns: 60 },
  );
  expect(buildStates.filter((state) => !reached.has(state))).toEqual(['expired']);
});

test('the timeline is bounded in its middle: how it began and how it stands is kept', () => {
  let build = admitted(queuedBuild(), startMs);
  for (let index = 1; index <= 500; index += 1) build = retrying(build, `try ${index}`, 0, startMs + index);
  expect(build.timeline).toHaveLength(200);
  expect(build.timeline[2]?.message).toContain('try 1');
  expect(build.timeline.at(-1)?.message).toContain('try 500');
});
