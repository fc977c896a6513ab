/** What the monitor shows of queues, dead letters and build nodes. Pure. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { DeadLetter } from '../../shared/bus/dead-letter.ts';
import { isoTime } from '../../shared/clock/clock.ts';
import { apiPrefix } from '../../shared/http/section.ts';
import { Worker, WorkerEngine, workerState, workerStates } from '../../shared/workers/worker.ts';

const rate = z.number().nonnegative().nullable();
const count = z.number().int().nonnegative().nullable();

/** Null: not known. */
export const PublicQueue = z.object({
  name: z.string(),
  /** The service that reads it; null for the dead letters, which a person does. */
  stage: z.string().nullable(),
  /** What waits. Of `scheduler.queued`, which is no queue of the bus: builds that wait for a slot. */
  depth: count,
  /** What is in the hands of readers; of `scheduler.queued` the builds under way. */
  inHand: count,
  /** Since when the build waits that has waited longest for this stage, or the oldest dead letter. Null also where none does. */
  oldestSince: z.iso.datetime().nullable(),
  oldestAgeSeconds: z.number().nonnegative().nullable(),
  /** Messages a second, over about the last minute. */
  publishRate: rate,
  ackRate: rate,
  consumers: count,
});
export type PublicQueue = z.infer<typeof PublicQueue>;

export const QueueList = z.object({
  /** `problem`: why the bus does not tell of its queues; the rest comes from the store. */
  meta: z.object({ at: z.iso.datetime(), problem: z.string().nullable() }),
  items: z.array(PublicQueue),
});

/** Letters of others may have any id: what stands in a URL and on a command line is then made from it. */
export function publicLetterId({ id }: Pick<DeadLetter, 'id'>): string {
  return /^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$/.test(id) ? id : `sha256:${createHash('sha256').update(id).digest('hex').slice(0, 32)}`;
}

export const PublicDeadLetter = z.object({
  id: z.string(),
  at: z.string(),
  /** The stage that gave it up, or `bus` where it could not even be read. */
  stage: z.string(),
  queue: z.string(),
  routingKey: z.string(),
  code: z.string(),
  reason: z.string(),
  buildId: z.string().nullable(),
  attempts: z.number().int(),
  /** In characters. */
  bodyLength: z.number().int(),
  links: z.record(z.string(), z.string()),
});
export type PublicDeadLetter = z.infer<typeof PublicDeadLetter>;

const bodyShownMax = 256 * 1024;

/** With the message itself, as it came; its first 262,144 characters where it is longer. */
export const WholeDeadLetter = z.object({ ...PublicDeadLetter.shape, body: z.string() });

export const DeadLetterPage = z.object({
  meta: z.object({ limit: z.number().int(), nextCursor: z.string().nullable() }),
  items: z.array(PublicDeadLetter),
});

export const deadLettersPath = `${apiPrefix}/dead-letters`;
const cut = (text: string, lengthMax: number) => (text.length > lengthMax ? `${text.slice(0, lengthMax - 1)}…` : text);

/** Headers of messages that others sent may be of any length. */
export function publicDeadLetter(letter: DeadLetter): PublicDeadLetter {
  const id = publicLetterId(letter);
  const self = `${deadLettersPath}/${encodeURIComponent(id)}`;
  const { at, stage, queue, routingKey, code, reason, buildId, attempts, body } = letter;
  return {
    id,
    at: cut(at, 64),
    stage: cut(stage, 64),
    queue: cut(queue, 255),
    routingKey: cut(routingKey, 255),
    code: cut(code, 64),
    reason: cut(reason, 2000),
    buildId: buildId === undefined ? null : cut(buildId, 64),
    attempts,
    bodyLength: body.length,
    links: { self, requeue: `${self}/requeue`, ...(buildId === undefined ? {} : { build: `${apiPrefix}/builds/${encodeURIComponent(cut(buildId, 64))}` }) },
  };
}

export function wholeDeadLetter(letter: DeadLetter): z.infer<typeof WholeDeadLetter> {
  return { ...publicDeadLetter(letter), body: letter.body.slice(0, bodyShownMax) };
}

/** `retried`: `buildId` is the new build. `published`: the message is in its queue again. */
export const Requeued = z.object({
  id: z.string(),
  outcome: z.enum(['retried', 'published']),
  buildId: z.string().nullable(),
  links: z.record(z.string(), z.string()),
});

export const PublicWorker = z.object({
  ...Worker.omit({ heartbeatAt: true, isTaking: true, engines: true }).shape,
  state: z.enum(workerStates),
  engines: z.array(z.object({ ...WorkerEngine.shape, state: z.enum(['present', 'absent']) })),
  /** Slots without a build. */
  slotsFree: z.number().int(),
  heartbeatAt: z.iso.datetime(),
  links: z.record(z.string(), z.string()),
});
export type PublicWorker = z.infer<typeof PublicWorker>;

export function publicWorker(worker: Worker, now: number): PublicWorker {
  const { heartbeatAt, isTaking: _answer, ...told } = worker;
  const self = `${apiPrefix}/workers/${encodeURIComponent(worker.id)}`;
  return {
    ...told,
    state: workerState(worker, now),
    engines: worker.engines.map((engine) => ({ ...engine, state: engine.missing.length > 0 ? ('absent' as const) : ('present' as const) })),
    slotsFree: Math.max(0, worker.slots - worker.builds.length),
    heartbeatAt: isoTime(heartbeatAt),
    links: { self, drain: `${self}/drain` },
  };
}
