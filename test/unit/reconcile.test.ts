/** What the reconciler makes of a build, and what a new process makes of the state of a dead one: both are pure. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Build, cancelRequested, claimed, drivingEvent, relayPatienceMs, retrying } from '../../shared/build/build.ts';
import { buildStates } from '../../shared/build/states.ts';
import { lostAttemptsMax } from '../../shared/stage/disposition.ts';
import { reconciled, recovered, startReconciler } from '../../shared/stage/reconcile.ts';
import { buildIn, queuedBuild, startMs } from '../support/build-records.ts';
import { silentLog, stageWorld } from '../support/stage-world.ts';

const now = startMs + 3_600_000;
const waiting = buildIn('building');
const due = { ...waiting, wakeAt: now };
const hold = (build: Build, expiresAt: number) => claimed(build, { token: 'token', worker: 'worker-1', expiresAt }, now - 30_000);

describe('the reconciler', () => {
  test('leaves alone what is not due, and what nothing can be left undone of', () => {
    expect(reconciled({ ...waiting, wakeAt: now + 1 }, now)).toBeUndefined();
    expect(reconciled(queuedBuild(), now)).toBeUndefined();
  });

  test('sends the driving event again, and looks later and later', () => {
    let build: Build = due;
    for (let relays = 1; relays < 12; relays += 1) {
      const next = reconciled(build, now);
      expect(next).toMatchObject({ relays, wakeAt: now + relayPatienceMs(relays), outbox: waiting.outbox, state: 'building', stage: waiting.stage });
      build = { ...(next ?? due), wakeAt: now };
    }
  });

  test('waits for the end of a live lease', () => {
    expect(reconciled({ ...hold(waiting, now + 500), wakeAt: now }, now)).toMatchObject({ claim: { token: 'token' }, wakeAt: now + 500 });
  });

  test('voids a dead lease, counts the attempt, and lets the stage run again at once', () => {
    const next = reconciled(hold(waiting, now), now);
    expect(next).toMatchObject({ claim: null, retryAt: null, stage: { attempt: 2, worker: null }, state: 'building' });
    expect(next && drivingEvent(next)?.event.id, 'the same event, so that its outcome has the same ids').toBe(drivingEvent(waiting)?.event.id);
    expect(next?.timeline.at(-1)?.message).toContain('worker-1 vanished');
  });

  test('gives up a build whose workers vanish again and again', () => {
    const last = hold({ ...waiting, stage: { ...(waiting.stage ?? neverStage), attempt: lostAttemptsMax } }, now);
    const next = reconciled(last, now);
    expect(next).toMatchObject({ state: 'failed', failure: { code: 'WORKER_LOST', fault: 'operator', retryable: true } });
    expect(next?.outbox.some(({ deadLetter }) => deadLetter?.code === 'WORKER_LOST')).toBe(true);
  });

  test('ends a canceled build whose holder vanished', () => {
    const canceling = cancelRequested(hold(waiting, now), now - 1);
    expect(canceling?.state).toBe('building');
    expect(reconciled(canceling ?? waiting, now)?.state).toBe('canceled');
  });

  test('lets an ended build rest once its outbox is empty', () => {
    const ended = { ...buildIn('finished'), wakeAt: now };
    expect(reconciled(ended, now)).toMatchObject({ wakeAt: now + relayPatienceMs(1), outbox: ended.outbox });
    expect(reconciled({ ...ended, outbox: [] }, now)).toMatchObject({ wakeAt: null });
  });

  test('repeats a try at its time', () => {
    const retried = retrying(waiting, 'koji did not answer', 2_000, now);
    expect(reconciled(retried, now + 1_999)).toBeUndefined();
    expect(reconciled(retried, now + 2_000)).toMatchObject({ retryAt: null, stage: { attempt: 2 } });
  });
});

const neverStage = { name: 'image-builder', waitingSince: '', startedAt: null, worker: null, attempt: 1 };

describe('a new process on the state of a dead one', () => {
  test('voids its claims, however long they had to live', () => {
    expect(recovered(hold(waiting, now + 20_000), now)).toMatchObject({ claim: null, stage: { attempt: 2 } });
  });

  test('has all other unfinished work due at once, but a planned try not before its time', () => {
    expect(recovered({ ...waiting, relays: 9, wakeAt: now + 300_000 }, now)).toMatchObject({ wakeAt: now, relays: 0 });
    expect(recovered(retrying(waiting, 'x', 60_000, now), now)).toMatchObject({ wakeAt: now + 60_000, retryAt: now + 60_000 });
    expect(recovered(buildIn('finished'), now), 'its end is still to be told').toMatchObject({ wakeAt: now });
  });

  test('leaves alone what waits for the scheduler, and what is over', () => {
    expect(recovered(queuedBuild(), now)).toBeUndefined();
    expect(recovered({ ...buildIn('finished'), outbox: [], wakeAt: null }, now)).toBeUndefined();
  });

  test('is what the reconciler then drives: after recovery every unfinished build is due within ten seconds or at its planned try', () => {
    const states = fc.constantFrom('resolving', 'preparing-side-repo', 'building', 'boot-testing', 'uploading', 'finished');
    fc.assert(
      fc.property(states, fc.integer({ min: -60_000, max: 60_000 }), fc.boolean(), (state, leaseMs, isHeld) => {
        const build = buildIn(state as 'building');
        const found = isHeld && build.stage ? hold(build, now + leaseMs) : build;
        const next = recovered(found, now);
        expect(next?.claim).toBeNull();
        expect(next?.wakeAt).toBeLessThanOrEqual(now + 10_000);
        expect(reconciled(next ?? found, next?.wakeAt ?? now)).toBeDefined();
      }),
    );
  });
});

test('while the bus is away nothing is counted as sent again, and all that is due goes out when it is back', async () => {
  const world = await stageWorld();
  const id = await world.admit();
  await world.clock.advance(600_000);
  const before = await world.build(id);
  const away = world.process('worker-1');
  away.bus.cut();
  const ports = { builds: world.builds, clock: world.clock, logger: silentLog, states: buildStates };
  const cutOff = startReconciler({ ...ports, bus: away.bus });
  expect(await cutOff.pass()).toBe(0);
  expect(await world.build(id)).toEqual(before);
  await cutOff.stop();
  const back = startReconciler({ ...ports, bus: world.bus });
  await back.pass();
  expect((await world.build(id)).relays).toBe(before.relays + 1);
  await back.stop();
  await world.close();
});
