/** The record of a build: what each move does to it, told as given, when, then. */
import { describe, expect, test } from 'vitest';
import {
  admission,
  admitted,
  Build,
  cancelRequested,
  claimed,
  drivingEvent,
  eventId,
  failed,
  givenBack,
  heartbeat,
  notified,
  outboxKey,
  relayed,
  relayPatienceMs,
  retrying,
  stageOfState,
} from '../../shared/build/build.ts';
import type { Failure } from '../../shared/build/failure.ts';
import { BuildFailed, ImageUploaded } from '../../shared/events/catalog.ts';
import { buildId, buildIn, endStage, image, queuedBuild, startMs, wellEnded } from '../support/build-records.ts';

const now = startMs + 3_600_000;
const failure: Failure = { code: 'PACKAGE_UNKNOWN', stage: 'resolver', message: 'no package hello', fault: 'requester', retryable: false };
const claim = { token: 'token-1', worker: 'worker-1', expiresAt: now + 20_000 };
const mail = { notify: { email: ['me@example.org'] } };

describe('the way of a build', () => {
  test('leads through every state to finished, with an entry of the timeline for each', () => {
    const build = buildIn('finished');
    expect(build.timeline.map(({ state }) => state)).toEqual([
      'queued',
      'resolving',
      'preparing-side-repo',
      'building',
      'boot-testing',
      'uploading',
      'finished',
    ]);
    expect(build).toMatchObject({
      stage: null,
      claim: null,
      verdict: 'booted',
      failure: null,
      endedAt: '2026-11-22T00:06:00.000Z',
      expiresAt: '2026-12-06T00:06:00.000Z',
    });
    expect(build.artifacts.map(({ name }) => name)).toEqual([image.name, 'manifest.json']);
    expect(Build.parse(JSON.parse(JSON.stringify(build)))).toEqual(build);
  });

  test('keeps which packages and repositories the image is made from, as long as the record stands', () => {
    expect(buildIn('preparing-side-repo').repositories).toBeNull();
    for (const state of ['building', 'finished'] as const) expect(buildIn(state).repositories, state).toEqual({ sha256: 'd'.repeat(64), size: 200 });
    const { repositories: _, ...old } = JSON.parse(JSON.stringify(buildIn('building')));
    expect(Build.parse(old), 'a record of an older version').toMatchObject({ repositories: null });
  });

  test('leaves in the outbox exactly the event that the next stage waits for', () => {
    for (const state of ['resolving', 'preparing-side-repo', 'building', 'boot-testing', 'uploading'] as const) {
      const build = buildIn(state);
      expect(
        build.outbox.map(({ consumer }) => consumer),
        state,
      ).toEqual([stageOfState[state]]);
      expect(build.stage).toMatchObject({ name: stageOfState[state], startedAt: null, worker: null, attempt: 1 });
    }
  });

  test('ends with facts for whoever wants them, and with one for the notifier where somebody is to be told', () => {
    expect(buildIn('finished').outbox.map(({ event, consumer }) => [event.type, consumer])).toEqual([
      ['image.uploaded', null],
      ['build.finished', null],
    ]);
    expect(buildIn('finished', mail).outbox.map(({ consumer }) => consumer)).toEqual([null, 'notifier']);
  });

  test('ties its events together: one correlation id, each caused by the one before, ids the same for the same cause and stage', () => {
    const resolving = drivingEvent(buildIn('resolving'))?.event;
    const preparing = drivingEvent(buildIn('preparing-side-repo'))?.event;
    expect(resolving).toMatchObject({ subject: buildId, source: 'spindle/scheduler', correlationid: resolving?.id });
    expect(resolving).not.toHaveProperty('causationid');
    expect(preparing).toMatchObject({ causationid: resolving?.id, correlationid: resolving?.id });
    expect(preparing?.id).toBe(eventId(buildId, resolving?.id ?? '', 'resolver', 'build.resolved'));
    expect(drivingEvent(endStage(buildIn('resolving'), wellEnded('resolving'), now + 5))?.event.id, 'a second run, later, by whoever').toBe(preparing?.id);
  });

  test('goes to failed where a stage says no, and keeps what the stage left', () => {
    const build = endStage(buildIn('resolving', mail), [BuildFailed({ failure, artifacts: [image] })], now);
    expect(build).toMatchObject({ state: 'failed', failure, artifacts: [image], stage: null });
    expect(build.timeline.at(-1)?.message).toBe('no package hello');
    expect(build.outbox.map(({ event, consumer }) => [event.type, consumer])).toEqual([['build.failed', 'notifier']]);
  });

  test('never goes back, nor on from its end', () => {
    const built = buildIn('boot-testing');
    expect(() => endStage(built, wellEnded('resolving'), now)).toThrow('cannot move a build from boot-testing to preparing-side-repo');
    expect(() => endStage(built, [ImageUploaded({ image: 'a.iso', artifacts: [] })], now), 'an event that moves nothing is no end of a stage').toThrow(
      'cannot move',
    );
    const ended = buildIn('finished');
    expect(() => failed(ended, { stage: 'uploader', failure, now, isDeadLetter: false })).toThrow('cannot move a build from finished to failed');
    expect(cancelRequested(ended, now)).toBeUndefined();
    expect(() => claimed(ended, claim, now)).toThrow('has ended');
    expect(() => admitted(ended, now)).toThrow();
  });
});

describe('a claim', () => {
  const held = claimed(buildIn('building'), claim, now);

  test('names its holder and is looked at when it ends', () => {
    expect(held).toMatchObject({ claim, wakeAt: claim.expiresAt, stage: { worker: 'worker-1', startedAt: new Date(now).toISOString() } });
    expect(heartbeat(held, now + 30_000)).toMatchObject({ claim: { token: 'token-1', expiresAt: now + 30_000 }, wakeAt: now + 30_000 });
    expect(() => heartbeat(buildIn('building'), now)).toThrow('no claim');
  });

  test('is gone after another try is planned, with the attempt counted', () => {
    const retried = retrying(held, 'koji did not answer', 2_000, now);
    expect(retried).toMatchObject({ claim: null, retryAt: now + 2_000, wakeAt: now + 2_000, stage: { attempt: 2, worker: null, startedAt: null } });
    expect(retried.timeline.at(-1)).toMatchObject({ state: 'building', message: 'attempt 1 of image-builder did not succeed: koji did not answer' });
  });

  test('is gone after it was given back, with no attempt counted, and the build is due at once', () => {
    expect(givenBack(held, now)).toMatchObject({ claim: null, wakeAt: now, stage: { attempt: 1, worker: null } });
  });

  test('makes a cancel wait for its holder; without a live one the build ends at once', () => {
    expect(cancelRequested(held, now)).toMatchObject({ state: 'building', claim, cancelRequestedAt: new Date(now).toISOString() });
    expect(cancelRequested(held, claim.expiresAt), 'the lease has just ended').toMatchObject({ state: 'canceled', claim: null });
    expect(cancelRequested(queuedBuild(), now)).toMatchObject({ state: 'canceled', stage: null });
    const twice = cancelRequested(cancelRequested(held, now) ?? held, now + 5);
    expect(twice?.cancelRequestedAt, 'the first wish counts').toBe(new Date(now).toISOString());
    expect(twice?.timeline.filter(({ message }) => message === 'cancel requested')).toHaveLength(1);
  });
});

describe('the outbox', () => {
  test('is emptied of facts by the relay, and of a stage’s event only by that stage', () => {
    const build = buildIn('finished', mail);
    const after = relayed(build, new Set(build.outbox.map(outboxKey)));
    expect(after.outbox.map(({ consumer }) => consumer)).toEqual(['notifier']);
    expect(after.wakeAt, 'the notifier has not answered').not.toBeNull();
    expect(notified(after)).toMatchObject({ outbox: [], wakeAt: null });
    expect(relayed(buildIn('building'), new Set(buildIn('building').outbox.map(outboxKey))).outbox).toHaveLength(1);
  });

  test('holds a dead letter beside the event that it was', () => {
    const build = failed(buildIn('building'), {
      stage: 'image-builder',
      failure: { ...failure, code: 'INTERNAL', fault: 'operator' },
      now,
      isDeadLetter: true,
    });
    expect(build.outbox.map(({ event, deadLetter }) => [event.type, deadLetter?.code])).toEqual([
      ['build.failed', undefined],
      ['side-repo.ready', 'INTERNAL'],
    ]);
    expect(new Set(build.outbox.map(outboxKey)).size).toBe(2);
    expect(relayed(build, new Set(build.outbox.map(outboxKey)))).toMatchObject({ outbox: [], wakeAt: null });
  });

  test('is relayed again after 5 s, then twice as long each time, up to 5 minutes', () => {
    expect([0, 1, 2, 5, 6, 50].map(relayPatienceMs)).toEqual([5_000, 10_000, 20_000, 160_000, 300_000, 300_000]);
  });
});

describe('admission of an event', () => {
  const waiting = buildIn('building');
  const event = { id: drivingEvent(waiting)?.event.id ?? '' };

  test.each([
    ['runs the stage that the build waits for', waiting, event, 'run'],
    ['of a stage that is past is a duplicate', buildIn('uploading'), event, 'duplicate'],
    ['of an ended build is a duplicate', cancelRequested(waiting, now) ?? waiting, event, 'duplicate'],
    ['that nobody emitted is foreign', waiting, { id: buildId }, 'foreign'],
    ['that comes too early is foreign', buildIn('resolving'), event, 'foreign'],
    ['whose stage somebody holds is left alone', claimed(waiting, claim, now), event, 'leased'],
    ['whose holder lost its lease is run', claimed(waiting, { ...claim, expiresAt: now }, now), event, 'run'],
    ['whose next try is not due is left alone', retrying(waiting, 'x', 1, now), event, 'not-yet'],
    ['whose next try is due is run', retrying(waiting, 'x', 0, now), event, 'run'],
    ['of a canceled build whose holder vanished ends it', { ...waiting, cancelRequestedAt: new Date(now).toISOString() }, event, 'canceled'],
  ] as const)('an event %s', (_, build, { id }, expected) => {
    expect(admission(build, 'building', { id }, now)).toBe(expected);
  });
});
