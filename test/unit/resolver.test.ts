/** The resolver on the simulated distribution: what it asks, what it stores, and what it makes of a solver, a mirror or a Koji that answer oddly. */
import { describe, expect, it } from 'vitest';
import { resolver } from '../../services/resolver/service.ts';
import type { SimulatedRoutes } from '../../shared/egress/simulated.ts';
import type { BuildRequested } from '../../shared/events/catalog.ts';
import { readContentText } from '../../shared/files/content.ts';
import type { FileRef } from '../../shared/files/content-ref.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import { encodeResponse } from '../../shared/koji/xml-rpc.ts';
import { Resolution } from '../../shared/resolution/resolution.ts';
import type { SolvedPackage, SolverAnswer, SolverRequest } from '../../shared/solver/solver.ts';
import type { EventOf } from '../../shared/stage/stage.ts';
import { rpmFile } from '../support/rpm-file.ts';
import { mirrors, solveByName } from '../support/simulated-fedora.ts';
import { type StageWorld, type StageWorldOptions, stageWorld } from '../support/stage-context.ts';

const event = { data: { release: 'simulated', arch: 'x86_64', imageType: 'live' } } as EventOf<typeof BuildRequested>;
const withBuild = (...kojiBuilds: readonly (string | number)[]) => ({ packages: ['bash', 'hello'], sources: { kojiBuilds } });

async function resolve(options: StageWorldOptions = {}): Promise<Resolution & { readonly world: StageWorld }> {
  const world = await stageWorld(options);
  const emitted = [await resolver({ solver: world.solver }).handle(event, world.context)].flat()[0] as { readonly data: { readonly resolution: FileRef } };
  return { ...Resolution.parse(JSON.parse(await readContentText(world.files, emitted.data.resolution))), world };
}

type Solved = Extract<SolverAnswer, { outcome: 'solved' }>;
/** A solver that answers as the simulated one, then changed. */
const solver =
  (change: (answer: Solved) => SolverAnswer): NonNullable<StageWorldOptions['solve']> =>
  (request) =>
    change(solveByName(request) as Solved);
/** The kernel, which is always there. */
const firstPackage = (change: Partial<SolvedPackage>) =>
  solver((answer) => ({ ...answer, packages: answer.packages.map((each) => (each.name === 'kernel-core' ? { ...each, ...change } : each)) }));

describe('resolver', () => {
  it('solves what a kickstart names along with the request, and keeps its text with everything that it includes', async () => {
    let asked: SolverRequest | undefined;
    const solve: NonNullable<StageWorldOptions['solve']> = (request) => {
      asked = request;
      return solveByName(request);
    };
    const pages: Readonly<Record<string, string>> = {
      'https://ks.example/main.ks': '%include https://ks.example/more.ks\nrepo --name=mine --baseurl=https://mirror.example/mine/\n',
      'https://ks.example/more.ks': 'lang de_DE.UTF-8\n%packages --nocore\nbash\n-nano\n%end\n',
    };
    const routes: SimulatedRoutes = ({ url }) => (pages[url.href] === undefined ? undefined : { body: pages[url.href] as string });
    const { kickstart, world } = await resolve({ solve, routes, request: { packages: ['hello'], kickstart: 'https://ks.example/main.ks' } });
    expect(asked).toMatchObject({ install: ['hello', 'bash'], exclude: ['nano'], further: [{ id: 'own:mine', baseurl: 'https://mirror.example/mine/' }] });
    expect(await readContentText(world.files, kickstart as FileRef)).toBe(
      'lang de_DE.UTF-8\n%packages --nocore\nbash\n-nano\n%end\nrepo --name=mine --baseurl=https://mirror.example/mine/\n',
    );
  });

  it('solves what a profile of fedora-kiwi-descriptions installs along, where KIWI takes one', async () => {
    const asked: SolverRequest[] = [];
    const solve: NonNullable<StageWorldOptions['solve']> = (request) => {
      asked.push(request);
      return solveByName(request);
    };
    const kiwi = { description: '/srv/descriptions', file: 'Fedora.kiwi', profiles: { live: 'Workstation-Live' }, packages: ['bash'] };
    const request = { packages: ['hello'] };
    await resolve({ solve, request, release: { kiwi } });
    await resolve({ solve, request, release: { kiwi: { ...kiwi, profiles: {} } } });
    await resolve({ solve, request: { ...request, engine: 'native' }, release: { kiwi } });
    expect(asked.map(({ install }) => install)).toEqual([['hello', 'bash'], ['hello'], ['hello']]);
  });

  it('refuses scripts that a kickstart only includes, unless they are permitted', async () => {
    const routes: SimulatedRoutes = ({ url }) => (url.href === 'https://ks.example/evil.ks' ? { body: '%post\ntrue\n%end\n' } : undefined);
    const request = { packages: ['hello'], kickstart: '%include https://ks.example/evil.ks\n', engine: 'livemedia-creator' };
    await expect(resolve({ routes, request })).rejects.toMatchObject({ code: 'UNTRUSTED_CODE_REFUSED' });
    expect((await resolve({ routes, request, untrustedCode: { kickstartScripts: true, rpms: false } })).kickstart).toBeDefined();
  });

  it('asks the solver for exactly what the request says', async () => {
    let asked: SolverRequest | undefined;
    const solve: NonNullable<StageWorldOptions['solve']> = (request) => {
      asked = request;
      return solveByName(request);
    };
    const repositories = [
      { id: 'base', role: 'stable' as const, metalink: 'https://mirror.example/metalink?repo=f-$releasever&arch=$basearch' },
      { id: 'new', role: 'updates' as const, mirrorlist: 'https://mirror.example/$releasever' },
      { id: 'test', role: 'updates-testing' as const, baseurl: 'https://mirror.example/test/' },
    ];
    await resolve({ solve, request: { ...withBuild('hello-1.1-1'), excludePackages: ['nano'] }, release: { repositories, releasever: '44' } });
    expect(asked).toMatchObject({
      collection: {
        arch: 'x86_64',
        releasever: '44',
        repositories: [
          { id: 'base', metalink: 'https://mirror.example/metalink?repo=f-44&arch=x86_64' },
          { id: 'new', mirrorlist: 'https://mirror.example/44' },
          { id: 'test', baseurl: 'https://mirror.example/test/' },
        ],
      },
      enabled: ['base', 'new'],
      further: [],
      install: ['bash', 'hello'],
      exclude: ['nano'],
      sets: [
        {
          label: 'hello-1.1-1',
          rule: 'in-image',
          main: ['hello'],
          packages: [{ name: 'hello', epoch: 0, version: '1.1', release: '1', arch: 'noarch', header: '/workspaces/test-1/headers/hello-1.1-1.noarch.rpm' }],
        },
      ],
      engine: { needed: expect.arrayContaining(['dracut-kiwi-live', 'kernel-core']) },
    });
    const own = [{ name: 'mine', baseurl: 'https://mine.example/' }];
    await resolve({ solve, request: { sources: { updates: false, updatesTesting: true, repositories: own } }, release: { repositories } });
    expect(asked).toMatchObject({ enabled: ['base', 'test'], further: [{ id: 'own:mine', baseurl: 'https://mine.example/' }] });
  });

  it('asks for the permission again before it takes uploads, and refuses them where there are none', async () => {
    const request = { packages: ['bash'], sources: { rpms: ['01a20273-7e0d-7625-bdbd-8a0f9df4dce6'] } };
    await expect(resolve({ request })).rejects.toMatchObject({ code: 'UNTRUSTED_CODE_REFUSED', message: expect.stringContaining('SPINDLE_UNTRUSTED_CODE') });
    await expect(resolve({ request, untrustedCode: { kickstartScripts: false, rpms: true } })).rejects.toMatchObject({
      code: 'FEATURE_UNSUPPORTED',
      message: expect.stringContaining('only a running service has uploaded RPMs'),
    });
  });

  it('stores a requested build, and names mirrors for the rest', async () => {
    const { packages, requested, world } = await resolve({ request: withBuild('hello-1.1-1', 11) });
    expect(requested).toEqual(['hello-1.1-1.noarch']);
    const [bash, hello] = packages;
    expect(bash).toMatchObject({
      nevra: 'bash-5.2-1.x86_64',
      from: 'stable',
      stored: false,
      urls: mirrors.map((mirror) => `${mirror}Packages/bash-5.2-1.x86_64.rpm`),
    });
    expect(hello).toMatchObject({ nevra: 'hello-1.1-1.noarch', from: 'side', stored: true, sigkey: null });
    expect(await world.files.stat(contentKey(hello?.sha256 ?? ''))).toBeDefined();
    expect(world.urls.filter((url) => url.includes('debuginfo') || url.includes('.src.'))).toEqual([]);
    expect(world.workspaces.living().flatMap((path) => world.workspaces.listBelow(`${path}/downloads`))).toEqual([]);
  });

  it('takes debuginfo along where it is asked for', async () => {
    const { world } = await resolve({ request: { sources: { kojiBuilds: [11], debuginfo: true } } });
    expect(world.urls.filter((url) => url.includes('debuginfo'))).toHaveLength(1);
  });

  it('takes updates-testing to the side repository', async () => {
    const repositories = [{ id: 'simulated', role: 'updates-testing' as const, baseurl: mirrors[0] }];
    const { packages } = await resolve({ release: { repositories }, request: { sources: { updatesTesting: true } } });
    expect(packages[0]).toMatchObject({ from: 'side', repository: 'simulated', because: 'It is in simulated, which the request turned on.' });
  });

  it('uses a pinned resolution again, and asks nobody', async () => {
    const first = await stageWorld();
    const emitted = [await resolver({ solver: first.solver }).handle(event, first.context)].flat()[0] as { readonly data: { readonly resolution: FileRef } };
    const solve = () => {
      throw new Error('was asked');
    };
    const second = await stageWorld({ solve });
    await second.files.put(contentKey(emitted.data.resolution.sha256), first.files.peek(contentKey(emitted.data.resolution.sha256)) ?? '');
    expect(await resolver({ solver: second.solver }).handle(event, { ...second.context, pinnedResolution: emitted.data.resolution })).toEqual(emitted);
    expect(second.urls).toEqual([]);
  });

  it('prefers signed copies with the keys of the release, and falls back where the release allows it', async () => {
    const signed = rpmFile({ name: 'hello', epoch: 0, version: '1.1', release: '1', arch: 'noarch' }, { signature: 'signed' });
    const routes: SimulatedRoutes = ({ url, body = '' }) => {
      if (body.includes('queryRPMSigs')) {
        return { headers: { 'content-type': 'text/xml' }, body: encodeResponse([[[{ rpm_id: 1100, sigkey: '6d9f90a6', sighash: 'a' }]]]) };
      }
      return url.pathname.includes('/data/signed/6d9f90a6/') ? { body: signed.bytes } : undefined;
    };
    const withKey = { sigkeys: ['6d9f90a6'] };
    const { packages, world } = await resolve({
      request: withBuild(11),
      release: withKey,
      routes,
    });
    expect(packages.find(({ name }) => name === 'hello')).toMatchObject({
      sigkey: '6d9f90a6',
      sha256: signed.sha256,
      urls: [expect.stringContaining('/data/signed/6d9f90a6/noarch/')],
    });
    // Once its start, once the whole.
    expect(world.urls.filter((url) => url.endsWith('.rpm'))).toHaveLength(2);
    await expect(resolve({ request: withBuild(11), release: { ...withKey, unsigned: 'refuse' } })).rejects.toMatchObject({ code: 'PACKAGE_UNSIGNED' });
    expect((await resolve({ request: withBuild(11), release: withKey })).packages.find(({ name }) => name === 'hello')).toMatchObject({ sigkey: null });
  });
});

describe('the requester hears', () => {
  it.each<[string, object, string, RegExp]>([
    ['of unknown builds, all of them', withBuild('nothing-1-1', 99, 'hello-1.1-1'), 'KOJI_BUILD_UNKNOWN', /nothing-1-1, 99 \(a build id\);/],
    ['of a failed build', withBuild(12), 'KOJI_BUILD_NOT_COMPLETE', /hello-1\.2-1 has failed/],
    ['of a build for other machines', withBuild('elsewhere-1-1'), 'KOJI_BUILD_NO_RPMS', /no RPM for x86_64: it has some for s390x/],
    ['of several unknown packages', { packages: ['bsh', 'helo'] }, 'PACKAGE_UNKNOWN', /bsh; near to it: bash \(and 1 more, see the details\)/],
  ])('%s', async (_, request, code, message) => {
    await expect(resolve({ request })).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('that an engine lacks its packages, not that they named something wrong', async () => {
    const solve = solver(() => ({
      outcome: 'missing',
      missing: [{ spec: 'dracut-kiwi-live', reason: 'unknown', askedBy: 'engine', set: null, elsewhere: [] }],
    }));
    await expect(resolve({ solve })).rejects.toMatchObject({ code: 'ENGINE_UNSUPPORTED', message: expect.stringContaining('needs dracut-kiwi-live') });
  });
});

describe('what is ill outside', () => {
  it.each<[string, StageWorldOptions, string, RegExp]>([
    ['metadata that climbs out', { solve: firstPackage({ location: '../../etc/passwd' }) }, 'REMOTE_REFUSED', /outside of itself/],
    ['metadata that climbs out in escapes', { solve: firstPackage({ location: 'a/%2e%2e/%2E./%2e%2e/x' }) }, 'REMOTE_REFUSED', /outside of itself/],
    ['metadata that points elsewhere', { solve: firstPackage({ location: 'https://evil.example/x.rpm' }) }, 'REMOTE_REFUSED', /outside of itself/],
    ['metadata that points to a file', { solve: firstPackage({ base: 'file:///etc', location: 'passwd' }) }, 'REMOTE_REFUSED', /outside of itself/],
    ['metadata with a name that climbs', { solve: firstPackage({ name: '../../hello' }) }, 'PACKAGE_MISMATCH', /no RPM can be called/],
    ['metadata with a version that climbs', { solve: firstPackage({ version: '1/../..' }) }, 'PACKAGE_MISMATCH', /no RPM can be called/],
    ['metadata with weak digests', { solve: firstPackage({ digestKind: 'sha1', digest: 'a'.repeat(40) }) }, 'REPOSITORY_METADATA_REFUSED', /sha1/],
    [
      'Koji behind a bot wall',
      { request: withBuild(11), routes: ({ url }) => (url.host === 'koji.example' ? { headers: { 'content-type': 'text/html' }, body: '<html>' } : undefined) },
      'KOJI_UNREACHABLE',
      /text\/html/,
    ],
    [
      'a file that Koji lost',
      { request: withBuild(11), routes: ({ url }) => (url.pathname.endsWith('.rpm') ? { status: 404 } : undefined) },
      'PACKAGE_UNREACHABLE',
      /status 404/,
    ],
    [
      'a file with another payload',
      { request: withBuild(11), routes: otherRpm({ payload: 'the payload of hellp' }) },
      'PACKAGE_DIGEST_MISMATCH',
      /payload hash/,
    ],
    ['a file of another size', { request: withBuild(11), routes: otherRpm({ payload: 'short' }) }, 'PACKAGE_DIGEST_MISMATCH', /bytes instead of/],
    ['a larger file', { request: withBuild(11), routes: otherRpm({ payload: 'x'.repeat(1000) }) }, 'PACKAGE_DIGEST_MISMATCH', /more than/],
  ])('%s', async (_, options, code, message) => {
    await expect(resolve(options)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('and a cancel ends the work with its reason', async () => {
    const ending = new AbortController();
    const reason = new Error('canceled');
    const solve = (_request: SolverRequest, signal: AbortSignal) =>
      new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        ending.abort(reason);
      });
    await expect(resolve({ signal: ending.signal, solve })).rejects.toBe(reason);
  });
});

function otherRpm(options: { readonly payload: string }): SimulatedRoutes {
  return ({ url }) =>
    url.pathname.endsWith('.rpm') ? { body: rpmFile({ name: 'hello', epoch: 0, version: '1.1', release: '1', arch: 'noarch' }, options).bytes } : undefined;
}
