/** Publishes a tested image with its log and checksum under public names, and so finishes the build. */
import { type Artifact, checksumFile } from '../../shared/build/artifact.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import { readBuildLog } from '../../shared/build-log/read-build-log.ts';
import { BuildFailed, BuildFinished, ImageBootTested, ImageUploaded } from '../../shared/events/catalog.ts';
import { storeContent } from '../../shared/files/content.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import type { Files } from '../../shared/files/files.ts';
import { publicKey } from '../../shared/files/public-key.ts';
import { defineStage } from '../../shared/stage/stage.ts';

export const uploader = defineStage({
  name: 'uploader',
  state: 'uploading',
  consumes: ImageBootTested,
  emits: [ImageUploaded, BuildFinished, BuildFailed],
  long: true,
  limits: { concurrency: 4, attemptsMax: 6, deadlineMs: 2 * 3_600_000 },

  async handle({ data }, { buildId, files, log, phase, progress, signal }) {
    const image = data.artifacts.find(({ name }) => name === data.image);
    if (!image) throw new SpindleError('ENGINE_OUTPUT_MISSING', `the event names the image ${data.image}, but lists no such artifact`);
    phase('writing the checksum and the log');
    const texts: Artifact[] = [
      await textArtifact(files, 'CHECKSUM', checksumFile([image])),
      await textArtifact(files, 'build.log', await wholeLog(files, buildId)),
    ];
    const artifacts = [...data.artifacts, ...texts];
    phase('publishing');
    for (const [index, artifact] of artifacts.entries()) {
      signal.throwIfAborted();
      progress(index, artifacts.length, artifact.name);
      await publish(files, buildId, artifact);
      log('uploader', `published ${artifact.name}, ${artifact.size} bytes, sha256 ${artifact.sha256}`);
    }
    return [ImageUploaded({ image: data.image, artifacts }), BuildFinished({ verdict: data.verdict, reason: data.reason })];
  },
});

/** What is announced is there, whole: the size is asked of the store that will serve it. */
async function publish(files: Files, buildId: string, artifact: Artifact): Promise<void> {
  const key = publicKey(buildId, artifact);
  await files.copy(contentKey(artifact.sha256), key);
  const published = await files.stat(key);
  if (published?.size !== artifact.size) {
    throw new SpindleError(
      'FILE_CORRUPT',
      `${artifact.name} was published with ${published?.size ?? 0} bytes instead of ${artifact.size}; it is published again`,
    );
  }
}

async function textArtifact(files: Files, name: string, text: string | Uint8Array): Promise<Artifact> {
  return { name, mediaType: 'text/plain; charset=utf-8', ...(await storeContent(files, text)) };
}

async function wholeLog(files: Files, buildId: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of readBuildLog(files, buildId)) chunks.push(chunk);
  return Buffer.concat(chunks);
}
