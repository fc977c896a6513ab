/** Uploading RPMs: what is taken, what is refused and how, what is left of it, and when it goes; with rpm of this machine. */
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startUploadSweep, type UploadLimits } from '../../services/intake/uploads.ts';
import { admitted, canceled, newBuild } from '../../shared/build/build.ts';
import { BuildRequest, splitRequest } from '../../shared/build/request.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { storeContent } from '../../shared/files/content.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import { builtRpm } from '../support/built-rpm.ts';
import { type RpmFileOptions, rpmFile } from '../support/rpm-file.ts';
import { until } from '../support/until.ts';
import { type Fixture, fixture, liveRequest } from './rest-api-fixture.ts';

const rpms = '/api/v1/rpms';
const rpmType = { 'content-type': 'application/x-rpm' };
const unknownId = '01a20273-7e0d-7625-bdbd-8a0f9df4dce6';
const dayMs = 86_400_000;
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const digestHeader = (bytes: Uint8Array) => `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`;
const named = { name: 'hello', epoch: 0, version: '1', release: '1', arch: 'x86_64' };

let hello: Buffer;
let other: Buffer;
let native: Buffer;
let source: Buffer;
beforeAll(async () => {
  const [first, second, third] = await Promise.all([
    builtRpm({ name: 'hello', version: '9', arch: 'noarch' }),
    builtRpm({ name: 'hello', version: '9', arch: 'noarch', content: 'hello again' }),
    builtRpm({ name: 'native', version: '1', arch: 'x86_64' }),
  ]);
  [hello, source, other, native] = [first.rpm, first.source, second.rpm, third.rpm];
}, 60_000);

let f: Fixture;
let skewMs = 0;
const open = async (limits: Partial<UploadLimits> = {}, more: Parameters<typeof fixture>[0] = {}) => {
  const clock = systemClock();
  f = await fixture({ clock: { ...clock, now: () => clock.now() + skewMs }, ...more }, undefined, limits);
};
const reopen = async (limits: Partial<UploadLimits> = {}, more: Parameters<typeof fixture>[0] = {}) => {
  await f.close();
  await open(limits, more);
};
beforeEach(async () => {
  skewMs = 0;
  await open();
});
afterEach(async () => {
  expect(f.errors).toEqual([]);
  expect(await readdir(f.workDirectory)).toEqual([]);
  await f.close();
});

const upload = (payload: Uint8Array, headers: Record<string, string> = {}) =>
  f.app.inject({ method: 'POST', url: rpms, headers: { ...rpmType, ...headers }, payload: Buffer.from(payload) });
const contents = () => f.files.list('content');
async function uploaded(payload: Uint8Array = hello): Promise<string> {
  const answer = await upload(payload);
  expect([200, 201], answer.body).toContain(answer.statusCode);
  return answer.json().id as string;
}
async function buildWith(ids: readonly string[]): Promise<string> {
  const [request] = splitRequest(BuildRequest.parse({ ...liveRequest, sources: { rpms: ids } }));
  if (!request) throw new Error('a request stands for a build');
  const build = newBuild({ id: f.clock.id(), request, now: f.clock.now() });
  await f.builds.insert(build);
  return build.id;
}

describe('taken', () => {
  test.each(['application/x-rpm', 'application/octet-stream', 'Application/X-RedHat-Package-Manager; v=1'])('as %s, with where it is', async (type) => {
    const answer = await upload(hello, { 'content-type': type });
    expect(answer.statusCode, answer.body).toBe(201);
    const shown = answer.json();
    expect(answer.headers.location).toBe(`${rpms}/${shown.id}`);
    expect(shown).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      nevra: 'hello-9-1.noarch',
      name: 'hello',
      epoch: 0,
      version: '9',
      release: '1',
      arch: 'noarch',
      sha256: sha256(hello),
      size: hello.length,
      sourceRpm: 'hello-9-1.src.rpm',
      summary: 'Says hello, 9',
      signedBy: null,
      createdAt: expect.any(String),
      expiresAt: expect.any(String),
      untrusted: true,
      links: { self: `${rpms}/${shown.id}` },
    });
    expect(Date.parse(shown.expiresAt) - Date.parse(shown.createdAt)).toBe(14 * dayMs);
    expect((await f.app.inject(`${rpms}/${shown.id}`)).json()).toEqual(shown);
    expect((await f.app.inject(rpms)).json()).toEqual({
      meta: { count: 1, bytes: hello.length, countMax: 10, bytesMax: 4 * 1024 * 1024 },
      items: [shown],
    });
    expect(await contents()).toEqual([contentKey(sha256(hello))]);
  });

  test('the same bytes are the same upload, kept for longer; others of the same name are another one', async () => {
    const first = (await upload(hello)).json();
    skewMs = 5 * dayMs;
    const again = await upload(hello, { 'repr-digest': digestHeader(hello) });
    expect(again.statusCode).toBe(200);
    expect(again.json()).toEqual({ ...first, expiresAt: expect.any(String) });
    expect(Date.parse(again.json().expiresAt) - Date.parse(first.expiresAt)).toBeGreaterThanOrEqual(5 * dayMs);
    const second = (await upload(other)).json();
    expect([second.nevra, second.id === first.id]).toEqual([first.nevra, false]);
    expect((await f.app.inject(rpms)).json().meta.count).toBe(2);
  });

  test('two at once, the same and different ones', async () => {
    const answers = await Promise.all([upload(hello), upload(hello), upload(other)]);
    expect(answers.map(({ statusCode }) => statusCode).sort()).toEqual([200, 201, 201]);
    expect((await f.app.inject(rpms)).json().meta).toMatchObject({ count: 2, bytes: hello.length + other.length });
  });

  test('with the right digest, in either header, beside digests of another kind', async () => {
    expect((await upload(hello, { 'repr-digest': `sha-512=:AAAA:, ${digestHeader(hello)}` })).statusCode).toBe(201);
    expect((await upload(hello, { 'content-digest': digestHeader(hello) })).statusCode).toBe(200);
  });
});

describe('refused, and nothing is left', () => {
  const crafted = (options: RpmFileOptions, nevra: Partial<typeof named> = {}) => Buffer.from(rpmFile({ ...named, ...nevra }, options).bytes);
  const int32 = (value: number) => Buffer.from([value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]);

  test.each<[string, () => Uint8Array, Record<string, string>, number, string]>([
    ['a text file', () => Buffer.from('hello\n'.repeat(100)), {}, 422, 'RPM_UNREADABLE'],
    ['a few bytes', () => Buffer.from('x'), {}, 422, 'RPM_UNREADABLE'],
    ['nothing', () => Buffer.alloc(0), {}, 400, 'BODY_MISSING'],
    ['a source RPM', () => source, {}, 422, 'RPM_SOURCE'],
    ['a source RPM with the lead of a binary one', () => Object.assign(Buffer.from(source), { 7: 0 }), {}, 422, 'RPM_SOURCE'],
    ['a package without a source', () => crafted({ further: [[1106, 4, 1, int32(1)]] }), {}, 422, 'RPM_SOURCE'],
    ['one that ends in its header', () => hello.subarray(0, 1500), {}, 422, 'RPM_UNREADABLE'],
    ['one that ends in its payload', () => hello.subarray(0, hello.length - 10), {}, 422, 'RPM_BROKEN'],
    ['one whose payload was changed', () => Object.assign(Buffer.from(hello), { [hello.length - 5]: (hello.at(-5) ?? 0) ^ 1 }), {}, 422, 'RPM_BROKEN'],
    ['a path that climbs out', () => crafted({ files: [['/usr/../../etc/', 'passwd']] }), {}, 422, 'RPM_PATHS_REFUSED'],
    ['a path that is not absolute', () => crafted({ files: [['etc/', 'passwd']] }), {}, 422, 'RPM_PATHS_REFUSED'],
    ['a name that climbs out', () => crafted({}, { name: '../x' }), {}, 422, 'RPM_NAME_INVALID'],
    ['a version with a slash', () => crafted({}, { version: '1/2' }), {}, 422, 'RPM_NAME_INVALID'],
    ['an arch with a line end', () => crafted({}, { arch: 'x86_64\n' }), {}, 422, 'RPM_NAME_INVALID'],
    ['an endless name', () => crafted({}, { name: 'x'.repeat(300) }), {}, 422, 'RPM_NAME_INVALID'],
    ['an arch of no release', () => crafted({}, { arch: 's390x' }), {}, 422, 'RPM_ARCH_UNSUPPORTED'],
    ['one that would fill the disk', () => crafted({ further: [[5009, 5, 1, Buffer.from('00ffffffffffffff', 'hex')]] }), {}, 422, 'RPM_CONTENTS_TOO_LARGE'],
    ['millions of files', () => crafted({ further: [[1117, 8, 4_000_000, Buffer.from('a\0')]] }), {}, 422, 'RPM_UNREADABLE'],
    ['a header without end', () => Object.assign(crafted({}), { [96 + 12]: 3, [96 + 13]: 0 }), {}, 422, 'RPM_CONTENTS_TOO_LARGE'],
    ['more than one RPM may have', () => Buffer.concat([hello, Buffer.alloc(1024 * 1024)]), {}, 413, 'RPM_TOO_LARGE'],
    ['another digest than announced', () => hello, { 'repr-digest': digestHeader(Buffer.from('x')) }, 422, 'RPM_DIGEST_MISMATCH'],
    ['a digest that is none', () => hello, { 'content-digest': 'sha-256=:abc:' }, 400, 'HEADER_INVALID'],
    ['two digests', () => hello, { 'content-digest': digestHeader(Buffer.from('x')), 'repr-digest': digestHeader(Buffer.from('y')) }, 400, 'HEADER_INVALID'],
    ['JSON', () => hello, { 'content-type': 'application/json' }, 415, 'MEDIA_TYPE_UNSUPPORTED'],
    ['a form', () => hello, { 'content-type': 'multipart/form-data; boundary=x' }, 415, 'MEDIA_TYPE_UNSUPPORTED'],
    ['no type', () => hello, { 'content-type': '' }, 415, 'MEDIA_TYPE_UNSUPPORTED'],
    ['a packed body', () => hello, { 'content-encoding': 'gzip' }, 415, 'MEDIA_TYPE_UNSUPPORTED'],
    ['a page of another site', () => hello, { origin: 'https://evil.example' }, 403, 'ORIGIN_REFUSED'],
  ])('%s', async (_what, payload, headers, status, code) => {
    const answer = await upload(payload(), headers);
    expect([answer.statusCode, answer.json().code], answer.body).toEqual([status, code]);
    expect(answer.json().detail).toMatch(/\w+ \w+/);
    expect(answer.body).not.toMatch(/[\u0000-\u0008\u001b]/);
    expect(await contents()).toEqual([]);
    expect((await f.app.inject(rpms)).json().items).toEqual([]);
  });

  test('a body that is no RPM of ours never gets a 5xx', async () => {
    const mutated = fc
      .tuple(fc.constantFrom('hello', 'native', 'source'), fc.array(fc.tuple(fc.nat(6000), fc.nat(255)), { minLength: 1, maxLength: 12 }), fc.nat(7000))
      .map(([which, changes, length]) => {
        const bytes = Buffer.from({ hello, native, source }[which] as Buffer).subarray(0, Math.max(1, length));
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        return bytes;
      });
    const body = fc.oneof(
      { weight: 3, arbitrary: mutated },
      fc.uint8Array({ minLength: 1, maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
    );
    await fc.assert(
      fc.asyncProperty(body, fc.constantFrom('application/x-rpm', 'application/octet-stream', 'text/plain', 'x'), async (bytes, type) => {
        const answer = await upload(bytes, { 'content-type': type });
        expect(answer.statusCode, answer.body).toBeLessThan(500);
      }),
      { seed: 20261122, numRuns: 200 },
    );
    await Promise.all((await f.app.inject(rpms)).json().items.map(({ id }: { id: string }) => f.app.inject({ method: 'DELETE', url: `${rpms}/${id}` })));
  }, 60_000);

  test.each([
    ['GET', `${rpms}/${unknownId}`, 404, 'RPM_NOT_FOUND'],
    ['GET', `${rpms}/..%2f..%2fetc%2fpasswd`, 404, 'RPM_NOT_FOUND'],
    ['DELETE', `${rpms}/${unknownId}`, 404, 'RPM_NOT_FOUND'],
    ['DELETE', `${rpms}/x`, 404, 'RPM_NOT_FOUND'],
    ['PUT', rpms, 405, 'METHOD_NOT_ALLOWED'],
  ] as const)('%s %s is %i', async (method, url, status, code) => {
    const answer = await f.app.inject({ method, url });
    expect([answer.statusCode, answer.json().code]).toEqual([status, code]);
  });
});

describe('quota', () => {
  test('of files: the refusal says what is there and how to make room', async () => {
    await reopen({ countMax: 1 });
    const id = await uploaded(hello);
    const refused = await upload(other);
    expect([refused.statusCode, refused.json().code]).toEqual([403, 'QUOTA_EXCEEDED']);
    expect(refused.json().detail).toMatch(/^1 of 1 uploaded RPMs with \d+ of \d+ bytes .*delete some/);
    // What is there already needs no room.
    expect((await upload(hello, { 'repr-digest': digestHeader(hello) })).statusCode).toBe(200);
    expect((await f.app.inject({ method: 'DELETE', url: `${rpms}/${id}` })).statusCode).toBe(204);
    expect((await upload(other)).statusCode).toBe(201);
  });

  test('of bytes, also where two come at once', async () => {
    await reopen({ bytesMax: hello.length + 100 });
    const answers = await Promise.all([upload(hello), upload(other)]);
    expect(answers.map(({ statusCode }) => statusCode).sort()).toEqual([201, 403]);
    expect((await contents()).length).toBe(1);
  });
});

describe('its end', () => {
  const remove = (id: string) => f.app.inject({ method: 'DELETE', url: `${rpms}/${id}` });

  test('deleted, it is gone with its bytes, and can be sent again', async () => {
    const id = await uploaded();
    expect((await remove(id)).statusCode).toBe(204);
    expect((await f.app.inject(`${rpms}/${id}`)).statusCode).toBe(404);
    expect((await remove(id)).statusCode).toBe(404);
    expect(await contents()).toEqual([]);
    expect(await f.uploadRecords.get(id)).toBeUndefined();
    expect(await uploaded()).toBe(id);
  });

  test('a build that has not ended keeps it; one that has keeps its bytes', async () => {
    const id = await uploaded();
    const build = await buildWith([id]);
    const refused = await remove(id);
    expect([refused.statusCode, refused.json().code]).toEqual([409, 'RPM_IN_USE']);
    skewMs = 20 * dayMs;
    expect(await f.uploads.sweep()).toBe(1);
    expect((await f.uploadRecords.get(id))?.document).toMatchObject({ removedAt: null });
    // A new request can't name it any more.
    expect((await f.app.inject(`${rpms}/${id}`)).statusCode).toBe(404);
    await f.move(build, admitted);
    await f.move(build, (each, now) => canceled(each, now));
    skewMs = 21 * dayMs;
    expect(await f.uploads.sweep()).toBe(1);
    expect((await f.uploadRecords.get(id))?.document).toMatchObject({ removedAt: expect.any(String) });
    expect(await contents()).toEqual([contentKey(sha256(hello))]);
    // Its bytes go with the last build that promises its files.
    await f.move(build, (each) => ({ ...each, state: 'expired' }));
    skewMs = 22 * dayMs;
    expect(await f.uploads.sweep()).toBe(1);
    expect(await contents()).toEqual([]);
    expect(await f.uploadRecords.get(id)).toBeUndefined();
  });

  test('expired, it is swept by itself', async () => {
    const id = await uploaded();
    expect(await f.uploads.sweep()).toBe(0);
    skewMs = 15 * dayMs;
    const sweep = startUploadSweep({ uploads: f.uploads, clock: f.clock, logger: f.app.log as never, intervalMs: 20 });
    await until(async () => (await f.uploadRecords.get(id)) === undefined, { timeoutMs: 5000 });
    await sweep.stop();
    expect(await contents()).toEqual([]);
  });

  test('bytes that were stored before stay', async () => {
    await storeContent(f.files, hello);
    const id = await uploaded();
    expect((await remove(id)).statusCode).toBe(204);
    expect(await contents()).toEqual([contentKey(sha256(hello))]);
  });

  test('a record whose bytes never came is swept', async () => {
    const id = await uploaded();
    const found = await f.uploadRecords.get(id);
    if (!found) throw new Error('it was stored');
    await f.uploadRecords.replace({ ...found.document, removedAt: found.document.createdAt, dueAt: f.clock.now() + 3_600_000 }, found.version);
    await f.files.remove(contentKey(sha256(hello)));
    expect((await f.app.inject(`${rpms}/${id}`)).statusCode).toBe(404);
    skewMs = 3_600_001;
    expect(await f.uploads.sweep()).toBe(1);
    expect(await f.uploadRecords.get(id)).toBeUndefined();
  });
});

describe('named in a request', () => {
  const builds = '/api/v1/builds';
  const submit = (ids: readonly string[], more: object = {}) =>
    f.app.inject({ method: 'POST', url: builds, payload: { ...liveRequest, release: '44', sources: { rpms: ids }, ...more } });
  const allowed = { untrustedCode: { kickstartScripts: false, rpms: true } };

  test('it is refused where the operator does not allow it, and again at a retry after that changed', async () => {
    const id = await uploaded();
    const refused = await submit([id]);
    expect([refused.statusCode, refused.json().code]).toEqual([403, 'UNTRUSTED_CODE_REFUSED']);
    expect(refused.json().detail).toContain('SPINDLE_UNTRUSTED_CODE');
    const build = await buildWith([id]);
    await f.move(build, (each, now) => canceled(each, now));
    const retried = await f.app.inject({ method: 'POST', url: `${builds}/${build}/retry` });
    expect([retried.statusCode, retried.json().code]).toEqual([403, 'UNTRUSTED_CODE_REFUSED']);
  });

  test('it is accepted where that is allowed, and kept while the build lives', async () => {
    await reopen({}, allowed);
    const id = await uploaded();
    const answer = await submit([id]);
    expect(answer.statusCode, answer.body).toBe(202);
    expect((await f.app.inject({ method: 'DELETE', url: `${rpms}/${id}` })).statusCode).toBe(409);
    const { id: build } = answer.json();
    await f.move(build, (each, now) => canceled(each, now));
    expect((await f.app.inject({ method: 'DELETE', url: `${rpms}/${id}` })).statusCode).toBe(204);
    const retried = await f.app.inject({ method: 'POST', url: `${builds}/${build}/retry` });
    expect([retried.statusCode, retried.json().code]).toEqual([422, 'RPM_UNKNOWN']);
  });

  test('one that is not there, has expired, is of another owner or another arch is named', async () => {
    await reopen({}, allowed);
    const id = await uploaded();
    const ofNative = await uploaded(native);
    const problem = async (...args: Parameters<typeof submit>) => {
      const answer = await submit(...args);
      const { code, errors } = answer.json();
      return [answer.statusCode, code, errors?.map(({ field }: { field: string }) => field)];
    };
    expect(await problem([id, unknownId])).toEqual([422, 'RPM_UNKNOWN', ['sources.rpms[1]']]);
    expect(await problem([id, ofNative], { arch: ['x86_64', 'aarch64'] })).toEqual([422, 'RPM_ARCH_UNSUPPORTED', ['sources.rpms[1]']]);
    const found = await f.uploadRecords.get(id);
    if (!found) throw new Error('it was stored');
    await f.uploadRecords.insert({ ...found.document, id: unknownId, owner: 'somebody else' });
    expect(await problem([unknownId])).toEqual([422, 'RPM_UNKNOWN', ['sources.rpms[0]']]);
    expect((await f.app.inject(`${rpms}/${unknownId}`)).statusCode).toBe(404);
    expect((await f.app.inject({ method: 'DELETE', url: `${rpms}/${unknownId}` })).statusCode).toBe(404);
    expect((await f.app.inject(rpms)).json().meta.count).toBe(2);
    skewMs = 14 * dayMs + 1000;
    expect(await problem([id])).toEqual([422, 'RPM_UNKNOWN', ['sources.rpms[0]']]);
  });
});

describe('on a real connection', () => {
  interface Raw {
    readonly socket: ReturnType<typeof connect>;
    received(): string;
    readonly closed: Promise<void>;
  }
  async function raw(head: string): Promise<Raw> {
    const url = new URL(
      f.app.server.listening ? `http://127.0.0.1:${(f.app.server.address() as { port: number }).port}` : await f.app.listen({ host: '127.0.0.1', port: 0 }),
    );
    const socket = connect(Number(url.port), '127.0.0.1');
    let text = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', () => undefined);
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.write(`POST ${rpms} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/x-rpm\r\n${head}\r\n\r\n`);
    return { socket, received: () => text, closed };
  }
  const answered = (connection: Raw, status: number) => until(async () => connection.received().startsWith(`HTTP/1.1 ${status} `), { timeoutMs: 5000 });
  const lengthOf = (bytes: Uint8Array) => `Content-Length: ${bytes.length}`;

  test('one in pieces, with a length and in chunks', async () => {
    const whole = await raw(lengthOf(hello));
    for (let at = 0; at < hello.length; at += 997) whole.socket.write(hello.subarray(at, at + 997));
    await answered(whole, 201);
    whole.socket.destroy();
    const chunked = await raw('Transfer-Encoding: chunked');
    for (const part of [other.subarray(0, 3000), other.subarray(3000)]) {
      chunked.socket.write(`${part.length.toString(16)}\r\n`);
      chunked.socket.write(part);
      chunked.socket.write('\r\n');
    }
    chunked.socket.write('0\r\n\r\n');
    await answered(chunked, 201);
    chunked.socket.destroy();
  });

  test('one that is announced as too large is answered while it comes, and read for a while more', async () => {
    await reopen({}, { uploadLingerMs: 300 });
    const connection = await raw('Content-Length: 1000000000');
    connection.socket.write(Buffer.alloc(100_000));
    await answered(connection, 413);
    expect(connection.received()).toContain('RPM_TOO_LARGE');
    // Still open, so that the sender can read the answer; not for ever.
    expect(connection.socket.destroyed).toBe(false);
    connection.socket.write(Buffer.alloc(100_000));
    await connection.closed;
  });

  test('one that becomes too large in chunks is refused there', async () => {
    await reopen({ fileBytesMax: 50_000 }, { uploadLingerMs: 300 });
    const connection = await raw('Transfer-Encoding: chunked');
    const chunk = Buffer.concat([Buffer.from('4000\r\n'), Buffer.alloc(0x4000), Buffer.from('\r\n')]);
    for (let count = 0; count < 6; count += 1) connection.socket.write(chunk);
    await answered(connection, 413);
    await connection.closed;
    expect(await contents()).toEqual([]);
  });

  test('a refused one does not spoil the connection', async () => {
    const text = Buffer.from('no rpm '.repeat(100));
    const connection = await raw(lengthOf(text));
    connection.socket.write(text);
    await answered(connection, 422);
    connection.socket.write(`GET ${rpms} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n`);
    await until(async () => connection.received().includes('HTTP/1.1 200 OK'), { timeoutMs: 5000 });
    connection.socket.destroy();
  });

  test('one that is broken off leaves nothing', async () => {
    const connection = await raw(lengthOf(hello));
    connection.socket.write(hello.subarray(0, 2000));
    await until(async () => (await readdir(f.workDirectory)).length === 1, { timeoutMs: 5000 });
    connection.socket.destroy();
    await until(async () => (await readdir(f.workDirectory)).length === 0, { timeoutMs: 5000 });
    expect(await contents()).toEqual([]);
    expect((await f.app.inject(rpms)).json().items).toEqual([]);
  });

  test('one that falls silent, or drips for ever, is not waited for', async () => {
    await reopen({ idleMs: 200, deadlineMs: 800 });
    const silent = await raw(lengthOf(hello));
    silent.socket.write(hello.subarray(0, 100));
    await answered(silent, 408);
    await silent.closed;
    const dripping = await raw(lengthOf(hello));
    let at = 0;
    const drip = setInterval(() => dripping.socket.write(hello.subarray(at, ++at)), 50);
    await answered(dripping, 408);
    clearInterval(drip);
    await dripping.closed;
  });

  test('bodies of other routes have a minute, as before there were uploads', async () => {
    const clock = systemClock();
    await f.close();
    f = await fixture({ clock: { ...clock, after: (ms, task) => clock.after(ms === 60_000 ? 150 : ms, task) } });
    await f.app.listen({ host: '127.0.0.1', port: 0 });
    const socket = connect((f.app.server.address() as { port: number }).port, '127.0.0.1');
    let text = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.write('POST /api/v1/builds HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"release"');
    await until(async () => text.startsWith('HTTP/1.1 408 ') && text.includes('REQUEST_TIMED_OUT'), { timeoutMs: 5000 });
    await until(async () => socket.closed, { timeoutMs: 5000 });
  });

  test('more at once than are taken are told to come again', async () => {
    await reopen({ atOnceMax: 1 });
    const first = await raw(lengthOf(hello));
    first.socket.write(hello.subarray(0, 100));
    await until(async () => (await readdir(f.workDirectory)).length === 1, { timeoutMs: 5000 });
    const second = await upload(other);
    expect([second.statusCode, second.json().code, second.headers['retry-after']]).toEqual([429, 'UPLOADS_BUSY', '10']);
    first.socket.write(hello.subarray(100));
    await answered(first, 201);
    first.socket.destroy();
    expect((await upload(other)).statusCode).toBe(201);
  });

  test('the service stops while one comes', async () => {
    const connection = await raw(lengthOf(hello));
    connection.socket.write(hello.subarray(0, 100));
    await until(async () => (await readdir(f.workDirectory)).length === 1, { timeoutMs: 5000 });
    await f.app.close();
    await connection.closed;
    expect(connection.received()).toContain('503');
  });

  test('a large one needs no memory of its size', async () => {
    const size = 256 * 1024 * 1024;
    await reopen({ fileBytesMax: size, bytesMax: 2 * size });
    const connection = await raw(`Content-Length: ${size}`);
    const before = process.memoryUsage();
    const block = Buffer.alloc(1024 * 1024);
    hello.copy(block);
    let most = 0;
    for (let count = 0; count < 256; count += 1) {
      if (!connection.socket.write(block)) await new Promise((resolve) => connection.socket.once('drain', resolve));
      const { external, arrayBuffers } = process.memoryUsage();
      most = Math.max(most, external + arrayBuffers - before.external - before.arrayBuffers);
    }
    await answered(connection, 422);
    expect(most).toBeLessThan(size / 2);
    connection.socket.destroy();
  }, 30_000);
});
