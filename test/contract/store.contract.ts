/** What every store adapter promises, happy half and unhappy half. Called by the adapters' own small test files. */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Collection, CollectionDefinition, IndexValue, Query, Store } from '../../shared/store/store.ts';

export interface StoreSetup {
  readonly store: Store;
  /** `collection/id` of each document that was reported as unreadable. */
  readonly reports: readonly string[];
  /** Replaces a document's stored text, as damage on the medium would, and returns the store to go on with. */
  damage(collection: string, id: string, body: string): Promise<Store>;
  /** Ends the store's process, as far as that can be, and opens the same data anew. */
  reopen?(): Promise<Store>;
  dispose(): Promise<void>;
}

export interface StorePromises {
  readonly survivesRestart: boolean;
}

interface Thing {
  readonly id: string;
  readonly group: string;
  readonly rank: number;
  readonly note?: string;
  readonly text?: string;
}

const readThing = (json: unknown): Thing => {
  const thing = json as Thing;
  if (typeof thing?.rank !== 'number') throw new Error('a thing without a rank');
  return thing;
};

const things: CollectionDefinition<Thing> = {
  name: 'things',
  read: readThing,
  indexes: {
    place: ({ group, rank, id }) => [group, rank, id],
    rank: ({ rank }) => [rank],
    note: ({ note }) => (note === undefined ? undefined : [note]),
  },
};

/** `make` resolves with a reason where there is no server to try: the tests are skipped with it. */
export function storeContract(name: string, make: () => Promise<StoreSetup | string>, promises: StorePromises): void {
  describe(`the store contract, ${name}`, () => {
    let setup: StoreSetup;
    let store: Store;
    let collection: Collection<Thing>;

    // The first one may wait for a server to start.
    beforeEach(async ({ skip }) => {
      const made = await make();
      if (typeof made === 'string') return skip(made);
      setup = made;
      store = setup.store;
      collection = await store.collection(things);
    }, 120_000);
    afterEach(async () => {
      await store?.close();
      await setup?.dispose();
    });

    const add = async (...list: readonly Thing[]) => {
      for (const thing of list) expect(await collection.insert(thing)).toBe(true);
    };
    const ids = async (query: Omit<Query, 'limit'> & { readonly limit?: number }) =>
      (await collection.find({ limit: 100, ...query })).map(({ document }) => document.id);

    test('an insert is read back with version 1, a missing document is undefined', async () => {
      await add({ id: 'a', group: 'g', rank: 1 });
      expect(await collection.get('a')).toEqual({ document: { id: 'a', group: 'g', rank: 1 }, version: 1 });
      expect(await collection.get('b')).toBeUndefined();
    });

    test('a second insert of an id writes nothing', async () => {
      await add({ id: 'a', group: 'g', rank: 1 });
      expect(await collection.insert({ id: 'a', group: 'other', rank: 2 })).toBe(false);
      expect(await collection.get('a')).toEqual({ document: { id: 'a', group: 'g', rank: 1 }, version: 1 });
    });

    test('of many inserts of one id exactly one is taken', async () => {
      const taken = await Promise.all(Array.from({ length: 64 }, (_, rank) => collection.insert({ id: 'a', group: 'g', rank })));
      expect(taken.filter(Boolean)).toHaveLength(1);
      expect((await collection.get('a'))?.document.rank).toBe(taken.indexOf(true));
    });

    test('a replace needs the stored version and raises it by one', async () => {
      await add({ id: 'a', group: 'g', rank: 1 });
      expect(await collection.replace({ id: 'a', group: 'g', rank: 2 }, 2)).toBe(false);
      expect(await collection.replace({ id: 'a', group: 'g', rank: 2 }, 0)).toBe(false);
      expect(await collection.replace({ id: 'a', group: 'g', rank: 2 }, 1)).toBe(true);
      expect(await collection.replace({ id: 'a', group: 'g', rank: 3 }, 1)).toBe(false);
      expect(await collection.get('a')).toEqual({ document: { id: 'a', group: 'g', rank: 2 }, version: 2 });
    });

    test('a replace of what is not there writes nothing', async () => {
      expect(await collection.replace({ id: 'a', group: 'g', rank: 2 }, 1)).toBe(false);
      expect(await collection.replace({ id: 'a', group: 'g', rank: 2 }, 0)).toBe(false);
      expect(await collection.get('a')).toBeUndefined();
    });

    test('of 64 concurrent conditional updates of one document exactly one wins', async () => {
      await add({ id: 'a', group: 'g', rank: 0 });
      for (let version = 1; version <= 3; version += 1) {
        const won = await Promise.all(Array.from({ length: 64 }, (_, rank) => collection.replace({ id: 'a', group: 'g', rank }, version)));
        expect(won.filter(Boolean)).toHaveLength(1);
        expect(await collection.get('a')).toEqual({ document: { id: 'a', group: 'g', rank: won.indexOf(true) }, version: version + 1 });
      }
    });

    test('64 concurrent conditional updates of as many documents all win', async () => {
      const all = Array.from({ length: 64 }, (_, rank) => ({ id: `d${rank}`, group: 'g', rank }));
      await Promise.all(all.map((thing) => collection.insert(thing)));
      expect(await Promise.all(all.map((thing) => collection.replace({ ...thing, group: 'h' }, 1)))).toEqual(all.map(() => true));
      expect(await collection.count({ index: 'place', prefix: ['h'] })).toBe(64);
      expect(await collection.count({ index: 'place', prefix: ['g'] })).toBe(0);
    });

    test('conditional writes of one moment see each other in the order of the calls', async () => {
      const thing = { id: 'a', group: 'g', rank: 1 };
      const done = await Promise.all([
        collection.insert(thing),
        collection.replace({ ...thing, rank: 2 }, 1),
        collection.replace({ ...thing, rank: 3 }, 2),
        collection.replace({ ...thing, rank: 4 }, 2),
        collection.remove('a', 3),
        collection.insert({ ...thing, rank: 5 }),
      ]);
      expect(done).toEqual([true, true, true, false, true, true]);
      expect(await collection.get('a')).toEqual({ document: { ...thing, rank: 5 }, version: 1 });
    });

    test('64 writers that read, change and write again lose no update', async () => {
      await add({ id: 'sum', group: 'g', rank: 0 });
      await Promise.all(
        Array.from({ length: 64 }, async () => {
          for (;;) {
            const found = await collection.get('sum');
            if (found && (await collection.replace({ ...found.document, rank: found.document.rank + 1 }, found.version))) return;
          }
        }),
      );
      expect(await collection.get('sum')).toEqual({ document: { id: 'sum', group: 'g', rank: 64 }, version: 65 });
    });

    test('a remove needs the stored version, and the id is free afterwards', async () => {
      await add({ id: 'a', group: 'g', rank: 1, note: 'n' });
      expect(await collection.remove('a', 2)).toBe(false);
      expect(await collection.remove('a', 1)).toBe(true);
      expect(await collection.remove('a', 1)).toBe(false);
      expect(await collection.get('a')).toBeUndefined();
      expect(await ids({ index: 'note' })).toEqual([]);
      await add({ id: 'a', group: 'g', rank: 2 });
    });

    test('the caller’s object and the stored one are two', async () => {
      const thing = { id: 'a', group: 'g', rank: 1 };
      await add(thing);
      thing.rank = 9;
      const first = await collection.get('a');
      (first?.document as { rank: number }).rank = 8;
      expect((await collection.get('a'))?.document.rank).toBe(1);
    });

    test('find goes by prefix, from, to, beyond, order and limit', async () => {
      await add(...[3, 1, 2, 10, -5, 2.5].map((rank) => ({ id: `g${rank}`, group: 'g', rank })), { id: 'other', group: 'h', rank: 2 });
      expect(await ids({ index: 'place', prefix: ['g'] })).toEqual(['g-5', 'g1', 'g2', 'g2.5', 'g3', 'g10']);
      expect(await ids({ index: 'place' })).toEqual(['g-5', 'g1', 'g2', 'g2.5', 'g3', 'g10', 'other']);
      expect(await ids({ index: 'place', prefix: ['g'], from: 2, to: 3 })).toEqual(['g2', 'g2.5', 'g3']);
      expect(await ids({ index: 'place', prefix: ['g'], beyond: 2 })).toEqual(['g2.5', 'g3', 'g10']);
      expect(await ids({ index: 'place', prefix: ['g'], beyond: 2, order: 'descending' })).toEqual(['g1', 'g-5']);
      expect(await ids({ index: 'place', prefix: ['g'], from: 1, to: 3, beyond: 3, order: 'descending' })).toEqual(['g2.5', 'g2', 'g1']);
      expect(await ids({ index: 'place', prefix: ['g'], limit: 2 })).toEqual(['g-5', 'g1']);
      expect(await ids({ index: 'place', prefix: ['g'], limit: 2, order: 'descending' })).toEqual(['g10', 'g3']);
      expect(await ids({ index: 'place', prefix: ['g'], from: 4, to: 2 })).toEqual([]);
      expect(await ids({ index: 'place', prefix: ['g', 2, 'g2'] })).toEqual(['g2']);
      expect(await ids({ index: 'place', prefix: ['nobody'] })).toEqual([]);
      expect(await ids({ index: 'rank', to: 1 })).toEqual(['g-5', 'g1']);
      expect(await collection.count({ index: 'place', prefix: ['g'], from: 2 })).toBe(4);
      expect(await collection.count({ index: 'rank' })).toBe(7);
    });

    test('equal keys come in the order of their ids, either way', async () => {
      await add({ id: 'b', group: 'g', rank: 1 }, { id: 'c', group: 'g', rank: 1 }, { id: 'a', group: 'g', rank: 1 });
      expect(await ids({ index: 'rank' })).toEqual(['a', 'b', 'c']);
      expect(await ids({ index: 'rank', order: 'descending' })).toEqual(['c', 'b', 'a']);
    });

    test('a prefix is whole values, never the beginning of one', async () => {
      await add({ id: '1', group: 'a', rank: 1 }, { id: '2', group: 'ab', rank: 1 }, { id: '3', group: '', rank: 1 }, { id: '4', group: 'a.', rank: 1 });
      expect(await ids({ index: 'place', prefix: ['a'] })).toEqual(['1']);
      expect(await ids({ index: 'place', prefix: [''] })).toEqual(['3']);
    });

    test('a document is in an index only where it has a key, and moves when the key changes', async () => {
      await add({ id: 'a', group: 'g', rank: 1 }, { id: 'b', group: 'g', rank: 2, note: 'n' });
      expect(await ids({ index: 'note' })).toEqual(['b']);
      expect(await collection.replace({ id: 'a', group: 'g', rank: 1, note: 'm' }, 1)).toBe(true);
      expect(await collection.replace({ id: 'b', group: 'g', rank: 2 }, 1)).toBe(true);
      expect(await ids({ index: 'note' })).toEqual(['a']);
      expect(await ids({ index: 'rank' })).toEqual(['a', 'b']);
      expect(await collection.count({ index: 'note' })).toBe(1);
    });

    test('every page of a long list comes once', async () => {
      await Promise.all(Array.from({ length: 157 }, (_, rank) => collection.insert({ id: `p${rank}`, group: 'g', rank })));
      const seen: number[] = [];
      for (let beyond = Number.NEGATIVE_INFINITY; ; ) {
        const page = await collection.find({ index: 'rank', beyond, limit: 25 });
        seen.push(...page.map(({ document }) => document.rank));
        if (page.length < 25) break;
        beyond = page.at(-1)?.document.rank ?? 0;
      }
      expect(seen).toEqual(Array.from({ length: 157 }, (_, rank) => rank));
    });

    test('odd text comes back as it was, from ids, keys and bodies', async () => {
      const odd = [
        '"',
        "'",
        "';DROP TABLE things;--",
        '%',
        '_',
        '*',
        '\\',
        '$where',
        'a.b',
        '\u0001\u0002\u0003',
        'Ünïcödé',
        '\u{1f9f5}',
        '\uffee',
        ' blank ',
        '\n',
        'e\u0301',
      ];
      await add(...odd.map((text, rank) => ({ id: `id ${text}`, group: text, rank, note: `${text}\u0000tail`, text: `${text}\u0000\ud800` })));
      for (const [rank, text] of odd.entries()) {
        expect((await collection.get(`id ${text}`))?.document).toEqual({
          id: `id ${text}`,
          group: text,
          rank,
          note: `${text}\u0000tail`,
          text: `${text}\u0000\ud800`,
        });
        expect(await ids({ index: 'place', prefix: [text] })).toEqual([`id ${text}`]);
        expect(await ids({ index: 'note', prefix: [`${text}\u0000tail`] })).toEqual([`id ${text}`]);
      }
      expect(await collection.get('id "\u0000')).toBeUndefined();
    });

    test('a document of a megabyte is kept whole; one beyond the bound is refused', async () => {
      const text = 'spindle "ß" '.repeat(90_000);
      await add({ id: 'big', group: 'g', rank: 1, text });
      expect((await collection.get('big'))?.document.text).toBe(text);
      await expect(collection.insert({ id: 'huge', group: 'g', rank: 1, text: 'x'.repeat(6 * 1024 * 1024) })).rejects.toMatchObject({ code: 'FILE_TOO_LARGE' });
      expect(await collection.get('huge')).toBeUndefined();
    });

    test('an id, key, index or limit that cannot be is refused, and the store goes on', async () => {
      await expect(collection.insert({ id: '', group: 'g', rank: 1 })).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(collection.insert({ id: 'a\u0000b', group: 'g', rank: 1 })).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(collection.insert({ id: '\udc00', group: 'g', rank: 1 })).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(collection.insert({ id: 'x'.repeat(2000), group: 'g', rank: 1 })).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(collection.insert({ id: 'nan', group: 'g', rank: Number.NaN })).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(collection.find({ index: 'nowhere', limit: 1 })).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(collection.find({ index: 'rank', limit: 0 })).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(collection.count({ index: 'nowhere' })).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(store.collection({ ...things, name: 'Bad name"' })).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(store.collection({ ...things, indexes: {} })).rejects.toMatchObject({ code: 'INTERNAL' });
      await add({ id: 'a', group: 'g', rank: 1 });
    });

    test('a document that cannot be read hides no other and is named', async () => {
      await add(...[1, 2, 3, 4].map((rank) => ({ id: `d${rank}`, group: 'g', rank })));
      store = await setup.damage('things', 'd2', '{"id":"d2"');
      store = await setup.damage('things', 'd3', '{"id":"d3"}');
      collection = await store.collection(things);
      expect(await ids({ index: 'rank' })).toEqual(['d1', 'd4']);
      expect(await ids({ index: 'rank', limit: 2 })).toEqual(['d1', 'd4']);
      expect(await ids({ index: 'rank', limit: 3, order: 'descending' })).toEqual(['d4', 'd1']);
      expect(new Set(setup.reports)).toEqual(new Set(['things/d2', 'things/d3']));
      await expect(collection.get('d2')).rejects.toMatchObject({ code: 'INTERNAL', message: expect.stringMatching(/d2 of things/) });
      expect(await collection.get('d1')).toBeDefined();
      expect(await collection.replace({ id: 'd2', group: 'g', rank: 2 }, 1)).toBe(true);
      expect(await ids({ index: 'rank' })).toEqual(['d1', 'd2', 'd4']);
    });

    test('the same definition twice is the same collection; two names are two', async () => {
      const again = await store.collection({ ...things });
      const other = await store.collection({ ...things, name: 'other-things' });
      await add({ id: 'a', group: 'g', rank: 1 });
      expect(await again.get('a')).toBeDefined();
      expect(await other.get('a')).toBeUndefined();
      expect(await other.insert({ id: 'a', group: 'g', rank: 1 })).toBe(true);
    });

    test('what was asked before close is answered; afterwards everything is refused; close twice is once', async () => {
      const early = collection.insert({ id: 'a', group: 'g', rank: 1 });
      const closing = store.close();
      await store.close();
      await closing;
      expect(await early).toBe(true);
      const refused = { code: 'PORT_CLOSED' };
      await expect(collection.get('a')).rejects.toMatchObject(refused);
      await expect(collection.insert({ id: 'b', group: 'g', rank: 1 })).rejects.toMatchObject(refused);
      await expect(collection.replace({ id: 'a', group: 'g', rank: 1 }, 1)).rejects.toMatchObject(refused);
      await expect(collection.remove('a', 1)).rejects.toMatchObject(refused);
      await expect(collection.find({ index: 'rank', limit: 1 })).rejects.toMatchObject(refused);
      await expect(collection.count({ index: 'rank' })).rejects.toMatchObject(refused);
      await expect(store.collection(things)).rejects.toMatchObject(refused);
      await expect(store.ping()).rejects.toMatchObject(refused);
    });

    test('ping resolves while the store is open', async () => {
      await expect(store.ping()).resolves.toBeUndefined();
    });

    if (promises.survivesRestart) {
      test('all is there after a restart, versions and indexes included', async () => {
        await add({ id: 'a', group: 'g', rank: 1, note: 'n' }, { id: 'b', group: 'g', rank: 2 });
        await collection.replace({ id: 'b', group: 'h', rank: 3 }, 1);
        await store.close();
        store = (await setup.reopen?.()) ?? store;
        collection = await store.collection(things);
        expect(await collection.get('b')).toEqual({ document: { id: 'b', group: 'h', rank: 3 }, version: 2 });
        expect(await ids({ index: 'place', prefix: ['g'] })).toEqual(['a']);
        expect(await ids({ index: 'note' })).toEqual(['a']);
      });

      test('an index that a new release defines otherwise is filled anew', async () => {
        await add({ id: 'a', group: 'g', rank: 1 }, { id: 'b', group: 'g', rank: 2 });
        store = await setup.damage('things', 'b', 'not JSON');
        await store.close();
        store = (await setup.reopen?.()) ?? store;
        const changed = await store.collection({ ...things, indexes: { backwards: ({ rank }: Thing) => [-rank], rank: ({ rank }: Thing) => [rank * 2] } });
        expect(await changed.insert({ id: 'c', group: 'g', rank: 3 })).toBe(true);
        expect((await changed.find({ index: 'backwards', limit: 9 })).map(({ document }) => document.id)).toEqual(['c', 'a']);
        expect((await changed.find({ index: 'rank', from: 2, to: 2, limit: 9 })).map(({ document }) => document.id)).toEqual(['a']);
        expect(setup.reports).toContain('things/b');
      });
    }

    test('any run of writes and queries agrees with a plain model', async () => {
      let round = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(writeArbitrary, { maxLength: 40 }), fc.array(queryArbitrary, { minLength: 1, maxLength: 12 }), async (writes, queries) => {
          round += 1;
          const subject = await store.collection({ ...mixed, name: `mixed-${round}` });
          const model = new Map<string, { readonly document: Mixed; readonly version: number }>();
          for (const { id, key, expectedVersion, isRemoval } of writes) {
            const old = model.get(id);
            if (isRemoval) {
              expect(await subject.remove(id, expectedVersion)).toBe(old?.version === expectedVersion);
              if (old?.version === expectedVersion) model.delete(id);
            } else if (expectedVersion === 0) {
              expect(await subject.insert({ id, key })).toBe(old === undefined);
              if (!old) model.set(id, { document: { id, key }, version: 1 });
            } else {
              expect(await subject.replace({ id, key }, expectedVersion)).toBe(old?.version === expectedVersion);
              if (old?.version === expectedVersion) model.set(id, { document: { id, key }, version: old.version + 1 });
            }
          }
          for (const query of queries) {
            const expected = modelFind([...model.values()], query);
            expect(await subject.count(query)).toBe(expected.length);
            expect(await subject.find({ ...query, limit: 5 })).toEqual(expected.slice(0, 5));
          }
        }),
        { numRuns: 60, seed: 20261122 },
      );
    });
  });
}

interface Mixed {
  readonly id: string;
  readonly key: readonly [string, number] | null;
}

const mixed: CollectionDefinition<Mixed> = {
  name: 'mixed',
  read: (json) => json as Mixed,
  indexes: { key: ({ key }) => key ?? undefined },
};

const textArbitrary = fc.constantFrom('', 'a', 'aa', 'b', 'a\u0000', 'a\u0001', 'a\u0002', '\u0002', '\uffee', '\u{1f9f5}', '\ue000');
const numberArbitrary = fc.constantFrom(-1e9, -2, -1.5, 0, 0.5, 1, 2, 1.7e12, Number.MAX_VALUE, Number.MIN_VALUE);
const writeArbitrary = fc.record({
  id: fc.constantFrom('1', '2', '3', '4', '5', '6', '7', '8', '\u{1f9f5}', '\uffee'),
  key: fc.option(fc.tuple(textArbitrary, numberArbitrary), { freq: 4 }),
  expectedVersion: fc.constantFrom(0, 0, 1, 2, 3),
  isRemoval: fc.boolean().map((flag) => flag),
});
const boundsOf = <V extends IndexValue>(values: fc.Arbitrary<V>) =>
  fc.record({ from: values, to: values, beyond: values, order: fc.constantFrom('ascending' as const, 'descending' as const) }, { requiredKeys: [] });
const queryArbitrary: fc.Arbitrary<Query> = fc.oneof(
  boundsOf(textArbitrary).map((bounds) => ({ index: 'key', ...bounds })),
  fc.tuple(textArbitrary, boundsOf(numberArbitrary)).map(([text, bounds]) => ({ index: 'key', prefix: [text], ...bounds })),
  fc.tuple(textArbitrary, numberArbitrary).map((prefix) => ({ index: 'key', prefix })),
);

/** The plainest reading of the port's words. */
function modelFind<T extends { readonly document: Mixed }>(rows: readonly T[], query: Query): readonly T[] {
  const { prefix = [], from, to, beyond, order } = query;
  const sign = order === 'descending' ? -1 : 1;
  return rows
    .filter(({ document: { key } }) => {
      if (!key || prefix.some((value, index) => value !== key[index])) return false;
      const value = key[prefix.length];
      if (value === undefined) return true;
      return (
        (from === undefined || compareValues(value, from) >= 0) &&
        (to === undefined || compareValues(value, to) <= 0) &&
        (beyond === undefined || sign * compareValues(value, beyond) > 0)
      );
    })
    .sort(({ document: a }, { document: b }) => {
      if (!a.key || !b.key) return 0;
      return sign * (compareValues(a.key[0], b.key[0]) || compareValues(a.key[1], b.key[1]) || compareValues(a.id, b.id));
    });
}

function compareValues(a: IndexValue, b: IndexValue): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return Buffer.compare(Buffer.from(String(a)), Buffer.from(String(b)));
}
