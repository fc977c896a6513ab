/** One event of each type, made by the moves of builds as the service makes them. */
import { cancelRequested, failed } from '../../shared/build/build.ts';
import type { Failure } from '../../shared/build/failure.ts';
import { BuildExpired } from '../../shared/events/catalog.ts';
import { derivedId, type Envelope } from '../../shared/events/envelope.ts';
import { buildId, buildIn, startMs } from './build-records.ts';

export function eventSamples(): ReadonlyMap<string, Envelope> {
  const now = startMs + 1_800_000;
  const failure: Failure = {
    code: 'ENGINE_FAILED',
    stage: 'image-builder',
    message: 'kiwi ended with status 1: no space left on the boot partition',
    fault: 'operator',
    retryable: true,
    details: ['[ INFO ]: creating the live system', '[ ERROR ]: no space left on the boot partition'],
  };
  const walked = (['resolving', 'preparing-side-repo', 'building', 'boot-testing', 'uploading', 'finished'] as const).flatMap((state) => buildIn(state).outbox);
  const events = [
    ...walked,
    ...failed(buildIn('building'), { stage: 'image-builder', failure, now, isDeadLetter: false }).outbox,
    ...(cancelRequested(buildIn('building'), now)?.outbox ?? []),
  ].map(({ event }) => event);
  const last = events.find(({ type }) => type === 'build.finished');
  // Nothing in the service makes this one yet.
  const expired = last && {
    ...last,
    id: derivedId(last.id, 'intake', 'build.expired'),
    source: 'spindle/intake',
    ...BuildExpired({}),
    causationid: last.id,
    subject: buildId,
  };
  return new Map([...events, ...(expired ? [expired] : [])].map((event) => [event.type, event]));
}
