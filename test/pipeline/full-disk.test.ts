/** A disk that is full while things are sent in and out: the operator's trouble by its own name, nothing half-written under a name that anybody reads, and over when there is room. */
import { readdir } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { expect, onTestFinished, test } from 'vitest';
import { uploader } from '../../services/uploader/service.ts';
import type { Artifact } from '../../shared/build/artifact.ts';
import { storeContent } from '../../shared/files/content.ts';
import { localFiles } from '../../shared/files/local.ts';
import { publicKey } from '../../shared/files/public-key.ts';
import type { EventOf, StageContext } from '../../shared/stage/stage.ts';
import { buildId, sampleRequest } from '../support/build-records.ts';
import { builtRpm } from '../support/built-rpm.ts';
import { smallDisk } from '../support/small-disk.ts';
import { stageWorld } from '../support/stage-world.ts';
import { fixture } from './rest-api-fixture.ts';

test('publishing an image on a full disk announces nothing, and goes on when there is room', async ({ skip }) => {
  const disk = await smallDisk('4m', skip);
  const files = localFiles({ directory: disk.path });
  const world = await stageWorld();
  const image: Artifact = { name: 'a.iso', mediaType: 'application/octet-stream', ...(await storeContent(files, Buffer.alloc(1_000_000, 1))) };
  const context: StageContext = {
    ...world.process('worker-1'),
    ...{ buildId, files, owner: null, request: sampleRequest(), pinnedResolution: null, attempt: 1, signal: new AbortController().signal },
    workspace: () => Promise.reject(new Error('the uploader needs no workspace')),
    log: () => {},
    progress: () => {},
    phase: () => () => {},
  };
  const publish = async () => {
    const data = { image: image.name, verdict: 'booted', reason: 'It said so.', artifacts: [image] };
    return [await uploader.handle({ data } as unknown as EventOf<typeof uploader.consumes>, context)].flat();
  };
  await disk.fill();
  await expect(publish()).rejects.toMatchObject({ code: 'DISK_FULL' });
  expect(await files.list('public')).toEqual([]);
  expect(await readdir(`${disk.path}/.incoming`)).toEqual([]);
  await disk.clear();
  const [uploaded] = await publish();
  const { artifacts } = (uploaded as { readonly data: { readonly artifacts: readonly Artifact[] } }).data;
  expect(artifacts.map(({ name }) => name)).toEqual(['a.iso', 'CHECKSUM', 'build.log']);
  for (const artifact of artifacts) expect((await files.stat(publicKey(buildId, artifact)))?.size).toBe(artifact.size);
  await files.close();
});

test.for([true, false])(
  'sending an RPM in to a full disk is refused by that name (its size told: %s), leaves nothing, and the service lives',
  async (isSized, { skip }) => {
    const f = await fixture({}, undefined, { fileBytesMax: 4 * 2 ** 20 });
    onTestFinished(() => f.close());
    const disk = await smallDisk('300k', skip, f.workDirectory);
    const { rpm } = await builtRpm({ name: 'hello', version: '1', arch: 'noarch' });
    const send = (payload: Buffer | Readable) =>
      f.app.inject({ method: 'POST', url: '/api/v1/rpms', headers: { 'content-type': 'application/x-rpm' }, payload });
    const large = Buffer.concat([rpm, Buffer.alloc(1_000_000)]);
    const refused = await send(isSized ? large : Readable.from([large.subarray(0, 200_000), large.subarray(200_000)]));
    expect({ status: refused.statusCode, ...refused.json() }).toMatchObject({ status: 503, code: 'DISK_FULL' });
    expect(await readdir(disk.path)).toEqual([]);
    expect(await f.files.list('content')).toEqual([]);
    expect((await send(rpm)).statusCode).toBe(201);
  },
);
