/** The repositories of a build over HTTP: the `.repo` file, the files behind it, the token for build nodes; and a plain dnf that installs from it. */
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { sideRepo } from '../../services/side-repo/service.ts';
import { admitted, type Build } from '../../shared/build/build.ts';
import { Secret } from '../../shared/config/secret.ts';
import { SideRepoReady } from '../../shared/events/catalog.ts';
import { storeContent } from '../../shared/files/content.ts';
import { contentKey, type FileRef } from '../../shared/files/content-ref.ts';
import type { Files } from '../../shared/files/files.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { repositoryToken } from '../../shared/resolution/repository-token.ts';
import type { RepositorySet } from '../../shared/resolution/resolution.ts';
import type { Stage } from '../../shared/stage/stage.ts';
import { endStage, wellEnded } from '../support/build-records.ts';
import { tempDirectory } from '../support/temp-directory.ts';
import { type Fixture, fixture, liveRequest } from './rest-api-fixture.ts';
import { type SampleWorld, sampleWorld } from './sample-world.ts';

const builds = '/api/v1/builds';
const secret = new Secret('a secret of all our machines');
const open: Fixture[] = [];

async function start(overrides: Parameters<typeof fixture>[0] = {}): Promise<Fixture> {
  const f = await fixture({ repositorySecret: secret, ...overrides });
  open.push(f);
  return f;
}

afterEach(async () => {
  for (const f of open.splice(0)) await f.close();
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function submit(f: Fixture, request: object = liveRequest): Promise<string> {
  return (await f.app.inject({ method: 'POST', url: builds, payload: request })).json().id as string;
}

/** The build has come so far that its repositories stand. */
async function prepared(f: Fixture, id: string, repositories: FileRef): Promise<Build> {
  await f.move(id, admitted);
  await f.move(id, (build, now) => endStage(build, wellEnded('resolving'), now));
  const [ready] = wellEnded('preparing-side-repo');
  const data = { ...(ready?.data as Parameters<typeof SideRepoReady>[0]), repositories };
  return f.move(id, (build, now) => endStage(build, [SideRepoReady(data)], now));
}

describe('over REST', () => {
  const rpm = 'the bytes of an RPM';
  const repomd = '<repomd/>';

  async function serve(signedBy: string | null = '5a3b1e00'): Promise<{ f: Fixture; id: string; digest: string }> {
    const f = await start();
    const stored = async (path: string, text: string, more: object = {}) => ({ path, ...(await storeContent(f.files, text)), ...more });
    const files = [await stored('Packages/h/hello-1.1-1.sample.noarch.rpm', rpm, { signedBy }), await stored('repodata/repomd.xml', repomd)];
    const set: RepositorySet = {
      version: 1,
      repositories: [
        { id: 'stable', files: [await stored('Packages/b/bash-5.2-1.x86_64.rpm', 'bash', { signedBy }), await stored('repodata/repomd.xml', '<stable/>')] },
        { id: 'side', files },
      ],
    };
    const ref = await storeContent(f.files, JSON.stringify(set));
    const id = await submit(f, { ...liveRequest, label: 'Mine' });
    await prepared(f, id, ref);
    return { f, id, digest: ref.sha256 };
  }

  it('gives a .repo file that names its packages, and links it from the build', async () => {
    const { f, id } = await serve();
    const answer = await f.app.inject(`${builds}/${id}/side-repo.repo`);
    expect([answer.statusCode, answer.headers['content-type']]).toEqual([200, 'text/plain; charset=utf-8']);
    expect(answer.body).toContain(`[spindle-${id}]\nname=Side repository of Mine (Sample Linux, x86_64)\n`);
    expect(answer.body).toContain(`\nbaseurl=http://127.0.0.1:8080${builds}/${id}/side-repo/\n`);
    expect(answer.body).toContain('#   hello-1.1-1.sample.noarch.rpm\n');
    expect(answer.body).toContain('\ngpgcheck=1\n');
    expect(answer.body).toContain('\ngpgkey=http://127.0.0.1:1/keys/RPM-GPG-KEY-sample\n');
    expect((await f.app.inject(`${builds}/${id}`)).json().links.sideRepo).toBe(`${builds}/${id}/side-repo.repo`);
  });

  it('says where signatures cannot be checked, and which packages are why', async () => {
    const { f, id } = await serve(null);
    const { body } = await f.app.inject(`${builds}/${id}/side-repo.repo`);
    expect(body).toContain('# Nobody has signed 1 of them, so signatures are not checked here:\n#   hello-1.1-1.sample.noarch.rpm\n');
    expect(body).toContain('\ngpgcheck=0\n');
    expect(body).not.toContain('gpgkey');
  });

  it('serves the files of the side repository with ranges and tags, and no others', async () => {
    const { f, id } = await serve();
    const url = `${builds}/${id}/side-repo/Packages/h/hello-1.1-1.sample.noarch.rpm`;
    const whole = await f.app.inject(url);
    expect([whole.statusCode, whole.body, whole.headers['content-type']]).toEqual([200, rpm, 'application/x-rpm']);
    expect((await f.app.inject({ url, headers: { range: 'bytes=4-8' } })).body).toBe('bytes');
    expect((await f.app.inject({ url, headers: { 'if-none-match': whole.headers.etag as string } })).statusCode).toBe(304);
    expect((await f.app.inject(`${builds}/${id}/side-repo/repodata/repomd.xml`)).body).toBe(repomd);
    for (const path of ['Packages/b/bash-5.2-1.x86_64.rpm', '', 'Packages', '..%2f..%2fetc%2fpasswd', 'repodata%2frepomd.xml%00', '__proto__']) {
      expect((await f.app.inject(`${builds}/${id}/side-repo/${path}`)).json(), path).toMatchObject({ status: 404, code: 'SIDE_REPO_FILE_UNKNOWN' });
    }
    await f.files.remove(contentKey((await storeContent(f.files, rpm)).sha256));
    expect((await f.app.inject(url)).json()).toMatchObject({ status: 410, code: 'ARTIFACT_GONE' });
  });

  it('has nothing where the build has not come so far, and where there is no such build', async () => {
    const f = await start();
    for (const path of ['side-repo.repo', 'side-repo/repodata/repomd.xml']) {
      expect((await f.app.inject(`${builds}/${await submit(f)}/${path}`)).json()).toMatchObject({ status: 404, code: 'SIDE_REPO_UNKNOWN' });
      expect((await f.app.inject(`${builds}/nowhere/${path}`)).json()).toMatchObject({ status: 404, code: 'BUILD_UNKNOWN' });
    }
  });

  it('gives both repositories to who brings their token, in the two forms that programs can send', async () => {
    const { f, digest } = await serve();
    const token = repositoryToken(secret, digest);
    const url = `/api/v1/repositories/${digest}/stable/Packages/b/bash-5.2-1.x86_64.rpm`;
    for (const authorization of [`Bearer ${token}`, `Basic ${Buffer.from(`node:${token}`).toString('base64')}`]) {
      expect((await f.app.inject({ url, headers: { authorization } })).body).toBe('bash');
    }
    const wrong = [
      repositoryToken(new Secret('another secret of ours'), digest),
      repositoryToken(secret, 'f'.repeat(64)),
      `${token}x`,
      token.slice(1),
      'x'.repeat(990),
    ];
    for (const authorization of [undefined, '', 'Bearer', ...wrong.map((text) => `Bearer ${text}`), 'Basic Og==', `Digest ${token}`]) {
      const answer = await f.app.inject({ url, headers: authorization === undefined ? {} : { authorization } });
      expect(answer.json(), authorization).toMatchObject({ status: 401, code: 'REPOSITORY_TOKEN_MISSING' });
      expect(answer.headers['www-authenticate']).toContain('Bearer');
    }
    const unknown = 'f'.repeat(64);
    const headers = { authorization: `Bearer ${repositoryToken(secret, unknown)}` };
    expect((await f.app.inject({ url: `/api/v1/repositories/${unknown}/side/repodata/repomd.xml`, headers })).json()).toMatchObject({ status: 404 });
    // Stored content that is no set of repositories is not given out under this name either.
    const other = await storeContent(f.files, '{"version":1}');
    const its = { authorization: `Bearer ${repositoryToken(secret, other.sha256)}` };
    expect((await f.app.inject({ url: `/api/v1/repositories/${other.sha256}/side/x`, headers: its })).json()).toMatchObject({ status: 404 });
  });

  it('gives them to nobody where the operator set no secret', async () => {
    const f = await start({ repositorySecret: undefined as never });
    const digest = 'a'.repeat(64);
    const headers = { authorization: `Bearer ${repositoryToken(secret, digest)}` };
    expect((await f.app.inject({ url: `/api/v1/repositories/${digest}/side/x`, headers })).statusCode).toBe(401);
  });
});

describe('with a plain dnf', () => {
  let world: SampleWorld;
  beforeAll(async () => {
    world = await sampleWorld();
  }, 120_000);
  afterAll(() => world?.close());

  it('installs the requested build from the .repo file alone', async () => {
    const trial = await world.trial({ packages: ['hello'], sources: { kojiBuilds: ['hello-1.1-1.sample'] } });
    const ready = await trial.run<{ repositories: FileRef }>(sideRepo as unknown as Stage, await trial.announce());
    // The links name the port, so it has to be known first.
    const port = await freePort();
    const publicUrl = `http://127.0.0.1:${port}`;
    const f = await start({ files: trial.files as Files, releases: { releases: [world.sample.release] }, publicUrl });
    await f.app.listen({ host: '127.0.0.1', port });
    const id = await submit(f);
    await prepared(f, id, ready.data.repositories);

    const directory = await tempDirectory();
    try {
      const repos = join(directory.path, 'yum.repos.d');
      await mkdir(repos);
      const answer = await fetch(`${publicUrl}${builds}/${id}/side-repo.repo`);
      await writeFile(join(repos, 'spindle.repo'), await answer.text());
      await writeFile(join(repos, 'sample.repo'), `[sample]\nname=stable\nbaseurl=${world.sample.site.url}/repo/x86_64/\ngpgcheck=0\n`);
      // Debian's rpm keeps its database elsewhere.
      await writeFile(join(directory.path, '.rpmmacros'), '%_dbpath /usr/lib/sysimage/rpm\n');
      const programs = spawnedPrograms();
      const dnf = (...args: string[]) =>
        programs.run({
          command: 'dnf',
          args: [
            ...['-y', '-q', '--disableplugin=*', '--releasever=1', '--forcearch=x86_64', `--installroot=${directory.path}/root`],
            ...[`--setopt=reposdir=${repos}`, `--setopt=cachedir=${directory.path}/cache`, '--setopt=install_weak_deps=False'],
            ...args,
          ],
          env: { HOME: directory.path },
          deadlineMs: 60_000,
        });
      const listed = await dnf('list', '--showduplicates', 'hello');
      expect(listed.stdout).toMatch(new RegExp(`hello\\.noarch +1\\.1-1\\.sample +spindle-${id}`));
      expect(listed.stdout).toMatch(/hello\.noarch +1\.0-1\.sample +sample/);
      // Its signature is checked by dnf with the key that the file names.
      const installed = await dnf('install', 'hello');
      expect([installed.exitCode, installed.stderr]).toEqual([0, expect.stringContaining('Importing GPG key')]);
      const held = await programs.run({
        command: 'rpm',
        args: ['--root', `${directory.path}/root`, '--dbpath', '/usr/lib/sysimage/rpm', '-q', 'hello'],
        env: { HOME: directory.path },
        deadlineMs: 60_000,
      });
      expect(held.stdout.trim()).toBe('hello-1.1-1.sample.noarch');
    } finally {
      await directory.remove();
    }
  });
});
