/** A delivery: one letter about the end of one build to one recipient, as a record of its own. Its moves are pure. */
import { z } from 'zod';
import type { Build } from '../../shared/build/build.ts';
import { derivedId, type Envelope } from '../../shared/events/envelope.ts';
import type { CollectionDefinition } from '../../shared/store/store.ts';

const Delivery = z.object({
  /** Derived from build, event and recipient: recording it again records nothing. */
  id: z.uuid(),
  buildId: z.uuid(),
  eventId: z.uuid(),
  recipient: z.string(),
  messageId: z.string(),
  /** The end event's time: the letter's date, the same at each try. */
  date: z.iso.datetime(),
  state: z.enum(['pending', 'sent', 'given-up']),
  /** Tries begun. */
  attempts: z.number().int().nonnegative(),
  /** Who is sending it now; void after `expiresAt`, milliseconds since 1970. */
  claim: z.object({ token: z.string(), expiresAt: z.number() }).nullable(),
  /** Milliseconds since 1970: when to try (again). Null once it is sent or given up. */
  wakeAt: z.number().nullable(),
  problem: z.string().nullable(),
});
export type Delivery = z.infer<typeof Delivery>;

export const deliveryCollection: CollectionDefinition<Delivery> = {
  name: 'deliveries',
  read: (json) => Delivery.parse(json),
  indexes: {
    byWake: ({ wakeAt }) => (wakeAt === null ? undefined : ['due', wakeAt]),
    byBuild: ({ buildId, id }) => [buildId, id],
  },
};

/** One for each distinct address of the request. `domain` is the right-hand side of the Message-ID. */
export function deliveriesOf(build: Build, event: Pick<Envelope, 'id' | 'time'>, domain: string, now: number): readonly Delivery[] {
  return [...new Set(build.request.notify.email)].map((recipient) => {
    const id = derivedId(build.id, event.id, recipient);
    return {
      id,
      buildId: build.id,
      eventId: event.id,
      recipient,
      messageId: `<${id}@${domain}>`,
      date: event.time,
      state: 'pending',
      attempts: 0,
      claim: null,
      wakeAt: now,
      problem: null,
    };
  });
}

export function deliveryClaimed(delivery: Delivery, token: string, expiresAt: number): Delivery {
  return { ...delivery, attempts: delivery.attempts + 1, claim: { token, expiresAt }, wakeAt: expiresAt };
}

export function deliverySent(delivery: Delivery): Delivery {
  return { ...delivery, state: 'sent', claim: null, wakeAt: null, problem: null };
}

export function deliveryPostponed(delivery: Delivery, problem: string, wakeAt: number): Delivery {
  return { ...delivery, claim: null, wakeAt, problem };
}

export function deliveryGivenUp(delivery: Delivery, problem: string): Delivery {
  return { ...delivery, state: 'given-up', claim: null, wakeAt: null, problem };
}
