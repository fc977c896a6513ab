/** Services as processes of their own, over a real broker and a real store: several of one kind share the work, one that stops or dies leaves nothing undone, and wrong settings are said. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type AloneProcess, failedStart, startAloneProcess } from '../support/alone-process.ts';
import { virtualHost } from '../support/servers/rabbitmq.ts';
import { sharedMongoDb, sharedRabbitMq } from '../support/servers/shared.ts';
import { type TempDirectory, tempDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';

/** Servers may have to be started, and five processes with them. */
const timeoutMs = 180_000;
const patience = { timeoutMs: 60_000 };

/** A release whose repository is at an address that nothing is fetched from: every build of it fails in the resolver, at once. */
const releases = `releases:
  - id: closed
    name: Closed Linux
    arches: [x86_64]
    repositories:
      - {id: base, role: stable, baseurl: "http://127.0.0.1:9/"}
    unsigned: allow
    engines: {live: kiwi}
`;

let directory: TempDirectory;
let settings: Record<string, string>;
let missing: string | undefined;
const disposals: (() => Promise<void>)[] = [];
const running: AloneProcess[] = [];

beforeAll(async () => {
  directory = await tempDirectory();
  const [broker, store] = [await sharedRabbitMq(), await sharedMongoDb()];
  if (typeof broker === 'string' || typeof store === 'string') {
    missing = [broker, store].filter((each) => typeof each === 'string').join('; ');
    return;
  }
  const host = await virtualHost(broker, `alone ${process.pid}`);
  disposals.push(() => host.remove());
  const storeUrl = new URL(store.url);
  storeUrl.pathname = `/spindle_alone_${process.pid}`;
  await writeFile(join(directory.path, 'releases.yaml'), releases);
  settings = {
    SPINDLE_BUS_URL: host.url,
    SPINDLE_BUS_MANAGEMENT_URL: broker.managementUrl,
    SPINDLE_STORE_URL: storeUrl.href,
    SPINDLE_STATE_DIR: join(directory.path, 'state'),
    SPINDLE_RELEASES_FILE: join(directory.path, 'releases.yaml'),
    SPINDLE_LISTEN: '127.0.0.1:0',
  };
}, timeoutMs);
afterEach(async () => {
  for (const one of running.splice(0)) {
    one.signal('SIGKILL');
    await one.ended;
  }
});
afterAll(async () => {
  for (const dispose of disposals) await dispose();
  await directory.remove();
});

const start = async (service: string, more: Readonly<Record<string, string>> = {}) => {
  const started = await startAloneProcess(service, { ...settings, ...more });
  running.push(started);
  return started;
};
/** What is read here of the answers. */
interface Answer {
  readonly items: readonly { readonly name: string; readonly oldestSince: string | null }[];
  readonly paths: object;
  readonly state: string;
  readonly endedAt: string | null;
}
const json = async (url: string) => (await (await fetch(url)).json()) as Answer;

describe('settings', () => {
  test('what is missing or wrong is one message, and the exit status is 78', { timeout: timeoutMs }, async () => {
    const ended = await failedStart('resolver', { SPINDLE_STORE_URL: 'file:', SPINDLE_HEALTH_LISTEN: 'nowhere' });
    expect(ended.status).toBe(78);
    expect(ended.output.split('\n')).toEqual([
      'The settings are not usable:',
      expect.stringMatching(/^ {2}SPINDLE_HEALTH_LISTEN: is not HOST:PORT/),
      expect.stringMatching(/^ {2}SPINDLE_BUS_URL: is not set, and `embedded:` is for one process only/),
      expect.stringMatching(/^ {2}SPINDLE_STORE_URL: `file:` is for one process only/),
      '',
    ]);
  });
});

describe('processes', () => {
  test('several of each kind bring builds to their end, through a stop and a kill', { timeout: timeoutMs }, async (context) => {
    if (missing !== undefined) return context.skip(missing);
    const intake = await start('intake');
    const [first, second] = [await start('resolver'), await start('resolver')];
    await start('notifier');
    const monitor = await start('monitor');

    for (const one of running) {
      expect(await json(`${one.healthUrl}/healthz`)).toEqual({ status: 'ok' });
      expect(await json(`${one.healthUrl}/readyz`)).toMatchObject({ status: 'ready', problems: {} });
      expect(await (await fetch(`${one.healthUrl}/metrics`)).text()).toContain('spindle_build_info{');
    }
    // Each has a directory of its own, also two of one kind.
    expect((await readdir(join(settings['SPINDLE_STATE_DIR'] ?? '', 'resolver'))).sort()).toEqual(['1', '2']);
    // The operator's view is monitor's, the builds are intake's.
    expect((await fetch(`${intake.url}/api/v1/queues`)).status).toBe(404);
    expect((await fetch(`${monitor.url}/api/v1/builds`)).status).toBe(404);
    expect((await json(`${monitor.url}/api/v1/workers`)).items).toEqual([]);
    expect((await json(`${monitor.url}/openapi.json`)).paths).toHaveProperty('/api/v1/dead-letters');

    const submit = async (): Promise<string> => {
      const body = JSON.stringify({ release: 'closed', imageType: 'live', packages: ['hello'], notify: { email: ['me@example.org'] } });
      const answer = await fetch(`${intake.url}/api/v1/builds`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
      expect(answer.status).toBe(202);
      return ((await answer.json()) as { readonly id: string }).id;
    };
    const ended = async (id: string) => {
      const build = await json(`${intake.url}/api/v1/builds/${id}`);
      return build.endedAt !== null && build;
    };
    const letters = async () => (await readdir(join(settings['SPINDLE_STATE_DIR'] ?? '', 'mail')).catch(() => [])).filter((name) => name.endsWith('.eml'));

    const ids = await Promise.all(Array.from({ length: 4 }, submit));
    for (const id of ids) expect(await until(() => ended(id), patience)).toMatchObject({ state: 'failed', failure: { stage: 'resolver' } });
    await until(async () => (await letters()).length === 4, patience);
    const runs = async (one: AloneProcess) =>
      Number(/spindle_stage_runs_total\{stage="resolver".*\} (\d+)/.exec(await (await fetch(`${one.healthUrl}/metrics`)).text())?.[1] ?? 0);
    expect((await runs(first)) + (await runs(second))).toBe(4);

    // An orderly stop: exit 0, and the other one goes on.
    first.signal('SIGTERM');
    expect(await first.ended).toBe(0);
    expect(await until(() => submit().then((id) => until(() => ended(id), patience)), patience)).toMatchObject({ state: 'failed' });

    // A kill: what it had goes on in the one that comes back to its directory.
    second.signal('SIGKILL');
    expect(await second.ended).toBe('SIGKILL');
    const waiting = await submit();
    await until(async () => {
      const { items } = await json(`${monitor.url}/api/v1/queues`);
      return items.find(({ name }) => name === 'resolver.build.requested')?.oldestSince !== null;
    }, patience);
    await start('resolver');
    expect((await readdir(join(settings['SPINDLE_STATE_DIR'] ?? '', 'resolver'))).sort()).toEqual(['1', '2']);
    expect(await until(() => ended(waiting), patience)).toMatchObject({ state: 'failed' });
    await until(async () => (await letters()).length === 6, patience);
    const text = await readFile(join(settings['SPINDLE_STATE_DIR'] ?? '', 'mail', (await letters())[0] ?? ''), 'utf8');
    expect(text).toContain('me@example.org');

    for (const one of running) one.signal('SIGINT');
    expect(await Promise.all(running.slice(3).map(({ ended: end }) => end))).toEqual(running.slice(3).map(() => 0));
  });

  test('a second signal does not wait for the orderly end of the first', { timeout: timeoutMs }, async (context) => {
    if (missing !== undefined) return context.skip(missing);
    const uploader = await start('uploader');
    uploader.signal('SIGTERM');
    uploader.signal('SIGINT');
    expect([0, 1]).toContain(await uploader.ended);
  });
});
