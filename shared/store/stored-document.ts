/** Documents on their way in and out of a store: bounds that every adapter keeps alike. Pure. */
import { SpindleError } from '../build/failure.ts';
import { encodeKey } from './index-key.ts';
import type { CollectionDefinition, Versioned } from './store.ts';

/** Of a document as JSON text, in UTF-16 units: what MongoDB takes as well, with room for multi-byte characters. */
const documentLengthMax = 5 * 1024 * 1024;
const idLengthMax = 512;
const findLimitMax = 10_000;

/** Called for each stored document that cannot be read. */
export type OnCorrupt = (collection: string, id: string, error: unknown) => void;

export interface EncodedDocument {
  readonly id: string;
  readonly body: string;
  /** In the order of `indexNames`. */
  readonly keys: readonly (string | null)[];
}

/** Throws INTERNAL where the definition's names cannot be table names. */
export function checkDefinition(definition: Pick<CollectionDefinition<never>, 'name' | 'indexes'>): readonly string[] {
  const names = Object.keys(definition.indexes);
  if (!/^[a-z][a-z0-9-]{0,60}$/.test(definition.name)) throw new SpindleError('INTERNAL', `${JSON.stringify(definition.name)} is not a collection name`);
  const wrong = names.find((name) => !/^[A-Za-z][A-Za-z0-9-]{0,60}$/.test(name));
  if (wrong !== undefined) throw new SpindleError('INTERNAL', `${JSON.stringify(wrong)} is not an index name`);
  return names;
}

export function encodeDocument<T extends { readonly id: string }>(
  definition: CollectionDefinition<T>,
  indexNames: readonly string[],
  document: T,
): EncodedDocument {
  const { id } = document;
  if (typeof id !== 'string' || id.length === 0 || id.length > idLengthMax || id.includes('\0') || hasLoneSurrogate(id)) {
    throw new SpindleError('INTERNAL', `${JSON.stringify(String(id).slice(0, 80))} is not a document id: 1 to ${idLengthMax} characters, no NUL`);
  }
  const body = JSON.stringify(document);
  if (body.length > documentLengthMax) {
    throw new SpindleError('FILE_TOO_LARGE', `document ${id} of ${definition.name} has ${body.length} characters; at most ${documentLengthMax} are stored`);
  }
  return { id, body, keys: keysOf(definition, indexNames, document) };
}

export function keysOf<T extends { readonly id: string }>(definition: CollectionDefinition<T>, indexNames: readonly string[], document: T): (string | null)[] {
  return indexNames.map((name) => {
    const key = definition.indexes[name]?.(document);
    return key ? encodeKey(key) : null;
  });
}

export function decodeDocument<T extends { readonly id: string }>(definition: CollectionDefinition<T>, body: string, version: number): Versioned<T> {
  return { document: definition.read(JSON.parse(body)), version };
}

/** For `get`: a document that cannot be read is reported and throws INTERNAL, since leaving it out would look as if it had never been there. */
export function readDocument<T extends { readonly id: string }>(
  definition: CollectionDefinition<T>,
  id: string,
  row: { readonly body: string; readonly version: number },
  onCorrupt: OnCorrupt,
): Versioned<T> {
  try {
    return decodeDocument(definition, row.body, row.version);
  } catch (error) {
    onCorrupt(definition.name, id, error);
    throw new SpindleError('INTERNAL', `document ${id} of ${definition.name} cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

export function checkLimit(limit: number): number {
  if (!Number.isInteger(limit) || limit < 1 || limit > findLimitMax)
    throw new SpindleError('INTERNAL', `find takes a limit from 1 to ${findLimitMax}, not ${limit}`);
  return limit;
}

function hasLoneSurrogate(text: string): boolean {
  return /[\ud800-\udfff]/.test(text) && /(?:[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff])/.test(text);
}
