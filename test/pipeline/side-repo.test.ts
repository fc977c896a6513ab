/** Side-repo for real: createrepo_c of this machine on what the resolver chose from the sample distribution's site. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sideRepo } from '../../services/side-repo/service.ts';
import { readContent, readContentText } from '../../shared/files/content.ts';
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
});
