/**
 * Uploads in parts, each with a CRC32 that the server checks: bounded memory whatever the size, and what was uploaded before a crash is not sent again. A part counts as there only if the server
 * has it with the size and checksum that the source has at that place.
 */
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  type MultipartUpload,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { SpindleError } from '../../build/failure.ts';
import { forEachParallel } from '../../parallel/for-each.ts';
import { type Bucket, isNoUpload } from './bucket.ts';

/** Below it a file goes in one request. */
export const partBytesMin = 8 * 1024 * 1024;
const partsMax = 10_000;
/** Each holds one part in memory. */
const partsAtOnce = 4;
const uploadsPageMax = 1000;
const abandonMsMax = 30_000;

export interface UploadOptions {
  readonly bucket: Bucket;
  readonly key: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly ifAbsent: boolean;
  readonly signal: AbortSignal;
  /** Bytes, at least the server's least of 5 MiB. */
  readonly partBytes?: number;
}

/** Which unfinished uploads nobody works on any more. The server takes the end of one upload from each who says it, so two that share one would both be told that they stored the file. */
export interface TakingUp {
  /** Uploads that this process gave up itself. */
  readonly left: Set<string>;
  /** Those of others, once nothing was sent for so long. */
  readonly quietMs: number;
  readonly now: () => number;
}

interface SentPart {
  readonly size: number;
  readonly tag: string;
  readonly crc: string;
}

/** The CRC32 as S3 writes it. */
export function crcOf(bytes: Uint8Array): string {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(bytes) >>> 0);
  return sum.toString('base64');
}

/** So large that the file has no more parts than the server takes, and the same for every try with the same file. */
function partBytesFor(size: number, least = partBytesMin): number {
  const mebibyte = 1024 * 1024;
  return Math.max(least, Math.ceil(size / (partsMax - 1) / mebibyte) * mebibyte);
}

/**
 * Sends an open file. `takingUp`: an unfinished upload of this key is taken up, and what fails on the way to the server is left for the next try; only for keys whose content never differs.
 * Rejects with what the server said; see `endUpload`.
 */
export async function uploadFile(file: FileHandle, size: number, takingUp: TakingUp | undefined, options: UploadOptions): Promise<void> {
  const { bucket, key, signal } = options;
  const partBytes = partBytesFor(size, options.partBytes);
  const earlier = takingUp && (await unfinishedUpload(bucket, key, takingUp, signal));
  const id = earlier?.id ?? (await beginUpload(options));
  takingUp?.left.delete(id);
  const numbers = Array.from({ length: Math.ceil(size / partBytes) }, (_, place) => place + 1);
  const completed: CompletedPart[] = [];
  const spare: Buffer[] = [];
  try {
    await forEachParallel(numbers, { atOnceMax: partsAtOnce, signal }, async (number, taskSignal) => {
      const buffer = spare.pop() ?? Buffer.allocUnsafeSlow(partBytes);
      const start = (number - 1) * partBytes;
      const bytes = await readPart(file, buffer, start, Math.min(partBytes, size - start), key);
      completed[number - 1] = await sendPart(bytes, number, id, earlier?.parts.get(number), { ...options, signal: taskSignal });
      spare.push(buffer);
    });
    await endUpload(id, completed, size, options);
  } catch (error) {
    if (!takingUp || signal.aborted || !isPassing(error)) await abandonUpload(bucket, key, id);
    else takingUp.left.add(id);
    throw error;
  }
}

/** Sends what comes, of unknown size: `first` has the bytes of the first part already, all of them. */
export async function uploadStream(first: Buffer, rest: AsyncIterable<Buffer>, options: UploadOptions): Promise<void> {
  const { bucket, key, signal } = options;
  const id = await beginUpload(options);
  const completed: CompletedPart[] = [];
  const underWay = new Set<Promise<void>>();
  const ending = new AbortController();
  const partSignal = AbortSignal.any([signal, ending.signal]);
  let size = 0;
  let failure: unknown;
  const send = async (bytes: Buffer): Promise<void> => {
    if (failure !== undefined) throw failure;
    const number = completed.length + 1;
    if (number > partsMax) throw new SpindleError('FILE_TOO_LARGE', `what is stored as ${key} has more than ${partsMax} parts`);
    size += bytes.byteLength;
    completed.push({ PartNumber: number });
    const task = sendPart(bytes, number, id, undefined, { ...options, signal: partSignal }).then(
      (part) => {
        completed[number - 1] = part;
      },
      (error: unknown) => {
        failure ??= error;
      },
    );
    underWay.add(task);
    void task.finally(() => underWay.delete(task));
    if (underWay.size >= partsAtOnce) await Promise.race(underWay);
  };
  try {
    await send(first);
    for await (const bytes of rest) await send(bytes);
    await Promise.all(underWay);
    if (failure !== undefined) throw failure;
    await endUpload(id, completed, size, options);
  } catch (error) {
    ending.abort(error);
    await Promise.all(underWay);
    await abandonUpload(bucket, key, id);
    throw error;
  }
}

async function beginUpload({ bucket, key, metadata, signal }: UploadOptions): Promise<string> {
  const { UploadId: id } = await bucket.client.send(
    new CreateMultipartUploadCommand({
      Bucket: bucket.name,
      Key: bucket.objectKey(key),
      Metadata: metadata,
      ChecksumAlgorithm: 'CRC32',
      ChecksumType: 'FULL_OBJECT',
    }),
    { abortSignal: signal },
  );
  if (id === undefined) throw new SpindleError('FILES_UNAVAILABLE', `${bucket.where} began an upload of ${key} and did not name it`);
  return id;
}

async function sendPart(
  bytes: Buffer,
  number: number,
  id: string,
  there: SentPart | undefined,
  { bucket, key, signal }: UploadOptions,
): Promise<CompletedPart> {
  const crc = crcOf(bytes);
  if (there?.size === bytes.byteLength && there.crc === crc) return { PartNumber: number, ETag: there.tag, ChecksumCRC32: crc };
  const { ETag: tag } = await bucket.client.send(
    new UploadPartCommand({
      Bucket: bucket.name,
      Key: bucket.objectKey(key),
      UploadId: id,
      PartNumber: number,
      Body: bytes,
      ContentLength: bytes.byteLength,
      ChecksumCRC32: crc,
    }),
    { abortSignal: signal },
  );
  return { PartNumber: number, ChecksumCRC32: crc, ...(tag === undefined ? {} : { ETag: tag }) };
}

/** The parts become the object, all or nothing. The server refuses where one of them is not what was sent, or the whole has another size. */
async function endUpload(id: string, parts: CompletedPart[], size: number, { bucket, key, ifAbsent, signal }: UploadOptions): Promise<void> {
  await bucket.client.send(
    new CompleteMultipartUploadCommand({
      Bucket: bucket.name,
      Key: bucket.objectKey(key),
      UploadId: id,
      MultipartUpload: { Parts: parts },
      ChecksumType: 'FULL_OBJECT',
      MpuObjectSize: size,
      ...(ifAbsent ? { IfNoneMatch: '*' } : {}),
    }),
    { abortSignal: signal },
  );
}

/** Another try may get through: nothing was refused. */
function isPassing(error: unknown): boolean {
  const status = (error as { readonly $metadata?: { readonly httpStatusCode?: number } }).$metadata?.httpStatusCode;
  return !(error instanceof SpindleError) && (status === undefined || status >= 500);
}

/** Never rejects: where the server cannot be told now, the sweep tells it later. */
export async function abandonUpload({ client, name, objectKey, deadline }: Bucket, key: string, id: string): Promise<void> {
  const { signal, forget } = deadline(abandonMsMax);
  await client.send(new AbortMultipartUploadCommand({ Bucket: name, Key: objectKey(key), UploadId: id }), { abortSignal: signal }).catch(() => undefined);
  forget();
}

/** The latest unfinished upload of a key, with the parts that the server has. Undefined where there is none, or somebody may still be at work on it. */
async function unfinishedUpload(
  bucket: Bucket,
  key: string,
  { left, quietMs, now }: TakingUp,
  signal: AbortSignal,
): Promise<{ readonly id: string; readonly parts: ReadonlyMap<number, SentPart> } | undefined> {
  const objectKey = bucket.objectKey(key);
  let latest: MultipartUpload | undefined;
  for await (const upload of uploadsBelow(bucket, objectKey, signal)) {
    if (upload.Key !== objectKey || upload.ChecksumAlgorithm !== 'CRC32') continue;
    if ((upload.Initiated?.getTime() ?? 0) >= (latest?.Initiated?.getTime() ?? 0)) latest = upload;
  }
  const id = latest?.UploadId;
  if (id === undefined) return undefined;
  const parts = new Map<number, SentPart>();
  let lastSentAt = latest?.Initiated?.getTime() ?? 0;
  try {
    for (let marker: string | undefined; ; ) {
      const page = await bucket.client.send(
        new ListPartsCommand({ Bucket: bucket.name, Key: objectKey, UploadId: id, ...(marker === undefined ? {} : { PartNumberMarker: marker }) }),
        { abortSignal: signal },
      );
      for (const { PartNumber: number, Size: size, ETag: tag, ChecksumCRC32: crc, LastModified: sentAt } of page.Parts ?? []) {
        lastSentAt = Math.max(lastSentAt, sentAt?.getTime() ?? 0);
        if (number !== undefined && size !== undefined && tag !== undefined && crc !== undefined) parts.set(number, { size, tag, crc });
      }
      if (page.IsTruncated !== true || page.NextPartNumberMarker === undefined) break;
      marker = page.NextPartNumberMarker;
    }
  } catch (error) {
    // It ended just now.
    if (isNoUpload(error)) return undefined;
    throw error;
  }
  return left.has(id) || now() - lastSentAt >= quietMs ? { id, parts } : undefined;
}

/** All unfinished uploads of keys that begin so. */
export async function* uploadsBelow({ client, name }: Bucket, prefix: string, signal: AbortSignal): AsyncGenerator<MultipartUpload> {
  let markers: { readonly KeyMarker?: string; readonly UploadIdMarker?: string } = {};
  for (;;) {
    const page = await client.send(new ListMultipartUploadsCommand({ Bucket: name, Prefix: prefix, MaxUploads: uploadsPageMax, ...markers }), {
      abortSignal: signal,
    });
    yield* page.Uploads ?? [];
    if (page.IsTruncated !== true || page.NextKeyMarker === undefined) return;
    markers = { KeyMarker: page.NextKeyMarker, ...(page.NextUploadIdMarker === undefined ? {} : { UploadIdMarker: page.NextUploadIdMarker }) };
  }
}

async function readPart(file: FileHandle, buffer: Buffer, start: number, length: number, key: string): Promise<Buffer> {
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(buffer, done, length - done, start + done);
    if (bytesRead === 0) throw new SpindleError('FILE_CORRUPT', `what is stored as ${key} became shorter while it was read`);
    done += bytesRead;
  }
  return buffer.subarray(0, length);
}
