/** The policy of the queue: which queued builds start now. Pure, and the only place that decides it. */
import type { Build } from '../../shared/build/build.ts';

/** First in, first out, as many as there are free slots. `queued` in the order of their arrival. */
export function toAdmit(queued: readonly Build[], activeCount: number, inFlightMax: number): readonly Build[] {
  return queued.slice(0, Math.max(0, inFlightMax - activeCount));
}
