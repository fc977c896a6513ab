/** The dead letter of a delivery that its subscriber could not even read. The same on every bus. Pure. */
import type { Delivery } from './bus.ts';
import type { DeadLetter } from './dead-letter.ts';

const reasonLengthMax = 2000;

export function unreadableLetter(
  delivery: Delivery,
  { reason, at, attempts }: { readonly reason: string; readonly at: string; readonly attempts: number },
): DeadLetter {
  return {
    id: delivery.id,
    at,
    stage: 'bus',
    queue: delivery.queue,
    routingKey: delivery.routingKey,
    reason: reason.slice(0, reasonLengthMax),
    code: 'MESSAGE_UNREADABLE',
    attempts,
    body: delivery.body,
  };
}
