/** Build nodes over REST and on the command line: listed, drained, taken back; and a request that no node can serve says so at once. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { withProblem } from '../../shared/build/build.ts';
import { spindleCommand } from '../support/spindle-command.ts';
import { kiwiEngine, workerRecord } from '../support/workers.ts';
import { type Fixture, fixture, liveRequest } from './rest-api-fixture.ts';

let f: Fixture;
/** Once it listens. */
let url: string | undefined;
beforeEach(async () => {
  f = await fixture();
  url = undefined;
});
afterEach(() => f.close());

const now = () => f.clock.now();
const since = () => new Date(now() - 65_000).toISOString();
const addWorkers = async () => {
  await f.workers.insert(
    workerRecord({ heartbeatAt: now(), builds: [{ buildId: 'build-1', stage: 'image-builder', what: 'installing packages', since: since() }] }),
  );
  await f.workers.insert(
    workerRecord({
      id: 'node-2',
      heartbeatAt: now(),
      engines: [{ ...kiwiEngine, version: null, missing: ['kiwi-ng'] }],
    }),
  );
};

async function spindle(...args: readonly string[]) {
  url ??= await f.app.listen({ host: '127.0.0.1', port: 0 });
  return spindleCommand(args, { url, stdin: JSON.stringify(liveRequest) });
}

test('the list says what each can make and what it does', async () => {
  expect((await f.app.inject('/api/v1/workers')).json()).toEqual({ items: [] });
  await addWorkers();
  const { items } = (await f.app.inject('/api/v1/workers')).json();
  expect(items).toMatchObject([
    {
      id: 'node-1',
      state: 'busy',
      host: 'builder.example',
      arch: 'x86_64',
      slots: 2,
      slotsFree: 1,
      freeBytes: 77_800_000_000,
      kvm: true,
      engines: [{ name: 'kiwi', state: 'present', version: '9.24.43' }],
      builds: [{ buildId: 'build-1', stage: 'image-builder', what: 'installing packages' }],
      links: { drain: '/api/v1/workers/node-1/drain' },
    },
    { id: 'node-2', state: 'idle', engines: [{ state: 'absent', missing: ['kiwi-ng'], install: { debian: ['kiwi'], fedora: ['kiwi-cli'] } }] },
  ]);
  expect(items[0]).not.toHaveProperty('isTaking');
  expect((await f.app.inject('/api/v1/workers/node-2')).json()).toEqual(items[1]);
});

test('drain and the ways back', async () => {
  await addWorkers();
  const drain = (method: 'POST' | 'DELETE', payload?: object) => f.app.inject({ method, url: '/api/v1/workers/node-1/drain', ...(payload ? { payload } : {}) });
  for (let twice = 0; twice < 2; twice += 1) {
    const answer = await drain('POST');
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toMatchObject({ id: 'node-1', draining: true, state: 'draining' });
  }
  expect((await drain('POST', { drain: false })).json()).toMatchObject({ draining: false, state: 'busy' });
  expect((await drain('POST', { drain: true })).json()).toMatchObject({ draining: true });
  expect((await drain('DELETE')).json()).toMatchObject({ draining: false });
  expect((await drain('POST', { drain: 'yes' })).json()).toMatchObject({ status: 422, code: 'REQUEST_INVALID', errors: [{ field: 'drain' }] });
  expect((await drain('POST', { drian: true })).json()).toMatchObject({ status: 422, code: 'REQUEST_INVALID' });
  expect((await f.workers.get('node-1'))?.document.draining).toBe(false);
});

test('a worker that is not there', async () => {
  for (const [method, url] of [
    ['GET', '/api/v1/workers/nobody'],
    ['POST', '/api/v1/workers/nobody/drain'],
    ['DELETE', '/api/v1/workers/%2e%2e%2f/drain'],
  ] as const) {
    expect((await f.app.inject({ method, url })).json()).toMatchObject({ status: 404, code: 'WORKER_UNKNOWN' });
  }
});

test('a request that no node can serve is accepted with a warning, and its status tells why it waits', async () => {
  const submit = async () => (await f.app.inject({ method: 'POST', url: '/api/v1/builds', payload: liveRequest })).json();
  expect(await submit()).not.toHaveProperty('warnings');
  await addWorkers();
  expect(await submit()).not.toHaveProperty('warnings');
  await f.app.inject({ method: 'POST', url: '/api/v1/workers/node-1/drain' });
  const build = await submit();
  const reason =
    'no build node can make a live image with kiwi for x86_64: node-1 is draining; node-2 lacks kiwi-ng (on Debian: apt-get install kiwi; on Fedora: dnf install kiwi-cli)';
  expect(build.warnings).toEqual([`${reason}; the build will wait until one can`]);
  await f.move(build.id, (record, at) => withProblem(record, { code: 'NO_WORKER', message: reason }, at));
  expect((await f.app.inject(`/api/v1/builds/${build.id}`)).json()).toMatchObject({ stage: { problem: { code: 'NO_WORKER', message: reason } } });
  const shown = await spindle('build', 'show', build.id);
  expect(shown.stdout).toContain(`waits    NO_WORKER: ${reason}`);
  const submitted = await spindle('build', 'submit', '-f', '-');
  expect(submitted).toMatchObject({ status: 0, stderr: `warning: ${reason}; the build will wait until one can\n` });
});

test('the command line lists, drains and takes back', async () => {
  expect((await spindle('workers', 'list')).stdout).toBe('there are no build nodes\n');
  await addWorkers();
  expect((await spindle('workers', 'list')).stdout.split('\n')).toEqual([
    'ID      HOST             ARCH    ENGINES       SLOTS   FREE     DOING                             STATE',
    'node-1  builder.example  x86_64  kiwi 9.24.43  1 of 2  77.8 GB  build-1 installing packages 1:05  busy',
    'node-2  builder.example  x86_64  none          0 of 2  77.8 GB  -                                 idle',
    'node-2 has no kiwi: it lacks kiwi-ng',
    '',
  ]);
  expect((await spindle('workers', 'drain', 'node-1')).stdout).toBe('worker node-1 takes nothing new; 1 build runs on it to the end\n');
  expect((await spindle('workers', 'drain', 'node-2')).stdout).toBe('worker node-2 takes nothing new; nothing runs on it\n');
  expect((await spindle('workers', 'drain', 'node-1', '--undo')).stdout).toBe('worker node-1 takes builds\n');
  expect(JSON.parse((await spindle('workers', 'list', '--output', 'json')).stdout).items).toHaveLength(2);
  expect(await spindle('workers', 'drain', 'nobody')).toMatchObject({ status: 4, stderr: expect.stringContaining('there is no worker of this id') });
});
