/** What every adapter of the solver port promises, as one suite, on small repositories of our own. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseNevra } from '../../shared/fedora/nvr.ts';
import type { LoosePackage, LooseSet, RepositoryCollection, Solver, SolverAnswer, SolverRequest } from '../../shared/solver/solver.ts';
import { type MetadataPackage, writeMetadataRepository } from '../support/metadata-repository.ts';
import { type RpmFileOptions, rpmFile } from '../support/rpm-file.ts';
import { type TempDirectory, tempDirectory } from '../support/temp-directory.ts';

const stable: readonly MetadataPackage[] = [
  { nevra: 'bash-5.2-1.x86_64', summary: 'The shell', files: ['/usr/bin/bash'] },
  { nevra: 'hello-1.0-1.noarch', summary: 'Says hello', requires: ['bash'] },
  { nevra: 'kernel-core-6.1-1.x86_64' },
  { nevra: 'lib-1.0-1.x86_64', provides: ['liblib.so.1'] },
  { nevra: 'app-1.0-1.x86_64', requires: ['liblib.so.1'] },
  { nevra: 'left-1-1.noarch', conflicts: ['right'] },
  { nevra: 'right-1-1.noarch' },
  { nevra: 'broken-1-1.noarch', requires: ['nothing-has-this'] },
  { nevra: 'needs-testing-1-1.noarch', requires: ['only-in-testing'] },
  { nevra: 'twice-1-1.noarch' },
];
const updates: readonly MetadataPackage[] = [{ nevra: 'twice-2-1.noarch', summary: 'Newer' }];
const testing: readonly MetadataPackage[] = [
  { nevra: 'twice-3-1.noarch' },
  { nevra: 'tested-1-1.noarch', provides: ['only-in-testing'] },
  { nevra: 'hello-1.1-1.noarch', requires: ['bash'] },
];
const further: readonly MetadataPackage[] = [{ nevra: 'extra-1-1.noarch', requires: ['hello'] }, { nevra: 'bash-9-1.x86_64' }];

export interface SolverUnderTest {
  readonly solver: Solver;
  /** Kills the process that answers for the collection, where there is one. */
  readonly kill: () => Promise<void>;
  readonly close: () => Promise<void>;
}

type Solved = Extract<SolverAnswer, { outcome: 'solved' }>;

export function solverContract(name: string, make: (directory: string) => Promise<SolverUnderTest>): void {
  describe(`solver: ${name}`, () => {
    let directory: TempDirectory;
    let under: SolverUnderTest;
    let collection: RepositoryCollection;
    const url = (id: string) => pathToFileURL(join(directory.path, id)).href;
    const never = new AbortController().signal;

    beforeAll(async () => {
      directory = await tempDirectory();
      await writeMetadataRepository(join(directory.path, 'stable'), {
        packages: stable,
        groups: { core: ['bash', 'not-there'], tools: ['hello'], '^all': ['core', 'tools'] },
      });
      await writeMetadataRepository(join(directory.path, 'updates'), { packages: updates });
      await writeMetadataRepository(join(directory.path, 'testing'), {
        packages: testing,
        advisories: { 'FEDORA-2026-0000000001': ['tested-1-1.noarch', 'hello-1.1-1.noarch'] },
      });
      await writeMetadataRepository(join(directory.path, 'further'), { packages: further, groups: { extras: ['extra'] } });
      under = await make(directory.path);
      collection = {
        arch: 'x86_64',
        releasever: '44',
        repositories: [
          { id: 'stable', role: 'stable', baseurl: url('stable') },
          { id: 'updates', role: 'updates', baseurl: url('updates') },
          { id: 'testing', role: 'updates-testing', baseurl: url('testing') },
        ],
      };
    }, 60_000);
    afterAll(async () => {
      await under?.close();
      await directory?.remove();
    });

    const solve = (request: Partial<SolverRequest>, signal: AbortSignal = never) =>
      under.solver.solve(
        { collection, enabled: ['stable', 'updates'], further: [], install: [], exclude: [], engine: { needed: [], ifKnown: [] }, sets: [], ...request },
        { signal },
      );
    const nevras = (answer: SolverAnswer): readonly string[] => {
      expect(answer).toMatchObject({ outcome: 'solved' });
      return (answer as Solved).packages.map((each) => `${each.repository}: ${each.name}-${each.version}-${each.release}.${each.arch}`).sort();
    };
    let headers = 0;
    const loose = async (nevra: string, options: RpmFileOptions = {}): Promise<LoosePackage> => {
      const parsed = parseNevra(nevra);
      if (!parsed) throw new Error(nevra);
      headers += 1;
      const header = join(directory.path, 'headers', String(headers), 'header.rpm');
      await mkdir(join(header, '..'), { recursive: true });
      await writeFile(header, rpmFile(parsed, options).bytes);
      return { ...parsed, header };
    };
    const set = (label: string, rule: LooseSet['rule'], packages: readonly LoosePackage[]): LooseSet => ({
      label,
      rule,
      packages,
      main: packages.slice(0, 1).map((each) => each.name),
    });

    it('takes packages with what they need, and says where from', async () => {
      const answer = await solve({ install: ['hello'] });
      expect(nevras(answer)).toEqual(['stable: bash-5.2-1.x86_64', 'stable: hello-1.0-1.noarch']);
      expect((answer as Solved).roots).toEqual(['hello']);
      expect((answer as Solved).packages.find((each) => each.name === 'hello')).toMatchObject({
        epoch: 0,
        digestKind: 'sha256',
        digest: expect.stringMatching(/^[0-9a-f]{64}$/),
        size: 1000,
        installedSize: 2000,
        location: 'Packages/hello-1.0-1.noarch.rpm',
        base: null,
        set: null,
      });
      expect(answer.repositories).toEqual([
        { id: 'stable', revision: '1', digest: expect.stringMatching(/^[0-9a-f]{64}$/), mirrors: ['https://mirror.example/stable/'] },
        expect.objectContaining({ id: 'updates' }),
      ]);
    });

    it.each([
      ['a group', ['@core'], ['stable: bash-5.2-1.x86_64']],
      ['an environment', ['@^all'], ['stable: bash-5.2-1.x86_64', 'stable: hello-1.0-1.noarch']],
      ['a glob', ['hel*'], ['stable: bash-5.2-1.x86_64', 'stable: hello-1.0-1.noarch']],
      ['name-version', ['hello-1.0'], ['stable: bash-5.2-1.x86_64', 'stable: hello-1.0-1.noarch']],
      ['name.arch', ['bash.x86_64'], ['stable: bash-5.2-1.x86_64']],
      ['a file', ['/usr/bin/bash'], ['stable: bash-5.2-1.x86_64']],
      ['a capability', ['liblib.so.1'], ['stable: lib-1.0-1.x86_64']],
      ['the newest of several repositories', ['twice'], ['updates: twice-2-1.noarch']],
      ['an older version by its number', ['twice-1'], ['stable: twice-1-1.noarch']],
    ])('finds %s', async (_, install, found) => {
      expect(nevras(await solve({ install }))).toEqual(found);
    });

    it('tells of named groups and environments which of their packages were chosen', async () => {
      const answer = (await solve({ install: ['@^all'] })) as Solved;
      expect(answer.environments).toMatchObject([{ id: 'all', groups: ['core', 'tools'] }]);
      expect(answer.groups?.map(({ id, packages }) => [id, packages])).toEqual([
        ['core', ['bash']],
        ['tools', ['hello']],
      ]);
      expect(((await solve({ install: ['hello'] })) as Solved).groups).toEqual([]);
    });

    it('takes a set in the place of a published package that is called exactly alike, where the set says so', async () => {
      const same = await loose('hello-1.0-1.noarch', { requires: ['bash'] });
      const mine = { ...set('mine', 'in-image', [same]), evenIfPublished: true };
      expect(nevras(await solve({ sets: [mine] }))).toEqual(['@loose: hello-1.0-1.noarch', 'stable: bash-5.2-1.x86_64']);
      expect(nevras(await solve({ install: ['hello'], sets: [mine] }))).toEqual(['@loose: hello-1.0-1.noarch', 'stable: bash-5.2-1.x86_64']);
      expect(nevras(await solve({ sets: [set('theirs', 'in-image', [same])] }))).toEqual(['stable: bash-5.2-1.x86_64', 'stable: hello-1.0-1.noarch']);
    });

    it('leaves out what is excluded, and members of groups that no repository has', async () => {
      expect(await solve({ install: ['@core'] })).toMatchObject({ outcome: 'solved', skipped: ['not-there'] });
      expect(await solve({ install: ['hello'], exclude: ['bash'] })).toMatchObject({
        outcome: 'unsolvable',
        filtered: [{ nevra: 'bash-5.2-1.x86_64', reason: 'excluded' }],
      });
      expect(await solve({ install: ['hello'], exclude: ['hello'] })).toMatchObject({ outcome: 'missing', missing: [{ spec: 'hello', reason: 'excluded' }] });
      expect(nevras(await solve({ install: ['@^all'], exclude: ['@tools'] }))).toEqual(['stable: bash-5.2-1.x86_64']);
    });

    it('uses only the repositories that are on, and says what the others have', async () => {
      expect(nevras(await solve({ install: ['twice', 'tested'], enabled: ['stable', 'updates', 'testing'] }))).toEqual([
        'testing: tested-1-1.noarch',
        'testing: twice-3-1.noarch',
      ]);
      expect(nevras(await solve({ install: ['twice'], enabled: ['stable'] }))).toEqual(['stable: twice-1-1.noarch']);
      expect(await solve({ install: ['tested', 'nothing'] })).toMatchObject({
        outcome: 'missing',
        missing: [
          { spec: 'tested', reason: 'disabled', elsewhere: [{ nevra: 'tested-1-1.noarch', repository: 'testing', advisories: ['FEDORA-2026-0000000001'] }] },
          { spec: 'nothing', reason: 'unknown', elsewhere: [] },
        ],
      });
      expect(await solve({ install: ['needs-testing'] })).toMatchObject({
        outcome: 'unsolvable',
        hints: [{ requirement: 'only-in-testing', elsewhere: [{ nevra: 'tested-1-1.noarch' }] }],
        filtered: [{ nevra: 'tested-1-1.noarch', reason: 'disabled', set: null }],
      });
    });

    it('takes the engine into account', async () => {
      expect(nevras(await solve({ engine: { needed: ['kernel-core'], ifKnown: ['lib', 'nobody'] } }))).toEqual([
        'stable: kernel-core-6.1-1.x86_64',
        'stable: lib-1.0-1.x86_64',
      ]);
      expect(await solve({ engine: { needed: ['dracut'], ifKnown: [] } })).toMatchObject({
        outcome: 'missing',
        missing: [{ spec: 'dracut', askedBy: 'engine' }],
      });
    });

    it('says why packages cannot be installed together', async () => {
      const conflict = await solve({ install: ['left', 'right'] });
      expect(conflict).toMatchObject({ outcome: 'unsolvable' });
      expect(JSON.stringify(conflict)).toContain('conflicts with right');
      expect(JSON.stringify(await solve({ install: ['broken'] }))).toContain('nothing provides nothing-has-this needed by broken-1-1.noarch');
    });

    it('puts a build into the image that nothing asks for', async () => {
      const hello = await loose('hello-1.1-1.noarch', { requires: ['bash'] });
      const answer = await solve({ install: ['left'], sets: [set('hello-1.1-1', 'in-image', [hello])] });
      expect(nevras(answer)).toEqual(['@loose: hello-1.1-1.noarch', 'stable: bash-5.2-1.x86_64', 'stable: left-1-1.noarch']);
      expect((answer as Solved).packages.find((each) => each.name === 'hello')).toMatchObject({ set: 'hello-1.1-1', digest: '', size: 0, location: '' });
      expect((answer as Solved).roots).toEqual(['hello', 'left']);
    });

    it('takes a build also where it is older than what is published, and from the repository where that has exactly it', async () => {
      const older = await loose('hello-0.9-1.noarch');
      expect(nevras(await solve({ install: ['hello'], sets: [set('old', 'in-image', [older])] }))).toEqual(['@loose: hello-0.9-1.noarch']);
      const same = await loose('hello-1.0-1.noarch');
      expect(nevras(await solve({ install: ['hello'], sets: [set('same', 'in-image', [same])] }))).toEqual([
        'stable: bash-5.2-1.x86_64',
        'stable: hello-1.0-1.noarch',
      ]);
      // A repository that is off has nothing to give.
      const tested = await loose('hello-1.1-1.noarch');
      expect(nevras(await solve({ install: ['hello'], sets: [set('new', 'in-image', [tested])] }))).toEqual(['@loose: hello-1.1-1.noarch']);
      expect(await solve({ install: ['hello-1.0'], sets: [set('new', 'in-image', [tested])] })).toMatchObject({
        outcome: 'missing',
        missing: [{ reason: 'replaced', set: 'new' }],
      });
    });

    it('prefers a set without forcing it in, and fills gaps with another', async () => {
      const pair = [await loose('lib-2.0-1.x86_64', { provides: ['liblib.so.2'] }), await loose('app-2.0-1.x86_64', { requires: ['liblib.so.2'] })];
      expect(nevras(await solve({ install: ['left'], sets: [set('side', 'preferred', pair)] }))).toEqual(['stable: left-1-1.noarch']);
      expect(nevras(await solve({ install: ['app'], sets: [set('side', 'preferred', pair)] }))).toEqual([
        '@loose: app-2.0-1.x86_64',
        '@loose: lib-2.0-1.x86_64',
      ]);
      const gap = [await loose('bash-6-1.x86_64'), await loose('gap-1-1.noarch', { provides: ['nothing-has-this'] })];
      expect(nevras(await solve({ install: ['broken', 'bash'], sets: [set('inherited', 'if-missing', gap)] }))).toEqual([
        '@loose: gap-1-1.noarch',
        'stable: bash-5.2-1.x86_64',
        'stable: broken-1-1.noarch',
      ]);
    });

    it("takes a requester's own repository along, for this question only", async () => {
      const own = { id: 'own:further', baseurl: url('further') };
      const answer = await solve({ install: ['extra'], further: [own] });
      expect(nevras(answer)).toEqual(['own:further: bash-9-1.x86_64', 'own:further: extra-1-1.noarch', 'stable: hello-1.0-1.noarch']);
      expect(answer.repositories.map(({ id }) => id)).toEqual(['stable', 'updates', 'own:further']);
      expect(await solve({ install: ['extra'] })).toMatchObject({ outcome: 'missing' });
      const byGroup = await solve({ install: ['@extras'], further: [own] });
      expect(nevras(byGroup)).toEqual(nevras(answer));
      expect((byGroup as Solved).groups).toEqual([{ id: 'extras', name: 'The extras group', packages: ['extra'] }]);
      expect((await solve({ install: ['@extras'] })).outcome).toBe('missing');
      await expect(solve({ install: ['bash'], further: [{ id: 'gone', baseurl: url('gone') }] })).rejects.toMatchObject({ code: 'REPOSITORY_UNREACHABLE' });
    });

    it('answers many questions at once, each its own', async () => {
      const specs = ['hello', 'bash', 'twice', 'left', 'right', 'lib', 'app', 'nobody', 'hello', 'bash'];
      const answers = await Promise.all(specs.map((spec) => solve({ install: [spec] })));
      expect(answers.map((answer) => (answer.outcome === 'solved' ? answer.roots[0] : answer.outcome))).toEqual([
        ...['hello', 'bash', 'twice', 'left', 'right', 'lib', 'app', 'missing', 'hello', 'bash'],
      ]);
    });

    it('refuses a header that is none, or of another package, and goes on', async () => {
      const path = join(directory.path, 'headers', 'nonsense.rpm');
      await writeFile(path, 'this is no RPM');
      const wrong = { name: 'hello', epoch: 0, version: '1', release: '1', arch: 'noarch', header: path };
      await expect(solve({ sets: [set('wrong', 'in-image', [wrong])] })).rejects.toMatchObject({ code: 'PACKAGE_MISMATCH' });
      const other = { ...(await loose('hello-7-1.noarch')), version: '8' };
      await expect(solve({ sets: [set('wrong', 'in-image', [other])] })).rejects.toMatchObject({
        code: 'PACKAGE_MISMATCH',
        message: expect.stringContaining('hello-7-1.noarch'),
      });
      expect(nevras(await solve({ install: ['bash'] }))).toHaveLength(1);
    });

    it('indexes names and summaries of all repositories', async () => {
      const index = await under.solver.index(collection, { signal: never });
      expect(index.search('bash', 5)).toEqual([{ name: 'bash', evr: '5.2-1', arch: 'x86_64', repository: 'stable', summary: 'The shell' }]);
      expect(index.search('twice', 5)).toMatchObject([{ evr: '3-1', repository: 'testing' }]);
      expect(index.nearest('helo')).toEqual(['hello']);
      expect(index.nearest('@cor')).toEqual(['@core']);
    });

    it('leaves a question that nobody waits for, and answers the next', async () => {
      const ending = new AbortController();
      const left = solve({ install: ['hello'] }, ending.signal);
      ending.abort(new Error('gone'));
      await expect(left).rejects.toThrow('gone');
      expect(nevras(await solve({ install: ['bash'] }))).toHaveLength(1);
    });

    it('starts again where its process dies, also under a question', async () => {
      await solve({ install: ['bash'] });
      await under.kill();
      expect(nevras(await solve({ install: ['bash'] }))).toHaveLength(1);
      const asked = Promise.all(Array.from({ length: 6 }, () => solve({ install: ['hello'] })));
      await under.kill();
      for (const answer of await asked) expect(nevras(answer)).toHaveLength(2);
    });

    it('sees a changed repository', async () => {
      await writeMetadataRepository(join(directory.path, 'updates'), { packages: [{ nevra: 'twice-2.5-1.noarch' }], revision: '2' });
      const answer = await solve({ install: ['twice'] });
      expect(nevras(answer)).toEqual(['updates: twice-2.5-1.noarch']);
      expect(answer.repositories.find(({ id }) => id === 'updates')?.revision).toBe('2');
    });

    it('is closed for good', async () => {
      await under.solver.close();
      await under.solver.close();
      await expect(solve({ install: ['bash'] })).rejects.toMatchObject({ code: 'PORT_CLOSED' });
    });
  });
}
