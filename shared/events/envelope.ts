/** The envelope around every event: CloudEvents 1.0 attributes plus the two ids that tie a build's events together. Pure. */
import { v5 as uuidV5 } from 'uuid';
import { z } from 'zod';

export const Envelope = z.object({
  specversion: z.literal('1.0'),
  id: z.uuid(),
  source: z.string().min(1).max(256),
  type: z.string().min(1).max(64),
  /** The build's id. */
  subject: z.uuid(),
  time: z.iso.datetime(),
  datacontenttype: z.literal('application/json'),
  /** The id of the build's first event. */
  correlationid: z.uuid(),
  /** The id of the event whose handling made this one; absent on the first. */
  causationid: z.uuid().optional(),
  data: z.unknown(),
});
export type Envelope = z.infer<typeof Envelope>;

/** A fixed namespace of Spindle's own: derived ids are the same on every host, for ever. */
const namespace = '6f1c2b0e-8d55-5a0c-9f58-3a1f0a5be9d1';

/** The same parts give the same id: an event made again by a second run of its stage is the same event. */
export function derivedId(...parts: readonly string[]): string {
  return uuidV5(parts.join('\u0000'), namespace);
}
