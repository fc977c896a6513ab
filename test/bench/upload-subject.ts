/** Our side of the `upload` benchmark, a process that does only this: each message is a file to store, answered with its milliseconds and the most memory that was resident so far. */
import { systemClock } from '../../shared/clock/system.ts';
import { parseS3Url } from '../../shared/config/s3-url.ts';
import { storeLocalFile } from '../../shared/files/content.ts';
import { contentKey, type FileRef } from '../../shared/files/content-ref.ts';
import { s3Files } from '../../shared/files/s3.ts';
import { answerRounds } from './subject-process.ts';

export interface UploadOrder {
  /** Of a bucket, with keys. */
  readonly url: string;
  readonly path: string;
}

export interface UploadAnswer extends FileRef {
  readonly ms: number;
  readonly residentMB: number;
}

async function round({ url, path }: UploadOrder): Promise<UploadAnswer> {
  const place = parseS3Url(url);
  if ('problem' in place) throw new Error(place.problem);
  const files = s3Files({ place, clock: systemClock() });
  const startedAt = performance.now();
  const ref = await storeLocalFile(files, path);
  const ms = performance.now() - startedAt;
  const residentMB = process.resourceUsage().maxRSS / 1000;
  if ((await files.stat(contentKey(ref.sha256)))?.size !== ref.size) throw new Error('what was stored has another size');
  await files.remove(contentKey(ref.sha256));
  await files.close();
  return { ...ref, ms, residentMB };
}

answerRounds('upload-subject', round);
