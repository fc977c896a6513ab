/** A process of its own for crash tests: opens the store at its first argument, writes without end, and prints what was acknowledged. */
import { openEmbeddedStore } from '../../shared/store/embedded.ts';
import type { CollectionDefinition } from '../../shared/store/store.ts';

export interface Counter {
  readonly id: string;
  readonly count: number;
  readonly padding: string;
}

export const counters: CollectionDefinition<Counter> = {
  name: 'counters',
  read: (json) => json as Counter,
  indexes: { count: ({ count }) => [count] },
};

async function write(path: string, round: string): Promise<void> {
  const store = await openEmbeddedStore({ path });
  const collection = await store.collection(counters);
  process.stdout.write('ready\n');
  const padding = 'x'.repeat(3000);
  await Promise.all(
    Array.from({ length: 16 }, async (_, writer) => {
      for (let number = 0; ; number += 1) {
        const id = `${round}-${writer}-${number}`;
        if (await collection.insert({ id, count: 0, padding })) process.stdout.write(`${id} 1\n`);
        if (await collection.replace({ id, count: number, padding }, 1)) process.stdout.write(`${id} 2\n`);
      }
    }),
  );
}

const [, script, path, round] = process.argv;
if (script?.endsWith('acknowledged-inserts.ts') && path && round) await write(path, round);
