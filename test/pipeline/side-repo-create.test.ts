/** `spindle side-repo create` for real: the client's command line, dnf and createrepo_c of this machine, the sample distribution; no service runs. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from '../../clients/cli/cli.ts';
import { createSideRepository } from '../../services/side-repo-create.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { type TempDirectory, tempDirectory } from '../support/temp-directory.ts';

let directory: TempDirectory;
beforeAll(async () => {
  directory = await tempDirectory();
});
afterAll(() => directory.remove());

async function spindle(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const text = { out: '', err: '' };
  const status = await runCli(['side-repo', 'create', ...args, '--cache', join(directory.path, 'cache')], {
    stdout: (chunk) => {
      text.out += chunk;
    },
    stderr: (chunk) => {
      text.err += chunk;
    },
    stdin: process.stdin,
    clock: systemClock(),
    environment: {},
    createSideRepository: (order) => createSideRepository({ ...order, signal: new AbortController().signal }),
  });
  return { status, ...text };
}

async function file(name: string, content: string): Promise<string> {
  await writeFile(join(directory.path, name), content);
  return join(directory.path, name);
}

describe('side-repo create', () => {
  it('makes the side repository of a request, of exactly what stable lacks, and dnf reads it', async () => {
    const request = await file('request.yaml', 'release: sample\npackages: ["@core", hello]\nsources: {kojiBuilds: [hello-1.1-1.sample]}\n');
    const target = join(directory.path, 'made', 'here');
    const { status, out, err } = await spindle('-f', request, '-o', target, '--output', 'json');
    expect([status, err], err).toEqual([0, expect.stringContaining('all 1 packages are there and checked')]);
    const [item] = JSON.parse(out).items;
    expect(item).toMatchObject({ arch: 'x86_64', directory: target, packages: [{ nevra: 'hello-1.1-1.sample.noarch', repository: 'koji' }] });
    expect(item.packages[0].signedBy).toMatch(/^[0-9a-f]{8}$/);
    expect((await readdir(target)).sort()).toEqual(['Packages', 'repodata']);
    expect(await readdir(join(target, 'Packages/h'))).toEqual(['hello-1.1-1.sample.noarch.rpm']);
    expect(await readdir(join(directory.path, 'made')), 'nothing half made beside it').toEqual(['here']);
    const listed = await spawnedPrograms().run({
      command: 'dnf',
      args: [
        '-q',
        '--disableplugin=*',
        `--setopt=reposdir=${directory.path}/none`,
        `--setopt=cachedir=${directory.path}/dnf`,
        `--repofrompath=side,${target}`,
        'list',
        'hello',
      ],
      env: { HOME: directory.path },
      deadlineMs: 60_000,
    });
    expect(listed.stdout).toMatch(/hello\.noarch +1\.1-1\.sample +side/);
  }, 120_000);

  it('takes a plain list of builds, advisories and names', async () => {
    const list = await file('list', '# what I want to try\nhello-1.1-1.sample\nFEDORA-2026-5a3b1e0001 greeting\ntag:sample-build-side-101\n');
    const { status, out } = await spindle('-f', list, '-o', join(directory.path, 'from-list'), '--release', 'sample');
    expect(status).toBe(0);
    expect(out).toMatch(/from-list: 1 package for x86_64\n/);
    expect(out).toContain('hello-1.1-1.sample.noarch  koji');
    expect(out).toContain('warning: ');
  }, 120_000);

  it('says so where the stable repositories have everything', async () => {
    const { status, out } = await spindle('-f', await file('plain', 'greeting\n'), '-o', join(directory.path, 'empty'), '--release', 'sample');
    expect([status, out]).toEqual([0, expect.stringContaining('the stable repositories have everything that was asked for')]);
    expect(await readFile(join(directory.path, 'empty/repodata/repomd.xml'), 'utf8')).toContain('<repomd');
  }, 120_000);

  it('refuses what it cannot do, each with its exit status, and leaves nothing', async () => {
    const taken = join(directory.path, 'taken');
    await mkdir(taken);
    await writeFile(join(taken, 'mine'), 'kept');
    const hello = await file('hello', 'hello\n');
    const target = join(directory.path, 'refused');
    const cases: readonly (readonly [string[], number, RegExp])[] = [
      [['-f', hello, '-o', taken, '--release', 'sample'], 2, /taken is not empty/],
      [['-f', hello, '-o', join(taken, 'mine'), '--release', 'sample'], 2, /is no directory/],
      [['-f', hello, '-o', target], 2, /name their release with --release/],
      [['-f', join(directory.path, 'absent'), '-o', target], 2, /cannot be read/],
      [['-f', hello, '-o', target, '--release', 'sampel'], 4, /RELEASE_UNKNOWN/],
      [
        ['-f', await file('typo', 'helo'), '-o', target, '--release', 'sample'],
        4,
        /no package, file or capability helo; near to it: hello \(422 PACKAGE_UNKNOWN\)/,
      ],
      [
        ['-f', await file('unsigned', 'sample-not-signed'), '-o', target, '--release', 'sample', '--set', 'excludePackages=[sample-not-signed]'],
        4,
        /sample-not-signed/,
      ],
      [['-f', await file('failed', 'hello-1.2-1.sample'), '-o', target, '--release', 'sample'], 4, /KOJI_BUILD_NOT_COMPLETE/],
      [['-f', await file('climb', 'packages: ["../../etc/passwd"]'), '-o', target, '--release', 'sample'], 4, /packages\[0\]/],
      [['-f', hello, '-o', target, '--release', 'sample', '--set', 'pakages=x'], 4, /nearest one is "packages"/],
    ];
    for (const [args, status, words] of cases) {
      const ended = await spindle(...args);
      expect([ended.status, ended.out], `${args.join(' ')}\n${ended.err}`).toEqual([status, '']);
      expect(ended.err).toMatch(words);
    }
    expect(await readFile(join(taken, 'mine'), 'utf8')).toBe('kept');
    expect((await readdir(directory.path)).filter((name) => name.includes('refused'))).toEqual([]);
  }, 120_000);
});
