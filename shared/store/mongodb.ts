/**
 * The store port on MongoDB, for many processes on many machines. A document is one MongoDB document: its JSON text, its version, and its keys as the text that orders like them. Each write is one
 * conditional write of one document, answered by a majority of the members; there is no transaction, so a standalone server will do.
 */
import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { type Db, type Collection as DriverCollection, type Filter, MongoClient, type MongoClientOptions, MongoError, MongoServerError } from 'mongodb';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { Secret } from '../config/secret.ts';
import { keyRange } from './index-key.ts';
import type { Collection, CollectionDefinition, Query, Store, Versioned } from './store.ts';
import { checkDefinition, checkLimit, decodeDocument, type EncodedDocument, encodeDocument, keysOf, type OnCorrupt, readDocument } from './stored-document.ts';

export interface MongoDbStoreOptions {
  /** `mongodb://` or `mongodb+srv://`, with the database as its path (`spindle` where there is none). What it says of write concern is not heeded. */
  readonly url: Secret;
  readonly clock: Clock;
  readonly onCorrupt?: OnCorrupt;
  /** How long a call waits for a server that can take it, before it rejects with STORE_UNAVAILABLE. */
  readonly selectionMsMax?: number;
  /** How long the making of a collection waits for the server at the start, when everything is started at once. */
  readonly openMsMax?: number;
}

interface Row {
  readonly _id: string;
  readonly version: number;
  readonly body: string;
  /** The sets of indexes that this document has keys for. */
  readonly keyed: readonly string[];
  // And one field for each index that the document is in.
}

/** An index as this release defines it: another function makes other keys, so the field it stands in is named by it. */
interface Index {
  readonly name: string;
  readonly field: string;
  readonly mongoName: string;
}

const databaseDefault = 'spindle';
const registryName = 'spindle-collections';
/** Writes that wait or are under way, of this process. */
const pendingMax = 10_000;
const rekeyEveryMs = 60_000;
const rekeyBatch = 200;
const noteEveryRounds = 60;
/** An index of a release that has not been seen for so long is dropped. */
const indexUnseenMsMax = 24 * 3_600_000;
const openRetryMs = 500;

/** Unless the URL says otherwise. A half-open connection is noticed by the socket's timeout, and a lost server by the heartbeats. */
const defaults = {
  connectTimeoutMS: 5000,
  socketTimeoutMS: 30_000,
  heartbeatFrequencyMS: 5000,
  waitQueueTimeoutMS: 10_000,
  maxPoolSize: 50,
} as const satisfies MongoClientOptions;

/** Connects when it is first used, and by itself again whenever the server was away. Throws STORE_UNAVAILABLE where the URL cannot be used. */
export function mongoDbStore({ url, clock, onCorrupt = () => {}, selectionMsMax = 10_000, openMsMax = 60_000 }: MongoDbStoreOptions): Store {
  const client = makeClient(url, selectionMsMax);
  const database = client.db(client.options.dbName === 'test' ? databaseDefault : client.options.dbName);
  const where = `the MongoDB server at ${client.options.hosts.map(String).join(', ')}`;
  const collections = new Map<string, { readonly indexNames: string; readonly collection: Promise<unknown> }>();
  const underWay = new Set<Promise<unknown>>();
  const ending = new AbortController();
  // One for each collection, and there are more than ten.
  setMaxListeners(0, ending.signal);
  let closing: Promise<void> | undefined;

  /** Runs a call unless the store is closed; `close` waits for it. */
  function call<T>(doing: string, task: () => Promise<T>): Promise<T> {
    const running = (async () => {
      if (ending.signal.aborted) throw closed();
      try {
        return await task();
      } catch (error) {
        throw asStoreError(error, `${doing} on ${where}`, url);
      }
    })();
    underWay.add(running);
    const forget = () => underWay.delete(running);
    running.then(forget, forget);
    return running;
  }

  /** Servers and services are often started at the same moment. */
  async function whenThere<T>(task: () => Promise<T>): Promise<T> {
    const giveUpAt = clock.now() + openMsMax;
    for (;;) {
      try {
        return await task();
      } catch (error) {
        if (!(error instanceof SpindleError) || error.code !== 'STORE_UNAVAILABLE' || ending.signal.aborted || clock.now() >= giveUpAt) throw error;
        await clock.sleep(openRetryMs, ending.signal).catch(() => {});
      }
    }
  }

  return {
    async collection<T extends { readonly id: string }>(definition: CollectionDefinition<T>) {
      if (ending.signal.aborted) throw closed();
      const indexNames = checkDefinition(definition);
      const known = collections.get(definition.name);
      if (known) {
        if (known.indexNames !== indexNames.join()) throw new SpindleError('INTERNAL', `collection ${definition.name} has two definitions`);
        return known.collection as Promise<Collection<T>>;
      }
      const made = mongoDbCollection(database, definition, indexNames, { call, whenThere, clock, onCorrupt, ending: ending.signal });
      collections.set(definition.name, { indexNames: indexNames.join(), collection: made });
      // The next one who asks may find the server there.
      made.catch(() => collections.delete(definition.name));
      return made;
    },
    ping: () =>
      call('a ping', async () => {
        await database.command({ ping: 1 });
      }),
    close() {
      closing ??= (async () => {
        ending.abort(closed());
        await Promise.allSettled([...underWay]);
        await client.close();
      })();
      return closing;
    },
  };
}

const closed = () => new SpindleError('PORT_CLOSED', 'the store was used after it was closed');

function makeClient(url: Secret, selectionMsMax: number): MongoClient {
  try {
    const text = url.reveal();
    const given = new Set([...new URLSearchParams(text.slice(text.indexOf('?') + 1)).keys()].map((name) => name.toLowerCase()));
    const wanted = Object.entries({ ...defaults, serverSelectionTimeoutMS: selectionMsMax }).filter(([name]) => !given.has(name.toLowerCase()));
    return new MongoClient(text, { ...Object.fromEntries(wanted), appName: 'spindle', retryWrites: true, retryReads: true });
  } catch (error) {
    // The driver's own words may quote the URL.
    throw new SpindleError('STORE_UNAVAILABLE', `the URL of the store cannot be used (${error instanceof Error ? error.name : 'unknown'}): check its form`);
  }
}

interface Ways {
  readonly call: <T>(doing: string, task: () => Promise<T>) => Promise<T>;
  readonly whenThere: <T>(task: () => Promise<T>) => Promise<T>;
  readonly clock: Clock;
  readonly onCorrupt: OnCorrupt;
  readonly ending: AbortSignal;
}

async function mongoDbCollection<T extends { readonly id: string }>(
  database: Db,
  definition: CollectionDefinition<T>,
  indexNames: readonly string[],
  ways: Ways,
): Promise<Collection<T>> {
  const { call, whenThere, clock, onCorrupt, ending } = ways;
  const indexes: readonly Index[] = indexNames.map((name) => {
    // The function's own text: a release that makes the key otherwise has to find it otherwise.
    const digest = shortDigest(String(definition.indexes[name]));
    return { name, field: `key-${name}-${digest}`, mongoName: `by-${name}-${digest}` };
  });
  const keyed = shortDigest(indexes.map(({ mongoName }) => mongoName).join());
  const rows: DriverCollection<Row> = database.collection<Row>(definition.name, {
    // What is answered survives the loss of a member, and what is read is what was answered.
    writeConcern: { w: 'majority', journal: true, wtimeoutMS: 15_000 },
    readConcern: { level: 'majority' },
    readPreference: 'primary',
  });

  const fieldsOf = (keys: readonly (string | null)[]): Record<string, string> =>
    Object.fromEntries(indexes.flatMap(({ field }, place) => (typeof keys[place] === 'string' ? [[field, keys[place]]] : [])));
  const rowOf = ({ id, body, keys }: EncodedDocument, version: number): Row => ({ _id: id, version, body, keyed: [keyed], ...fieldsOf(keys) });

  /** Gives this release's keys to documents that another one wrote. Their version stays: nothing that anybody asked for has changed. */
  const rekey = async (): Promise<void> => {
    for (let last = ''; ; ) {
      const found = await rows.find({ keyed: { $ne: keyed }, _id: { $gt: last } }, { sort: { _id: 1 }, limit: rekeyBatch, batchSize: rekeyBatch }).toArray();
      for (const { _id, version, body } of found) {
        let fields: Record<string, string> = {};
        try {
          fields = fieldsOf(keysOf(definition, indexNames, definition.read(JSON.parse(body))));
        } catch (error) {
          onCorrupt(definition.name, _id, error);
        }
        // Where it was written meanwhile the next round sees it again.
        await rows.updateOne({ _id, version }, { $set: fields, $addToSet: { keyed } });
        last = _id;
      }
      if (found.length < rekeyBatch) return;
    }
  };

  const makeIndexes = async (): Promise<void> => {
    const standing = await indexNamesOf(rows);
    const wanted = [...indexes.map(({ field, mongoName }) => ({ key: { [field]: 1, _id: 1 }, name: mongoName })), { key: { keyed: 1 }, name: 'keyed' }];
    const absent = wanted.filter(({ name }) => !standing.includes(name));
    if (absent.length > 0) await rows.createIndexes(absent);
    await noteIndexes(database, definition.name, indexes, clock.now());
    const others = standing.filter((name) => name.startsWith('by-') && indexes.every(({ mongoName }) => mongoName !== name));
    for (const name of await unseenIndexes(database, definition.name, others, clock.now())) await rows.dropIndex(name);
    await rekey();
  };

  await whenThere(() => call(`making collection ${definition.name}`, makeIndexes));
  let forget = () => {};
  const again = (round: number) => {
    if (ending.aborted) return;
    // While two releases run side by side, each finds what the other writes within a minute.
    forget = clock.after(rekeyEveryMs, () => {
      call(`filling the indexes of ${definition.name}`, async () => {
        if (round % noteEveryRounds === 0) await noteIndexes(database, definition.name, indexes, clock.now());
        await rekey();
      })
        .catch(() => {})
        .finally(() => again(round + 1));
    });
  };
  again(1);
  ending.addEventListener('abort', () => forget(), { once: true });

  /** Writes of one document go out one after the other, in the order of the calls. */
  const turns = new Map<string, Promise<unknown>>();
  let pending = 0;
  const write = (id: string, task: () => Promise<boolean>): Promise<boolean> =>
    call(`writing to ${definition.name}`, async () => {
      if (pending >= pendingMax) throw new SpindleError('STORE_UNAVAILABLE', `${pending} writes wait for the store already; try again later`);
      pending += 1;
      const before = turns.get(id);
      const mine = before !== undefined ? before.then(task, task) : task();
      turns.set(id, mine);
      try {
        return await mine;
      } finally {
        pending -= 1;
        if (turns.get(id) === mine) turns.delete(id);
      }
    });

  const filterOf = (query: Query) => {
    const index = indexes.find(({ name }) => name === query.index);
    if (!index) throw new SpindleError('INTERNAL', `collection ${definition.name} has no index ${query.index}`);
    const { low, high } = keyRange(query);
    return { field: index.field, filter: { [index.field]: { $gte: low, $lt: high } } as Filter<Row>, isEmpty: low >= high };
  };
  const reading = `reading from ${definition.name}`;

  return {
    get: (id) =>
      call(reading, async () => {
        const row = await rows.findOne({ _id: id });
        // What is no text for MongoDB was asked for as another.
        if (row?._id !== id) return undefined;
        return readDocument(definition, id, row, onCorrupt);
      }),
    insert: (document) =>
      call(`writing to ${definition.name}`, async () => {
        const encoded = encodeDocument(definition, indexNames, document);
        return write(encoded.id, () =>
          rows.insertOne(rowOf(encoded, 1)).then(
            ({ acknowledged }) => acknowledged,
            (error: unknown) => {
              if (error instanceof MongoServerError && error.code === 11_000) return false;
              throw error;
            },
          ),
        );
      }),
    replace: (document, expectedVersion) =>
      call(`writing to ${definition.name}`, async () => {
        const encoded = encodeDocument(definition, indexNames, document);
        return write(encoded.id, async () => {
          const { matchedCount } = await rows.replaceOne({ _id: encoded.id, version: expectedVersion }, rowOf(encoded, expectedVersion + 1));
          return matchedCount === 1;
        });
      }),
    remove: (id, expectedVersion) =>
      call(`writing to ${definition.name}`, () =>
        write(id, async () => {
          const { deletedCount } = await rows.deleteOne({ _id: id, version: expectedVersion });
          return deletedCount === 1;
        }),
      ),
    find: (query) =>
      call(reading, async () => {
        const limit = checkLimit(query.limit);
        const { field, filter, isEmpty } = filterOf(query);
        const direction = query.order === 'descending' ? -1 : 1;
        const found: Versioned<T>[] = [];
        // Again only where a document was left out: a short answer means that there are no more.
        for (let skip = 0; !isEmpty && found.length < limit; ) {
          const wanted = limit - found.length;
          const page = await rows.find(filter, { sort: { [field]: direction, _id: direction }, skip, limit: wanted, batchSize: wanted }).toArray();
          for (const { _id, version, body } of page) {
            try {
              found.push(decodeDocument(definition, body, version));
            } catch (error) {
              onCorrupt(definition.name, _id, error);
            }
          }
          if (page.length < wanted) break;
          skip += page.length;
        }
        return found;
      }),
    count: (query) =>
      call(reading, async () => {
        const { filter, isEmpty } = filterOf(query);
        return isEmpty ? 0 : await rows.countDocuments(filter);
      }),
  };
}

/** Names of the indexes that are there; none where the collection is not. */
async function indexNamesOf(rows: DriverCollection<Row>): Promise<readonly string[]> {
  try {
    return (await rows.listIndexes().toArray()).map((index) => String(index['name']));
  } catch (error) {
    if (error instanceof MongoServerError && error.codeName === 'NamespaceNotFound') return [];
    throw error;
  }
}

const registryOf = (database: Db) => database.collection<{ readonly _id: string; readonly usedAt: number }>(registryName, { writeConcern: { w: 'majority' } });

/** Remembers that this release uses these. */
async function noteIndexes(database: Db, collection: string, indexes: readonly Index[], now: number): Promise<void> {
  for (const { mongoName } of indexes) {
    await registryOf(database).updateOne({ _id: `${collection} ${mongoName}` }, { $set: { usedAt: now } }, { upsert: true });
  }
}

/** Those of the names that no release has used for a day, by what they noted at their starts. */
async function unseenIndexes(database: Db, collection: string, mongoNames: readonly string[], now: number): Promise<readonly string[]> {
  const unseen: string[] = [];
  for (const mongoName of mongoNames) {
    const note = await registryOf(database).findOne({ _id: `${collection} ${mongoName}` });
    if (note === null || now - note.usedAt > indexUnseenMsMax) unseen.push(mongoName);
  }
  return unseen;
}

function shortDigest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 10);
}

function asStoreError(error: unknown, doing: string, url: Secret): unknown {
  if (error instanceof SpindleError || !(error instanceof MongoError)) return error;
  const message = withoutSecrets(`${doing} failed: ${error.message}`, url);
  // OutOfDiskSpace. The cause is left out: a driver's error may hold the options that it was made with.
  if (error.code === 14_031) return new SpindleError('DISK_FULL', `${message}; free some space there`);
  return new SpindleError('STORE_UNAVAILABLE', `${message}; it is tried again`);
}

/** The driver's messages name servers, not users; should one quote the URL, nobody reads what is in it. */
function withoutSecrets(message: string, url: Secret): string {
  const user = /^[a-z+]+:\/\/([^@/]*)@/i.exec(url.reveal())?.[1];
  const parts = user === undefined ? [] : [user, ...user.split(':').flatMap((part) => [part, decoded(part)])];
  return parts.filter((part) => part.length > 2).reduce((text, part) => text.replaceAll(part, '***'), message);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
