/** The mail port in memory, for tests and the simulation: it remembers every letter, repeated ones too. */
import { SpindleError } from '../build/failure.ts';
import { checkedLetter } from './checked-letter.ts';
import type { Letter, Mail } from './mail.ts';

export interface MemoryMail extends Mail {
  /** In the order they were sent. A letter sent twice stands here twice. */
  readonly letters: readonly Letter[];
}

export function memoryMail(): MemoryMail {
  const letters: Letter[] = [];
  let isClosed = false;
  return {
    letters,
    async send(letter, signal) {
      if (isClosed) throw new SpindleError('PORT_CLOSED', 'the mail was used after it was closed');
      signal?.throwIfAborted();
      letters.push(structuredClone(checkedLetter(letter)));
    },
    async close() {
      isClosed = true;
    },
  };
}
