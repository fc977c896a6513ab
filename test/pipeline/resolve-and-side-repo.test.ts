/** Resolver and side-repo for real: dnf and createrepo_c of this machine against the sample distribution's site. */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resolver } from '../../services/resolver/service.ts';
import { sideRepo } from '../../services/side-repo/service.ts';
import { failureOf } from '../../shared/build/failure.ts';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import type { Emitted, Event } from '../../shared/events/define.ts';
import { readContent, readContentText } from '../../shared/files/content.ts';
import { localFiles } from '../../shared/files/local.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { RepositorySet, Resolution } from '../../shared/resolution/resolution.ts';
import type { Stage, StageContext } from '../../shared/stage/stage.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';
import { type SampleForTests, startSample } from '../support/sample-site.ts';
import { type TempDirectory, tempDirectory } from '../support/temp-directory.ts';

const userAgent = 'spindle-test/1 (+https://example.org)';
let sample: SampleForTests;
let directory: TempDirectory;

beforeAll(async () => {
  directory = await tempDirectory();
  sample = await startSample();
}, 120_000);
afterAll(async () => {
  await sample?.site.close();
  await directory?.remove();
});

interface Trial {
  readonly lines: readonly string[];
  readonly files: StageContext['files'];
  run<D>(stage: Stage, data: unknown): Promise<Emitted<string, D>>;
  resolve(): Promise<Resolution>;
}

/** A build of this request, on files of its own, with the release changed as said. */
async function trial(request: object, changes: Partial<Release> = {}): Promise<Trial> {
  const release = { ...sample.release, ...changes };
  const single = splitRequest(BuildRequest.parse({ release: 'sample', imageType: 'live', ...request }))[0] as SingleBuildRequest;
  const place = join(
    directory.path,
    createHash('sha256')
      .update(JSON.stringify([request, changes]))
      .digest('hex')
      .slice(0, 16),
  );
  await mkdir(place, { recursive: true });
  const programs = spawnedPrograms();
  const files = await localFiles({ directory: join(place, 'files') });
  const workspaces = localWorkspaces({ directory: join(place, 'work'), files, owner: 'test', programs });
  const egress = httpEgress({ userAgent, allow: [sample.destination] });
  const lines: string[] = [];

  const run = async <D>(stage: Stage, data: unknown): Promise<Emitted<string, D>> => {
    const workspace = await workspaces.create(stage.name);
    const context: StageContext = {
      buildId: 'b',
      request: single,
      attempt: 1,
      pinnedResolution: null,
      signal: new AbortController().signal,
      workspace: async () => workspace,
      log: (tool, line) => lines.push(`${tool}: ${line}`),
      progress: () => {},
      clock: systemClock(),
      files,
      programs,
      egress,
      releases: { releases: [release] },
    };
    try {
      return (await stage.handle({ type: stage.consumes.type, data } as Event<string, never>, context)) as Emitted<string, D>;
    } finally {
      await workspace.dispose();
    }
  };
  return {
    lines,
    files,
    run,
    resolve: async () => {
      const { data } = await run<{ resolution: { sha256: string; size: number } }>(resolver as unknown as Stage, {});
      return Resolution.parse(JSON.parse(await readContentText(files, data.resolution)));
    },
  };
}

const resolveRequest = async (request: object, changes?: Partial<Release>) => (await trial(request, changes)).resolve();
const refusal = async (request: object, changes?: Partial<Release>) => {
  const error = await resolveRequest(request, changes).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return failureOf(error, 'resolver');
};

describe('resolver', () => {
  it('takes a requested build from Koji and all else from the stable repository', async () => {
    const { packages, requested, roots, repositories, downloadBytes } = await resolveRequest({
      packages: ['@core', 'hello'],
      sources: { kojiBuilds: ['hello-1.1-1.sample'] },
    });
    expect(requested).toEqual(['hello-1.1-1.sample.noarch']);
    expect(packages.filter(({ from }) => from === 'side')).toEqual([
      expect.objectContaining({
        nevra: 'hello-1.1-1.sample.noarch',
        repository: 'koji',
        because: 'The request names the Koji build hello-1.1-1.sample.',
        stored: true,
        urls: [`${sample.site.url}/kojifiles/packages/hello/1.1/1.sample/noarch/hello-1.1-1.sample.noarch.rpm`],
      }),
    ]);
    expect(packages.map(({ name }) => name)).toEqual(expect.arrayContaining(['bash', 'busybox', 'kernel-core', 'dracut-kiwi-live', 'grub2', 'rpm']));
    expect(packages.find(({ name }) => name === 'bash')).toMatchObject({ from: 'stable', repository: 'sample', stored: false });
    expect(roots).toEqual(expect.arrayContaining(['bash', 'hello', 'dracut-kiwi-live', 'grub2', 'sample-init']));
    expect(roots).not.toContain('sample-libs');
    expect(repositories).toEqual([{ id: 'sample', role: 'stable', revision: expect.stringMatching(/^\d+$/) }]);
    expect(downloadBytes).toBe(packages.reduce((sum, { size }) => sum + size, 0));
    expect(packages.map(({ nevra }) => nevra)).toEqual(packages.map(({ nevra }) => nevra).sort());
  });

  it('brings a requested build into the image although nothing else asks for it', async () => {
    const { requested, packages } = await resolveRequest({ packages: ['@core'], sources: { kojiBuilds: ['hello-1.1-1.sample'] } });
    expect(requested).toEqual(['hello-1.1-1.sample.noarch']);
    expect(packages.map(({ nevra }) => nevra)).not.toContain('hello-1.0-1.sample.noarch');
  });

  it('takes a build that the stable repository has from there', async () => {
    const { packages, requested } = await resolveRequest({ packages: ['@core'], sources: { kojiBuilds: ['hello-1.0-1.sample'] } });
    expect(requested).toEqual(['hello-1.0-1.sample.noarch']);
    expect(packages.find(({ name }) => name === 'hello')).toMatchObject({ from: 'stable', repository: 'sample', stored: false });
  });

  it('takes the stable version where no build is requested, and is satisfied with a build as a dependency', async () => {
    expect((await resolveRequest({ packages: ['greeting'] })).packages.map(({ nevra }) => nevra)).toEqual(
      expect.arrayContaining(['hello-1.0-1.sample.noarch']),
    );
    const { requested } = await resolveRequest({ packages: ['greeting'], sources: { kojiBuilds: ['hello-1.1-1.sample'] } });
    expect(requested).toEqual(['hello-1.1-1.sample.noarch']);
  });

  it.each([
    ['an environment', '@^sample-environment', 'bash'],
    ['a glob', 'greeting*', 'greeting-common'],
    ['name-version', 'hello-1.0', 'hello'],
    ['name.arch', 'greeting.noarch', 'greeting'],
    ['a file', '/usr/bin/hello', 'hello'],
    ['a capability', 'system-release', 'sample-release'],
    ['a capability with a version', 'hello >= 1.0', 'hello'],
  ])('understands %s', async (_, spec, name) => {
    const { packages, roots } = await resolveRequest({ packages: [spec] });
    expect(packages.map((each) => each.name)).toContain(name);
    expect(roots).toContain(name);
  });

  it('leaves out what is excluded from a group', async () => {
    // Nothing in the distribution needs sample-init; only the group names it.
    const one = await resolveRequest({ packages: ['@core'], excludePackages: ['sample-init'] });
    expect(one.packages.map(({ name }) => name)).not.toContain('sample-init');
    expect(one.packages.map(({ name }) => name)).toContain('busybox');
    const all = await resolveRequest({ packages: ['@core', 'greeting'], excludePackages: ['@core'] });
    expect(all.packages.map(({ name }) => name)).not.toContain('sample-init');
    expect(all.roots).toEqual(expect.arrayContaining(['greeting', 'dracut-kiwi-live']));
  });

  it.each<[string, object, Partial<Release>, string, RegExp]>([
    [
      'a misspelt package',
      { packages: ['helo'] },
      {},
      'PACKAGE_UNKNOWN',
      /^Sample Linux for x86_64 has no package, file or capability helo; near to it: hello/,
    ],
    ['a misspelt group', { packages: ['@cor'] }, {}, 'PACKAGE_UNKNOWN', /has no group @cor; near to it: @core/],
    ['an unknown build', { sources: { kojiBuilds: ['hello-9.9-1.sample'] } }, {}, 'KOJI_BUILD_UNKNOWN', /Koji has no build hello-9\.9-1\.sample/],
    ['a failed build', { sources: { kojiBuilds: ['hello-1.2-1.sample'] } }, {}, 'KOJI_BUILD_NOT_COMPLETE', /hello-1\.2-1\.sample has failed/],
    [
      'two builds of one package',
      { sources: { kojiBuilds: ['hello-1.1-1.sample', 'hello-1.0-1.sample'] } },
      {},
      'REQUESTED_BUILD_CONFLICT',
      /both have the package hello/,
    ],
    [
      'a version that a build replaces',
      { packages: ['hello-1.0'], sources: { kojiBuilds: ['hello-1.1-1.sample'] } },
      {},
      'REQUESTED_BUILD_CONFLICT',
      /names hello-1\.0 and the Koji build hello-1\.1-1\.sample/,
    ],
    ['what contradicts itself', { packages: ['hello'], excludePackages: ['hello'] }, {}, 'PACKAGE_UNKNOWN', /hello is named under packages and left out/],
    [
      'what cannot be installed together',
      { packages: ['greeting'], excludePackages: ['greeting-common'] },
      {},
      'DEPENDENCIES_UNSOLVABLE',
      /excludePackages leaves out greeting-common-2\.0/,
    ],
    [
      'a source that is not served yet',
      { packages: ['hello'], sources: { kojiTasks: [1], advisories: ['FEDORA-2026-0123456789'] } },
      {},
      'FEATURE_UNSUPPORTED',
      /sources\.kojiTasks, sources\.advisories/,
    ],
    ['a kickstart', { kickstart: 'lang en_US' }, {}, 'FEATURE_UNSUPPORTED', /kickstart/],
    ['updates-testing where there is none', { packages: ['hello'], sources: { updatesTesting: true } }, {}, 'FEATURE_UNSUPPORTED', /no updates-testing/],
    ['Koji builds where there is no Koji', { sources: { kojiBuilds: [1] } }, { koji: undefined }, 'FEATURE_UNSUPPORTED', /no Koji/],
    ['another architecture', { packages: ['hello'], arch: 'aarch64' }, {}, 'ARCH_UNSUPPORTED', /but for x86_64/],
    ['another kind of image', { packages: ['hello'], imageType: 'dvd' }, {}, 'IMAGE_TYPE_UNSUPPORTED', /no engine for dvd/],
    [
      'an unsigned build of a release that signs',
      { sources: { kojiBuilds: ['hello-1.1-1.sample'] } },
      { unsigned: 'refuse', sigkeys: ['6d9f90a6'] },
      'PACKAGE_UNSIGNED',
      /without a signature/,
    ],
  ])('says what is wrong with %s, and whose it is', async (_, request, changes, code, message) => {
    expect(await refusal(request, changes)).toMatchObject({ code, fault: 'requester', retryable: false, message: expect.stringMatching(message) });
  });

  it('gives libsolv’s own words beside the short ones', async () => {
    const { details } = await refusal({ packages: ['greeting'], excludePackages: ['greeting-common'] });
    expect(details?.join('\n')).toMatch(/greeting-2\.0-1\.sample\.noarch.*requires greeting-common = 2\.0|nothing provides greeting-common = 2\.0/);
  });

  it('tells an unreachable repository or Koji from a missing package', async () => {
    const nowhere = { repositories: [{ id: 'sample', role: 'stable' as const, baseurl: `${sample.site.url}/repo/nowhere/` }] };
    expect(await refusal({ packages: ['hello'] }, nowhere)).toMatchObject({ code: 'REPOSITORY_UNREACHABLE', fault: 'operator', retryable: true });
    const noHub = { koji: { hub: `${sample.site.url}/nohub`, files: `${sample.site.url}/kojifiles` } };
    expect(await refusal({ sources: { kojiBuilds: ['hello-1.1-1.sample'] } }, noHub)).toMatchObject({
      code: 'KOJI_UNREACHABLE',
      fault: 'operator',
      retryable: true,
    });
  });
});

describe('side-repo', () => {
  it('stores every package and makes repositories that hold exactly those', async () => {
    const build = await trial({ packages: ['@core', 'hello'], sources: { kojiBuilds: ['hello-1.1-1.sample'] } });
    const resolved = await build.run<{ resolution: { sha256: string; size: number } }>(resolver as unknown as Stage, {});
    const ready = await build.run<{ repositories: { sha256: string; size: number } }>(sideRepo as unknown as Stage, resolved.data);
    expect(ready).toMatchObject({ type: 'side-repo.ready', data: { arch: 'x86_64', imageType: 'live', engine: 'kiwi', ...resolved.data } });

    const resolution = Resolution.parse(JSON.parse(await readContentText(build.files, resolved.data.resolution)));
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
    const again = await build.run(sideRepo as unknown as Stage, resolved.data);
    expect(again.data).toEqual(ready.data);
    expect(build.lines.join('\n')).toContain('0.0 MB were fetched');
  });

  it('makes both repositories, be one of them empty', async () => {
    const build = await trial({ packages: ['greeting'] });
    const resolved = await build.run<{ resolution: { sha256: string; size: number } }>(resolver as unknown as Stage, {});
    const ready = await build.run<{ repositories: { sha256: string; size: number } }>(sideRepo as unknown as Stage, resolved.data);
    const { repositories } = RepositorySet.parse(JSON.parse(await readContentText(build.files, ready.data.repositories)));
    expect(repositories[1]).toMatchObject({ id: 'side', files: expect.arrayContaining([expect.objectContaining({ path: 'repodata/repomd.xml' })]) });
  });
});
