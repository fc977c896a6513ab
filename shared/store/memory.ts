/** The store port in memory, for tests and the simulation: same promises but durability. Documents are kept as text, so nobody shares an object. */
import { SpindleError } from '../build/failure.ts';
import { compareText, keyRange } from './index-key.ts';
import type { Collection, CollectionDefinition, Query, Store, Versioned } from './store.ts';
import { checkDefinition, checkLimit, decodeDocument, type EncodedDocument, encodeDocument, type OnCorrupt, readDocument } from './stored-document.ts';

interface Row extends EncodedDocument {
  readonly version: number;
}

interface Entry {
  readonly key: string;
  readonly id: string;
}

const compareEntries = (a: Entry, b: Entry) => compareText(a.key, b.key) || compareText(a.id, b.id);

export interface MemoryStoreOptions {
  readonly onCorrupt?: OnCorrupt;
}

export interface MemoryStore extends Store {
  /** The stored text of a document at this moment, without waiting: for invariants and for planting damage. */
  peek(collection: string, id: string): string | undefined;
  /** Replaces the stored text, its indexes left as they are: damage on the medium. */
  damage(collection: string, id: string, body: string): void;
}

/** Every call takes effect at once, in the order of the calls; promises only defer the answer. */
export function memoryStore({ onCorrupt = () => {} }: MemoryStoreOptions = {}): MemoryStore {
  const collections = new Map<string, { readonly rows: Map<string, Row>; readonly indexNames: string; readonly collection: unknown }>();
  let closed = false;

  const check = () => {
    if (closed) throw new SpindleError('PORT_CLOSED', 'the store was used after it was closed');
  };

  return {
    async collection<T extends { readonly id: string }>(definition: CollectionDefinition<T>) {
      check();
      const indexNames = checkDefinition(definition);
      const known = collections.get(definition.name);
      if (known) {
        if (known.indexNames !== indexNames.join()) throw new SpindleError('INTERNAL', `collection ${definition.name} has two definitions`);
        return known.collection as Collection<T>;
      }
      const rows = new Map<string, Row>();
      const collection = memoryCollection(definition, indexNames, rows, { check, onCorrupt });
      collections.set(definition.name, { rows, indexNames: indexNames.join(), collection });
      return collection;
    },
    async ping() {
      check();
    },
    async close() {
      closed = true;
    },
    peek: (collection, id) => collections.get(collection)?.rows.get(id)?.body,
    damage(collection, id, body) {
      const rows = collections.get(collection)?.rows;
      const row = rows?.get(id);
      if (!rows || !row) throw new SpindleError('INTERNAL', `there is no ${id} in ${collection} to damage`);
      rows.set(id, { ...row, body });
    },
  };
}

function memoryCollection<T extends { readonly id: string }>(
  definition: CollectionDefinition<T>,
  indexNames: readonly string[],
  rows: Map<string, Row>,
  { check, onCorrupt }: { readonly check: () => void; readonly onCorrupt: OnCorrupt },
): Collection<T> {
  const indexes = new Map<string, Entry[]>(indexNames.map((name) => [name, []]));

  const write = (id: string, old: Row | undefined, row: Row | undefined) => {
    for (const [position, name] of indexNames.entries()) {
      const oldKey = old?.keys[position] ?? null;
      const key = row?.keys[position] ?? null;
      if (oldKey === key) continue;
      const entries = indexes.get(name) ?? [];
      if (oldKey !== null) entries.splice(lowerBound(entries, { key: oldKey, id }), 1);
      if (key !== null) entries.splice(lowerBound(entries, { key, id }), 0, { key, id });
    }
    if (row) rows.set(id, row);
    else rows.delete(id);
  };

  /** The places of the first entry of the query and of the first after it. */
  const range = (query: Query): { readonly entries: readonly Entry[]; readonly start: number; readonly stop: number } => {
    const entries = indexes.get(query.index);
    if (!entries) throw new SpindleError('INTERNAL', `collection ${definition.name} has no index ${query.index}`);
    const { low, high } = keyRange(query);
    const start = lowerBound(entries, { key: low, id: '' });
    return { entries, start, stop: Math.max(start, lowerBound(entries, { key: high, id: '' })) };
  };

  return {
    async get(id) {
      check();
      const row = rows.get(id);
      if (!row) return undefined;
      return readDocument(definition, id, row, onCorrupt);
    },
    async insert(document) {
      check();
      const encoded = encodeDocument(definition, indexNames, document);
      if (rows.has(encoded.id)) return false;
      write(encoded.id, undefined, { ...encoded, version: 1 });
      return true;
    },
    async replace(document, expectedVersion) {
      check();
      const encoded = encodeDocument(definition, indexNames, document);
      const old = rows.get(encoded.id);
      if (old?.version !== expectedVersion) return false;
      write(encoded.id, old, { ...encoded, version: expectedVersion + 1 });
      return true;
    },
    async remove(id, expectedVersion) {
      check();
      const old = rows.get(id);
      if (old?.version !== expectedVersion) return false;
      write(id, old, undefined);
      return true;
    },
    async find(query) {
      check();
      const limit = checkLimit(query.limit);
      const { entries, start, stop } = range(query);
      const found: Versioned<T>[] = [];
      const step = query.order === 'descending' ? -1 : 1;
      for (let index = step > 0 ? start : stop - 1; index >= start && index < stop && found.length < limit; index += step) {
        const row = rows.get(entries[index]?.id ?? '');
        if (!row) continue;
        try {
          found.push(decodeDocument(definition, row.body, row.version));
        } catch (error) {
          onCorrupt(definition.name, row.id, error);
        }
      }
      return found;
    },
    async count(query) {
      check();
      const { start, stop } = range(query);
      return stop - start;
    },
  };
}

function lowerBound(entries: readonly Entry[], entry: Entry): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const candidate = entries[middle];
    if (candidate && compareEntries(candidate, entry) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
