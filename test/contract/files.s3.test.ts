/** Files in S3 against the files contract, and what only a server elsewhere can do: lose parts, go away, be used by many. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ListMultipartUploadsCommand, ListPartsCommand, S3Client } from '@aws-sdk/client-s3';
import { describe, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { parseS3Url, type S3Place } from '../../shared/config/s3-url.ts';
import { storeLocalFile } from '../../shared/files/content.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import { type S3Files, type S3FilesOptions, s3Files } from '../../shared/files/s3.ts';
import { sharedS3 } from '../support/servers/shared.ts';
import { type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';
import { tempDirectory, testDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';
import { filesContract } from './files.contract.ts';

const clock = systemClock();
let count = 0;

function placeOf(url: string, changes: Partial<S3Place> = {}): S3Place {
  const place = parseS3Url(url);
  if ('problem' in place) throw new Error(place.problem);
  return { ...place, ...changes };
}

/** A prefix of the test's own in the bucket that the run shares. */
async function ownPlace(changes: Partial<S3Place> = {}): Promise<S3Place | string> {
  const server = await sharedS3();
  if (typeof server === 'string') return server;
  count += 1;
  const { prefix } = placeOf(server.url);
  return placeOf(server.url, { prefix: `${prefix === '' ? '' : `${prefix}/`}spindle-test-${process.pid}-${Date.now()}-${count}`, ...changes });
}

async function emptied(place: S3Place): Promise<void> {
  const files = s3Files({ place, clock });
  for (const key of await files.list('')) await files.remove(key);
  await files.sweepUploads(0);
  await files.close();
}

filesContract(
  'S3',
  async () => {
    const place = await ownPlace();
    if (typeof place === 'string') return place;
    const directory = await tempDirectory();
    let paths = 0;
    const freshPath = () => {
      paths += 1;
      return join(directory.path, `local-${paths}`);
    };
    return {
      files: s3Files({ place, clock }),
      freshPath,
      localFile: async (content) => {
        const path = freshPath();
        await writeFile(path, content);
        return path;
      },
      readLocal: (path) => readFile(path),
      reopen: async () => s3Files({ place, clock }),
      dispose: async () => {
        await emptied(place);
        await directory.remove();
      },
    };
  },
  { survivesRestart: true },
);

const mebibyte = 1024 * 1024;
/** The server's least. */
const partBytes = 5 * mebibyte;

describe('files in S3', { timeout: 120_000 }, () => {
  const own = async (skip: (note: string) => never, options: Partial<S3FilesOptions> = {}): Promise<{ readonly files: S3Files; readonly place: S3Place }> => {
    const place = options.place ?? (await ownPlace());
    if (typeof place === 'string') return skip(place);
    const files = s3Files({ place, clock, partBytes, ...options });
    onTestFinished(async () => {
      await files.close();
      await emptied(place);
    });
    return { files, place };
  };
  const read = async (files: S3Files, key: string): Promise<Buffer> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of (await files.get(key))?.body ?? []) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  const localFile = async (content: Uint8Array): Promise<string> => {
    const path = join(await testDirectory(), 'file');
    await writeFile(path, content);
    return path;
  };

  test('files of many parts come back as they were: from paths, streams and memory, as ranges, copied and placed', async ({ skip }) => {
    const { files } = await own(skip, { copyBytesMax: 6 * mebibyte });
    const content = randomBytes(3 * partBytes + 12_345);
    const path = await localFile(content);
    await files.put('path', { path });
    await files.put(
      'stream',
      (async function* () {
        for (let at = 0; at < content.byteLength; at += 777_777) yield content.subarray(at, at + 777_777);
      })(),
    );
    await files.put('bytes', content);
    await files.put('exact', content.subarray(0, 2 * partBytes));
    await files.copy('path', 'copied');
    for (const key of ['path', 'stream', 'bytes', 'copied']) expect((await read(files, key)).equals(content), key).toBe(true);
    expect((await read(files, 'exact')).equals(content.subarray(0, 2 * partBytes))).toBe(true);
    const range = await files.get('path', { start: partBytes - 10, end: 2 * partBytes + 10 });
    const chunks: Uint8Array[] = [];
    for await (const chunk of range?.body ?? []) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(content.subarray(partBytes - 10, 2 * partBytes + 11))).toBe(true);
    const placed = join(await testDirectory(), 'placed');
    await files.setModified('path', 1_700_000_000_000);
    await files.place('path', placed);
    expect((await readFile(placed)).equals(content)).toBe(true);
    expect((await stat(placed)).mtimeMs).toBe(1_700_000_000_000);
    expect(await files.sweepUploads(0)).toBe(0);
  });

  /** The place behind a proxy that can be cut and counts. */
  const behindProxy = async (place: S3Place): Promise<{ readonly proxy: TcpProxy; readonly place: S3Place }> => {
    const server = new URL(place.endpoint ?? 'http://127.0.0.1');
    const proxy = await tcpProxy({ host: server.hostname, port: Number(server.port) });
    onTestFinished(proxy.close);
    return { proxy, place: { ...place, endpoint: `http://127.0.0.1:${proxy.port}` } };
  };
  /** So many that the upload cannot end between the look that sees the first of them and the cut. */
  const brokenParts = 16;
  /** Begins to store a local file under its digest, and cuts the connection when the server has so many parts of it. */
  const brokenUpload = async (place: S3Place, path: string, sha256: string, partsMin: number): Promise<number> => {
    const raw = rawClient(place);
    onTestFinished(() => raw.client.destroy());
    const { proxy, place: proxied } = await behindProxy(place);
    const files = s3Files({ place: proxied, clock, partBytes });
    onTestFinished(() => files.close());
    const putting = files.put(contentKey(sha256), { path }, { ifAbsent: true });
    putting.catch(() => {});
    await until(async () => (await raw.partCounts()).some((parts) => parts >= partsMin), { timeoutMs: 30_000, what: `${partsMin} parts` });
    proxy.cut();
    await expect(putting).rejects.toMatchObject({ code: 'FILES_UNAVAILABLE', message: expect.stringContaining(`127.0.0.1:${proxy.port}`) });
    return (await raw.partCounts())[0] ?? 0;
  };

  test('an upload that broke off goes on where it was: what the server has is not sent again', async ({ skip }) => {
    const { files, place } = await own(skip);
    const content = randomBytes(brokenParts * partBytes);
    const path = await localFile(content);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const parts = await brokenUpload(place, path, sha256, 3);
    expect(parts).toBeGreaterThanOrEqual(3);
    expect(await files.stat(contentKey(sha256))).toBeUndefined();

    const { proxy, place: counted } = await behindProxy(place);
    const next = s3Files({ place: counted, clock, partBytes, quietMs: 0 });
    onTestFinished(() => next.close());
    expect(await storeLocalFile(next, path)).toEqual({ sha256, size: content.byteLength });
    expect(proxy.bytesSent()).toBeGreaterThan((brokenParts - 1 - parts) * partBytes);
    expect(proxy.bytesSent()).toBeLessThan((brokenParts - parts) * partBytes + mebibyte);
    expect((await read(files, contentKey(sha256))).equals(content)).toBe(true);
    expect(await files.sweepUploads(0)).toBe(0);
  });

  test('what another process may still be sending is left to it; what we gave up ourselves goes on at once', async ({ skip }) => {
    const { place } = await own(skip);
    const content = randomBytes(brokenParts * partBytes);
    const path = await localFile(content);
    const sha256 = createHash('sha256').update(content).digest('hex');
    await brokenUpload(place, path, sha256, 3);

    const { proxy, place: counted } = await behindProxy(place);
    const next = s3Files({ place: counted, clock, partBytes });
    onTestFinished(() => next.close());
    const raw = rawClient(place);
    onTestFinished(() => raw.client.destroy());
    const putting = next.put(contentKey(sha256), { path }, { ifAbsent: true });
    putting.catch(() => {});
    await until(async () => (await raw.partCounts()).filter((parts) => parts >= 3).length === 2, { timeoutMs: 30_000, what: 'three parts of each upload' });
    proxy.cut();
    await expect(putting).rejects.toMatchObject({ code: 'FILES_UNAVAILABLE' });
    proxy.heal();
    const sentBefore = proxy.bytesSent();
    expect(await next.put(contentKey(sha256), { path }, { ifAbsent: true })).toBe(true);
    expect(proxy.bytesSent() - sentBefore).toBeLessThan((brokenParts - 3) * partBytes + mebibyte);
  });

  test('parts of another content are not taken for ours', async ({ skip }) => {
    const { files, place } = await own(skip);
    const content = randomBytes(brokenParts * partBytes);
    const sha256 = createHash('sha256').update(content).digest('hex');
    // Somebody wrote other bytes under the digest of ours: its size is right, its content is not.
    await brokenUpload(place, await localFile(randomBytes(brokenParts * partBytes)), sha256, 2);
    const next = s3Files({ place, clock, partBytes, quietMs: 0 });
    onTestFinished(() => next.close());
    expect(await next.put(contentKey(sha256), { path: await localFile(content) }, { ifAbsent: true })).toBe(true);
    expect((await read(files, contentKey(sha256))).equals(content)).toBe(true);
  });

  test('what a crash left of an upload is swept when it is old, and never visible', async ({ skip }) => {
    const { files, place } = await own(skip);
    const content = randomBytes(brokenParts * partBytes);
    const sha256 = createHash('sha256').update(content).digest('hex');
    await brokenUpload(place, await localFile(content), sha256, 1);
    expect(await files.list('')).toEqual([]);
    expect(await files.get(contentKey(sha256))).toBeUndefined();
    expect(await files.sweepUploads(3_600_000)).toBe(0);
    expect(await files.sweepUploads(0)).toBe(1);
    expect(await files.sweepUploads(0)).toBe(0);
  });

  test('an abort, or a source that fails, between parts leaves no upload behind', async ({ skip }) => {
    const { files } = await own(skip);
    const controller = new AbortController();
    const reason = new Error('planted: canceled');
    const source = async function* (last: () => Promise<never>) {
      for (let index = 0; index < 3; index += 1) yield randomBytes(partBytes);
      await last();
    };
    const hanging = source(() => {
      controller.abort(reason);
      return new Promise(() => {});
    });
    await expect(files.put('hanging', hanging, { signal: controller.signal })).rejects.toBe(reason);
    await expect(
      files.put(
        'failing',
        source(() => Promise.reject(new Error('planted: the source broke'))),
      ),
    ).rejects.toThrow('planted: the source broke');
    const path = await localFile(randomBytes(6 * partBytes));
    const canceled = new AbortController();
    const putting = files.put('path', { path }, { signal: canceled.signal });
    setImmediate(() => canceled.abort(reason));
    await expect(putting).rejects.toBe(reason);
    expect(await files.list('')).toEqual([]);
    expect(await files.sweepUploads(0)).toBe(0);
  });

  test('of two processes that store one large file at once one is told that it did', async ({ skip }) => {
    const { files, place } = await own(skip);
    const content = randomBytes(4 * partBytes);
    const path = await localFile(content);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const others = [1, 2, 3].map(() => s3Files({ place, clock, partBytes }));
    onTestFinished(async () => void (await Promise.all(others.map((other) => other.close()))));
    const taken = await Promise.all([files, ...others].map((each) => each.put(contentKey(sha256), { path }, { ifAbsent: true })));
    expect(taken.filter(Boolean)).toHaveLength(1);
    expect((await read(files, contentKey(sha256))).equals(content)).toBe(true);
    expect(await files.sweepUploads(0)).toBe(0);
  });

  test('a server that is away is named, and used again by itself when it is back', async ({ skip }) => {
    const { files: direct, place } = await own(skip);
    const { proxy, place: proxied } = await behindProxy(place);
    const files = s3Files({ place: proxied, clock });
    onTestFinished(() => files.close());
    await files.put('a', 'content');
    proxy.cut();
    const away = { code: 'FILES_UNAVAILABLE', message: expect.stringContaining(`127.0.0.1:${proxy.port}`) };
    const path = join(await testDirectory(), 'placed');
    const calls = [
      files.ping(),
      files.put('b', 'x'),
      files.get('a'),
      files.stat('a'),
      files.list(''),
      files.copy('a', 'c'),
      files.remove('a'),
      files.place('a', path),
    ];
    for (const outcome of await Promise.allSettled(calls)) expect(outcome).toMatchObject({ status: 'rejected', reason: away });
    proxy.heal();
    await files.ping();
    expect((await read(files, 'a')).toString()).toBe('content');
    expect(await direct.list('')).toEqual(['a']);
  });

  test('a download goes on where the connection broke, and never on in another file', async ({ skip }) => {
    const { files: direct, place } = await own(skip);
    const { proxy, place: proxied } = await behindProxy(place);
    const files = s3Files({ place: proxied, clock });
    onTestFinished(() => files.close());
    const content = randomBytes(12 * mebibyte);
    await direct.put('a', content);
    const chunks: Uint8Array[] = [];
    let cuts = 0;
    let bytes = 0;
    for await (const chunk of (await files.get('a'))?.body ?? []) {
      chunks.push(chunk);
      bytes += chunk.byteLength;
      if (cuts < 3 && bytes > (cuts + 1) * 3 * mebibyte) {
        cuts += 1;
        proxy.cut();
        proxy.heal();
      }
    }
    expect(cuts).toBe(3);
    expect(Buffer.concat(chunks).equals(content)).toBe(true);
    const replaced = await files.get('a');
    await direct.put('a', randomBytes(12 * mebibyte));
    await expect(drain(replaced?.body)).rejects.toMatchObject({ code: 'FILE_MISSING', message: expect.stringContaining('replaced') });
    const removed = await files.get('a');
    await direct.remove('a');
    await expect(drain(removed?.body)).rejects.toMatchObject({ code: 'FILE_MISSING' });
  });

  test('what is placed under a name with its digest is held to it, and nothing half stays', async ({ skip }) => {
    const { files } = await own(skip);
    const content = randomBytes(2 * mebibyte);
    const sha256 = createHash('sha256').update(content).digest('hex');
    await files.put(contentKey(sha256), randomBytes(2 * mebibyte));
    const directory = await testDirectory();
    await expect(files.place(contentKey(sha256), join(directory, 'placed'))).rejects.toMatchObject({ code: 'FILE_CORRUPT' });
    expect(await readdir(directory)).toEqual([]);
    await files.put(contentKey(sha256), content);
    await files.place(contentKey(sha256), join(directory, 'placed'));
    expect((await readFile(join(directory, 'placed'))).equals(content)).toBe(true);
    await expect(files.place(contentKey(sha256), join(directory, 'placed'))).rejects.toMatchObject({ code: 'PATH_REFUSED' });
    await expect(files.place(contentKey(sha256), join(directory, 'no/such/directory'))).rejects.toMatchObject({ code: 'INTERNAL' });
  });

  test('a symbolic link, a directory and a device are not stored', async ({ skip }) => {
    const { files } = await own(skip);
    const directory = await testDirectory();
    await writeFile(join(directory, 'secret'), 'secret');
    await symlink(join(directory, 'secret'), join(directory, 'link'));
    await mkdir(join(directory, 'folder'));
    for (const path of [join(directory, 'link'), join(directory, 'folder'), '/dev/null']) {
      await expect(files.put('a', { path }), path).rejects.toMatchObject({ code: 'PATH_REFUSED' });
    }
    expect(await files.list('')).toEqual([]);
  });

  test('a link is read by anybody for as long as it is good, and says what the file is called', async ({ skip }) => {
    const place = await ownPlace({ linkSeconds: 2 });
    if (typeof place === 'string') return skip(place);
    const { files } = await own(skip, { place });
    await files.put('a', '0123456789');
    const link = await files.link('a', { fileName: 'My "image".iso', mediaType: 'application/x-iso9660-image' });
    expect(link).not.toContain(place.credentials?.secretKey.reveal());
    const whole = await fetch(link ?? '');
    expect([whole.status, await whole.text()]).toEqual([200, '0123456789']);
    expect(whole.headers.get('content-type')).toBe('application/x-iso9660-image');
    expect(whole.headers.get('content-disposition')).toBe('attachment; filename="My__image_.iso"');
    const part = await fetch(link ?? '', { headers: { range: 'bytes=2-4' } });
    expect([part.status, await part.text()]).toEqual([206, '234']);
    expect((await fetch((link ?? '').replace('/a?', '/b?'))).status).toBe(403);
    await until(async () => (await fetch(link ?? '')).status === 403, { timeoutMs: 15_000, what: 'the link to end' });
    const { files: without } = await own(skip);
    expect(await without.link('a', { fileName: 'a', mediaType: 'text/plain' })).toBeUndefined();
  });

  test('keys of the settings are in no message', async () => {
    const place = placeOf('s3://access:hunter2-secret@bucket?endpoint=http://127.0.0.1:1');
    const files = s3Files({ place, clock });
    onTestFinished(() => files.close());
    const error = await files.ping().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ code: 'FILES_UNAVAILABLE' });
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toMatch(/hunter2|access:/);
  });
});

async function drain(body: AsyncIterable<Uint8Array> | undefined): Promise<void> {
  for await (const _chunk of body ?? []);
}

/** The server as any other program sees it. */
function rawClient({ endpoint = '', region, bucket: Bucket, prefix: Prefix, credentials }: S3Place) {
  const client = new S3Client({
    endpoint,
    region,
    forcePathStyle: true,
    credentials: { accessKeyId: credentials?.accessKey.reveal() ?? '', secretAccessKey: credentials?.secretKey.reveal() ?? '' },
  });
  return {
    client,
    /** Of each unfinished upload, how many parts the server has. */
    partCounts: async (): Promise<readonly number[]> => {
      const { Uploads: uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket, Prefix }));
      return Promise.all(uploads.map(async ({ Key, UploadId }) => (await client.send(new ListPartsCommand({ Bucket, Key, UploadId }))).Parts?.length ?? 0));
    },
  };
}
