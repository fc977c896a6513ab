/** Where the embedded bus keeps dead letters: a collection of the store, oldest first. Pure. */
import type { CollectionDefinition } from '../store/store.ts';
import { DeadLetter } from './dead-letter.ts';

export const deadLetterCollection = {
  name: 'dead-letters',
  read: (json) => DeadLetter.parse(json),
  indexes: { at: (letter) => [letter.at, letter.id] },
} satisfies CollectionDefinition<DeadLetter>;
