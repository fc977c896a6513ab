/** A dead letter: a message that nobody could handle, kept with the reason for an operator. */
import { z } from 'zod';

/** Where they are, also for other programs. */
export const deadLetterQueue = 'spindle.dead-letters';
/** Of the oldest: so many are looked through for one, and shown. */
export const deadLettersMax = 2_000;

export const DeadLetter = z.object({
  /** The message's id, or one made from its queue and body where it had none. */
  id: z.string(),
  at: z.string(),
  /** The stage that gave it up, or `bus` where it was unreadable. */
  stage: z.string(),
  queue: z.string(),
  routingKey: z.string(),
  reason: z.string(),
  code: z.string(),
  buildId: z.string().optional(),
  attempts: z.number().int().nonnegative(),
  body: z.string(),
});
export type DeadLetter = z.infer<typeof DeadLetter>;
