/** A real image by services that each are processes of their own: RabbitMQ, MongoDB and S3 between them, two build nodes, of which the one that builds is killed. */
import { createHash } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { parseS3Url } from '../../shared/config/s3-url.ts';
import { s3Files } from '../../shared/files/s3.ts';
import { type AloneProcess, startAloneProcess } from '../support/alone-process.ts';
import { build, hasEnded, submit } from '../support/real-builds.ts';
import { startSample } from '../support/sample-site.ts';
import { virtualHost } from '../support/servers/rabbitmq.ts';
import { sharedMongoDb, sharedRabbitMq, sharedS3 } from '../support/servers/shared.ts';
import { testDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';

interface ShownWorker {
  readonly id: string;
  readonly builds: readonly { readonly buildId: string }[];
  readonly state: string;
}

test('an image is built by nine processes, one of them killed while it builds', { timeout: 500_000 }, async ({ skip }) => {
  const [mongoDb, s3, rabbitMq] = await Promise.all([sharedMongoDb(), sharedS3(), sharedRabbitMq()]);
  if (typeof mongoDb === 'string') return skip(mongoDb);
  if (typeof s3 === 'string') return skip(s3);
  if (typeof rabbitMq === 'string') return skip(rabbitMq);
  const name = `spindle_alone_e2e_${process.pid}`;
  const host = await virtualHost(rabbitMq, name);
  onTestFinished(host.remove);
  const database = new URL(mongoDb.url);
  database.pathname = `/${name}`;
  const client = new MongoClient(database.href);
  onTestFinished(async () => {
    await client.db(name).dropDatabase();
    await client.close();
  });
  const bucket = new URL(s3.url);
  bucket.pathname = `/${name}`;
  const place = parseS3Url(bucket.href);
  if ('problem' in place) throw new Error(place.problem);
  const files = s3Files({ place, clock: systemClock() });
  onTestFinished(async () => {
    for (const key of await files.list('')) await files.remove(key);
    await files.close();
  });
  const sample = await startSample();
  onTestFinished(() => sample.site.close());

  const settings = {
    SPINDLE_STORE_URL: database.href,
    SPINDLE_FILES_URL: bucket.href,
    SPINDLE_BUS_URL: host.url,
    SPINDLE_BUS_MANAGEMENT_URL: rabbitMq.managementUrl,
    SPINDLE_STATE_DIR: await testDirectory(),
    SPINDLE_LISTEN: '127.0.0.1:0',
    SPINDLE_SAMPLE_SITE: sample.site.url,
    SPINDLE_BUILDER_SLOTS: '1',
  };
  const running: AloneProcess[] = [];
  onTestFinished(async () => {
    for (const one of running) one.signal('SIGKILL');
    await Promise.all(running.map(({ ended }) => ended));
  });
  const start = async (service: string) => {
    const started = await startAloneProcess(service, settings);
    running.push(started);
    return started;
  };
  const [intake, monitor] = [await start('intake'), await start('monitor')];
  for (const service of ['resolver', 'side-repo', 'image-builder', 'image-builder', 'boot-test', 'uploader', 'notifier']) await start(service);
  const workers = async () => ((await (await fetch(`${monitor.url}/api/v1/workers`)).json()) as { readonly items: readonly ShownWorker[] }).items;
  await until(async () => (await workers()).filter(({ state }) => state === 'idle').length === 2, { timeoutMs: 30_000, what: 'both build nodes' });

  const service = { ...monitor, url: intake.url, kill: async () => undefined, stop: async () => null };
  const hello = { imageType: 'live', packages: ['@core', 'hello'], sources: { kojiBuilds: ['hello-1.1-1.sample'] }, firmware: ['bios'] };
  const id = await submit(service, { ...hello, label: 'ALONE', notify: { email: ['me@example.org'] } });
  const busy = await until(async () => (await workers()).find(({ builds }) => builds.some(({ buildId }) => buildId === id)), {
    timeoutMs: 200_000,
    what: 'a node that builds it',
  });
  const builder = running.find((one) => one.output().includes(`"worker":"${busy.id}"`));
  builder?.signal('SIGKILL');
  expect(await builder?.ended).toBe('SIGKILL');

  const shown = await build(service, id, 'ended', hasEnded);
  expect(shown, running.map(({ output }) => output()).join('\n')).toMatchObject({ state: 'finished', verdict: 'booted', failure: null });
  const image = shown.artifacts.find((artifact) => artifact.name === 'ALONE-sample-x86_64.iso');
  const bytes = new Uint8Array(await (await fetch(`${intake.url}/api/v1/builds/${id}/artifacts/ALONE-sample-x86_64.iso`)).arrayBuffer());
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(image?.sha256);
  expect((await workers()).filter(({ state }) => state === 'lost').map((worker) => worker.id)).toEqual([busy.id]);

  const alive = running.filter((one) => one !== builder);
  for (const one of alive) one.signal('SIGTERM');
  expect(await Promise.all(alive.map(({ ended }) => ended))).toEqual(alive.map(() => 0));
});
