/** The relay: brings what a commit left in a build's outbox to the bus. Repeating it is harmless: every event has one id, and its consumer knows it. */
import type { Build, OutboxEntry } from '../build/build.ts';
import { outboxKey, relayed } from '../build/build.ts';
import { isEnded } from '../build/states.ts';
import { buildTopic } from '../build/topics.ts';
import type { Bus } from '../bus/bus.ts';
import type { Collection, Versioned } from '../store/store.ts';
import type { Probe } from './steps.ts';

/** Broadcast with the build's id after every commit that ended one: the scheduler counts its slots again. */
export const endedTopic = 'build.ended';

export interface RelayPorts {
  readonly bus: Bus;
  readonly builds: Collection<Build>;
  readonly probe?: Probe;
}

/**
 * Publishes every entry with a confirm, in order, then takes those without a consumer out of the outbox. Rejects where the bus or the store does: the rest stays in the
 * outbox, and the reconciler comes back to it.
 */
export async function relayOutbox({ bus, builds, probe }: RelayPorts, committed: Versioned<Build>): Promise<void> {
  const { id, state } = committed.document;
  bus.broadcast(buildTopic(id), state);
  if (isEnded(state)) bus.broadcast(endedTopic, id);
  const sent = new Set<string>();
  for (const entry of committed.document.outbox) {
    await send(bus, entry);
    if (entry.consumer === null) sent.add(outboxKey(entry));
  }
  await probe?.('relayed', id);
  if (sent.size === 0) return;
  let current: Versioned<Build> | undefined = committed;
  // Each lost race means that somebody else moved the build; there are few moves, so this ends.
  while (current && !(await builds.replace(relayed(current.document, sent), current.version))) current = await builds.get(id);
  await probe?.('marked', id);
}

async function send(bus: Bus, entry: OutboxEntry): Promise<void> {
  const { event, routingKey, deadLetter, consumer } = entry;
  const body = JSON.stringify(event);
  if (deadLetter) {
    const { stage, code, reason, attempts } = deadLetter;
    await bus.deadLetter({
      id: event.id,
      at: event.time,
      stage,
      queue: `${stage}.${routingKey}`,
      routingKey,
      reason,
      code,
      buildId: event.subject,
      attempts,
      body,
    });
    return;
  }
  await bus.publish({ id: event.id, routingKey, body, mandatory: consumer !== null });
}
