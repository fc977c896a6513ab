/** The store on MongoDB against the store contract, and what only a server can do to it: go away, hang, be shared. */
import { MongoClient } from 'mongodb';
import { describe, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { Secret } from '../../shared/config/secret.ts';
import { mongoDbStore } from '../../shared/store/mongodb.ts';
import type { Collection, CollectionDefinition, Store } from '../../shared/store/store.ts';
import { mongoDbMissing, startMongoDb } from '../support/servers/mongodb.ts';
import { sharedMongoDb } from '../support/servers/shared.ts';
import { tcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/until.ts';
import { storeContract } from './store.contract.ts';

const clock = systemClock();
let count = 0;
/** The shared server may have to be started first. */
const startTimeoutMs = 120_000;

interface Place {
  /** With a database of the test's own. */
  readonly url: string;
  readonly database: string;
  readonly client: MongoClient;
  dispose(): Promise<void>;
}

async function place(): Promise<Place | string> {
  const server = await sharedMongoDb();
  if (typeof server === 'string') return server;
  count += 1;
  const database = `spindle_test_${process.pid}_${count}`;
  const url = new URL(server.url);
  url.pathname = `/${database}`;
  const client = new MongoClient(url.href);
  return {
    url: url.href,
    database,
    client,
    dispose: async () => {
      await client.db(database).dropDatabase();
      await client.close();
    },
  };
}

storeContract(
  'MongoDB',
  async () => {
    const at = await place();
    if (typeof at === 'string') return at;
    const reports: string[] = [];
    const open = () => mongoDbStore({ url: new Secret(at.url), clock, onCorrupt: (collection, id) => reports.push(`${collection}/${id}`) });
    const store = open();
    return {
      store,
      reports,
      damage: async (collection, id, body) => {
        await at.client.db(at.database).collection<{ _id: string }>(collection).updateOne({ _id: id }, { $set: { body } });
        return store;
      },
      reopen: async () => open(),
      dispose: at.dispose,
    };
  },
  { survivesRestart: true },
);

interface Note {
  readonly id: string;
  readonly text: string;
}

const notes: CollectionDefinition<Note> = { name: 'notes', read: (json) => json as Note, indexes: { text: ({ text }) => [text] } };

describe('the store on MongoDB', { timeout: startTimeoutMs }, () => {
  const opened = async (
    url: string,
    definition: CollectionDefinition<Note> = notes,
  ): Promise<{ readonly store: Store; readonly collection: Collection<Note> }> => {
    const store = mongoDbStore({ url: new Secret(url), clock, selectionMsMax: 2000, openMsMax: 3000 });
    onTestFinished(() => store.close());
    return { store, collection: await store.collection(definition) };
  };
  const own = async (skip: (note: string) => never): Promise<Place> => {
    const at = await place();
    if (typeof at === 'string') return skip(at);
    onTestFinished(at.dispose);
    return at;
  };

  test('of many processes that replace one version exactly one wins', async ({ skip }) => {
    const { url } = await own(skip);
    const writers = await Promise.all(Array.from({ length: 8 }, async () => (await opened(url)).collection));
    expect(await writers[0]?.insert({ id: 'a', text: 'x' })).toBe(true);
    for (let version = 1; version <= 20; version += 1) {
      const won = await Promise.all(writers.map((writer, place) => writer.replace({ id: 'a', text: String(place) }, version)));
      expect(won.filter(Boolean), `version ${version}`).toHaveLength(1);
      expect(await writers[0]?.get('a')).toEqual({ document: { id: 'a', text: String(won.indexOf(true)) }, version: version + 1 });
    }
    const inserted = await Promise.all(writers.map((writer) => writer.insert({ id: 'b', text: 'x' })));
    expect(inserted.filter(Boolean)).toHaveLength(1);
  });

  /** The place behind a proxy that can be cut and stalled. */
  const behindProxy = async (at: Place, settings = '') => {
    const url = new URL(at.url);
    const proxy = await tcpProxy({ host: url.hostname, port: Number(url.port) });
    onTestFinished(proxy.close);
    url.host = `127.0.0.1:${proxy.port}`;
    url.search = settings;
    return { proxy, url: url.href };
  };
  const isBack = (store: Store) =>
    until(
      () =>
        store.ping().then(
          () => true,
          () => false,
        ),
      { timeoutMs: 60_000, what: 'the store to be back' },
    );

  test('a server that is away is named, and used again by itself when it is back', async ({ skip }) => {
    const { proxy, url } = await behindProxy(await own(skip));
    const { store, collection } = await opened(url);
    await collection.insert({ id: 'a', text: 'x' });
    proxy.cut();
    const away = { code: 'STORE_UNAVAILABLE', message: expect.stringContaining(`127.0.0.1:${proxy.port}`) };
    await expect(store.ping()).rejects.toMatchObject(away);
    const calls = [
      collection.get('a'),
      collection.replace({ id: 'a', text: 'y' }, 1),
      collection.insert({ id: 'b', text: 'y' }),
      collection.find({ index: 'text', limit: 1 }),
      collection.count({ index: 'text' }),
      store.collection({ ...notes, name: 'others' }),
    ];
    for (const outcome of await Promise.allSettled(calls)) expect(outcome).toMatchObject({ status: 'rejected', reason: away });
    proxy.heal();
    await isBack(store);
    expect(await collection.replace({ id: 'a', text: 'z' }, 1)).toBe(true);
    expect(await collection.get('a')).toEqual({ document: { id: 'a', text: 'z' }, version: 2 });
    expect(await (await store.collection({ ...notes, name: 'others' })).count({ index: 'text' })).toBe(0);
  });

  test('a server that takes connections and says nothing is noticed', async ({ skip }) => {
    const { proxy, url } = await behindProxy(await own(skip), 'socketTimeoutMS=1000&connectTimeoutMS=1000&heartbeatFrequencyMS=500');
    const { store, collection } = await opened(url);
    await collection.insert({ id: 'a', text: 'x' });
    proxy.stall();
    const startedAt = performance.now();
    await expect(collection.replace({ id: 'a', text: 'y' }, 1)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    proxy.heal();
    await isBack(store);
    // Whether the stalled write arrived nobody could know: the version tells.
    const found = await collection.get('a');
    expect(await collection.replace({ id: 'a', text: 'z' }, found?.version ?? 0)).toBe(true);
  });

  test('what was answered is there after the server was killed, and the store goes on with the next one', async ({ skip }) => {
    const missing = mongoDbMissing();
    if (missing !== undefined) skip(missing);
    const server = await startMongoDb();
    onTestFinished(server.stop);
    const { store, collection } = await opened(`${server.url}/spindle`);
    const answered: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      for (let index = 0; index < 10; index += 1) {
        const id = `${round}-${index}`;
        if (await collection.insert({ id, text: id })) answered.push(id);
      }
      const dying = Promise.allSettled(Array.from({ length: 20 }, (_, index) => collection.insert({ id: `dying-${round}-${index}`, text: 'x' })));
      await server.kill();
      for (const [index, outcome] of (await dying).entries()) {
        if (outcome.status === 'fulfilled') answered.push(`dying-${round}-${index}`);
        else expect(outcome.reason).toMatchObject({ code: 'STORE_UNAVAILABLE' });
      }
      await server.start();
      await isBack(store);
    }
    for (const id of answered) expect(await collection.get(id), id).toBeDefined();
    expect(answered.length).toBeGreaterThanOrEqual(30);
  });

  test('while an old release still writes, a new one finds by its own keys what that wrote', async ({ skip }) => {
    const { url } = await own(skip);
    const older = await opened(url);
    await older.collection.insert({ id: 'a', text: 'first' });
    const backwards: CollectionDefinition<Note> = { ...notes, indexes: { text: ({ text }) => [[...text].reverse().join('')] } };
    const newer = await opened(url, backwards);
    expect((await newer.collection.find({ index: 'text', prefix: ['tsrif'], limit: 9 })).map(({ document }) => document.id)).toEqual(['a']);
    expect((await older.collection.find({ index: 'text', prefix: ['first'], limit: 9 })).map(({ document }) => document.id)).toEqual(['a']);
    await older.collection.insert({ id: 'b', text: 'second' });
    // A third process of the new release, or this one within a minute.
    const another = await opened(url, backwards);
    expect((await another.collection.find({ index: 'text', limit: 9 })).map(({ document }) => document.id)).toEqual(['b', 'a']);
    expect(await older.collection.replace({ id: 'a', text: 'changed' }, 1)).toBe(true);
  });

  test('user and password of the URL are in no message', async () => {
    const secrets = ['somebody', 'p%40ss-word', 'p@ss-word'];
    const say = async (url: string): Promise<string> => {
      try {
        const store = mongoDbStore({ url: new Secret(url), clock, selectionMsMax: 200, openMsMax: 0 });
        onTestFinished(() => store.close());
        await store.ping();
        return 'it answered';
      } catch (error) {
        expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE' });
        return JSON.stringify(error, Object.getOwnPropertyNames(error));
      }
    };
    for (const url of [
      'mongodb://somebody:p%40ss-word@127.0.0.1:1/spindle',
      'mongodb://somebody:p@ss-word@127.0.0.1:1/spindle',
      'mongodb://somebody:p%40ss-word@127.0.0.1:1/spindle?nonsense=true',
      'mongodb://somebody:p%40ss-word@:x/',
    ]) {
      const said = await say(url);
      for (const secret of secrets) expect(said, url).not.toContain(secret);
    }
  });
});
