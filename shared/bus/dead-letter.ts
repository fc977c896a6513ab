/** A dead letter: a message that nobody could handle, kept with the reason for an operator. */
import { z } from 'zod';

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
