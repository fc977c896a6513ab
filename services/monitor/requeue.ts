/** What an operator's requeue of a dead letter means: a retry of the build, or the message in its queue again. Pure. */
import { createHash } from 'node:crypto';
import { v7 as uuidV7 } from 'uuid';
import { type Build, retryFrom, stateDrivenBy } from '../../shared/build/build.ts';
import type { DeadLetter } from '../../shared/bus/dead-letter.ts';
import { isRoutingKey } from '../../shared/bus/routing-key.ts';
import { definitionOf } from '../../shared/events/catalog.ts';
import type { Envelope } from '../../shared/events/envelope.ts';

export type RequeuePlan =
  /** Stored as a new build. Planned again it is the same one. */
  | { readonly kind: 'retry'; readonly build: Build }
  | { readonly kind: 'publish' }
  /** Nothing could come of it; `reason` says why. */
  | { readonly kind: 'refuse'; readonly reason: string };

/** The event in a letter; undefined where it is none that this version can read. */
export function eventOf({ body }: Pick<DeadLetter, 'body'>): Envelope | undefined {
  try {
    const parsed: unknown = JSON.parse(body);
    const { type } = parsed as { readonly type?: unknown };
    return typeof type === 'string' ? definitionOf(type)?.parse(parsed) : undefined;
  } catch {
    return undefined;
  }
}

/** Which build a letter is about. */
export function buildIdOf(letter: DeadLetter): string | undefined {
  return eventOf(letter)?.subject ?? letter.buildId;
}

/** `build`: the one that `buildIdOf` names; undefined where it is not recorded. */
export function requeuePlan(letter: DeadLetter, build: Build | undefined, now: number): RequeuePlan {
  const id = buildIdOf(letter);
  if (id !== undefined && !build) return { kind: 'refuse', reason: `the build ${id.slice(0, 64)} that it is about is not recorded any more; drop the letter` };
  const event = eventOf(letter);
  const asksStage = event !== undefined && stateDrivenBy(event.type) !== undefined;
  if (build && event && asksStage && build.endedAt !== null) {
    if (build.state !== 'failed' && build.state !== 'canceled') {
      return { kind: 'refuse', reason: `the build ${build.id} is ${build.state}: what the letter asks for has been done; drop the letter` };
    }
    return { kind: 'retry', build: retryFrom(build, event, { id: retryId(letter, build), now }) };
  }
  if (letter.routingKey === '' || !isRoutingKey(letter.routingKey)) {
    return { kind: 'refuse', reason: 'its routing key names no queue; drop the letter' };
  }
  return { kind: 'publish' };
}

/**
 * The same letter gives the same id, so that a requeue that a crash cut off makes no second build. The time in it is the end of the build that is retried: among queued builds it comes
 * before those that were asked for later.
 */
function retryId(letter: DeadLetter, build: Build): string {
  const random = createHash('sha256').update(`${build.id}\u0000${letter.id}`).digest().subarray(0, 16);
  return uuidV7({ msecs: Date.parse(build.endedAt ?? build.createdAt), random });
}
