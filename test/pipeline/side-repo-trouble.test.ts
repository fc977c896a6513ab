/** Side-repo on bad packages, in bad times and next to builds that want the same room: with real files and the real createrepo_c. None of it leaves a repository that a build could use by mistake. */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFile, chmod, lstat, mkdir, readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { failureKinds } from '../../shared/build/failure.ts';
import { parseNevra, rpmFileName } from '../../shared/fedora/nvr.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import type { RepositorySet, ResolvedPackage } from '../../shared/resolution/resolution.ts';
import { builtRpm } from '../support/built-rpm.ts';
import { type RpmFileOptions, rpmFile } from '../support/rpm-file.ts';
import { type SideRepoWorld, sideRepoWorld } from '../support/side-repo-world.ts';
import { testDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';

type Repositories = RepositorySet['repositories'];

async function forTest(directory?: string, options?: { readonly bytesMax?: number }): Promise<SideRepoWorld> {
  const world = await sideRepoWorld(directory ?? (await testDirectory()), options);
  onTestFinished(() => world.close());
  return world;
}

const nevra = (text: string) => {
  const parsed = parseNevra(text);
  if (!parsed) throw new Error(`${text} is not a NEVRA`);
  return parsed;
};

function published(world: SideRepoWorld, text: string, options: RpmFileOptions = {}): ResolvedPackage {
  return world.publish(nevra(text), rpmFile(nevra(text), { isComplete: true, buildTimeS: 1_700_000_000, ...options }).bytes);
}

/** Finished trees: what a build could be shown. */
const trees = async ({ directory }: SideRepoWorld) => (await readdir(join(directory, 'rpms/trees'))).filter((name) => /^[0-9a-f]{64}$/.test(name)).sort();

const repomdOf = (repositories: Repositories) => repositories.map(({ files }) => files.find(({ path }) => path === 'repodata/repomd.xml')?.sha256);

/** Every file of the repositories, as a build sees it, has its digest, and the metadata name the RPMs with theirs. */
async function expectWhole(world: SideRepoWorld, repositories: Repositories): Promise<string> {
  const path = await world.show(repositories);
  for (const { id, files } of repositories) {
    const primary = files.find((file) => file.path.endsWith('-primary.xml.gz'))?.path ?? '';
    const text = gunzipSync(await readFile(join(path, id, primary))).toString('utf8');
    for (const file of files) {
      const bytes = await readFile(join(path, id, file.path));
      expect(createHash('sha256').update(bytes).digest('hex'), file.path).toBe(file.sha256);
      if (file.path.endsWith('.rpm')) expect(text).toContain(`>${file.sha256}<`);
    }
  }
  return path;
}

describe('packages that are not what they should be', () => {
  test.each<[string, string, RpmFileOptions, RegExp]>([
    ['names a file above its place', 'evil-1-1.noarch', { files: [['/usr/share/../../etc/', 'passwd']] }, /\/usr\/share\/\.\.\/\.\.\/etc/],
    ['names a file that climbs by its own name', 'evil-1-1.noarch', { files: [['/usr/', '../etc/passwd']] }, /etc\/passwd/],
    ['names a file without a root', 'evil-1-1.noarch', { files: [['etc/', 'passwd']] }, /etc\/passwd/],
    ['is for another architecture', 'hello-1-1.aarch64', {}, /for another architecture than the image, which is for x86_64/],
  ])('a package that %s is refused', async (_, text, options, message) => {
    const world = await forTest();
    const good = published(world, 'good-1-1.noarch');
    const refused = { code: 'PACKAGE_REFUSED', message: expect.stringMatching(message) };
    await expect(world.run([good, published(world, text, options)])).rejects.toMatchObject(refused);
    expect(await trees(world)).toEqual([]);
    // It stays refused once it is stored, and what is good is not refused with it.
    await expect(world.run([published(world, text, options)])).rejects.toMatchObject(refused);
    await expectWhole(world, await world.run([good]));
  });

  test('a file with the resolved digest and another package inside is refused, fetched or stored', async () => {
    const world = await forTest();
    const { rpm } = await builtRpm({ name: 'other', version: '1', arch: 'noarch' });
    const lie = world.publish(nevra('hello-1-1.noarch'), rpm);
    for (let time = 0; time < 2; time += 1) {
      await expect(world.run([lie])).rejects.toMatchObject({ code: 'PACKAGE_MISMATCH', message: expect.stringContaining('other-1-1.noarch') });
    }
    expect(await trees(world)).toEqual([]);
  });

  test('a real RPM of another architecture under the resolved name is refused', async () => {
    const world = await forTest();
    const { rpm } = await builtRpm({ name: 'hello', version: '1', arch: 'aarch64' });
    const refused = { code: 'PACKAGE_MISMATCH', message: expect.stringContaining('hello-1-1.aarch64') };
    await expect(world.run([world.publish(nevra('hello-1-1.x86_64'), rpm)])).rejects.toMatchObject(refused);
  });

  test('a name that could leave the repository is refused before anything is fetched', async () => {
    const world = await forTest();
    const bad = { ...published(world, 'hello-1-1.noarch'), version: '1/../../../x' };
    await expect(world.run([bad])).rejects.toMatchObject({ code: 'PACKAGE_MISMATCH' });
    expect(world.server.asked).toEqual([]);
  });

  test('two files of one package, alike but for their content, are not taken for each other', async () => {
    const world = await forTest();
    const bar = published(world, 'bar-1-1.noarch');
    const first = published(world, 'hello-1-1.noarch', { payload: 'signed by one key' });
    await expectWhole(world, await world.run([bar, first]));
    const second = published(world, 'hello-1-1.noarch', { payload: 'signed by another' });
    expect([second.size, second.sha256 === first.sha256]).toEqual([first.size, false]);
    await expectWhole(world, await world.run([bar, second]));
  });
});

describe('stored files that changed', () => {
  const storedPath = (world: SideRepoWorld, { sha256 }: ResolvedPackage) => join(world.directory, 'files', contentKey(sha256));
  const tampered = async (path: string) => {
    const { mtimeMs } = await lstat(path);
    const bytes = await readFile(path);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await chmod(path, 0o644);
    await writeFile(path, bytes);
    await utimes(path, mtimeMs / 1000, mtimeMs / 1000);
  };

  test.each<[string, (path: string) => Promise<void>]>([
    ['tampered with, its size and times put back', tampered],
    ['torn', (path) => truncate(path, 100)],
    ['longer than it was', (path) => appendFile(path, 'x')],
    ['gone', (path) => rm(path)],
  ])('a stored file that is %s is fetched anew, and no repository keeps the harmed one', async (_, harm) => {
    const world = await forTest();
    const packages = [published(world, 'hello-1-1.noarch'), published(world, 'bar-1-1.noarch')];
    const first = await world.run(packages);
    await world.show(first);
    expect(world.server.asked).toHaveLength(2);
    await harm(storedPath(world, packages[0] as ResolvedPackage));
    expect(await world.run(packages)).toEqual(first);
    expect(world.server.asked).toHaveLength(3);
    await expectWhole(world, first);
  });

  test('a repository whose file was harmed after it was made is not shown', async () => {
    const world = await forTest();
    const hello = published(world, 'hello-1-1.noarch');
    const made = await world.run([hello]);
    await tampered(storedPath(world, hello));
    await expect(world.show(made)).rejects.toMatchObject({ code: 'FILE_MISSING' });
    expect(await world.run([hello])).toEqual(made);
    await expectWhole(world, made);
  });
});

describe('known packages', () => {
  test('are not read again by createrepo_c in whatever set, and the metadata are those of a machine that knows nothing', async () => {
    const world = await forTest();
    const all = Array.from({ length: 12 }, (_, index) =>
      published(world, `part${index}-1-1.noarch`, {
        summary: `Part ${index} <&> "quoted" 'apostrophe' ünïcode`,
        requires: ['bar', '/usr/bin/sh'],
        provides: [`virtual(${index})`],
        files: [
          ['/usr/bin/', `part${index}`],
          [`/usr/share/<${index}>/`, 'a & b'],
        ],
      }),
    );
    all.push(world.publish(nevra('real-1-1.noarch'), (await builtRpm({ name: 'real', version: '1', arch: 'noarch', requires: ['bash'] })).rpm));
    // Each was in another repository before.
    await world.run(all.slice(0, 7));
    await world.run(all.slice(5));
    await world.reopen();
    const reused = await world.run(all);
    const stranger = await forTest();
    for (const [path, bytes] of world.server.files) stranger.server.files.set(path, bytes);
    const fresh = await stranger.run(all.map((rpm) => ({ ...rpm, urls: [`${stranger.server.base}/${rpmFileName(rpm)}`] })));
    expect(repomdOf(reused)).toEqual(repomdOf(fresh));
    await expectWhole(world, reused);
  });
});

describe('a mirror that vanishes after the packages were resolved', () => {
  const unreachable = { code: 'PACKAGE_UNREACHABLE', message: expect.stringContaining('more-1-1.noarch.rpm') };

  test('half way, is another host’s trouble, leaves no repository, and what was fetched is not fetched again', async () => {
    const world = await forTest();
    const all = [published(world, 'hello-1-1.noarch'), published(world, 'more-1-1.noarch')];
    world.server.failures.set('/more', 404);
    await expect(world.run(all)).rejects.toMatchObject(unreachable);
    expect(failureKinds.PACKAGE_UNREACHABLE).toMatchObject({ fault: 'operator', retry: 'remote' });
    expect(await trees(world)).toEqual([]);
    world.server.failures.clear();
    await expectWhole(world, await world.run(all));
    expect(world.server.asked.filter((path) => path.startsWith('/hello'))).toHaveLength(1);
  });

  test('with its host, likewise', async () => {
    const world = await forTest();
    const more = published(world, 'more-1-1.noarch');
    await world.server.close();
    await expect(world.run([more])).rejects.toMatchObject(unreachable);
    expect(await trees(world)).toEqual([]);
  });
});

describe('too little room', () => {
  test('a disk that is full is the operator’s, leaves nothing half-made, and is over when there is room', async ({ skip }) => {
    const small = join(await testDirectory(), 'small');
    await mkdir(small);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', small], { encoding: 'utf8' });
    if (mounted.status !== 0) skip(`needs a small file system, and mount said: ${mounted.error?.message ?? mounted.stderr.trim()}`);
    onTestFinished(() => {
      expect(spawnSync('umount', ['--lazy', small]).status).toBe(0);
    });
    const world = await forTest(join(small, 'state'));
    const hello = published(world, 'hello-1-1.noarch', { payload: Buffer.alloc(400_000, 1) });
    const made = await world.run([hello]);
    const before = await trees(world);
    const filler = join(small, 'filler');
    expect(spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4k'], { encoding: 'utf8' }).stderr).toContain('No space left');
    const more = [hello, published(world, 'more-1-1.noarch', { payload: Buffer.alloc(400_000, 2) })];
    await expect(world.run(more)).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(await trees(world)).toEqual(before);
    await rm(filler);
    await expectWhole(world, await world.run(more));
    await expectWhole(world, made);
  });

  test('two builds whose packages do not fit together both succeed, at once and in turn', async () => {
    const world = await forTest(undefined, { bytesMax: 250_000 });
    const setOf = (name: string) =>
      Array.from({ length: 4 }, (_, index) => published(world, `${name}${index}-1-1.noarch`, { payload: Buffer.alloc(50_000, `${name}${index}`) }));
    const [one, other] = [setOf('one'), setOf('other')];
    let isOver = false;
    // Later each time it looks, so that nothing is spared for having been used lately.
    const evicting = (async () => {
      while (!isOver) {
        world.advance(3_600_000);
        await world.rpms().evict(new Set());
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    try {
      const [first, second] = await Promise.all([world.run(one), world.run(other)]);
      for (let round = 0; round < 3; round += 1) {
        const again = await Promise.all([world.run(one), world.run(other)]);
        expect(again).toEqual([first, second]);
      }
    } finally {
      isOver = true;
      await evicting;
    }
    // Each time some had to go, and came back.
    expect(world.server.asked.length).toBeGreaterThan(8);
    // What builds' records name stays, whatever the cap is.
    const made = [await world.run(one), await world.run(other)];
    const inUse = new Set([...one, ...other].map(({ sha256 }) => sha256));
    world.advance(3_600_000);
    expect(await world.rpms().evict(inUse)).toMatchObject({ files: 0, bytesOver: expect.any(Number) });
    for (const repositories of made) await expectWhole(world, repositories);
  });
});

describe('a process that is killed', () => {
  test('while it makes a repository leaves none, and the next one makes it', async () => {
    const world = await forTest();
    const packages = Array.from({ length: 30 }, (_, index) => published(world, `part${index}-1-1.noarch`));
    for (const rpm of packages) await world.files.put(contentKey(rpm.sha256), world.server.files.get(`/${rpmFileName(rpm)}`) ?? '', { ifAbsent: true });
    await world.rpms().close();
    // createrepo_c begins, and never ends.
    const createrepo = join(world.directory, 'endless');
    await writeFile(createrepo, `#!/bin/sh\ntouch ${world.directory}/reached\nexec sleep 600\n`, { mode: 0o755 });
    const orders = join(world.directory, 'orders.json');
    const rpms = packages.map((rpm) => ({ path: `Packages/p/${rpmFileName(rpm)}`, sha256: rpm.sha256, size: rpm.size }));
    await writeFile(orders, JSON.stringify({ directory: world.directory, rpms, createrepo }));
    const main = fileURLToPath(new URL('../support/make-repository-main.ts', import.meta.url));
    const child = spawn(process.execPath, ['--import', 'tsx', main, orders], { stdio: ['ignore', 'inherit', 'inherit'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    await until(async () => (await readdir(world.directory)).includes('reached'), { timeoutMs: 30_000, what: 'the repository to be half made' });
    const closed = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await closed;
    expect(await trees(world)).toEqual([]);

    await world.reopen();
    const made = await world.run(packages);
    expect(world.server.asked).toEqual([]);
    await expectWhole(world, made);
    expect((await readdir(join(world.directory, 'rpms/trees'))).filter((name) => name.startsWith('new-'))).toEqual([]);
  });
});

describe('what is installed', () => {
  test('is exactly what was resolved, an older build of the side repository before a newer one that was stable', async ({ skip }) => {
    if (spawnSync('dnf', ['--version']).error) skip('needs dnf');
    const world = await forTest();
    const [newer, older, user] = await Promise.all([
      builtRpm({ name: 'hello', version: '2', arch: 'noarch' }),
      builtRpm({ name: 'hello', version: '1', arch: 'noarch' }),
      builtRpm({ name: 'greeting', version: '1', arch: 'noarch', requires: ['hello'] }),
    ]);
    const greeting = world.publish(nevra('greeting-1-1.noarch'), user.rpm);
    const root = join(world.directory, 'root');
    const install = async (repositories: Repositories): Promise<readonly string[]> => {
      const path = await expectWhole(world, repositories);
      const result = spawnSync(
        'dnf',
        [
          ...['--assumeyes', '--quiet', `--installroot=${root}`, '--releasever=1', '--nogpgcheck', `--setopt=cachedir=${path}-cache`],
          ...['--setopt=reposdir=/nonexistent', `--repofrompath=stable,file://${path}/stable`, `--repofrompath=side,file://${path}/side`],
          ...['--repo=stable', '--repo=side', 'install', 'greeting'],
        ],
        { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } },
      );
      expect(result.status, result.stderr).toBe(0);
      return spawnSync('rpm', ['--root', root, '-qa'], { encoding: 'utf8' }).stdout.trim().split('\n').sort();
    };
    expect(await install(await world.run([world.publish(nevra('hello-2-1.noarch'), newer.rpm), greeting]))).toEqual([
      'greeting-1-1.noarch',
      'hello-2-1.noarch',
    ]);
    await rm(root, { recursive: true });
    const downgraded = await world.run([world.publish(nevra('hello-1-1.noarch'), older.rpm, { from: 'side', repository: 'koji', role: 'koji' }), greeting]);
    expect(await install(downgraded)).toEqual(['greeting-1-1.noarch', 'hello-1-1.noarch']);
  });
});
