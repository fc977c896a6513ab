/** The repositories contract on the cache, with a server of the test's own; and what only a cache on a disk shows. */
import { execFileSync } from 'node:child_process';
import { access, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { type CachedRepositoriesOptions, cachedRepositories } from '../../shared/repositories/cached.ts';
import { bzip2Sync, xzSync, zstdSync } from '../support/compressors.ts';
import { staticServer } from '../support/static-server.ts';
import { tempDirectory } from '../support/temp-directory.ts';
import { primaryXml, type RepositoriesUnderTest, repositoriesContract, repositoryFiles } from './repositories.contract.ts';

const never = new AbortController().signal;

async function make(options: Partial<CachedRepositoriesOptions> = {}): Promise<RepositoriesUnderTest & { readonly directory: string }> {
  const [web, directory] = await Promise.all([staticServer(), tempDirectory()]);
  const egress = httpEgress({ userAgent: 'spindle-test/1 (+https://example.org)', allow: [web.destination] });
  let passedMs = 0;
  const real = systemClock();
  const clock = { ...real, now: () => real.now() + passedMs, sleep: async () => {} };
  const place = options.directory ?? join(directory.path, 'cache');
  return {
    directory: place,
    repositories: cachedRepositories({ directory: place, egress, programs: spawnedPrograms(), clock, ...options }),
    base: web.base,
    asked: web.asked,
    serve: (name, files) => {
      for (const path of web.files.keys()) if (path.startsWith(`/${name}/`)) web.files.delete(path);
      for (const [path, content] of files) web.files.set(`/${name}/${path}`, content);
    },
    fail: (prefix, status) => {
      if (status === undefined) web.failures.delete(prefix);
      else web.failures.set(prefix, status);
    },
    later: (ms) => {
      passedMs += ms;
    },
    close: async () => {
      await egress.close();
      await web.close();
      await directory.remove();
    },
  };
}

repositoriesContract('cached', make);

describe('repositories: cached, beyond the contract', () => {
  const setUp = async (options?: Partial<CachedRepositoriesOptions>) => {
    const under = await make(options);
    onTestFinished(async () => {
      await under.repositories.close();
      await under.close();
    });
    return under;
  };
  const open = (under: RepositoriesUnderTest, place: string) => under.repositories.open({ id: place, baseurl: `${under.base}/${place}/` }, { signal: never });
  const states = async (directory: string): Promise<readonly string[]> => {
    const keys = await readdir(directory);
    return (await Promise.all(keys.map((key) => readdir(join(directory, key))))).flat().filter((name) => name !== 'current.json');
  };

  it.each([
    ['gzip', (content: Uint8Array) => gzipSync(content)],
    ['two gzip members', (content: Uint8Array) => Buffer.concat([gzipSync(content.subarray(0, 50)), gzipSync(content.subarray(50))])],
    ['zstd', zstdSync],
    ['xz', xzSync],
    ['bzip2', bzip2Sync],
  ])('opens %s', async (_, compress) => {
    const under = await setUp();
    under.serve('a', repositoryFiles({ compress }));
    expect(await open(under, 'a')).toMatchObject({ openBytes: primaryXml().length });
    // Cut in the middle it is refused, whatever made it.
    under.serve('cut', repositoryFiles({ compress: (content) => compress(content).subarray(0, -9) }));
    await expect(open(under, 'cut')).rejects.toMatchObject({ code: 'REPOSITORY_METADATA_REFUSED' });
  });

  it.each([
    ['gzip', (content: Uint8Array) => gzipSync(content)],
    ['zstd', zstdSync],
    ['xz', xzSync],
    ['bzip2', bzip2Sync],
  ])('stops at a bomb of %s', async (_, compress) => {
    const under = await setUp({ openBytesMax: 1_000_000 });
    const bomb = repositoryFiles({ primary: `${primaryXml()}${'<a/>'.repeat(1_000_000)}`, compress });
    under.serve('bomb', bomb);
    await expect(open(under, 'bomb')).rejects.toMatchObject({
      code: 'REPOSITORY_METADATA_REFUSED',
      message: expect.stringContaining('opens to more than 1000000 bytes'),
    });
    expect(await states(under.directory)).toEqual([]);
  });

  it('removes what a process left that ended in the middle, and uses none of it', async () => {
    const first = await setUp();
    first.serve('a', repositoryFiles());
    await open(first, 'a');
    const [key = ''] = await readdir(first.directory);
    const dead = execFileSync('sh', ['-c', 'echo $$'], { encoding: 'utf8' }).trim();
    await mkdir(join(first.directory, key, `partial-${dead}-x`, 'repodata'), { recursive: true });
    await writeFile(join(first.directory, key, 'current.json'), '{"digest":');
    const second = await setUp({ directory: first.directory });
    second.serve('a', repositoryFiles());
    await open(second, 'a');
    expect((await states(first.directory)).filter((name) => name.startsWith('partial'))).toEqual([]);
  });

  it('is found again by the next process', async () => {
    const under = await setUp();
    under.serve('a', repositoryFiles());
    const { digest } = await open(under, 'a');
    const successor = cachedRepositories({
      directory: under.directory,
      egress: httpEgress({ userAgent: 'spindle-test/1' }),
      programs: spawnedPrograms(),
      clock: systemClock(),
    });
    onTestFinished(() => successor.close());
    expect(await successor.open({ id: 'a', baseurl: `${under.base}/a/` }, { signal: never })).toMatchObject({ digest });
    expect(under.asked).toHaveLength(2);
  });

  it('keeps what it has just fetched while others are fetched beside it', async () => {
    for (let round = 0; round < 5; round += 1) {
      const under = await setUp();
      const names = Array.from({ length: 8 }, (_, index) => `r${index}`);
      for (const name of names) under.serve(name, repositoryFiles({ revision: name, primary: primaryXml(name) }));
      const snapshots = await Promise.all(names.map((name) => open(under, name)));
      for (const { directory } of snapshots) await access(join(directory, 'repodata/repomd.xml'));
    }
  });

  it('removes what is over its bound, but never what is held', async () => {
    const under = await setUp({ bytesMax: 3000 });
    const filler = (place: string) => repositoryFiles({ primary: primaryXml(place.repeat(1200)) });
    for (const place of ['a', 'b', 'c']) under.serve(place, filler(place));
    const held = await open(under, 'a');
    (await open(under, 'b')).release();
    (await open(under, 'c')).release();
    await access(held.directory);
    expect(await states(under.directory)).toHaveLength(2);
    // What was removed is fetched anew when somebody asks.
    expect(await open(under, 'b')).toMatchObject({ revision: '1' });
  });

  it('says that the disk is full, and leaves nothing half', async () => {
    const directory = await tempDirectory();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', directory.path]);
    onTestFinished(async () => {
      execFileSync('umount', ['-l', directory.path]);
      await directory.remove();
    });
    const under = await setUp({ directory: directory.path });
    under.serve('a', repositoryFiles({ primary: `${primaryXml()}${'<a/>'.repeat(200_000)}` }));
    await expect(open(under, 'a')).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(await states(directory.path)).toEqual([]);
    under.serve('b', repositoryFiles());
    expect(await open(under, 'b')).toMatchObject({ revision: '1' });
  });
});
