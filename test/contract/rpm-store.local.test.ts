/** The RPM store on a disk against its contract, and what only a disk can do to it. */
import { spawnSync } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { readContent } from '../../shared/files/content.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import type { Files } from '../../shared/files/files.ts';
import { localFiles } from '../../shared/files/local.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { localRpmStore } from '../../shared/rpm-store/local.ts';
import type { RepositoryFile, RpmStore } from '../../shared/rpm-store/rpm-store.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';
import { tempDirectory } from '../support/temp-directory.ts';
import { rpmStoreContract, storedRpm } from './rpm-store.contract.ts';

const never = new AbortController().signal;

async function setUp(directory?: string) {
  const temporary = directory === undefined ? await tempDirectory() : { path: directory, remove: async () => {} };
  let ahead = 0;
  const clock = { ...systemClock(), now: () => systemClock().now() + ahead };
  let reads = 0;
  let asked = 0;
  const real = localFiles({ directory: join(temporary.path, 'files') });
  // Counted, so that a test can tell that a known file is not read.
  const files: Files = {
    ...real,
    get: (key, range) => {
      if (key.startsWith('content/')) reads += 1;
      return real.get(key, range);
    },
    stats: (keys) => {
      asked += keys.length;
      return real.stats(keys);
    },
  };
  const programs = spawnedPrograms();
  return {
    path: temporary.path,
    files,
    programs,
    clock,
    workspaces: localWorkspaces({ directory: join(temporary.path, 'work'), files, owner: 'test', programs }),
    reads: () => reads,
    asked: () => asked,
    shown: async (path: string, at: string) =>
      (await readdir(join(path, at), { recursive: true, withFileTypes: true }))
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(path.length + at.length + 2))
        .sort(),
    advance: (ms: number) => {
      ahead += ms;
    },
    open: (bytesMax = Number.MAX_SAFE_INTEGER) => localRpmStore({ directory: join(temporary.path, 'rpms'), files, clock, bytesMax, onTrouble: () => {} }),
    close: async () => {
      await real.close();
      await temporary.remove();
    },
  };
}

rpmStoreContract('the RPM store on a disk', setUp);

type SetUp = Awaited<ReturnType<typeof setUp>>;

async function forTest(directory?: string): Promise<{ setup: SetUp; store: RpmStore }> {
  const setup = await setUp(directory);
  const store = await setup.open();
  onTestFinished(async () => {
    await store.close();
    await setup.close();
  });
  return { setup, store };
}

const made = async ({ workspaces, programs }: SetUp, store: RpmStore, rpms: readonly RepositoryFile[]) => {
  const workspace = await workspaces.create('making');
  try {
    return await store.makeRepository(rpms, { programs, workspace, log: () => {}, signal: never });
  } finally {
    await workspace.dispose();
  }
};

describe('on a disk', () => {
  test('a repository offers the groups that it was given, and is another one with others', async () => {
    const { setup, store } = await forTest();
    const rpms = [await storedRpm(setup.files, 'hello')];
    await store.check(rpms, never);
    const withGroups = async (comps: string | undefined) => {
      const workspace = await setup.workspaces.create('making');
      const metadata = await store.makeRepository(rpms, { programs: setup.programs, workspace, comps, log: () => {}, signal: never });
      await workspace.dispose();
      return metadata;
    };
    const [plain, one, other] = [await withGroups(undefined), await withGroups('<comps><group><id>one</id></group></comps>'), await withGroups('<comps/>')];
    expect(plain.some(({ path }) => path.includes('comps'))).toBe(false);
    const comps = one.find(({ path }) => path.endsWith('comps.xml'));
    expect(comps && Buffer.from(await readContent(setup.files, comps)).toString('utf8')).toContain('<id>one</id>');
    expect(other).not.toEqual(one);
    expect(await withGroups('<comps><group><id>one</id></group></comps>')).toEqual(one);
  });

  test('a repository that stands is shown for one look at each of its files', async () => {
    const { setup, store } = await forTest();
    const rpms = [await storedRpm(setup.files, 'bash'), await storedRpm(setup.files, 'hello')];
    await store.check(rpms, never);
    const all = [...rpms, ...(await made(setup, store, rpms))];
    const workspace = await setup.workspaces.create('using');
    await store.showRepository(all, workspace, 'repositories/first', never);
    const before = setup.asked();
    await store.showRepository(all, workspace, 'repositories/second', never);
    expect(setup.asked() - before).toBe(all.length);
    await workspace.dispose();
  });

  test('a known file is not read again, by the next process neither, also after repositories were made and removed', async () => {
    const { setup, store } = await forTest();
    const rpms = [await storedRpm(setup.files, 'bash'), await storedRpm(setup.files, 'hello')];
    await store.check(rpms, never);
    const metadata = await made(setup, store, rpms);
    const workspace = await setup.workspaces.create('using');
    await store.showRepository([...rpms, ...metadata], workspace, 'repositories/side', never);
    await workspace.dispose();
    await store.close();
    const next = await setup.open(1);
    onTestFinished(() => next.close());
    const before = setup.reads();
    expect((await next.check(rpms, never)).size).toBe(2);
    expect(setup.reads()).toBe(before);
    // The tree goes with one of its packages; the other stays known.
    setup.advance(3_600_000);
    await next.evict(new Set([rpms[0]?.sha256 as string]));
    expect((await readdir(join(setup.path, 'rpms/trees'))).length).toBe(0);
    expect((await next.check(rpms.slice(0, 1), never)).size).toBe(1);
    expect(setup.reads()).toBe(before);
  });

  test('a file that was changed behind the store is found out, though its size and times were put back', async () => {
    const { setup, store } = await forTest();
    const rpm = await storedRpm(setup.files, 'hello');
    await store.check([rpm], never);
    const path = join(setup.path, 'files', contentKey(rpm.sha256));
    const { mtimeMs } = await stat(path);
    const bytes = await readFile(path);
    bytes[bytes.length - 1] = 0x58;
    await chmod(path, 0o644);
    await writeFile(path, bytes);
    await chmod(path, 0o444);
    await utimes(path, mtimeMs / 1000, mtimeMs / 1000);
    expect((await store.check([rpm], never)).size).toBe(0);
    expect(await setup.files.stat(contentKey(rpm.sha256))).toBeUndefined();
  });

  test('a repository with a harmed file is not shown', async () => {
    const { setup, store } = await forTest();
    const rpms = [await storedRpm(setup.files, 'hello')];
    await store.check(rpms, never);
    const metadata = await made(setup, store, rpms);
    await setup.files.put(contentKey(rpms[0]?.sha256 as string), 'torn');
    const workspace = await setup.workspaces.create('using');
    await expect(store.showRepository([...rpms, ...metadata], workspace, 'repositories/side', never)).rejects.toMatchObject({
      code: 'FILE_MISSING',
      message: expect.stringContaining('Packages/h/hello-1.0-1.noarch.rpm'),
    });
    await workspace.dispose();
  });

  test('one more package costs createrepo_c no reading of the others, and gives what a run without knowledge gives', async () => {
    const { setup, store } = await forTest();
    const rpms: RepositoryFile[] = [];
    for (let index = 0; index < 20; index += 1) {
      rpms.push(await storedRpm(setup.files, `package-${String(index).padStart(2, '0')}`, { files: [['/usr/share/', `file-${index}`]] }));
    }
    await store.check(rpms, never);
    await made(setup, store, rpms.slice(0, 10));
    await made(setup, store, rpms.slice(10, 19));
    const withKnowledge = await made(setup, store, rpms);
    const other = await forTest();
    for (const { sha256, size } of rpms) {
      const found = await setup.files.get(contentKey(sha256));
      expect(found?.size).toBe(size);
      const chunks: Uint8Array[] = [];
      for await (const chunk of found?.body ?? []) chunks.push(chunk);
      await other.setup.files.put(contentKey(sha256), Buffer.concat(chunks));
    }
    await other.store.check(rpms, never);
    expect(await made(other.setup, other.store, rpms)).toEqual(withKnowledge);
  });

  test('two files of one package that differ in their content only are not taken for each other', async () => {
    const { setup, store } = await forTest();
    const bar = await storedRpm(setup.files, 'bar');
    const first = await storedRpm(setup.files, 'hello', { payload: 'signed by one key' });
    const second = await storedRpm(setup.files, 'hello', { payload: 'signed by another' });
    expect([second.size, second.path, second.sha256 === first.sha256]).toEqual([first.size, first.path, false]);
    await store.check([bar, first, second], never);
    await made(setup, store, [bar, first]);
    const metadata = await made(setup, store, [bar, second]);
    const primary = metadata.find(({ path }) => path.endsWith('-primary.xml.gz'));
    const text = gunzipSync(await readContent(setup.files, primary as RepositoryFile)).toString('utf8');
    expect([text.includes(first.sha256), text.includes(second.sha256)]).toEqual([false, true]);
  });

  test('builds that want the same repository at once make it once; a canceled one leaves it to the others', async () => {
    const { setup, store } = await forTest();
    const rpms = [await storedRpm(setup.files, 'hello')];
    await store.check(rpms, never);
    let runs = 0;
    const counting = {
      ...setup,
      programs: {
        ...setup.programs,
        run: (request: Parameters<typeof setup.programs.run>[0]) => {
          if (request.command === 'createrepo_c') runs += 1;
          return setup.programs.run(request);
        },
      },
    };
    const ending = new AbortController();
    const canceled = (async () => {
      const workspace = await setup.workspaces.create('canceled');
      try {
        return await store.makeRepository(rpms, { programs: counting.programs, workspace, log: () => {}, signal: ending.signal });
      } finally {
        await workspace.dispose();
      }
    })();
    const others = Promise.all([made(counting, store, rpms), made(counting, store, rpms)]);
    ending.abort(new Error('canceled'));
    await expect(canceled).rejects.toThrow('canceled');
    const [one, two] = await others;
    expect(one).toEqual(two);
    expect(runs).toBeLessThanOrEqual(2);
  });

  test('what a dead process had half made is gone, and its unfinished journal is no harm', async () => {
    const { setup, store } = await forTest();
    const rpms = [await storedRpm(setup.files, 'hello')];
    await store.check(rpms, never);
    await store.close();
    const trees = join(setup.path, 'rpms/trees');
    await mkdir(join(trees, 'new-abcdef/Packages'), { recursive: true });
    await writeFile(join(setup.path, 'rpms/known-rpms.jsonl'), `${await readFile(join(setup.path, 'rpms/known-rpms.jsonl'), 'utf8')}{"sha256":"torn`);
    const next = await setup.open();
    onTestFinished(() => next.close());
    expect(await readdir(trees)).toEqual([]);
    const before = setup.reads();
    expect((await next.check(rpms, never)).size).toBe(1);
    expect(setup.reads()).toBe(before);
  });

  test.skipIf(process.getuid?.() !== 0)(
    'a full disk in the middle is the operator’s to mend, leaves no half repository, and goes on once there is room',
    async () => {
      const mount = await tempDirectory();
      onTestFinished(async () => {
        spawnSync('umount', ['-l', mount.path]);
        await mount.remove();
      });
      expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', mount.path]).status).toBe(0);
      const { setup, store } = await forTest(join(mount.path, 'state'));
      const rpms = [await storedRpm(setup.files, 'hello', { files: Array.from({ length: 200 }, (_, index) => ['/usr/share/', `file-${index}`] as const) })];
      await store.check(rpms, never);
      const ballast = join(mount.path, 'ballast');
      spawnSync('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=4k']);
      await expect(made(setup, store, rpms)).rejects.toMatchObject({ code: expect.stringMatching(/^(DISK_FULL|REPOSITORY_METADATA_FAILED)$/) });
      expect((await readdir(join(mount.path, 'state/rpms/trees'))).filter((name) => /^[0-9a-f]{64}$/.test(name))).toEqual([]);
      spawnSync('rm', [ballast]);
      const metadata = await made(setup, store, rpms);
      expect(metadata.map(({ path }) => path)).toContain('repodata/repomd.xml');
    },
  );
});
