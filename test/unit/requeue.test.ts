/** What a requeue means, by the letter and the state of its build; and the retry that begins in the middle. */
import { describe, expect, test } from 'vitest';
import { eventOf, requeuePlan } from '../../services/monitor/requeue.ts';
import { admitted, type Build, buildCollection, canceled, drivingEvent, failed, stateDrivenBy } from '../../shared/build/build.ts';
import type { DeadLetter } from '../../shared/bus/dead-letter.ts';
import { catalog } from '../../shared/events/catalog.ts';
import { buildIn, queuedBuild, startMs } from '../support/build-records.ts';

const now = startMs + 3_600_000;
const failure = { code: 'DISK_FULL', stage: 'x', message: 'no space', fault: 'operator', retryable: true } as const;
const failedIn = (state: Build['state']): Build => failed(buildIn(state), { stage: 'x', failure, now: startMs + 60_000, isDeadLetter: true });
const letterOf = (build: Build): DeadLetter => {
  const entry = drivingEvent(build) ?? build.outbox.find(({ deadLetter }) => deadLetter);
  if (!entry) throw new Error('this build has no event that could be a letter');
  const { event, routingKey } = entry;
  return { id: event.id, at: event.time, stage: 's', queue: 'q', routingKey, reason: 'r', code: 'DISK_FULL', attempts: 5, body: JSON.stringify(event) };
};

describe('requeue', () => {
  for (const state of ['resolving', 'preparing-side-repo', 'building', 'boot-testing', 'uploading'] as const) {
    test(`of a build that failed while ${state}: a new one that goes on there`, () => {
      const ended = failedIn(state);
      const letter = letterOf(ended);
      const plan = requeuePlan(letter, ended, now);
      if (plan.kind !== 'retry') throw new Error(`it was ${plan.kind}`);
      expect(plan.build).toMatchObject({ state: 'queued', retryOf: ended.id, request: ended.request, failure: null, timeline: [{ state: 'queued' }] });
      expect(plan.build.id).not.toBe(ended.id);
      // The same letter, the same build, whenever it is asked.
      expect(requeuePlan(letter, ended, now + 5000)).toMatchObject({ build: { id: plan.build.id } });
      expect(requeuePlan({ ...letter, id: 'another' }, ended, now)).not.toMatchObject({ build: { id: plan.build.id } });
      const stored = buildCollection.read(JSON.parse(JSON.stringify(plan.build)));
      const running = admitted(stored, now + 1000);
      expect(running).toMatchObject({ state, resume: null, timeline: [{ state: 'queued' }, { state }] });
      const before = buildIn(state);
      expect(drivingEvent(running)?.event.data).toEqual(drivingEvent(before)?.event.data);
      expect(drivingEvent(running)?.routingKey).toBe(drivingEvent(before)?.routingKey);
      expect(running.artifacts).toEqual(before.artifacts);
      expect(running.repositories).toEqual(before.repositories);
      expect(running.resolution).toEqual(before.resolution);
    });
  }

  test('the new build comes before those that were asked for after the old one’s end', () => {
    const ended = failedIn('building');
    const plan = requeuePlan(letterOf(ended), ended, now);
    const { id } = plan.kind === 'retry' ? plan.build : { id: '' };
    const hex = (ms: number) => ms.toString(16).padStart(12, '0');
    expect(id.replaceAll('-', '').slice(0, 12)).toBe(hex(Date.parse(ended.endedAt ?? '')));
  });

  test('of a canceled build: a retry; of a finished one: nothing; of one that waits: the message again', () => {
    const waiting = buildIn('building');
    const letter = letterOf(waiting);
    expect(requeuePlan(letter, waiting, now)).toEqual({ kind: 'publish' });
    expect(requeuePlan(letter, canceled(waiting, now), now)).toMatchObject({ kind: 'retry', build: { retryOf: waiting.id } });
    const finished: Build = { ...waiting, state: 'finished', endedAt: new Date(now).toISOString() };
    expect(requeuePlan(letter, finished, now)).toMatchObject({ kind: 'refuse', reason: expect.stringContaining('is finished') });
  });

  test('an end event’s letter is the message again: a letter that could not be sent makes no image anew', () => {
    const ended = failedIn('building');
    const end = ended.outbox.find(({ event }) => event.type === 'build.failed');
    const letter = { ...letterOf(ended), id: end?.event.id ?? '', routingKey: 'build.failed', body: JSON.stringify(end?.event) };
    expect(requeuePlan(letter, ended, now)).toEqual({ kind: 'publish' });
  });

  test('bodies that are no events', () => {
    const build = queuedBuild();
    const base = letterOf(buildIn('building'));
    for (const body of [
      '',
      'null',
      '[]',
      '{}',
      '{"type":"toString"}',
      '{"type":"build.resolved"}',
      '"text"',
      JSON.stringify({ ...JSON.parse(base.body), data: {} }),
    ]) {
      expect(eventOf({ body }), body).toBe(undefined);
      expect(requeuePlan({ ...base, body }, undefined, now)).toEqual({ kind: 'publish' });
      expect(requeuePlan({ ...base, body, buildId: 'gone' }, undefined, now)).toMatchObject({ kind: 'refuse' });
    }
    expect(stateDrivenBy('toString')).toBe(undefined);
    expect(catalog.map(({ type }) => stateDrivenBy(type)).filter(Boolean)).toEqual([
      'resolving',
      'preparing-side-repo',
      'building',
      'boot-testing',
      'uploading',
    ]);
    expect(build.resume).toBe(null);
  });
});
