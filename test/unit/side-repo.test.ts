/** The side-repo stage on the simulated distribution: nothing gets in that is not what was resolved, and known packages are not fetched again. */
import { describe, expect, it } from 'vitest';
import { layOut } from '../../services/side-repo/layout.ts';
import { sideRepo } from '../../services/side-repo/service.ts';
import type { SimulatedRoutes } from '../../shared/egress/simulated.ts';
import { formatNevra, parseNevra, rpmFileName } from '../../shared/fedora/nvr.ts';
import { readContentText, storeContent } from '../../shared/files/content.ts';
import type { FileRef } from '../../shared/files/content-ref.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import { simulatedPrograms } from '../../shared/programs/simulated.ts';
import { RepositorySet, type ResolvedPackage } from '../../shared/resolution/resolution.ts';
import type { EventOf } from '../../shared/stage/stage.ts';
import { resolutionWith } from '../support/resolutions.ts';
import { rpmFile } from '../support/rpm-file.ts';
import { mirrors, simulatedRpmTools } from '../support/simulated-fedora.ts';
import { type StageWorld, type StageWorldOptions, stageWorld } from '../support/stage-context.ts';

function resolved(text: string, change: Partial<ResolvedPackage> = {}): ResolvedPackage {
  const nevra = parseNevra(text);
  if (!nevra) throw new Error(`${text} is not a NEVRA`);
  const { bytes, sha256 } = rpmFile(nevra);
  return {
    ...nevra,
    nevra: formatNevra(nevra),
    from: 'stable',
    repository: 'simulated',
    because: 'The stable repository simulated has exactly this package.',
    urls: mirrors.map((mirror) => `${mirror}Packages/${rpmFileName(nevra)}`),
    sha256,
    size: bytes.byteLength,
    installedSize: 1000,
    sigkey: null,
    stored: false,
    ...change,
  };
}

const bash = resolved('bash-5.2-1.x86_64');
const hello = resolved('hello-1.1-1.noarch', {
  from: 'side',
  repository: 'koji',
  urls: ['https://files.example/packages/hello/1.1/1/noarch/hello-1.1-1.noarch.rpm'],
});

async function prepare(
  packages: readonly ResolvedPackage[],
  options: StageWorldOptions = {},
): Promise<{ readonly world: StageWorld; run(): Promise<FileRef> }> {
  const world = await stageWorld(options);
  const resolution = resolutionWith(packages, 'simulated');
  const data = { arch: 'x86_64', imageType: 'live', engine: 'kiwi', resolution: await storeContent(world.files, JSON.stringify(resolution)) } as const;
  const run = async () => {
    const emitted = [await sideRepo.handle({ data } as EventOf<typeof sideRepo.consumes>, world.context)].flat()[0] as {
      readonly data: { readonly repositories: FileRef };
    };
    expect(emitted).toMatchObject({ type: 'side-repo.ready', data });
    return emitted.data.repositories;
  };
  return { world, run };
}

describe('side-repo', () => {
  it('stores every package and lays out both repositories', async () => {
    const { world, run } = await prepare([bash, hello]);
    const { repositories } = RepositorySet.parse(JSON.parse(await readContentText(world.files, await run())));
    expect(repositories.map(({ id, files }) => [id, files.map(({ path }) => path)])).toEqual([
      ['stable', ['Packages/b/bash-5.2-1.x86_64.rpm', 'repodata/primary.xml.gz', 'repodata/repomd.xml']],
      ['side', ['Packages/h/hello-1.1-1.noarch.rpm', 'repodata/primary.xml.gz', 'repodata/repomd.xml']],
    ]);
    for (const { sha256 } of repositories.flatMap(({ files }) => files)) expect(world.files.peek(contentKey(sha256))).toBeDefined();
    expect(world.lines).toEqual(expect.arrayContaining(['side-repo: all 2 packages are there and checked; 0.0 MB were fetched, 0.0 MB were stored already']));
  });

  it('fetches nothing that is stored, and does the same again with the same result', async () => {
    const { world, run } = await prepare([bash, hello]);
    const first = await run();
    expect(world.urls).toHaveLength(2);
    await (await world.context.workspace()).remove('stable');
    expect(await run()).toEqual(first);
    expect(world.urls).toHaveLength(2);
  });

  it('makes a repository once, and again where a file of it is gone or the note of it is not ours', async () => {
    let runs = 0;
    const { world, run } = await prepare([bash, hello]);
    const { createrepo_c } = simulatedRpmTools(world.workspaces);
    const counted = simulatedPrograms(
      {
        createrepo_c: (...call) => {
          runs += 1;
          return (createrepo_c as NonNullable<typeof createrepo_c>)(...call);
        },
      },
      world.context.clock,
    );
    Object.assign(world.context, { programs: counted });
    const first = await run();
    expect(runs).toBe(2);
    expect(await run()).toEqual(first);
    expect(runs).toBe(2);
    const { repositories } = RepositorySet.parse(JSON.parse(await readContentText(world.files, first)));
    const lost = repositories[0]?.files.find(({ path }) => path.includes('primary'));
    await world.files.remove(contentKey(lost?.sha256 ?? ''));
    expect(await run()).toEqual(first);
    expect(runs).toBe(3);
    for (const key of await world.files.list('repositories')) await world.files.put(key, '[{"path":"../../x"}]');
    expect(await run()).toEqual(first);
    expect(runs).toBe(5);
  });

  it('goes to the next mirror', async () => {
    const routes: SimulatedRoutes = ({ url }) => (url.href.startsWith(mirrors[0]) ? { status: 503 } : undefined);
    const { world, run } = await prepare([bash], { routes });
    await run();
    expect(world.urls).toEqual(bash.urls);
  });

  it('tries once more after a pause', async () => {
    let calls = 0;
    const pauses: number[] = [];
    const routes: SimulatedRoutes = () => {
      calls += 1;
      return calls <= 2 ? { status: 500 } : undefined;
    };
    const base = await stageWorld();
    const clock = { ...base.context.clock, sleep: async (ms: number) => void pauses.push(ms) };
    const { run } = await prepare([bash], { routes, clock });
    await run();
    expect([calls, pauses]).toEqual([3, [expect.any(Number)]]);
    // A second, and up to half of it more or less, so that not all come back at the same moment.
    expect(Math.abs((pauses[0] ?? 0) - 1000)).toBeLessThanOrEqual(500);
  });

  const other = (text: string, payload?: string) => {
    const nevra = parseNevra(text);
    return nevra ? rpmFile(nevra, payload === undefined ? {} : { payload }) : undefined;
  };
  const serve =
    (bytes: Uint8Array | string): SimulatedRoutes =>
    () => ({ body: bytes });

  it.each<[string, ResolvedPackage, SimulatedRoutes, string, RegExp]>([
    ['another content of the same size', bash, serve(other('bash-5.2-1.x86_64', 'the payload of bach')?.bytes ?? ''), 'PACKAGE_DIGEST_MISMATCH', /SHA-256/],
    ['half of the file', bash, serve(rpmFile(bash).bytes.subarray(0, 200)), 'PACKAGE_DIGEST_MISMATCH', /200 bytes instead of/],
    ['a larger file', bash, serve(new Uint8Array(5000)), 'PACKAGE_DIGEST_MISMATCH', /more than/],
    ['a page that says it is there', { ...bash, sha256: '0'.repeat(64) }, serve('<html>'), 'PACKAGE_DIGEST_MISMATCH', /6 bytes/],
    ['nothing', bash, () => ({ status: 404 }), 'PACKAGE_UNREACHABLE', /could not be fetched from any of 2 addresses: .* status 404/],
    ['an address that is not allowed', { ...bash, urls: ['file:///etc/passwd'] }, () => undefined, 'REMOTE_REFUSED', /file:/],
  ])('refuses %s', async (_, rpm, routes, code, message) => {
    const { world, run } = await prepare([rpm], { routes });
    await expect(run()).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(world.files.peek(contentKey(rpm.sha256))).toBeUndefined();
  });

  it('refuses an RPM whose header names another package, fetched or stored', async () => {
    // The metadata may be right about the digest and wrong about what it is the digest of.
    const wrong = rpmFile(hello);
    const lie = { ...bash, sha256: wrong.sha256, size: wrong.bytes.byteLength };
    const { world, run } = await prepare([lie], { routes: () => ({ body: wrong.bytes }) });
    await expect(run()).rejects.toMatchObject({
      code: 'PACKAGE_MISMATCH',
      message: expect.stringMatching(/holds hello-1\.1-1\.noarch instead of bash-5\.2-1\.x86_64/),
    });
    await storeContent(world.files, wrong.bytes);
    await expect(run()).rejects.toMatchObject({ code: 'PACKAGE_MISMATCH' });
  });

  it('says where a stored file is gone that nobody else has', async () => {
    const { run } = await prepare([{ ...hello, urls: [], stored: true }]);
    await expect(run()).rejects.toMatchObject({ code: 'FILE_MISSING', message: expect.stringContaining('submit the build again') });
  });

  it('announces no half repository', async () => {
    const failed = await prepare([bash], { programs: { createrepo_c: async () => ({ exitCode: 2 }) } });
    await expect(failed.run()).rejects.toMatchObject({ code: 'REPOSITORY_METADATA_FAILED' });
    const silent = await prepare([bash], { programs: { createrepo_c: async () => ({}) } });
    await expect(silent.run()).rejects.toMatchObject({ code: 'REPOSITORY_METADATA_FAILED', message: expect.stringContaining('repomd.xml') });
  });

  it('holds packages of a repository that only a kickstart names to the rule for unsigned ones', async () => {
    const ofKickstart = { ...hello, repository: 'mine', role: 'requested' as const };
    const refusing = await prepare([ofKickstart], { release: { unsigned: 'refuse', keys: ['https://keys.example/key'] } });
    await expect(refusing.run()).rejects.toMatchObject({ code: 'PACKAGE_UNSIGNED', message: expect.stringContaining('from the repository mine') });
  });

  it('fetches at most 8 at a time from one host, and a cancel ends them all', async () => {
    const many = Array.from({ length: 30 }, (_, index) => resolved(`part${index}-1-1.noarch`));
    const ending = new AbortController();
    const reason = new Error('canceled');
    let atOnce = 0;
    const routes: SimulatedRoutes = () => {
      atOnce += 1;
      if (atOnce === 6) setImmediate(() => ending.abort(reason));
      return new Promise(() => {});
    };
    const { run } = await prepare(many, { routes, signal: ending.signal });
    await expect(run()).rejects.toBe(reason);
    expect(atOnce).toBe(8);
  });
});

describe('layout', () => {
  it('is made of names alone, in a fixed order', () => {
    const zlib = resolved('Zlib-1-1.x86_64');
    const layout = layOut([zlib, hello, { ...bash, urls: ['https://one.mirror.example/../../evil.rpm'] }]);
    expect(layout.map(({ id, packages }) => [id, packages.map(({ path }) => path)])).toEqual([
      ['stable', ['Packages/b/bash-5.2-1.x86_64.rpm', 'Packages/z/Zlib-1-1.x86_64.rpm']],
      ['side', ['Packages/h/hello-1.1-1.noarch.rpm']],
    ]);
  });
});
