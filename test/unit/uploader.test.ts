/** The uploader's handler: a tested image in the content store → the same files under public names, and the end of the build. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { uploader } from '../../services/uploader/service.ts';
import { type Artifact, checksumFile } from '../../shared/build/artifact.ts';
import { openBuildLog } from '../../shared/build-log/build-log.ts';
import { ImageBootTested } from '../../shared/events/catalog.ts';
import { storeContent } from '../../shared/files/content.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import { publicKey } from '../../shared/files/public-key.ts';
import type { StageContext } from '../../shared/stage/stage.ts';
import { buildId, sampleRequest, startMs } from '../support/build-records.ts';
import { type StageWorld, stageWorld } from '../support/stage-world.ts';

async function stored(world: StageWorld, name: string, text: string): Promise<Artifact> {
  return { name, mediaType: 'application/octet-stream', ...(await storeContent(world.files, text)) };
}

/** What the stage is given, and what it says meanwhile. */
function contextIn(world: StageWorld, signal = new AbortController().signal) {
  const lines: string[] = [];
  const context: StageContext = {
    ...world.process('worker-1'),
    buildId,
    owner: null,
    request: sampleRequest(),
    pinnedResolution: null,
    attempt: 1,
    signal,
    workspace: () => Promise.reject(new Error('the uploader needs no workspace')),
    log: (_tool, line) => void lines.push(line),
    phase: () => () => undefined,
    progress: () => undefined,
  };
  return { context, lines };
}

const tested = (image: string, artifacts: readonly Artifact[]) =>
  ImageBootTested.parse({
    specversion: '1.0',
    id: '01936f00-0000-7000-8000-0000000000aa',
    source: 'spindle/boot-test',
    type: 'image.boot-tested',
    subject: buildId,
    time: new Date(startMs).toISOString(),
    datacontenttype: 'application/json',
    correlationid: '01936f00-0000-7000-8000-0000000000aa',
    data: { image, verdict: 'booted', reason: 'It said so.', artifacts },
  });

async function logged(world: StageWorld, line: string): Promise<void> {
  const log = openBuildLog({
    files: world.files,
    bus: world.bus,
    clock: world.clock,
    buildId,
    stage: 'resolver',
    stageIndex: 1,
    attempt: 1,
    token: world.clock.id(),
  });
  log.line('resolver', line);
  await log.close();
}

describe('given a tested image', () => {
  test('then every artifact, CHECKSUM and log stand under their public names with the bytes that are announced, and the build is finished', async () => {
    const world = await stageWorld();
    await logged(world, 'found hello-1.1-1');
    const image = await stored(world, 'Test-sample-x86_64.iso', 'the image');
    const manifest = await stored(world, 'manifest.json', '{}');
    const { context, lines } = contextIn(world);

    const events = await uploader.handle(tested(image.name, [image, manifest]), context);

    expect(events).toMatchObject([
      { type: 'image.uploaded', data: { image: image.name } },
      { type: 'build.finished', data: { verdict: 'booted', reason: 'It said so.' } },
    ]);
    const announced = (events as readonly { readonly data: { readonly artifacts?: readonly Artifact[] } }[])[0]?.data.artifacts ?? [];
    expect(announced.map(({ name }) => name)).toEqual([image.name, 'manifest.json', 'CHECKSUM', 'build.log']);
    for (const artifact of announced) {
      const bytes = world.files.peek(publicKey(buildId, artifact));
      expect(bytes?.byteLength, artifact.name).toBe(artifact.size);
      expect(
        createHash('sha256')
          .update(bytes ?? '')
          .digest('hex'),
        artifact.name,
      ).toBe(artifact.sha256);
    }
    const text = (name: string) =>
      new TextDecoder().decode(world.files.peek(publicKey(buildId, announced.find((artifact) => artifact.name === name) ?? image)));
    expect(text('CHECKSUM')).toBe(checksumFile([image]));
    expect(text('build.log')).toContain('found hello-1.1-1');
    expect(lines).toHaveLength(4);
  });

  test('then doing it again changes nothing that was announced', async () => {
    const world = await stageWorld();
    const image = await stored(world, 'Test-sample-x86_64.iso', 'the image');
    const first = await uploader.handle(tested(image.name, [image]), contextIn(world).context);
    const keys = await world.files.list('public');
    expect(await uploader.handle(tested(image.name, [image]), contextIn(world).context)).toEqual(first);
    expect(await world.files.list('public')).toEqual(keys);
  });

  test('then a second run whose log has more lines leaves the first one’s announced log in place', async () => {
    const world = await stageWorld();
    await logged(world, 'one');
    const image = await stored(world, 'Test-sample-x86_64.iso', 'the image');
    const before = await uploader.handle(tested(image.name, [image]), contextIn(world).context);
    await logged(world, 'two');
    await uploader.handle(tested(image.name, [image]), contextIn(world).context);
    for (const artifact of (before as readonly { readonly data: { readonly artifacts?: readonly Artifact[] } }[])[0]?.data.artifacts ?? []) {
      expect(
        createHash('sha256')
          .update(world.files.peek(publicKey(buildId, artifact)) ?? '')
          .digest('hex'),
      ).toBe(artifact.sha256);
    }
  });
});

describe('given trouble', () => {
  test('a file of another size than announced is an error, not a finished build', async () => {
    const world = await stageWorld();
    const image = await stored(world, 'Test-sample-x86_64.iso', 'the image');
    await expect(uploader.handle(tested(image.name, [{ ...image, size: image.size + 1 }]), contextIn(world).context)).rejects.toMatchObject({
      code: 'FILE_CORRUPT',
      message: expect.stringContaining('9 bytes instead of 10'),
    });
  });

  test('a file that is gone is an error', async () => {
    const world = await stageWorld();
    const image = await stored(world, 'Test-sample-x86_64.iso', 'the image');
    await world.files.remove(contentKey(image.sha256));
    await expect(uploader.handle(tested(image.name, [image]), contextIn(world).context)).rejects.toMatchObject({ code: 'FILE_MISSING' });
  });

  test('an event whose image is not among its artifacts is refused', async () => {
    const world = await stageWorld();
    await expect(uploader.handle(tested('other.iso', [await stored(world, 'a.iso', 'a')]), contextIn(world).context)).rejects.toMatchObject({
      code: 'ENGINE_OUTPUT_MISSING',
    });
  });

  test('a fired signal ends it with the signal’s reason', async () => {
    const world = await stageWorld();
    const image = await stored(world, 'a.iso', 'a');
    const stopping = AbortSignal.abort(new Error('the service stops'));
    await expect(uploader.handle(tested(image.name, [image]), contextIn(world, stopping).context)).rejects.toThrow('the service stops');
  });
});
