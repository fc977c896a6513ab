/** The resolver for real: dnf of this machine against the sample distribution's site, with each source that a request can name. */
import { readdirSync, readFileSync } from 'node:fs';
import { load } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { advisoryAliases, kojiTaskIds, sideTag } from '../../examples/sample-distribution/known-names.ts';
import type { Release } from '../../shared/releases/releases.ts';
import type { Resolution } from '../../shared/resolution/resolution.ts';
import { expectGolden } from '../support/golden.ts';
import { type SampleWorld, sampleWorld } from './sample-world.ts';

const examples = new URL('../../examples/', import.meta.url);
let world: SampleWorld;

beforeAll(async () => {
  world = await sampleWorld();
}, 120_000);
afterAll(() => world?.close());

/** The packages of the side repository, each with its source and why. */
const sideOf = ({ packages }: Pick<Resolution, 'packages'>) =>
  packages.filter(({ from }) => from === 'side').map(({ nevra, repository, because }) => [nevra, repository, because]);
const resolveRequest: SampleWorld['resolve'] = (...of) => world.resolve(...of);
const refusal: SampleWorld['refusal'] = (...of) => world.refusal(...of);

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
        sigkey: '5a3b1e00',
        urls: [`${world.sample.site.url}/kojifiles/packages/hello/1.1/1.sample/data/signed/5a3b1e00/noarch/hello-1.1-1.sample.noarch.rpm`],
      }),
    ]);
    expect(packages.map(({ name }) => name)).toEqual(expect.arrayContaining(['bash', 'busybox', 'kernel-core', 'dracut-kiwi-live', 'grub2', 'rpm']));
    expect(packages.find(({ name }) => name === 'bash')).toMatchObject({ from: 'stable', repository: 'sample', stored: false });
    expect(roots).toEqual(expect.arrayContaining(['bash', 'hello', 'dracut-kiwi-live', 'grub2', 'sample-init']));
    expect(roots).not.toContain('sample-libs');
    expect(repositories).toEqual(
      [
        ['sample', 'stable'],
        ['sample-updates', 'updates'],
      ].map(([id, role]) => ({ id, role, revision: expect.stringMatching(/^\d+$/), sha256: expect.stringMatching(/^[0-9a-f]{64}$/) })),
    );
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

  it('takes updates from there, unless they are turned off', async () => {
    const on = (await resolveRequest({ packages: ['sample-notes'] })).packages.find(({ name }) => name === 'sample-notes');
    expect(on).toMatchObject({
      version: '1.1',
      from: 'stable',
      repository: 'sample-updates',
      because: 'The updates repository sample-updates has exactly this package.',
    });
    const off = (await resolveRequest({ packages: ['sample-notes'], sources: { updates: false } })).packages.find(({ name }) => name === 'sample-notes');
    expect(off).toMatchObject({ version: '1.0', from: 'stable', repository: 'sample' });
  });

  it('takes what updates-testing has newer where that is turned on, by way of a metalink whose first mirror is broken', async () => {
    const build = await world.trial({ packages: ['hello', 'sample-needs-testing'], sources: { updatesTesting: true } });
    const { packages, repositories } = await build.resolve();
    expect(sideOf({ packages })).toEqual([
      ['hello-1.1-1.sample.noarch', 'sample-updates-testing', 'It is in sample-updates-testing, which the request turned on.'],
      ['sample-tested-1.0-1.sample.noarch', 'sample-updates-testing', 'It is in sample-updates-testing, which the request turned on.'],
    ]);
    expect(repositories.map(({ role }) => role)).toEqual(['stable', 'updates', 'updates-testing']);
    // All mirrors of the metalink may serve the package; the one that answered comes first.
    const site = world.sample.site.url;
    expect(packages.find(({ name }) => name === 'hello')?.urls).toEqual(
      ['updates-testing', 'broken-mirror/updates-testing'].map((folder) => `${site}/${folder}/x86_64/Packages/h/hello-1.1-1.sample.noarch.rpm`),
    );
  });

  it('takes an advisory as its builds, whether they are in a repository yet or not', async () => {
    const testing = await resolveRequest({ sources: { advisories: [advisoryAliases.testing] } });
    expect(sideOf(testing)).toEqual([['hello-1.1-1.sample.noarch', 'koji', `The advisory ${advisoryAliases.testing} has it (Koji build hello-1.1-1.sample).`]]);
    const both = await resolveRequest({ sources: { advisories: [advisoryAliases.fromSideTag] } });
    expect(sideOf(both).map(([nevra]) => nevra)).toEqual(['sample-app-2.0-1.sample.x86_64', 'sample-lib-2.0-1.sample.x86_64']);
    expect(both.requested).toEqual(['sample-app-2.0-1.sample.x86_64', 'sample-lib-2.0-1.sample.x86_64']);
    const pending = await resolveRequest({ sources: { advisories: [advisoryAliases.pending] } });
    expect(sideOf(pending).map(([nevra]) => nevra)).toEqual(['sample-tools-1.3-1.sample.noarch']);
  });

  it('takes a stable advisory from the repositories, which have it', async () => {
    const { packages, requested } = await resolveRequest({ sources: { advisories: [advisoryAliases.stable] } });
    expect(requested).toEqual(['sample-notes-1.1-1.sample.noarch', 'sample-tools-1.2-1.sample.noarch']);
    expect(sideOf({ packages })).toEqual([]);
  });

  it('takes from a side tag what the image needs, both builds of it where one needs the other', async () => {
    const { packages, requested, warnings } = await resolveRequest({ packages: ['sample-app'], sources: { kojiTags: [sideTag] } });
    expect(sideOf({ packages })).toEqual([
      ['sample-app-2.0-1.sample.x86_64', 'koji', `The Koji tag ${sideTag} holds it (build sample-app-2.0-1.sample).`],
      ['sample-lib-2.0-1.sample.x86_64', 'koji', `The Koji tag ${sideTag} holds it (build sample-lib-2.0-1.sample).`],
    ]);
    expect({ requested, warnings }).toEqual({ requested: sideOf({ packages }).map(([nevra]) => nevra), warnings: [] });
  });

  it('says so where nothing of a tag is in the image', async () => {
    const { packages, warnings } = await resolveRequest({ packages: ['hello'], sources: { kojiTags: [sideTag] } });
    expect(sideOf({ packages })).toEqual([]);
    expect(warnings).toEqual([expect.stringMatching(`^nothing of the Koji tag ${sideTag} is in the image: name some of its packages`)]);
  });

  it('takes what a scratch task left, and the build that another task made', async () => {
    const scratch = await resolveRequest({ sources: { kojiTasks: [kojiTaskIds.scratch] } });
    expect(sideOf(scratch)).toEqual([['hello-1.5-0.scratch.noarch', 'koji', `The request names the Koji task ${kojiTaskIds.scratch}, which left it.`]]);
    expect(scratch.packages.find(({ name }) => name === 'hello')).toMatchObject({
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      stored: true,
      urls: [expect.stringMatching(/\/kojifiles\/work\/tasks\//)],
    });
    const built = await resolveRequest({ sources: { kojiTasks: [kojiTaskIds.ofBuild] } });
    expect(sideOf(built)).toEqual([
      ['hello-1.1-1.sample.noarch', 'koji', `The request names the Koji task ${kojiTaskIds.ofBuild}, which made the build hello-1.1-1.sample.`],
    ]);
  });

  it('takes what another repository has newer, and nothing of one that is not named', async () => {
    const repositories = [{ name: 'copr', baseurl: `${world.sample.site.url}/copr/x86_64/` }];
    const { packages } = await resolveRequest({ packages: ['hello', 'sample-extra'], sources: { repositories } });
    expect(sideOf({ packages })).toEqual([
      ['hello-3.0-1.sample.noarch', 'copr', 'It is in the repository copr that the request names.'],
      ['sample-extra-1.0-1.sample.noarch', 'copr', 'It is in the repository copr that the request names.'],
    ]);
    expect(await refusal({ packages: ['sample-extra'] })).toMatchObject({ code: 'PACKAGE_UNKNOWN' });
  });

  it('leaves debug information out unless it is asked for, and takes a package with a version of its own', async () => {
    const native = await resolveRequest({ sources: { kojiBuilds: ['sample-native-1.0-1.sample'] } });
    expect(sideOf(native).map(([nevra]) => nevra)).toEqual(['sample-native-1.0-1.sample.x86_64']);
    const debug = await resolveRequest({
      packages: ['sample-native', 'sample-native-debuginfo'],
      sources: { kojiBuilds: ['sample-native-1.0-1.sample'], debuginfo: true },
    });
    expect(sideOf(debug).map(([nevra]) => nevra)).toEqual(['sample-native-1.0-1.sample.x86_64', 'sample-native-debuginfo-1.0-1.sample.x86_64']);
    const split = await resolveRequest({ packages: ['sample-split-data'], sources: { kojiBuilds: ['sample-split-3.0-1.sample'] } });
    // Who names one package of a build gets that one.
    expect(sideOf(split).map(([nevra]) => nevra)).toEqual(['sample-split-data-1:20260101-1.sample.noarch']);
    const main = await resolveRequest({ sources: { kojiBuilds: ['sample-split-3.0-1.sample'] } });
    expect(sideOf(main).map(([nevra]) => nevra)).toEqual(['sample-split-1:3.0-1.sample.noarch']);
  });

  // What the requester gets to read, in a file of its own: that is what this service is for.
  it('says what is wrong, whose it is and what to do, for everything that a requester can get wrong', async () => {
    const build = (...kojiBuilds: (string | number)[]) => ({ sources: { kojiBuilds } });
    const advisory = (alias: string) => ({ sources: { advisories: [alias] } });
    const task = (id: number) => ({ sources: { kojiTasks: [id] } });
    const signed: Partial<Release> = { unsigned: 'refuse', sigkeys: ['6d9f90a6'] };
    const cases: readonly (readonly [what: string, request: object, changes?: Partial<Release>])[] = [
      ['a misspelt package', { packages: ['helo'] }],
      ['several misspelt packages', { packages: ['helo', 'sample-note', 'zzzzzzzz'] }],
      ['a misspelt group', { packages: ['@cor'] }],
      ['a package that is in updates-testing', { packages: ['sample-tested'] }],
      ['a package that needs one in updates-testing', { packages: ['sample-needs-testing'] }],
      ['a package that only updates have, which are off', { packages: ['sample-notes-1.1'], sources: { updates: false } }],
      ['a package that only Koji has', { packages: ['sample-native'] }],
      ['a package that needs what nobody has', { packages: ['sample-broken-needs'] }],
      ['a chain of needs that ends with nobody', { packages: ['sample-chain-a'] }],
      ['two packages that exclude each other', { packages: ['sample-left', 'sample-right'] }],
      ['half of a side tag', build('sample-lib-2.0-1.sample', 'sample-app-1.0-1.sample')],
      ['a build that takes away what a named package needs', { packages: ['sample-app-1.0'], ...build('sample-lib-2.0-1.sample') }],
      ['what is named and left out', { packages: ['hello'], excludePackages: ['hello'] }],
      ['what a named package needs, left out', { packages: ['greeting'], excludePackages: ['greeting-common'] }],
      ['an unknown build', build('hello-9.9-1.sample')],
      ['an unknown build id', build(999_999)],
      ['a failed build', build('hello-1.2-1.sample')],
      ['a build that still runs', build('hello-1.3-1.sample')],
      ['a canceled build', build('hello-1.4-1.sample')],
      ['a deleted build', build('hello-0.8-1.sample')],
      ['a build of another release', build('hello-0.9-1.other')],
      ['a build for other architectures', build('sample-arm-1.0-1.sample')],
      ['two builds of one package', build('hello-1.1-1.sample', 'hello-1.0-1.sample')],
      ['a version that a build replaces', { packages: ['hello-1.0'], ...build('hello-1.1-1.sample') }],
      ['an unsigned build of a release that signs', build('hello-1.1-1.sample'), signed],
      ['a scratch task of a release that signs', task(kojiTaskIds.scratch), signed],
      ['an unknown task', task(1)],
      ['a failed task', task(kojiTaskIds.scratchFailed)],
      ['a task that still runs', task(kojiTaskIds.scratchOpen)],
      ['a task for other architectures', task(kojiTaskIds.scratchForeignArch)],
      ['an unknown tag', { sources: { kojiTags: ['sample-build-side-7'] } }],
      ['an unknown advisory', advisory('FEDORA-2026-0123456789')],
      ['an obsolete advisory', advisory(advisoryAliases.obsolete)],
      ['an unpushed advisory', advisory(advisoryAliases.unpushed)],
      ['a locked advisory', advisory(advisoryAliases.locked)],
      ['an advisory of another release', advisory(advisoryAliases.otherRelease)],
      ['a repository that is none', { packages: ['hello'], sources: { repositories: [{ name: 'mine', baseurl: `${world.sample.site.url}/none/` }] } }],
      ['a repository on this host', { packages: ['hello'], sources: { repositories: [{ name: 'mine', baseurl: 'http://127.0.0.1:1/x/' }] } }],
      ['a kickstart with mistakes', { kickstart: 'langg en_US\n%packages\nhello world\n%end\n' }],
      ['a kickstart with a package that does not exist', { kickstart: '%packages --nocore\nhello\nhellow\n%end\n' }],
      ['a kickstart that includes a file of the host', { kickstart: '%include /etc/passwd\n' }],
      ['a kickstart that includes a page of this host', { kickstart: '%include https://127.0.0.1:1/x.ks\n' }],
      ['a kickstart with a repository on this host', { kickstart: 'repo --name=mine --baseurl=http://127.0.0.1:1/x/\n%packages --nocore\nhello\n%end\n' }],
      ['a kickstart with a script', { kickstart: '%post\ntrue\n%end\n' }],
      ['a kickstart with what the engine has no words for', { kickstart: 'firewall --enabled\nautopart\n' }],
      [
        'updates-testing where there is none',
        { packages: ['hello'], sources: { updatesTesting: true } },
        { repositories: world.sample.release.repositories.slice(0, 2) },
      ],
      ['Koji builds where there is no Koji', build(1), { koji: undefined }],
      ['advisories where there is no Bodhi', advisory(advisoryAliases.testing), { bodhi: undefined }],
      ['another architecture', { packages: ['hello'], arch: 'aarch64' }],
      ['another kind of image', { packages: ['hello'], imageType: 'dvd' }, { engines: { live: 'kiwi' } }],
      ['a release whose life is over', { packages: ['hello'] }, { eol: '2026-01-01' }],
    ];
    const texts: string[] = [];
    for (const [what, request, changes] of cases) {
      const failure = await refusal(request, changes);
      const { code, fault, retryable, message, details = [] } = failure;
      texts.push([`# ${what}`, `${code} (${fault}${retryable ? ', worth a retry' : ''})`, message, ...details.map((line) => `    ${line}`)].join('\n'));
    }
    expectGolden(
      'test/golden/resolver-refusals.txt',
      `${texts
        .join('\n\n')
        .replaceAll(world.sample.site.url, 'http://SITE')
        .replaceAll(/127\.0\.0\.1:\d{4,}/g, 'SITE')}\n`,
    );
  });

  it.each(readdirSync(examples).filter((name) => name.endsWith('.yaml')))('resolves examples/%s, with something in the side repository', async (name) => {
    const resolution = await resolveRequest(load(readFileSync(new URL(name, examples), 'utf8')) as object);
    expect(sideOf(resolution).length).toBeGreaterThan(0);
    expect(resolution.warnings).toEqual([]);
  });

  it('gives libsolv’s own words beside the short ones', async () => {
    const { details } = await refusal({ packages: ['greeting'], excludePackages: ['greeting-common'] });
    expect(details?.join('\n')).toMatch(/greeting-2\.0-1\.sample\.noarch.*requires greeting-common = 2\.0|nothing provides greeting-common = 2\.0/);
  });

  it('tells an unreachable repository or Koji from a missing package', async () => {
    const nowhere = { repositories: [{ id: 'sample', role: 'stable' as const, baseurl: `${world.sample.site.url}/repo/nowhere/` }] };
    expect(await refusal({ packages: ['hello'] }, nowhere)).toMatchObject({ code: 'REPOSITORY_ABSENT', fault: 'operator', retryable: true });
    const nobody = { repositories: [{ id: 'sample', role: 'stable' as const, metalink: `${world.sample.site.url}/metalink?repo=none&arch=x86_64` }] };
    expect(await refusal({ packages: ['hello'] }, nobody)).toMatchObject({ code: 'REPOSITORY_UNREACHABLE', fault: 'operator', retryable: true });
    const noHub = { koji: { hub: `${world.sample.site.url}/nohub`, files: `${world.sample.site.url}/kojifiles` } };
    expect(await refusal({ sources: { kojiBuilds: ['hello-1.1-1.sample'] } }, noHub)).toMatchObject({
      code: 'KOJI_UNREACHABLE',
      fault: 'operator',
      retryable: true,
    });
  });
});
