/** The main job with nothing of it kept in the state directory: records in MongoDB, files in S3, events on RabbitMQ; the service killed on the way and started on another state directory. */
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MongoClient } from 'mongodb';
import { expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { parseS3Url } from '../../shared/config/s3-url.ts';
import { s3Files } from '../../shared/files/s3.ts';
import { build, hasEnded, submit } from '../support/real-builds.ts';
import { freePort, startRealService } from '../support/real-service.ts';
import { virtualHost } from '../support/servers/rabbitmq.ts';
import { sharedMongoDb, sharedRabbitMq, sharedS3 } from '../support/servers/shared.ts';
import { testDirectory } from '../support/temp-directory.ts';

const hello = { imageType: 'live', packages: ['@core', 'hello'], sources: { kojiBuilds: ['hello-1.1-1.sample'] }, firmware: ['bios'] };

test('an image is built and served from MongoDB, S3 and RabbitMQ, and a process that never saw it goes on where a killed one was', {
  timeout: 500_000,
}, async ({ skip }) => {
  const [mongoDb, s3, rabbitMq] = await Promise.all([sharedMongoDb(), sharedS3(), sharedRabbitMq()]);
  if (typeof mongoDb === 'string') return skip(mongoDb);
  if (typeof s3 === 'string') return skip(s3);
  if (typeof rabbitMq === 'string') return skip(rabbitMq);
  const name = `spindle_e2e_${process.pid}`;
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
  bucket.searchParams.set('links', '60');
  const place = parseS3Url(bucket.href);
  if ('problem' in place) throw new Error(place.problem);
  const files = s3Files({ place, clock: systemClock() });
  onTestFinished(async () => {
    for (const key of await files.list('')) await files.remove(key);
    await files.close();
  });
  const settings = { SPINDLE_STORE_URL: database.href, SPINDLE_FILES_URL: bucket.href, SPINDLE_BUS_URL: host.url };
  const port = await freePort();

  const first = await testDirectory();
  const killed = await startRealService(first, port, settings);
  onTestFinished(() => killed.kill());
  const id = await submit(killed, { ...hello, label: 'FAR', notify: { email: ['me@example.org'] } });
  await build(killed, id, 'building', ({ state }) => state === 'building');
  await killed.kill();
  expect(await readdir(first)).not.toEqual(expect.arrayContaining(['store', 'files']));

  const second = await testDirectory();
  const service = await startRealService(second, port, settings);
  onTestFinished(() => service.kill());
  const shown = await build(service, id, 'ended', hasEnded);
  expect(shown, service.output()).toMatchObject({ state: 'finished', verdict: 'booted', failure: null });
  const image = shown.artifacts.find((artifact) => artifact.name === 'FAR-sample-x86_64.iso');
  const url = `${service.url}/api/v1/builds/${id}/artifacts/FAR-sample-x86_64.iso`;
  const answer = await fetch(url, { redirect: 'manual' });
  expect([answer.status, new URL(answer.headers.get('location') ?? '').host]).toEqual([307, new URL(place.endpoint ?? '').host]);
  const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(image?.sha256);
  expect((await readdir(join(second, 'mail'))).filter((letter) => letter.endsWith('.eml'))).toHaveLength(1);
  expect(await files.sweepUploads(0)).toBe(0);
  expect(await service.stop()).toBe(0);
});
