/** Side-repo for real: createrepo_c of this machine on what the resolver chose from the sample distribution's site. */
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kojiTaskIds } from '../../examples/sample-distribution/known-names.ts';
import { sideRepo } from '../../services/side-repo/service.ts';
import { readContent, readContentText } from '../../shared/files/content.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { RepositorySet, Resolution } from '../../shared/resolution/resolution.ts';
import type { Stage } from '../../shared/stage/stage.ts';
import { type SampleWorld, sampleWorld } from './sample-world.ts';

let world: SampleWorld;

beforeAll(async () => {
  world = await sampleWorld();
}, 120_000);
afterAll(() => world?.close());

describe('side-repo', () => {
  it('stores every package and makes repositories that hold exactly those', async () => {
    const build = await world.trial({ packages: ['@core', 'hello'], sources: { kojiBuilds: ['hello-1.1-1.sample'] } });
    const resolved = await build.announce();
    const ready = await build.run<{ repositories: { sha256: string; size: number } }>(sideRepo as unknown as Stage, resolved);
    expect(ready).toMatchObject({ type: 'side-repo.ready', data: { arch: 'x86_64', imageType: 'live', engine: 'kiwi', ...resolved } });

    const resolution = Resolution.parse(JSON.parse(await readContentText(build.files, resolved.resolution)));
    const { repositories } = RepositorySet.parse(JSON.parse(await readContentText(build.files, ready.data.repositories)));
    expect(repositories.map(({ id }) => id)).toEqual(['stable', 'side']);
    const rpms = repositories.flatMap(({ files }) => files.filter(({ path }) => path.endsWith('.rpm')));
    expect(rpms.map(({ sha256 }) => sha256).sort()).toEqual(resolution.packages.map(({ sha256 }) => sha256).sort());
    expect(repositories[1]?.files.map(({ path }) => path)).toEqual(expect.arrayContaining(['Packages/h/hello-1.1-1.sample.noarch.rpm', 'repodata/repomd.xml']));
    for (const { sha256, size } of repositories.flatMap(({ files }) => files)) {
      expect((await readContent(build.files, { sha256, size })).byteLength).toBe(size);
    }
    expect(build.lines.join('\n')).toMatch(/side-repo: all \d+ packages are there and checked/);

    // A second run finds everything stored, and makes the very same metadata.
    const again = await build.run(sideRepo as unknown as Stage, resolved);
    expect(again.data).toEqual(ready.data);
    expect(build.lines.join('\n')).toContain('0.0 MB were fetched');
  });

  it('makes both repositories, be one of them empty', async () => {
    const build = await world.trial({ packages: ['greeting'] });
    const resolved = await build.announce();
    const ready = await build.run<{ repositories: { sha256: string; size: number } }>(sideRepo as unknown as Stage, resolved);
    const { repositories } = RepositorySet.parse(JSON.parse(await readContentText(build.files, ready.data.repositories)));
    expect(repositories[1]).toMatchObject({ id: 'side', files: expect.arrayContaining([expect.objectContaining({ path: 'repodata/repomd.xml' })]) });
  });

  it('makes the same repository on every machine: each package has the time at which it was built', async () => {
    const build = await world.trial({ packages: ['@core', 'greeting'] });
    const ready = await build.run<{ repositories: { sha256: string; size: number } }>(sideRepo as unknown as Stage, await build.announce());
    const { repositories } = RepositorySet.parse(JSON.parse(await readContentText(build.files, ready.data.repositories)));
    const primary = repositories[0]?.files.find(({ path }) => path.endsWith('-primary.xml.gz'));
    const text = gunzipSync(await readContent(build.files, { sha256: primary?.sha256 ?? '', size: primary?.size ?? 0 })).toString('utf8');
    const times = [...text.matchAll(/<time file="(\d+)" build="(\d+)"\/>/g)].map(([, file, built]) => [file, built]);
    expect(times.length).toBeGreaterThan(10);
    for (const [file, built] of times) expect(file).toBe(built);
    // Elsewhere, with nothing stored yet.
    const other = await world.trial({ packages: ['@core', 'greeting'] }, { name: 'Another machine' });
    expect((await other.run(sideRepo as unknown as Stage, await other.announce())).data).toMatchObject({ repositories: ready.data.repositories });
  });

  const prepare = async (request: object, changes?: Partial<Release>) => {
    const build = await world.trial(request, changes);
    const resolved = await build.announce();
    const ready = () => build.run<{ repositories: { sha256: string; size: number } }>(sideRepo as unknown as Stage, resolved);
    return { build, resolved, ready };
  };
  const signersOf = async ({ build, ready }: Awaited<ReturnType<typeof prepare>>) => {
    const { data } = await ready();
    const { repositories } = RepositorySet.parse(JSON.parse(await readContentText(build.files, data.repositories)));
    const rpms = repositories.flatMap(({ files }) => files.filter(({ path }) => path.endsWith('.rpm')));
    return Object.fromEntries(rpms.map(({ path, signedBy }) => [path.slice(path.lastIndexOf('/') + 1), signedBy === null ? 'nobody' : 'a trusted key']));
  };

  it('checks signatures, takes the signed copy of a build, and unsigned ones into the side repository only', async () => {
    const signed = await signersOf(await prepare({ packages: ['greeting'], sources: { kojiBuilds: ['hello-1.1-1.sample'] } }));
    expect(new Set(Object.values(signed))).toEqual(new Set(['a trusted key']));
    const scratch = await signersOf(await prepare({ packages: ['greeting'], sources: { kojiTasks: [kojiTaskIds.scratch] } }));
    expect(Object.entries(scratch).filter(([, signer]) => signer === 'nobody')).toEqual([['hello-1.5-0.scratch.noarch.rpm', 'nobody']]);
  });

  it("checks a requester's own repository by the key that they name, or takes it as unsigned", async () => {
    const own = (more: object) => ({
      packages: ['sample-extra'],
      sources: { repositories: [{ name: 'copr', baseurl: `${world.sample.site.url}/copr/x86_64/`, ...more }] },
    });
    const key = (name: string) => `${world.sample.site.url}/keys/RPM-GPG-KEY-${name}`;
    const extra = 'sample-extra-1.0-1.sample.noarch.rpm';
    expect((await signersOf(await prepare(own({ gpgkey: key('copr') }))))[extra]).toBe('a trusted key');
    expect((await signersOf(await prepare(own({}))))[extra]).toBe('nobody');
    await expect((await prepare(own({ gpgkey: key('stranger') }))).ready()).rejects.toMatchObject({ code: 'PACKAGE_WRONGLY_SIGNED' });
    await expect((await prepare(own({ gpgkey: key('nobody') }))).ready()).rejects.toMatchObject({ code: 'RELEASE_KEY_UNUSABLE' });
    const strict = await prepare(own({}), { unsigned: 'refuse' });
    await expect(strict.ready()).rejects.toMatchObject({ code: 'PACKAGE_UNSIGNED', message: expect.stringContaining('name the gpgkey of that repository') });
  });

  it.each([
    [
      'nobody signed',
      ['sample-not-signed'],
      'PACKAGE_UNSIGNED',
      /^sample-not-signed-1\.0-1\.sample\.noarch from the repository sample is not signed by anybody known/,
    ],
    [
      'a stranger signed',
      ['sample-wrongly-signed'],
      'PACKAGE_WRONGLY_SIGNED',
      /^sample-wrongly-signed-1\.0-1\.sample\.noarch from the repository sample is signed with the key [0-9a-f]{8}, which is none of Sample Linux/,
    ],
  ])('refuses a package of stable that %s', async (_, packages, code, message) => {
    const { build, ready } = await prepare({ packages });
    await expect(ready()).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    // Nothing that a build could use, and the next one hears the same.
    await expect(ready()).rejects.toMatchObject({ code });
    expect(build.lines.join('\n')).not.toContain('the stable repository has');
  });

  it('takes everything where a release never signs, and nothing where its keys are not there', async () => {
    const site = world.sample.site.url;
    const unsigned: Partial<Release> = {
      repositories: [{ id: 'sample', role: 'stable', baseurl: `${site}/unsigned/repo/$basearch/` }],
      ...{ keys: [], sigkeys: [], unsigned: 'allow' as const },
    };
    expect(new Set(Object.values(await signersOf(await prepare({ packages: ['hello', 'sample-not-signed'] }, unsigned))))).toEqual(new Set(['nobody']));
    for (const keys of [[], ['file:///nowhere/key'], [`${site}/keys/none`], [`${site}/repo/x86_64/repodata/repomd.xml`]]) {
      await expect((await prepare({ packages: ['hello'] }, { keys })).ready()).rejects.toMatchObject({ code: 'RELEASE_KEY_UNUSABLE' });
    }
  });
});
