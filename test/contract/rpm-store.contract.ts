/** What every RPM store promises: known files are told from harmed ones, repositories are the same wherever they are made, and nothing goes that somebody needs. */
import { describe, expect, test } from 'vitest';
import type { Clock } from '../../shared/clock/clock.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import type { Files } from '../../shared/files/files.ts';
import type { Programs } from '../../shared/programs/programs.ts';
import type { RpmStore } from '../../shared/rpm-store/rpm-store.ts';
import type { Workspaces } from '../../shared/workspace/workspace.ts';
import { rpmFile } from '../support/rpm-file.ts';

export interface RpmStoreSetup {
  readonly files: Files;
  readonly workspaces: Workspaces;
  readonly programs: Programs;
  readonly clock: Clock;
  /** The files below a shown repository, relative to it. */
  shown(workspacePath: string, at: string): Promise<readonly string[]>;
  /** Moves the store's clock. */
  advance(ms: number): void;
  open(bytesMax?: number): Promise<RpmStore>;
  close(): Promise<void>;
}

const never = new AbortController().signal;
const nevra = (name: string) => ({ name, epoch: 0, version: '1.0', release: '1', arch: 'noarch' });

/** Stored, and how a repository names it. */
export async function storedRpm(files: Files, name: string, options: Parameters<typeof rpmFile>[1] = {}) {
  const { bytes, sha256 } = rpmFile(nevra(name), { buildTimeS: 1_700_000_000, payload: `payload of ${name} `.repeat(50), ...options });
  await files.put(contentKey(sha256), bytes);
  return { sha256, size: bytes.byteLength, path: `Packages/${name[0]}/${name}-1.0-1.noarch.rpm` };
}

export function rpmStoreContract(name: string, make: () => Promise<RpmStoreSetup>): void {
  describe(name, () => {
    const withStore = async (action: (setup: RpmStoreSetup, store: RpmStore) => Promise<void>, bytesMax?: number) => {
      const setup = await make();
      const store = await setup.open(bytesMax);
      try {
        await action(setup, store);
      } finally {
        await store.close();
        await setup.close();
      }
    };
    const makeIn = async (setup: RpmStoreSetup, store: RpmStore, rpms: Parameters<RpmStore['makeRepository']>[0]) => {
      const workspace = await setup.workspaces.create('making');
      try {
        return await store.makeRepository(rpms, { programs: setup.programs, workspace, log: () => {}, signal: never });
      } finally {
        await workspace.dispose();
      }
    };

    test('says of each file whose package it is, and which are not here', () =>
      withStore(async ({ files }, store) => {
        const hello = await storedRpm(files, 'hello', { files: [['/usr/share/', 'hello']] });
        const climbing = await storedRpm(files, 'climbing', { files: [['/usr/share/../../etc/', 'passwd']] });
        const found = await store.check([hello, climbing, { sha256: 'f'.repeat(64), size: 1 }], never);
        expect([...found.keys()].sort()).toEqual([hello.sha256, climbing.sha256].sort());
        expect(found.get(hello.sha256)).toMatchObject({ nevra: 'hello-1.0-1.noarch', isSource: false, climbingPath: null });
        expect(found.get(climbing.sha256)?.climbingPath).toBe('/usr/share/../../etc/passwd');
      }));

    test('removes a file that is torn or has other content: it is fetched anew', () =>
      withStore(async ({ files }, store) => {
        const [torn, other, good] = [await storedRpm(files, 'torn'), await storedRpm(files, 'other'), await storedRpm(files, 'good')];
        await store.check([torn, other, good], never);
        await files.put(contentKey(torn.sha256), 'torn');
        await files.put(contentKey(other.sha256), Buffer.alloc(other.size, 'x'));
        expect([...(await store.check([torn, other, good], never)).keys()]).toEqual([good.sha256]);
        expect(await files.stats([torn, other].map(({ sha256 }) => contentKey(sha256)))).toEqual([undefined, undefined]);
      }));

    test('refuses what has the right digest and is no RPM', () =>
      withStore(async ({ files }, store) => {
        const sha256 = '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824';
        await files.put(contentKey(sha256), 'hello');
        await expect(store.check([{ sha256, size: 5 }], never)).rejects.toMatchObject({ code: 'PACKAGE_MISMATCH' });
      }));

    test('keeps what rpm said of a file, by keyring', () =>
      withStore(async ({ files }, store) => {
        const hello = await storedRpm(files, 'hello');
        await store.check([hello], never);
        store.noteVerdicts('ours', new Map([[hello.sha256, { kind: 'signed', key: '5a3b1e00' }]]));
        store.noteVerdicts('theirs', new Map([[hello.sha256, { kind: 'unsigned' }]]));
        store.noteVerdicts('ill', new Map([[hello.sha256, { kind: 'broken', line: 'DIGEST: BAD' }]]));
        expect(store.verdicts('ours', [hello.sha256, 'gone']).get(hello.sha256)).toEqual({ kind: 'signed', key: '5a3b1e00' });
        expect(store.verdicts('theirs', [hello.sha256]).get(hello.sha256)).toEqual({ kind: 'unsigned' });
        expect(store.verdicts('ill', [hello.sha256]).size).toBe(0);
      }));

    test('makes the same repository of the same packages, once and again, and shows it whole', () =>
      withStore(async (setup, store) => {
        const rpms = [await storedRpm(setup.files, 'bash'), await storedRpm(setup.files, 'hello')];
        await store.check(rpms, never);
        const first = await makeIn(setup, store, rpms);
        expect(first.map(({ path }) => path)).toContain('repodata/repomd.xml');
        expect(await makeIn(setup, store, rpms)).toEqual(first);
        const workspace = await setup.workspaces.create('using');
        await store.showRepository([...rpms, ...first], workspace, 'repositories/side', never);
        const shown = await setup.shown(workspace.path, 'repositories/side');
        expect(shown).toEqual([...rpms, ...first].map(({ path }) => path).sort());
        await workspace.dispose();
        // Links came and went: the files are known all the same.
        expect((await store.check(rpms, never)).size).toBe(2);
      }));

    test('removes the longest unused above its cap, and nothing that is needed', () =>
      withStore(async ({ files, advance }, store) => {
        const rpms: Awaited<ReturnType<typeof storedRpm>>[] = [];
        for (const each of ['first', 'second', 'third', 'fourth']) {
          const rpm = await storedRpm(files, each);
          rpms.push(rpm);
          await store.check([{ ...rpm, isLasting: each === 'first' }], never);
          advance(60_000);
        }
        const [, second, third, fourth] = rpms.map(({ sha256 }) => sha256);
        // All were used a moment ago.
        expect(await store.evict(new Set())).toMatchObject({ files: 0 });
        advance(3_600_000);
        const pin = store.pin([second as string]);
        expect(await store.evict(new Set([third as string]))).toMatchObject({ files: 1, bytesOver: expect.any(Number) });
        const left = async () => (await files.stats(rpms.map(({ sha256 }) => contentKey(sha256)))).map((status) => status !== undefined);
        expect(await left()).toEqual([true, true, true, false]);
        pin.release();
        expect(await store.evict(new Set([third as string]))).toMatchObject({ files: 1 });
        expect(await left()).toEqual([true, false, true, false]);
        expect(fourth).toBeDefined();
      }, 1));
  });
}
