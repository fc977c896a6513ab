/** The whole pipeline with its records in MongoDB and its files in S3, each of which goes away in the middle: nothing is lost, nothing is stuck, and all goes on by itself. */
import { createHash } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { expect, onTestFinished, test } from 'vitest';
import { deadLetterCollection } from '../../shared/bus/dead-letter-collection.ts';
import { embeddedBus } from '../../shared/bus/embedded.ts';
import { pipelineTopology } from '../../shared/bus/topology.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { parseS3Url } from '../../shared/config/s3-url.ts';
import { Secret } from '../../shared/config/secret.ts';
import { publicKey } from '../../shared/files/public-key.ts';
import { s3Files } from '../../shared/files/s3.ts';
import { mongoDbStore } from '../../shared/store/mongodb.ts';
import { sharedMongoDb, sharedS3 } from '../support/servers/shared.ts';
import { silentLog } from '../support/stage-world.ts';
import { tcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/until.ts';
import { pipelineReleases, startWholePipeline } from '../support/whole-pipeline.ts';

const clock = systemClock();
const count = 12;

test('builds finish while the store and then the file storage are away for a while', { timeout: 180_000 }, async ({ skip }) => {
  const [mongoDb, s3] = await Promise.all([sharedMongoDb(), sharedS3()]);
  if (typeof mongoDb === 'string') return skip(mongoDb);
  if (typeof s3 === 'string') return skip(s3);
  const name = `spindle_pipeline_${process.pid}`;

  const database = new URL(mongoDb.url);
  database.pathname = `/${name}`;
  const client = new MongoClient(database.href);
  onTestFinished(async () => {
    await client.db(name).dropDatabase();
    await client.close();
  });
  const storeProxy = await tcpProxy({ host: database.hostname, port: Number(database.port) });
  onTestFinished(storeProxy.close);
  database.host = `127.0.0.1:${storeProxy.port}`;
  const store = mongoDbStore({ url: new Secret(database.href), clock, selectionMsMax: 2000 });
  onTestFinished(() => store.close());

  const place = parseS3Url(s3.url);
  if ('problem' in place) throw new Error(place.problem);
  const ownPlace = { ...place, prefix: name };
  const direct = s3Files({ place: ownPlace, clock });
  onTestFinished(async () => {
    for (const key of await direct.list('')) await direct.remove(key);
    await direct.close();
  });
  const endpoint = new URL(place.endpoint ?? '');
  const filesProxy = await tcpProxy({ host: endpoint.hostname, port: Number(endpoint.port) });
  onTestFinished(filesProxy.close);
  const files = s3Files({ place: { ...ownPlace, endpoint: `http://127.0.0.1:${filesProxy.port}` }, clock });
  onTestFinished(() => files.close());

  const bus = embeddedBus({ deadLetters: await store.collection(deadLetterCollection), clock });
  onTestFinished(() => bus.close());
  await bus.assert(pipelineTopology(pipelineReleases));
  const pipeline = await startWholePipeline({ store, bus, clock, files, logger: silentLog, handlers: 'real', slots: 4, inFlightMax: 8 });
  onTestFinished(() => pipeline.stop());

  const ids: string[] = [];
  for (let index = 0; index < count; index += 1) ids.push(await pipeline.submit());
  const states = async () => (await Promise.all(ids.map((id) => pipeline.builds.get(id)))).map((found) => found?.document.state);
  await until(async () => (await states()).includes('building') || (await states()).includes('finished'), { timeoutMs: 30_000, what: 'the first image' });

  storeProxy.cut();
  await expect(store.ping()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  await expect(store.ping()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  storeProxy.heal();
  await until(
    () =>
      store.ping().then(
        () => true,
        () => false,
      ),
    { timeoutMs: 60_000, what: 'the store to be back' },
  );

  filesProxy.cut();
  await expect(files.ping()).rejects.toMatchObject({ code: 'FILES_UNAVAILABLE' });
  await clock.sleep(1500);
  filesProxy.heal();
  await files.ping();

  await until(async () => (await states()).every((state) => state === 'finished' || state === 'failed'), { timeoutMs: 120_000, what: 'the end of all builds' });
  const ended = await Promise.all(ids.map(async (id) => (await pipeline.builds.get(id))?.document));
  expect(ended.map((build) => [build?.state, build?.failure])).toEqual(ids.map(() => ['finished', null]));
  await until(async () => (await Promise.all(ids.map((id) => pipeline.builds.get(id)))).every((found) => found?.document.outbox.length === 0), {
    timeoutMs: 60_000,
    what: 'the outboxes to be empty',
  });
  for (const build of ended) {
    expect(build?.artifacts.length).toBeGreaterThan(3);
    for (const artifact of build?.artifacts ?? []) {
      const hash = createHash('sha256');
      const found = await direct.get(publicKey(build?.id ?? '', artifact));
      for await (const chunk of found?.body ?? []) hash.update(chunk);
      expect(hash.digest('hex'), artifact.name).toBe(artifact.sha256);
    }
  }
  expect(await direct.sweepUploads(0)).toBe(0);
});
