/** The command-line client against the service on a real port: what is printed, and the exit status of every kind of end. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runCli } from '../../clients/cli/cli.ts';
import { admitted, type Build, canceled, claimed, drivingEvent, failed, stageEnded } from '../../shared/build/build.ts';
import { buildTopic } from '../../shared/build/topics.ts';
import { openBuildLog } from '../../shared/build-log/build-log.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { storeContent } from '../../shared/files/content.ts';
import { builtRpm } from '../support/built-rpm.ts';
import { type EndedCommand, type SpindleCommand, spindleCommand } from '../support/spindle-command.ts';
import { type Fixture, fixture, liveRequest } from './rest-api-fixture.ts';

let f: Fixture;
let url: string;
let directory: string;
beforeEach(async () => {
  f = await fixture();
  url = await f.app.listen({ host: '127.0.0.1', port: 0 });
  directory = await mkdtemp(join(tmpdir(), 'spindle-cli-'));
});
afterEach(async () => {
  await f.close();
  await rm(directory, { recursive: true, force: true });
});

const spindle = (args: readonly string[], options: Partial<SpindleCommand> = {}): Promise<EndedCommand> =>
  spindleCommand(args, { url, stdin: JSON.stringify(liveRequest), ...options });

async function move(id: string, change: (build: Build, now: number) => Build): Promise<void> {
  await f.move(id, change);
  f.bus.broadcast(buildTopic(id), {});
}

const finish =
  (verdict: 'booted' | 'failed', artifacts: Build['artifacts'] = []) =>
  (build: Build, now: number) => {
    const cause = drivingEvent(build)?.event;
    if (!cause) throw new Error('an admitted build has an event that drives it');
    return stageEnded(
      build,
      'uploader',
      cause,
      [
        { type: 'image.uploaded', data: { image: 'x.iso', artifacts } },
        { type: 'build.finished', data: { verdict, reason: 'the console said so' } },
      ],
      now,
    );
  };

const fail = (build: Build, now: number) =>
  failed(build, {
    stage: 'resolver',
    failure: {
      code: 'PACKAGE_UNKNOWN',
      stage: 'resolver',
      message: 'there is no package \u001b[31mhullo',
      fault: 'requester',
      retryable: false,
      phase: 'solving dependencies',
      details: ['the last line'],
    },
    now,
    isDeadLetter: false,
  });

async function submitted(): Promise<string> {
  return (await spindle(['build', 'submit', '-f', '-'])).stdout.trim();
}

test('submit prints the id; list and show print the build; --output decides the form', async () => {
  const file = join(directory, 'request.yaml');
  await writeFile(file, 'release: sample\nimageType: live\npackages: [hello]\n');
  const { status, stdout, stderr } = await spindle(['build', 'submit', '-f', file, '--set', 'label=FROM-CLI', '--set', 'bootTest=false']);
  expect([status, stderr]).toEqual([0, '']);
  const id = stdout.trim();
  expect((await f.builds.get(id))?.document.request).toMatchObject({ label: 'FROM-CLI', bootTest: false });

  const list = await spindle(['build', 'list']);
  expect(list.stdout).toMatch(new RegExp(`^ID .*\n${id}  queued  sample   x86_64  live  FROM-CLI  `));
  expect(JSON.parse((await spindle(['build', 'list', '--output', 'json', '--state', 'queued'])).stdout)[0].id).toBe(id);
  expect((await spindle(['build', 'list', '--release', '44', '--output', 'yaml'])).stdout).toBe('[]\n');
  const show = await spindle(['build', 'show', id]);
  expect(show.stdout).toContain('state    queued, place 1');
  expect(JSON.parse((await spindle(['build', 'show', id, '--output', 'json'])).stdout)).toMatchObject({ id, queue: { place: 1 } });
});

test('list goes on over pages', async () => {
  const ids: string[] = [];
  for (let index = 0; index < 205; index += 1) ids.unshift((await f.app.inject({ method: 'POST', url: '/api/v1/builds', payload: liveRequest })).json().id);
  const listed = JSON.parse((await spindle(['build', 'list', '--limit', '1000', '--output', 'json'])).stdout) as { id: string }[];
  expect(listed.map(({ id }) => id)).toEqual(ids);
});

test('--wait shows the stages and ends with 0 where the image boots, 1 where it does not', async () => {
  for (const [verdict, status] of [
    ['booted', 0],
    ['failed', 1],
  ] as const) {
    let id = '';
    const waiting = spindle(['build', 'submit', '-f', '-', '--wait'], {
      onStderr: (text) => {
        const started = /^build (\S+)/.exec(text)?.[1];
        if (started !== undefined) {
          id = started;
          void move(id, admitted);
        }
        if (text.startsWith('resolving')) void move(id, finish(verdict));
      },
    });
    const ended = await waiting;
    expect(ended.status).toBe(status);
    expect(ended.stderr).toBe(`build ${id}\nqueued\nresolving\nfinished\n`);
    expect(ended.stdout).toContain(`build ${id} is finished; boot test: ${verdict}`);
  }
});

test('a failed and a canceled build end with 1 and a readable reason', async () => {
  const watched = async (change: (build: Build, now: number) => Build) =>
    spindle(['build', 'submit', '-f', '-', '--wait', '--output', 'json'], {
      onStderr: (text) => {
        const id = /^build (\S+)/.exec(text)?.[1];
        if (id !== undefined) void move(id, change);
      },
    });
  const bad = await watched(fail);
  expect([bad.status, JSON.parse(bad.stdout).failure.code]).toEqual([1, 'PACKAGE_UNKNOWN']);
  const { id } = JSON.parse(bad.stdout);
  expect((await spindle(['build', 'show', id])).stdout).toContain('PACKAGE_UNKNOWN in resolver (solving dependencies): there is no package hullo\n');
  expect((await watched(canceled)).status).toBe(1);
});

test('a group is waited for as a whole', async () => {
  const ended = await spindle(['build', 'submit', '-f', '-', '--set', 'release=44', '--set', 'arch=[x86_64, aarch64]', '--wait'], {
    onStderr: (text) => {
      const id = /^build (\S+)/.exec(text)?.[1];
      if (id !== undefined) void move(id, admitted).then(() => move(id, finish('booted')));
    },
  });
  expect(ended.status).toBe(0);
  expect(ended.stderr).toContain('aarch64 live: finished');
  expect(ended.stdout.match(/is finished/g)).toHaveLength(2);
});

test('--follow shows each line of the log once, through a restart of the service', async () => {
  const id = await submitted();
  await move(id, admitted);
  const log = openBuildLog({ files: f.files, bus: f.bus, clock: f.clock, buildId: id, stage: 'resolver', stageIndex: 1, attempt: 1, token: f.clock.id() });
  const say = async (text: string) => {
    log.line('resolver', text);
    await log.flush();
  };
  await say('one');
  const out: string[] = [];
  let seen = () => {};
  const until = (text: string) =>
    new Promise<void>((resolve) => {
      seen = () => out.join('').includes(text) && resolve();
      seen();
    });
  const following = runCli(['build', 'log', id, '--follow'], {
    stdout: (text) => {
      out.push(text);
      seen();
    },
    stderr: () => {},
    stdin: Readable.from([]),
    clock: systemClock(),
    environment: { SPINDLE_URL: url },
  });
  await until('one');
  // The app goes and another one, on the same port and the same files and builds, takes its place.
  const port = Number(new URL(url).port);
  await f.app.close();
  const second = await fixture({ builds: f.builds, files: f.files, bus: f.bus });
  await second.app.listen({ host: '127.0.0.1', port });
  await say('two');
  await until('two');
  await say('three');
  await move(id, finish('booted'));
  expect(await following).toBe(0);
  expect(out.join('').match(/\| \w+/g)).toEqual(['| one', '| two', '| three']);
  await second.close();
});

test('the stage that works is told apart from one that waits', async () => {
  const id = await submitted();
  await move(id, admitted);
  await move(id, (build, now) => claimed(build, { token: 't', worker: 'builder-1', expiresAt: now + 60_000 }, now));
  expect((await spindle(['build', 'show', id])).stdout).toContain('resolver, running on builder-1, attempt 1');
});

test('shows how long each stage and each of its phases took', async () => {
  const id = await submitted();
  await move(id, admitted);
  const startedAt = '2026-11-26T08:00:00.000Z';
  const run = { stage: 'resolver', attempt: 1, worker: 'builder-1', startedAt, durationMs: 1234, outcome: 'failed' as const };
  const phases = [
    { name: 'asking Koji and Bodhi', startedAt, durationMs: 1000 },
    { name: 'solving dependencies', startedAt, durationMs: null },
  ];
  await move(id, (build, now) => fail({ ...build, runs: [{ ...run, phases }] }, now));
  const { stdout } = await spindle(['build', 'show', id]);
  expect(
    stdout
      .slice(stdout.indexOf('\nstages'))
      .split('\n')
      .map((line) => line.replaceAll(/ {2,}/g, '  ').trim()),
  ).toEqual([
    '',
    'stages',
    'STAGE  BEGAN  TOOK  OUTCOME',
    `resolver  ${startedAt}  1.2 s  failed`,
    `asking Koji and Bodhi  ${startedAt}  1.0 s`,
    `solving dependencies  ${startedAt}  not known`,
    '',
  ]);
  const shown = JSON.parse((await spindle(['build', 'show', id, '--output', 'json'])).stdout) as { readonly runs: unknown };
  expect(shown.runs).toEqual([{ ...run, phases }]);
});

test('cancel and retry', async () => {
  const id = await submitted();
  expect((await spindle(['build', 'cancel', id])).stdout).toBe(`build ${id} is canceled\n`);
  const again = await spindle(['build', 'retry', id]);
  expect((await f.builds.get(again.stdout.trim()))?.document.retryOf).toBe(id);
  const same = await spindle(['build', 'retry', id, '--same']);
  expect([same.status, same.stderr]).toEqual([
    4,
    'spindle: the build ended before its packages were resolved; retry it without same (409 RESOLUTION_MISSING)\n',
  ]);
});

test('download checks what came, and keeps nothing that is wrong', async () => {
  const id = await submitted();
  const content = 'x'.repeat(300_000);
  const iso = { name: 'x.iso', ...(await storeContent(f.files, content)), mediaType: 'application/octet-stream' };
  const manifest = { name: 'manifest.json', ...(await storeContent(f.files, '{}')), mediaType: 'application/json' };
  await move(id, admitted);
  await move(id, finish('booted', [iso, manifest]));
  const target = join(directory, 'new');
  const done = await spindle(['build', 'download', id, '-o', target]);
  expect([done.status, done.stdout]).toEqual([0, `${join(target, 'x.iso')}\n${join(target, 'manifest.json')}\n`]);
  expect(await readFile(join(target, 'x.iso'), 'utf8')).toBe(content);
  expect(JSON.parse((await spindle(['build', 'download', id, 'manifest.json', '-o', target, '--output', 'json'])).stdout)).toEqual({
    files: [join(target, 'manifest.json')],
  });
  expect((await spindle(['build', 'download', id, 'y.iso', '-o', target])).status).toBe(2);
  // The stored bytes rot: what comes is not what was announced.
  await f.files.put(`content/${iso.sha256.slice(0, 2)}/${iso.sha256}`, 'y'.repeat(300_000));
  const rotten = join(directory, 'rotten');
  const refused = await spindle(['build', 'download', id, 'x.iso', '-o', rotten]);
  expect([refused.status, refused.stderr]).toEqual([3, expect.stringContaining('it is not kept')]);
  expect(await readdir(rotten)).toEqual([]);
});

test('resolve prints every package and where it comes from', async () => {
  await f.app.close();
  f = await fixture({
    resolve: async ({ release, arch }) => ({
      version: 1,
      release,
      arch,
      packages: [
        {
          name: 'hello',
          epoch: 0,
          version: '1.1',
          release: '1',
          arch: 'noarch',
          nevra: 'hello-1.1-1.noarch',
          from: 'side',
          repository: 'koji',
          because: 'hello-1.1-1 was asked for',
          urls: ['http://127.0.0.1/x.rpm'],
          sha256: '0'.repeat(64),
          size: 10,
          installedSize: 20,
          sigkey: null,
          stored: false,
        },
      ],
      requested: [],
      roots: [],
      repositories: [],
      warnings: ['nothing of the Koji tag t is in the image'],
      downloadBytes: 10_000_000,
      installedBytes: 20_000_000,
    }),
  });
  url = await f.app.listen({ host: '127.0.0.1', port: 0 });
  const { status, stdout } = await spindle(['resolve', '-f', '-']);
  expect([status, stdout]).toEqual([
    0,
    'live for x86_64: 1 packages, 1 of them from the side repository; 10.0 MB to download, 20.0 MB once installed\n' +
      'warning: nothing of the Koji tag t is in the image\n' +
      'PACKAGE             FROM  REPOSITORY  BECAUSE\nhello-1.1-1.noarch  side  koji        hello-1.1-1 was asked for\n',
  ]);
});

test('packages are searched for', async () => {
  expect(await spindle(['packages', 'say', 'HELLO', '--release', 'sample'])).toMatchObject({
    status: 0,
    stdout: 'PACKAGE  VERSION  ARCH    REPOSITORY  SUMMARY\nhello    1.0-1    noarch  sample      Says hello\n',
  });
  expect(await spindle(['packages', 'nothing-like-it', '--release', 'sample'])).toMatchObject({ status: 0, stdout: 'nothing found\n' });
  expect(JSON.parse((await spindle(['packages', 'bash', '--release', 'sample', '--output', 'json'])).stdout)).toMatchObject({ items: [{ name: 'bash' }] });
  expect(await spindle(['packages', 'bash', '--release', 'none'])).toMatchObject({ status: 4, stderr: expect.stringContaining('there is no release') });
  expect(await spindle(['packages', 'bash'])).toMatchObject({ status: 2 });
});

test('2: what is wrong with the command line', async () => {
  for (const args of [
    [],
    ['frobnicate'],
    ['build', 'submit'],
    ['build', 'submit', '-f', '/nowhere.yaml'],
    ['build', 'submit', '-f', '-', '--set', 'nonsense'],
    ['build', 'list', '--output', 'xml'],
    ['build', 'list', '--limit', '0'],
    ['build', 'list', '--url', 'nonsense'],
    ['build', 'show'],
    ['build', 'show', 'a', '--frobnicate'],
  ]) {
    const { status, stderr, stdout } = await spindle(args);
    expect([args.join(' '), status]).toEqual([args.join(' '), 2]);
    expect(stderr + stdout).not.toBe('');
  }
  expect((await spindle(['--help'])).status).toBe(0);
  expect((await spindle(['build', 'submit', '--help'])).stdout).toContain('--set <key=value>');
});

test('4: what the service refuses, with every field', async () => {
  const id = '01a20273-7e0d-7625-bdbd-8a0f9df4dce6';
  expect((await spindle(['build', 'show', id])).status).toBe(4);
  expect((await spindle(['build', 'show', '../../healthz'])).status).toBe(4);
  expect((await spindle(['build', 'log', id, '--follow'])).status).toBe(4);
  const bad = await spindle(['build', 'submit', '-f', '-', '--set', 'pakages=[]', '--set', 'liveUser=Root']);
  expect(bad.status).toBe(4);
  expect(bad.stderr).toContain('\n  liveUser "Root" is not a user name\n');
  expect(bad.stderr).toContain('\n  "pakages" is not a key of a build request; the nearest one is "packages"\n');
});

test('3: who does not answer, and who is not Spindle', async () => {
  const servers: Server[] = [];
  const serve = async (status: number, body: string) => {
    const server = createServer((_request, response) => response.writeHead(status, { 'content-type': 'text/html', location: 'http://127.0.0.1:1/' }).end(body));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  const gone = await serve(200, '');
  await new Promise((resolve) => servers.pop()?.close(resolve));
  for (const address of [
    gone,
    await serve(200, '<html>'),
    await serve(404, '<html>'),
    await serve(302, ''),
    await serve(500, '{"code":"INTERNAL","detail":"broke"}'),
  ]) {
    for (const args of [
      ['build', 'list'],
      ['build', 'log', 'x', '--follow'],
      ['build', 'submit', '-f', '-', '--wait'],
    ]) {
      const { status, stderr } = await spindle(args, { url: address });
      expect([args.join(' '), status, stderr.startsWith('spindle: ')]).toEqual([args.join(' '), 3, true]);
    }
  }
  for (const server of servers) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

test('RPMs are uploaded with progress, listed and deleted; a refusal keeps what was taken before', async () => {
  const [{ rpm: hello }, { rpm: native }] = await Promise.all([
    builtRpm({ name: 'hello', version: '9', arch: 'noarch' }),
    builtRpm({ name: 'native', version: '1', arch: 'x86_64' }),
  ]);
  const paths = ['hello.rpm', 'native.rpm', 'notes.txt'].map((name) => join(directory, name));
  await Promise.all([hello, native, 'no RPM\n'].map((content, place) => writeFile(paths[place] ?? '', content)));
  const sent = await spindle(['rpms', 'upload', ...paths.slice(0, 2)]);
  expect(sent.stderr).toBe('');
  expect(sent.status).toBe(0);
  const ids = sent.stdout
    .trim()
    .split('\n')
    .map((line) => line.split('  ')[0] ?? '');
  expect(sent.stdout).toMatch(/^[0-9a-f-]{36} {2}hello-9-1\.noarch\n[0-9a-f-]{36} {2}native-1-1\.x86_64\n$/);
  const listed = await spindle(['rpms', 'list']);
  expect(listed.stdout).toMatch(/ID +PACKAGE +BYTES +EXPIRES\n/);
  expect(listed.stdout).toContain(`2 of 10 RPMs, ${hello.length + native.length} of`);
  expect(await spindle(['rpms', 'delete', ids[0] ?? ''])).toMatchObject({ status: 0, stdout: `the RPM ${ids[0]} is deleted\n` });
  expect(await spindle(['rpms', 'delete', ids[0] ?? ''])).toMatchObject({ status: 4, stderr: expect.stringContaining('RPM_NOT_FOUND') });

  const mixed = await spindle(['rpms', 'upload', ...paths.slice(1), '--output', 'json']);
  expect([mixed.status, JSON.parse(mixed.stdout).items.map(({ id }: { id: string }) => id)]).toEqual([4, [ids[1]]]);
  expect(mixed.stderr).toContain('RPM_UNREADABLE');
  expect(await spindle(['rpms', 'upload', join(directory, 'nowhere')])).toMatchObject({ status: 2, stderr: expect.stringContaining('cannot be read') });
  expect(await spindle(['rpms', 'upload', paths[0] ?? ''], { url: 'http://127.0.0.1:1' })).toMatchObject({ status: 3 });
  // Refused while it is still being sent.
  await writeFile(paths[2] ?? '', Buffer.alloc(8 * 1024 * 1024));
  expect(await spindle(['rpms', 'upload', paths[2] ?? ''])).toMatchObject({ status: 4, stderr: expect.stringContaining('413 RPM_TOO_LARGE') });
});

test('an upload shows on a terminal how far it is', async () => {
  const { rpm } = await builtRpm({ name: 'hello', version: '9', arch: 'noarch' });
  const path = join(directory, 'hello.rpm');
  await writeFile(path, rpm);
  let shown = '';
  const write = (text: string) => {
    shown += text;
  };
  const status = await runCli(['rpms', 'upload', path], {
    stdout: () => undefined,
    stderr: write,
    columns: 80,
    stdin: Readable.from([]),
    clock: systemClock(),
    environment: { SPINDLE_URL: url },
  });
  expect(status).toBe(0);
  expect(shown).toContain(`hello.rpm: ${rpm.length} of ${rpm.length} bytes`);
});
