/**
 * The files port on a bucket of an S3 server, for many machines. What is uploaded carries a CRC32 that the server checks, by part and as a whole; what is put at a path under a name that holds its
 * digest is checked against that. Conditional writes need a server that knows `If-None-Match`.
 */
import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { constants } from 'node:fs';
import { type FileHandle, open, unlink, utimes } from 'node:fs/promises';
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { S3Place } from '../config/s3-url.ts';
import { forEachParallel } from '../parallel/for-each.ts';
import { digestOfContentKey } from './content-ref.ts';
import { refuseFullDisk } from './disk-full.ts';
import { checkFileKey, checkFilePrefix, isFileKey } from './file-key.ts';
import type { FileKey, FileStatus, Files } from './files.ts';
import { type Bucket, isConflict, isMissing, isNoUpload, isRefused, openBucket, statusCodeOf } from './s3/bucket.ts';
import { abandonUpload, crcOf, partBytesMin, type TakingUp, type UploadOptions, uploadFile, uploadStream, uploadsBelow } from './s3/upload.ts';
import { untilAborted } from './until-aborted.ts';

export interface S3FilesOptions {
  readonly place: S3Place;
  readonly clock: Clock;
  /** Bytes of a part, and of what is sent in one request at most. */
  readonly partBytes?: number;
  /** Bytes above which a copy is made in parts. S3's own bound is 5 GiB. */
  readonly copyBytesMax?: number;
  /** An unfinished upload of another process is taken up once nothing was sent for so long. A process that died is missed for about as long. */
  readonly quietMs?: number;
}

export interface S3Files extends Files {
  /** Abandons uploads that were begun so long ago and never ended: their parts take room that nobody sees. Resolves with how many those were. */
  sweepUploads(ageMsMax: number): Promise<number>;
}

/** A number of its own for each time a file is stored or dated: another one may have the same content and the same second. */
const writeField = 'spindle-write';
const modifiedField = 'spindle-modified';
/** So many bytes of a file come with the first answer. */
const firstBytesMax = 1024 * 1024;
const statsAtOnce = 32;
const writesAgainMax = 5;
/** How often a download that broke off goes on where it was. */
const resumesMax = 5;
const copyPartBytes = 1024 ** 3;

/** Connects when it is first used. `close` waits for what is under way. */
export function s3Files({ place, clock, partBytes = partBytesMin, copyBytesMax = 5 * 1024 ** 3, quietMs = 20_000 }: S3FilesOptions): S3Files {
  const bucket = openBucket(place, clock);
  const { client, name: bucketName, objectKey, guard } = bucket;
  const takingUp: TakingUp = { left: new Set(), quietMs, now: clock.now };
  const underWay = new Set<Promise<unknown>>();
  const never = new AbortController().signal;
  setMaxListeners(0, never);
  let isClosed = false;

  /** Refuses when closed; `close` waits for the task. */
  function call<T>(doing: string, task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const running = (async () => {
      if (isClosed) throw new SpindleError('PORT_CLOSED', 'the files were used after they were closed');
      signal?.throwIfAborted();
      return await guard(doing, task, signal);
    })();
    underWay.add(running);
    const forget = () => underWay.delete(running);
    running.then(forget, forget);
    return running;
  }

  const gone = (key: FileKey, rest = '') => new SpindleError('FILE_MISSING', `stored file ${key} is gone${rest}`);

  /** Does a conditional write, again where two met. `write` gets the metadata that name this very write. */
  async function writeOnce(
    key: FileKey,
    ifAbsent: boolean,
    signal: AbortSignal,
    write: (metadata: Record<string, string>) => Promise<unknown>,
  ): Promise<boolean> {
    const metadata = { [writeField]: clock.id() };
    for (let attempt = 1; ; attempt += 1) {
      try {
        await write(metadata);
        return true;
      } catch (error) {
        if (!ifAbsent || !(isRefused(error) || isConflict(error)) || (isConflict(error) && attempt >= writesAgainMax)) throw error;
        const there = await bucket.head(key, signal);
        // The answer to our own write may have been lost, and the client have sent it again.
        if (there) return there.Metadata?.[writeField] === metadata[writeField];
        if (attempt >= writesAgainMax) throw error;
      }
    }
  }

  const putBytes = (key: FileKey, bytes: Uint8Array, ifAbsent: boolean, signal: AbortSignal) =>
    writeOnce(key, ifAbsent, signal, (metadata) =>
      client.send(
        new PutObjectCommand({
          Bucket: bucketName,
          Key: objectKey(key),
          Body: bytes,
          ContentLength: bytes.byteLength,
          ChecksumCRC32: crcOf(bytes),
          Metadata: metadata,
          ...(ifAbsent ? { IfNoneMatch: '*' } : {}),
        }),
        { abortSignal: signal },
      ),
    );

  const optionsOf = (key: FileKey, metadata: Record<string, string>, ifAbsent: boolean, signal: AbortSignal): UploadOptions => ({
    bucket,
    key,
    metadata,
    ifAbsent,
    signal,
    partBytes,
  });

  async function putFile(key: FileKey, path: string, ifAbsent: boolean, signal: AbortSignal): Promise<boolean> {
    const file = await openSource(path);
    try {
      const { size } = await file.stat();
      if (size <= partBytes) return await putBytes(key, await readAll(file, size, path), ifAbsent, signal);
      if (ifAbsent && (await bucket.head(key, signal))) return false;
      // What is taken up may be ended meanwhile, by one who was only slow.
      let isResumed = digestOfContentKey(key) !== undefined;
      for (;;) {
        try {
          return await writeOnce(key, ifAbsent, signal, (metadata) =>
            uploadFile(file, size, isResumed ? takingUp : undefined, optionsOf(key, metadata, ifAbsent, signal)),
          );
        } catch (error) {
          if (!isResumed || !isNoUpload(error)) throw error;
          if (ifAbsent && (await bucket.head(key, signal))) return false;
          isResumed = false;
        }
      }
    } finally {
      await file.close();
    }
  }

  async function putStream(key: FileKey, source: AsyncIterable<Uint8Array>, ifAbsent: boolean, signal: AbortSignal): Promise<boolean> {
    const parts = inParts(untilAborted(source, signal), partBytes);
    try {
      const first = await parts.next();
      const bytes = first.done === true ? Buffer.alloc(0) : first.value;
      if (bytes.byteLength < partBytes) return await putBytes(key, bytes, ifAbsent, signal);
      return await writeOnce(key, ifAbsent, signal, (metadata) => uploadStream(bytes, parts, optionsOf(key, metadata, ifAbsent, signal)));
    } finally {
      await parts.return(undefined);
    }
  }

  const getRange = (key: FileKey, start: number, end: number | undefined, tag?: string) =>
    client.send(
      new GetObjectCommand({
        Bucket: bucketName,
        Key: objectKey(key),
        Range: `bytes=${start}-${end ?? ''}`,
        ...(tag === undefined ? {} : { IfMatch: tag }),
      }),
    );

  /** The bytes from `start` to before `stop` of the file with this tag; goes on where the connection broke. */
  async function* bodyFrom(key: FileKey, tag: string | undefined, start: number, stop: number): AsyncGenerator<Uint8Array> {
    let position = start;
    for (let attempt = 0; position < stop; attempt += 1) {
      try {
        const answer = await getRange(key, position, stop - 1, tag);
        for await (const chunk of streamOf(answer)) {
          position += chunk.byteLength;
          yield chunk;
        }
        if (position < stop && attempt >= resumesMax) throw new SpindleError('FILES_UNAVAILABLE', `${bucket.where} ended ${key} before its size`);
      } catch (error) {
        if (isMissing(error)) throw gone(key, ': it was removed before it was read');
        if (isRefused(error)) throw new SpindleError('FILE_MISSING', `stored file ${key} was replaced before it was read; get it again`);
        if (attempt >= resumesMax) return await guard(`reading ${key}`, () => Promise.reject(error));
      }
    }
  }

  /** What is asked for comes with the first answer where it is small: one that is never read must not keep a connection. */
  async function getFile(key: FileKey, range: { readonly start?: number; readonly end?: number }): Promise<Awaited<ReturnType<Files['get']>>> {
    const start = Math.max(0, range.start ?? 0);
    const end = range.end ?? Number.MAX_SAFE_INTEGER;
    if (end < start) return nothingOf(await bucket.head(key));
    let answer: GetObjectCommandOutput;
    try {
      answer = await getRange(key, start, Math.min(end, start + firstBytesMax - 1));
    } catch (error) {
      if (isMissing(error)) return undefined;
      // The range begins behind the end: of an empty file every range does.
      if (statusCodeOf(error) === 416) return nothingOf(await bucket.head(key));
      throw error;
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of streamOf(answer)) chunks.push(chunk);
    const first = Buffer.concat(chunks);
    const size = Number(/\/(\d+)$/.exec(answer.ContentRange ?? '')?.[1] ?? first.byteLength);
    const stop = Math.min(size, end + 1);
    const body = (async function* () {
      if (first.byteLength > 0) yield new Uint8Array(first);
      yield* bodyFrom(key, answer.ETag, start + first.byteLength, stop);
    })();
    return { size, body };
  }

  async function copyInParts(from: FileKey, to: FileKey, size: number, tag: string | undefined, metadata: Record<string, string>): Promise<void> {
    const target = { Bucket: bucketName, Key: objectKey(to) };
    const { UploadId: id } = await client.send(new CreateMultipartUploadCommand({ ...target, Metadata: metadata }));
    const bytes = Math.max(5 * 1024 ** 2, Math.min(copyPartBytes, copyBytesMax));
    const numbers = Array.from({ length: Math.ceil(size / bytes) }, (_, index) => index + 1);
    const parts: { PartNumber: number; ETag?: string }[] = [];
    try {
      await forEachParallel(numbers, { atOnceMax: 4, signal: never }, async (number, signal) => {
        const start = (number - 1) * bytes;
        const { CopyPartResult: copied } = await client.send(
          new UploadPartCopyCommand({
            ...target,
            UploadId: id,
            PartNumber: number,
            CopySource: sourceOf(bucketName, objectKey(from)),
            CopySourceRange: `bytes=${start}-${Math.min(size, start + bytes) - 1}`,
            ...(tag === undefined ? {} : { CopySourceIfMatch: tag }),
          }),
          { abortSignal: signal },
        );
        parts[number - 1] = { PartNumber: number, ...(copied?.ETag === undefined ? {} : { ETag: copied.ETag }) };
      });
      await client.send(new CompleteMultipartUploadCommand({ ...target, UploadId: id, MultipartUpload: { Parts: parts } }));
    } catch (error) {
      if (id !== undefined) await abandonUpload(bucket, to, id);
      throw error;
    }
  }

  /** The server copies by itself. The fields are written anew: the copy is another file. */
  async function copyFile(from: FileKey, to: FileKey, fields: Record<string, string>): Promise<void> {
    const found = await bucket.head(from);
    if (!found) throw gone(from, to === from ? '' : `, so it could not be copied to ${to}`);
    const metadata = { ...fields, [writeField]: clock.id() };
    const size = found.ContentLength ?? 0;
    if (size > copyBytesMax) {
      await copyInParts(from, to, size, found.ETag, metadata);
      return;
    }
    try {
      await client.send(
        new CopyObjectCommand({
          Bucket: bucketName,
          Key: objectKey(to),
          CopySource: sourceOf(bucketName, objectKey(from)),
          MetadataDirective: 'REPLACE',
          Metadata: metadata,
          ...(found.ETag === undefined ? {} : { CopySourceIfMatch: found.ETag }),
        }),
      );
    } catch (error) {
      if (isMissing(error)) throw gone(from, `, so it could not be copied to ${to}`);
      throw error;
    }
  }

  return {
    async put(key, source, { ifAbsent = false, signal = never } = {}) {
      checkFileKey(key);
      return call(
        `storing ${key}`,
        () => {
          if (typeof source === 'string' || source instanceof Uint8Array) {
            // Taken now: the caller may go on writing to its own.
            return putWhole(key, typeof source === 'string' ? Buffer.from(source) : Buffer.from(source), ifAbsent, signal);
          }
          if ('path' in source) return putFile(key, source.path, ifAbsent, signal);
          return putStream(key, source, ifAbsent, signal);
        },
        signal,
      );
    },

    async get(key, range = {}) {
      checkFileKey(key);
      return call(`reading ${key}`, () => getFile(key, range));
    },

    async stat(key) {
      checkFileKey(key);
      return call(`looking at ${key}`, async () => statusFrom(await bucket.head(key)));
    },

    async stats(keys) {
      for (const key of keys) checkFileKey(key);
      return call(`looking at ${keys.length} files`, async () => {
        const found: (FileStatus | undefined)[] = [];
        await forEachParallel(keys, { atOnceMax: statsAtOnce, signal: never }, async (key, signal, index) => {
          found[index] = statusFrom(await bucket.head(key, signal));
        });
        return keys.map((_, index) => found[index]);
      });
    },

    async setModified(key, modifiedAt) {
      checkFileKey(key);
      return call(`dating ${key}`, () => copyFile(key, key, { [modifiedField]: String(modifiedAt) }));
    },

    // The server answers for what it has taken.
    sync: () => call('making stored files durable', async () => {}),

    async list(prefix) {
      const below = checkFilePrefix(prefix);
      return call(`listing ${prefix}`, async () => {
        const start = objectKey('');
        const keys: FileKey[] = [];
        for (let token: string | undefined; ; ) {
          const page = await client.send(
            new ListObjectsV2Command({
              Bucket: bucketName,
              Prefix: below === '' ? start : `${start}${below}/`,
              ...(token === undefined ? {} : { ContinuationToken: token }),
            }),
          );
          for (const { Key: found } of page.Contents ?? []) {
            const key = found?.slice(start.length) ?? '';
            if (isFileKey(key)) keys.push(key);
          }
          if (page.IsTruncated !== true) return keys.sort();
          token = page.NextContinuationToken;
        }
      });
    },

    async copy(from, to) {
      checkFileKey(from);
      checkFileKey(to);
      return call(`copying ${from} to ${to}`, () => copyFile(from, to, {}));
    },

    async remove(key) {
      checkFileKey(key);
      return call(`removing ${key}`, async () => {
        await client.send(new DeleteObjectCommand({ Bucket: bucketName, Key: objectKey(key) })).catch((error: unknown) => {
          if (!isMissing(error)) throw error;
        });
      });
    },

    async place(key, path) {
      checkFileKey(key);
      return call(`putting ${key} at ${path}`, async () => {
        const status = statusFrom(await bucket.head(key));
        const found = status && (await getFile(key, {}));
        if (!status || !found) throw gone(key, `, so it could not be put at ${path}`);
        await writeNew(path, found.body, key);
        await utimes(path, status.modifiedAt / 1000, status.modifiedAt / 1000);
        return { before: status.fingerprint, after: status.fingerprint, isLinked: false };
      });
    },

    async link(key, { fileName, mediaType }) {
      checkFileKey(key);
      if (place.linkSeconds === undefined) return undefined;
      const command = new GetObjectCommand({
        Bucket: bucketName,
        Key: objectKey(key),
        ResponseContentType: mediaType,
        ResponseContentDisposition: `attachment; filename="${fileName.replaceAll(/[^A-Za-z0-9._+~@-]/g, '_')}"`,
      });
      const expiresIn = place.linkSeconds;
      return call(`making a link to ${key}`, () => getSignedUrl(client, command, { expiresIn }));
    },

    async sweepUploads(ageMsMax) {
      return call('sweeping unfinished uploads', async () => {
        const start = objectKey('');
        let count = 0;
        for await (const { Key: found, UploadId: id, Initiated: initiated } of uploadsBelow(bucket, start, never)) {
          if (found === undefined || id === undefined || clock.now() - (initiated?.getTime() ?? clock.now()) < ageMsMax) continue;
          await abandonUpload(bucket, found.slice(start.length), id);
          count += 1;
        }
        return count;
      });
    },

    async ping() {
      return call('a look', async () => {
        await client.send(new HeadBucketCommand({ Bucket: bucketName }));
      });
    },

    async close() {
      isClosed = true;
      await Promise.allSettled([...underWay]);
      client.destroy();
    },
  };

  function putWhole(key: FileKey, bytes: Buffer, ifAbsent: boolean, signal: AbortSignal): Promise<boolean> {
    if (bytes.byteLength <= partBytes) return putBytes(key, bytes, ifAbsent, signal);
    return putStream(
      key,
      (async function* () {
        yield bytes;
      })(),
      ifAbsent,
      signal,
    );
  }
}

/** `key` as the source of a copy: a path, of which S3 takes all but the slashes percent-encoded. */
function sourceOf(bucketName: string, key: string): string {
  return `${bucketName}/${key.split('/').map(encodeURIComponent).join('/')}`;
}

function statusFrom(found: Awaited<ReturnType<Bucket['head']>>): FileStatus | undefined {
  if (!found) return undefined;
  const { ContentLength: size = 0, LastModified: lastModified, ETag: tag = '', Metadata: fields = {} } = found;
  const storedAt = lastModified?.getTime() ?? 0;
  const modified = fields[modifiedField];
  return {
    size,
    modifiedAt: modified !== undefined && /^\d{1,15}$/.test(modified) ? Number(modified) : storedAt,
    fingerprint: `${tag.replaceAll('"', '')}-${size}-${storedAt}-${fields[writeField] ?? ''}`,
  };
}

function nothingOf(found: Awaited<ReturnType<Bucket['head']>>): Awaited<ReturnType<Files['get']>> {
  if (!found) return undefined;
  return { size: found.ContentLength ?? 0, body: (async function* () {})() };
}

async function* streamOf({ Body: body }: GetObjectCommandOutput): AsyncGenerator<Uint8Array> {
  yield* body as unknown as AsyncIterable<Uint8Array>;
}

/** Cuts a stream into parts of one size, the last one smaller. Each part is memory of its own. */
async function* inParts(source: AsyncIterable<Uint8Array>, partBytes: number): AsyncGenerator<Buffer, undefined> {
  let part = Buffer.allocUnsafeSlow(partBytes);
  let used = 0;
  for await (const chunk of source) {
    for (let taken = 0; taken < chunk.byteLength; ) {
      const length = Math.min(partBytes - used, chunk.byteLength - taken);
      part.set(chunk.subarray(taken, taken + length), used);
      used += length;
      taken += length;
      if (used < partBytes) continue;
      yield part;
      part = Buffer.allocUnsafeSlow(partBytes);
      used = 0;
    }
  }
  if (used > 0) yield part.subarray(0, used);
  return undefined;
}

/** Symbolic links and devices are refused: a build's output must not name other files. */
async function openSource(path: string): Promise<FileHandle> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ELOOP') throw notRegular(path);
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') throw new SpindleError('FILE_MISSING', `${path} is not there, so it could not be stored`);
    throw error;
  });
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw notRegular(path);
}

function notRegular(path: string): SpindleError {
  return new SpindleError('PATH_REFUSED', `${path} is not a regular file, so it is not stored`);
}

async function readAll(file: FileHandle, size: number, path: string): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(size);
  for (let done = 0; done < size; ) {
    const { bytesRead } = await file.read(bytes, done, size - done, done);
    if (bytesRead === 0) throw new SpindleError('FILE_CORRUPT', `${path} became shorter while it was read`);
    done += bytesRead;
  }
  return bytes;
}

/** Writes a file that is not there yet, and takes it away again where it cannot be written whole, or is not what its key says. */
async function writeNew(path: string, body: AsyncIterable<Uint8Array>, key: FileKey): Promise<void> {
  const doing = `putting ${key} at ${path}`;
  const file = await open(path, 'wx', 0o444).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') throw new SpindleError('PATH_REFUSED', `${doing} failed: another file or folder has that name (EEXIST)`);
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') throw new SpindleError('INTERNAL', `${doing} failed: ${error.message}`, { cause: error });
    return refuseFullDisk(doing)(error);
  });
  const wanted = digestOfContentKey(key);
  const hash = createHash('sha256');
  try {
    for await (const chunk of body) {
      if (wanted !== undefined) hash.update(chunk);
      await file.writeFile(chunk);
    }
    if (wanted !== undefined && hash.digest('hex') !== wanted) {
      throw new SpindleError('FILE_CORRUPT', `stored file sha256:${wanted} has other content than its name says`);
    }
  } catch (error) {
    await unlink(path).catch(() => {});
    return refuseFullDisk(doing)(error);
  } finally {
    await file.close();
  }
}
