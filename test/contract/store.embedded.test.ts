/** The embedded store against the store contract, and its own promises: group commit, one process, SIGKILL, a full disk. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from '@photostructure/sqlite';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type EmbeddedStore, openEmbeddedStore } from '../../shared/store/embedded.ts';
import type { CollectionDefinition } from '../../shared/store/store.ts';
import { counters } from '../support/acknowledged-inserts.ts';
import { tempDirectory, testDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';
import { storeContract } from './store.contract.ts';

storeContract(
  'embedded',
  async () => {
    const directory = await tempDirectory();
    const path = join(directory.path, 'store.db');
    const reports: string[] = [];
    const open = () => openEmbeddedStore({ path, onCorrupt: (collection, id) => reports.push(`${collection}/${id}`) });
    let store = await open();
    return {
      store,
      reports,
      damage: async (collection, id, body) => {
        await store.close();
        const database = new DatabaseSync(path);
        database.prepare(`UPDATE "documents-${collection}" SET body = ? WHERE id = ?`).run(body, id);
        database.close();
        store = await open();
        return store;
      },
      reopen: async () => {
        store = await open();
        return store;
      },
      dispose: directory.remove,
    };
  },
  { survivesRestart: true },
);

interface Note {
  readonly id: string;
  readonly text: string;
}

const notes: CollectionDefinition<Note> = { name: 'notes', read: (json) => json as Note, indexes: {} };

async function opened(path: string): Promise<EmbeddedStore> {
  const store = await openEmbeddedStore({ path });
  onTestFinished(() => store.close());
  return store;
}

describe('the embedded store', () => {
  test('writes of one moment share a transaction, and none is answered before it', async () => {
    const store = await opened(join(await testDirectory(), 'store.db'));
    const collection = await store.collection(notes);
    const writes = Array.from({ length: 64 }, (_, index) => collection.insert({ id: `n${index}`, text: 'x' }));
    expect(store.commits).toBe(0);
    await writes[0];
    expect(store.commits).toBe(64);
    expect(store.transactions).toBe(1);
  });

  test('nothing is answered, to writers or readers, before the sync after its commit has returned; what comes meanwhile shares the next one', async () => {
    const syncs: (() => void)[] = [];
    const store = await openEmbeddedStore({
      path: join(await testDirectory(), 'store.db'),
      openLog: async () => ({ datasync: () => new Promise((resolve) => syncs.push(resolve)), close: async () => {} }),
    });
    const collection = await store.collection(notes);
    const answered: string[] = [];
    const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
    void collection.insert({ id: 'a', text: 'x' }).then(() => answered.push('insert a'));
    await until(() => syncs.length === 1);
    void collection.get('a').then((found) => answered.push(`get ${found?.document.id}`));
    void collection.insert({ id: 'b', text: 'x' }).then(() => answered.push('insert b'));
    await until(() => store.transactions === 2);
    void collection.insert({ id: 'c', text: 'x' }).then(() => answered.push('insert c'));
    await until(() => store.transactions === 3);
    for (let count = 0; count < 5; count += 1) await turn();
    expect(answered).toEqual([]);
    expect(syncs).toHaveLength(1);
    syncs[0]?.();
    await until(() => syncs.length === 2);
    await turn();
    expect(answered.sort()).toEqual(['get a', 'insert a']);
    syncs[1]?.();
    await until(() => answered.length === 4);
    expect(store.syncs).toBe(2);
    await store.close();
  });

  test('after a sync that failed nothing is promised any more', async () => {
    let isFailing = false;
    const store = await openEmbeddedStore({
      path: join(await testDirectory(), 'store.db'),
      openLog: async () => ({
        datasync: async () => {
          if (isFailing) throw new Error('planted: EIO');
        },
        close: async () => {},
      }),
    });
    const collection = await store.collection(notes);
    expect(await collection.insert({ id: 'a', text: 'x' })).toBe(true);
    isFailing = true;
    const writes = await Promise.allSettled(['b', 'c'].map((id) => collection.insert({ id, text: 'x' })));
    isFailing = false;
    const refused = { code: 'STORE_UNAVAILABLE', message: expect.stringContaining('planted: EIO') };
    for (const outcome of writes) expect(outcome).toMatchObject({ status: 'rejected', reason: refused });
    await expect(collection.get('a')).rejects.toMatchObject(refused);
    await expect(collection.insert({ id: 'd', text: 'x' })).rejects.toMatchObject(refused);
    await expect(store.ping()).rejects.toMatchObject(refused);
    await store.close();
  });

  test('a second opening fails at once, in this process and in another one; after close it works', async () => {
    const path = join(await testDirectory(), 'store.db');
    const store = await opened(path);
    const startedAt = performance.now();
    await expect(openEmbeddedStore({ path })).rejects.toMatchObject({ code: 'STATE_DIR_LOCKED' });
    expect(performance.now() - startedAt).toBeLessThan(1000);
    const child = spawnSync(process.execPath, ['--import', 'tsx', childScript, path, 'second'], { encoding: 'utf8', timeout: 20_000 });
    expect(child.stderr).toContain('another process uses it');
    expect(child.status).not.toBe(0);
    // The failed attempts must not have freed the lock.
    await expect(openEmbeddedStore({ path })).rejects.toMatchObject({ code: 'STATE_DIR_LOCKED' });
    const collection = await store.collection(notes);
    expect(await collection.insert({ id: 'a', text: 'still ours' })).toBe(true);
    await store.close();
    await (await openEmbeddedStore({ path })).close();
  });

  test('the file and its directory are for their owner only', async () => {
    const directory = join(await testDirectory(), 'state');
    await opened(join(directory, 'store.db'));
    expect((await stat(join(directory, 'store.db'))).mode & 0o077).toBe(0);
    expect((await stat(directory)).mode & 0o077).toBe(0);
  });

  test('a file that is no database, or that a newer Spindle wrote, is refused and left as it is', async () => {
    const directory = await testDirectory();
    await writeFile(join(directory, 'junk.db'), 'not a database, but somebody’s text'.repeat(100));
    await expect(openEmbeddedStore({ path: join(directory, 'junk.db') })).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    const newer = new DatabaseSync(join(directory, 'newer.db'));
    newer.exec('PRAGMA user_version = 99');
    newer.close();
    await expect(openEmbeddedStore({ path: join(directory, 'newer.db') })).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringContaining('newer'),
    });
  });

  test('nothing acknowledged is lost by SIGKILL, and nothing is half there', { timeout: 60_000 }, async () => {
    const path = join(await testDirectory(), 'store.db');
    const acknowledged = new Map<string, number>();
    for (let round = 0; round < 3; round += 1) {
      const child = spawn(process.execPath, ['--import', 'tsx', childScript, path, `r${round}`], { stdio: ['ignore', 'pipe', 'inherit'] });
      onTestFinished(() => void child.kill('SIGKILL'));
      const exited = once(child, 'exit');
      // After so many answers, so that each round dies at another moment of its work.
      const linesMax = 150 + round * 377;
      let lines = 0;
      for await (const line of createInterface({ input: child.stdout })) {
        const [id, version] = line.split(' ');
        if (id && version) acknowledged.set(id, Number(version));
        lines += 1;
        if (lines === linesMax) child.kill('SIGKILL');
      }
      await exited;
      expect(child.signalCode).toBe('SIGKILL');

      const store = await openEmbeddedStore({ path });
      const collection = await store.collection(counters);
      expect(acknowledged.size).toBeGreaterThan(50);
      for (const [id, version] of acknowledged) {
        const found = await collection.get(id);
        expect(found?.version ?? 0, id).toBeGreaterThanOrEqual(version);
        expect(found?.document.padding).toHaveLength(3000);
      }
      await store.close();
    }
  });

  test('a full disk rejects what does not fit, keeps what did, and is over when there is space again', { timeout: 30_000 }, async ({ skip }) => {
    const mountPoint = join(await testDirectory(), 'small');
    await mkdir(mountPoint);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', mountPoint], { encoding: 'utf8' });
    if (mounted.status !== 0) skip(`needs a small file system, and mount said: ${mounted.error?.message ?? mounted.stderr.trim()}`);
    onTestFinished(() => {
      // Lazily: where the test failed half-way the file is still open.
      expect(spawnSync('umount', ['--lazy', mountPoint]).status).toBe(0);
    });
    const ballast = join(mountPoint, 'ballast');
    await writeFile(ballast, Buffer.alloc(2 * 1024 * 1024));
    const store = await openEmbeddedStore({ path: join(mountPoint, 'store.db') });
    try {
      const collection = await store.collection(notes);
      const kept: string[] = [];
      let refused: unknown;
      for (let index = 0; index < 200 && refused === undefined; index += 1) {
        const id = `n${index}`;
        await collection.insert({ id, text: 'x'.repeat(50_000) }).then(
          () => kept.push(id),
          (error: unknown) => {
            refused = error;
          },
        );
      }
      expect(refused).toMatchObject({ code: 'DISK_FULL' });
      expect(kept.length).toBeGreaterThan(3);
      for (const id of kept) expect(await collection.get(id)).toBeDefined();

      // One that does not fit must not take the small ones of its moment with it.
      const [large, ...small] = await Promise.allSettled([
        collection.insert({ id: 'large', text: 'x'.repeat(3_000_000) }),
        ...['s1', 's2', 's3'].map((id) => collection.insert({ id, text: 'small' })),
      ]);
      expect(large).toMatchObject({ status: 'rejected', reason: { code: 'DISK_FULL' } });
      for (const outcome of small) expect(outcome.status === 'fulfilled' || outcome.reason.code === 'DISK_FULL').toBe(true);

      await rm(ballast);
      expect(await collection.insert({ id: 'after', text: 'x'.repeat(50_000) })).toBe(true);
      expect(await collection.get('large')).toBeUndefined();
      for (const id of kept) expect(await collection.get(id)).toBeDefined();
      await store.ping();
    } finally {
      await store.close();
    }
    const again = await openEmbeddedStore({ path: join(mountPoint, 'store.db') });
    const collection = await again.collection(notes);
    expect(await collection.get('after')).toBeDefined();
    await again.close();
  });
});

const childScript = new URL('../support/acknowledged-inserts.ts', import.meta.url).pathname;
