/** The sample distribution, made and served for real: the tools that will use it in builds read it here. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { generateSampleDistribution } from '../../examples/sample-distribution/sample-distribution.ts';
import { type SampleSite, startSampleSite } from '../../examples/sample-distribution/site.ts';
import { decodeResponse, encodeCall, type XmlRpcValue } from '../../shared/koji/xml-rpc.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { type TempDirectory, tempDirectory } from '../support/temp-directory.ts';

const programs = spawnedPrograms();
let scratch: TempDirectory;
let site: SampleSite;
let directory: string;
const news: boolean[] = [];

beforeAll(async () => {
  scratch = await tempDirectory();
  directory = join(scratch.path, 'sample');
  // An older one stands there, and two callers come at once.
  await mkdir(directory);
  await writeFile(join(directory, 'stamp.json'), '{"digest":"older"}');
  const both = await Promise.all([generateSampleDistribution({ directory, programs }), generateSampleDistribution({ directory, programs })]);
  news.push(...both.map(({ isNew }) => isNew));
  site = await startSampleSite({ directory, host: '127.0.0.1', port: 0 });
}, 120_000);
afterAll(async () => {
  await site?.close();
  await scratch.remove();
});

async function run(command: string, args: readonly string[], cwd = scratch.path): Promise<string> {
  const result = await programs.run({ command, args, cwd, env: { HOME: scratch.path }, deadlineMs: 60_000 });
  expect(result, `${command} ${args.join(' ')}`).toMatchObject({ exitCode: 0 });
  return result.stdout;
}

async function hub(method: string, ...args: XmlRpcValue[]): Promise<XmlRpcValue> {
  const response = decodeResponse(await (await fetch(`${site.url}/kojihub`, { method: 'POST', body: encodeCall(method, args) })).text());
  if ('fault' in response) throw new Error(response.fault.text);
  return response.value;
}

test('of two callers at once one makes it, nothing else is left, and a third has nothing to do', async () => {
  expect(news.sort()).toEqual([false, true]);
  expect((await readdir(scratch.path)).filter((name) => name.startsWith('sample'))).toEqual(['sample']);
  expect((await readdir(directory)).sort()).toEqual(['copr', 'keys', 'koji.json', 'kojifiles', 'repo', 'stamp.json', 'unsigned', 'updates', 'updates-testing']);
  expect(await generateSampleDistribution({ directory, programs })).toEqual({ directory, isNew: false });
});

test('an abandoned call leaves nothing', async () => {
  const elsewhere = join(scratch.path, 'elsewhere');
  const controller = new AbortController();
  const reason = new Error('not wanted any more');
  const made = generateSampleDistribution({ directory: elsewhere, programs, signal: controller.signal, onLine: () => controller.abort(reason) });
  await expect(made).rejects.toBe(reason);
  expect((await readdir(scratch.path)).filter((name) => name.startsWith('elsewhere'))).toEqual([]);
});

test("dnf installs the group core and the older hello from the site's repository", async () => {
  const root = join(scratch.path, 'root');
  const isolated = [
    '--disableplugin=local',
    '--setopt=reposdir=/dev/null',
    `--setopt=cachedir=${join(scratch.path, 'cache')}`,
    `--setopt=logdir=${scratch.path}`,
  ];
  const repository = `--repofrompath=stable,${site.url}/repo/x86_64/`;
  const what = [
    '-y',
    '-q',
    '--downloadonly',
    `--downloaddir=${join(scratch.path, 'downloads')}`,
    '--nogpgcheck',
    'install',
    '@core',
    'hello',
    'grub2-tools',
    'dracut-kiwi-live',
  ];
  await run('dnf', [...isolated, '--releasever=sample', '--forcearch=x86_64', `--installroot=${root}`, repository, ...what]);
  const downloads = (await readdir(join(scratch.path, 'downloads'))).map((name) => name.replace(/-[^-]+-[^-]+$/, '')).sort();
  const core = ['bash', 'busybox', 'dracut', 'filesystem', 'kernel-core', 'rpm', 'sample-init', 'sample-release'];
  expect(downloads).toEqual([...core, 'dracut-kiwi-live', 'grub2', 'hello', 'sample-libs'].sort());
  expect(await readdir(join(scratch.path, 'downloads'))).toContain('hello-1.0-1.sample.noarch.rpm');
});

test("every RPM of Koji's hello is on its files host, as the hub describes it", async () => {
  const rows = (await hub('listBuildRPMs', 'hello-1.1-1.sample')) as readonly Record<string, string | number>[];
  expect(rows.map(({ nvr, arch }) => `${nvr}.${arch}`).sort()).toEqual([
    'hello-1.1-1.sample.noarch',
    'hello-1.1-1.sample.src',
    'hello-debuginfo-1.1-1.sample.noarch',
  ]);
  for (const { nvr, arch, size, payloadhash, buildtime } of rows) {
    const file = `${nvr}.${arch}.rpm`;
    const response = await fetch(`${site.url}/kojifiles/packages/hello/1.1/1.sample/${arch}/${file}`);
    expect(response.status).toBe(200);
    const bytes = Buffer.from(await response.arrayBuffer());
    expect(bytes.length).toBe(size);
    await writeFile(join(scratch.path, file), bytes);
    expect(await run('rpm', ['-qp', '--nosignature', '--qf', '%{NAME}-%{VERSION}-%{RELEASE} %{SIGMD5} %{BUILDTIME}', file])).toBe(
      `${nvr} ${payloadhash} ${buildtime}`,
    );
  }
});

test('the new hello says so when it runs', async () => {
  const archive = await run('rpm2archive', ['-n', 'hello-1.1-1.sample.noarch.rpm']).then(() => readdir(scratch.path));
  expect(archive).toContain('hello-1.1-1.sample.noarch.rpm.tar');
  await run('tar', ['-xf', 'hello-1.1-1.sample.noarch.rpm.tar', './usr/bin/hello']);
  expect(await run(join(scratch.path, 'usr', 'bin', 'hello'), [])).toBe('Hello from hello-1.1\n');
});

test('the packages are signed with keys that the site has, but for one that nobody signed and one that a stranger did', async () => {
  const keys = await Promise.all(
    ['sample', 'copr'].map(async (name) => {
      const path = join(scratch.path, `${name}.key`);
      await writeFile(path, await (await fetch(`${site.url}/keys/RPM-GPG-KEY-${name}`)).text());
      return path;
    }),
  );
  const database = join(scratch.path, 'keyring');
  await run('rpmkeys', ['--dbpath', database, '--import', ...keys]);
  const verdict = async (path: string) => {
    const args = ['--dbpath', database, '--checksig', '-v', join(directory, path)];
    const { stdout } = await programs.run({ command: 'rpmkeys', args, env: { HOME: scratch.path, LC_ALL: 'C' }, deadlineMs: 60_000 });
    return /Signature, key ID [0-9a-f]+: (\w+)/.exec(stdout)?.[1] ?? 'none';
  };
  expect(await verdict('repo/x86_64/Packages/h/hello-1.0-1.sample.noarch.rpm')).toBe('OK');
  expect(await verdict('updates-testing/x86_64/Packages/h/hello-1.1-1.sample.noarch.rpm')).toBe('OK');
  expect(await verdict('copr/x86_64/Packages/h/hello-3.0-1.sample.noarch.rpm')).toBe('OK');
  expect(await verdict('kojifiles/packages/hello/1.1/1.sample/data/signed/5a3b1e00/noarch/hello-1.1-1.sample.noarch.rpm')).toBe('OK');
  expect(await verdict('kojifiles/packages/hello/1.1/1.sample/noarch/hello-1.1-1.sample.noarch.rpm')).toBe('none');
  expect(await verdict('unsigned/repo/x86_64/Packages/h/hello-1.0-1.sample.noarch.rpm')).toBe('none');
  expect(await verdict('repo/x86_64/Packages/s/sample-not-signed-1.0-1.sample.noarch.rpm')).toBe('none');
  expect(await verdict('repo/x86_64/Packages/s/sample-wrongly-signed-1.0-1.sample.noarch.rpm')).toBe('NOKEY');
});

test('the repository names what it serves by its digest', async () => {
  const base = `${site.url}/repo/x86_64/`;
  const repomd = await (await fetch(`${base}repodata/repomd.xml`)).text();
  const entries = [...repomd.matchAll(/<data type="([a-z_]+)">\s*<checksum type="sha256">([0-9a-f]{64})<\/checksum>[\s\S]*?<location href="([^"]+)"/g)];
  expect(entries.map(([, type]) => type)).toEqual(expect.arrayContaining(['primary', 'filelists', 'other', 'group']));
  for (const [, , digest, href] of entries) {
    const bytes = Buffer.from(await (await fetch(`${base}${href}`)).arrayBuffer());
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(digest);
  }
});
