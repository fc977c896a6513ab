/** RPM downloads from servers that misbehave: they get through where the file can be had, and nothing gets in that is not it. */
import { spawn, spawnSync } from 'node:child_process';
import { setMaxListeners } from 'node:events';
import { link, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { localPartialFiles } from '../../shared/downloads/local.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import type { Nevra } from '../../shared/fedora/nvr.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import { localFiles } from '../../shared/files/local.ts';
import { downloadKey, type RpmSource, type WantedRpm } from '../../shared/rpm/fetch-rpm.ts';
import { type RpmDownloadsOptions, rpmDownloads } from '../../shared/rpm/rpm-downloads.ts';
import { contentTarget } from '../../shared/rpm/stored-rpm.ts';
import { good, inTurn, type Manner, type MisbehavingServer, misbehavingServer, send } from '../support/misbehaving-server.ts';
import { rpmFile } from '../support/rpm-file.ts';
import { testDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';

const nevra: Nevra = { name: 'big', epoch: 0, version: '1', release: '1', arch: 'noarch' };
/** Some hundred kilobytes that are nowhere alike. */
const payload = (seed: number, bytes = 400_000) => {
  let state = seed;
  return Array.from({ length: Math.ceil(bytes / 8) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state.toString(36).padStart(8, '0');
  }).join('');
};
const rpm = rpmFile(nevra, { payload: payload(1) });
const size = rpm.bytes.byteLength;
const other = rpmFile(nevra, { payload: payload(2) });
const path = '/big-1-1.noarch.rpm';
const usually = { signal: new AbortController().signal };
setMaxListeners(0, usually.signal);
const pace = { windowMs: 150, bytesMin: 1 };

async function server(): Promise<MisbehavingServer> {
  const one = await misbehavingServer();
  onTestFinished(one.close);
  return one;
}

async function world(options: Partial<RpmDownloadsOptions> & { readonly directory?: string } = {}) {
  const directory = options.directory ?? (await testDirectory());
  // Pauses are waited for by the clock's own tests.
  const clock = { ...systemClock(), sleep: async () => {} };
  const files = localFiles({ directory: join(directory, 'files') });
  const egress = httpEgress({ userAgent: 'spindle-test/1 (+https://example.org)', allow: ['127.0.0.1/32'] });
  const partials = localPartialFiles({ directory: join(directory, 'downloads'), clock });
  const downloads = rpmDownloads({ egress, clock, partials, target: contentTarget(files), pace, marginBytes: 0, ...options });
  onTestFinished(async () => {
    await downloads.close();
    await egress.close();
    await files.close();
  });
  const stored = async ({ sha256 }: { readonly sha256: string } = rpm) => (await files.stat(contentKey(sha256)))?.size;
  return { directory, files, partials, downloads, stored, parts: () => readdir(join(directory, 'downloads')) };
}

const wanted = (...urls: readonly string[]): WantedRpm<RpmSource> => ({
  nevra,
  sha256: rpm.sha256,
  sources: urls.map((url) => ({ url, size, isSizeExact: true })),
});
const koji = (...urls: readonly string[]): WantedRpm<RpmSource> => ({
  nevra,
  payloadHash: rpm.payloadHash,
  sources: urls.map((url) => ({ url, size: size + 10_000, isSizeExact: false })),
});

const cutAfter =
  (bytesMax: number): Manner =>
  (turn) =>
    send(turn, { bytesMax, leaving: 'cut' });

describe('an RPM download', () => {
  it('goes on where the connection was cut, and says what it expects there', async () => {
    const web = await server();
    const { downloads, stored, parts } = await world();
    const url = web.put(path, rpm.bytes, inTurn(cutAfter(300_000), cutAfter(50_000), good));
    const seen: number[] = [];
    expect(await downloads.fetch(wanted(url), { ...usually, onBytes: (bytes) => void seen.push(bytes) })).toEqual({
      ref: { sha256: rpm.sha256, size },
      source: { url, size, isSizeExact: true },
      bytesFetched: size,
      bytesKept: 0,
    });
    expect(web.asked.map(({ range, ifRange }) => [range, ifRange])).toEqual([
      [undefined, undefined],
      ['bytes=300000-', '"one"'],
      ['bytes=350000-', '"one"'],
    ]);
    expect(seen.at(-1)).toBe(size);
    expect([await stored(), await parts()]).toEqual([size, []]);
  });

  it('takes the end of a connection without announced length for a cut, where bytes are missing', async () => {
    const web = await server();
    const { downloads, stored } = await world();
    const short: Manner = (turn) => send(turn, { bytesMax: 100_000, length: 'none' });
    await downloads.fetch(wanted(web.put(path, rpm.bytes, inTurn(short, good))), usually);
    expect(web.asked.map(({ range }) => range)).toEqual([undefined, 'bytes=100000-']);
    expect(await stored()).toBe(size);
  });

  it('says what is wrong with a file that always ends too early', async () => {
    const web = await server();
    const { downloads, stored } = await world();
    const short: Manner = (turn) => send({ ...turn, from: 0 }, { bytesMax: 100_000, length: 'none' });
    await expect(downloads.fetch(wanted(web.put(path, rpm.bytes, short)), usually)).rejects.toMatchObject({
      code: 'PACKAGE_DIGEST_MISMATCH',
      message: expect.stringContaining(`has 100000 bytes instead of ${size}`),
    });
    expect(await stored()).toBeUndefined();
  });

  it('refuses another file of the same size, and takes the right one from the next address', async () => {
    const web = await server();
    const { downloads, stored, parts } = await world();
    expect(other.bytes.byteLength).toBe(size);
    const wrong = web.put('/wrong.rpm', other.bytes);
    await expect(downloads.fetch(wanted(wrong), usually)).rejects.toMatchObject({
      code: 'PACKAGE_DIGEST_MISMATCH',
      message: expect.stringContaining('SHA-256'),
    });
    expect([await stored(), await stored(other), await parts()]).toEqual([undefined, undefined, []]);
    const { source } = await downloads.fetch(wanted(wrong, web.put(path, rpm.bytes)), usually);
    expect([source.url, await stored()]).toEqual([`${web.base}${path}`, size]);
  });

  it('reconnects to a server that stalls at 99 %, and then fetches the last part from the next', async () => {
    const [web, mirror] = [await server(), await server()];
    const { downloads, stored } = await world();
    const most = Math.floor(size * 0.99);
    const stalls: Manner = (turn) => send(turn, { bytesMax: most - turn.from, leaving: 'stall' });
    const { source } = await downloads.fetch(wanted(web.put(path, rpm.bytes, stalls), mirror.put(path, rpm.bytes)), usually);
    expect(source.url).toBe(`${mirror.base}${path}`);
    expect(web.asked.map(({ range }) => range)).toEqual([undefined, `bytes=${most}-`]);
    // Another mirror has other validators: the digest decides.
    expect(mirror.asked).toEqual([{ path, range: `bytes=${most}-`, ifRange: undefined, bytesSent: size - most }]);
    expect(await stored()).toBe(size);
  });

  it('gives up a server that sends a little now and then', async () => {
    const web = await server();
    const { downloads } = await world({ pace: { windowMs: 150, bytesMin: 50_000 } });
    const trickles: Manner = (turn) => {
      send(turn, { bytesMax: 10, leaving: 'stall' });
      const drip = setInterval(() => turn.response.write('x'), 10);
      turn.response.on('close', () => clearInterval(drip));
    };
    await expect(downloads.fetch(wanted(web.put(path, rpm.bytes, trickles)), usually)).rejects.toMatchObject({
      code: 'PACKAGE_UNREACHABLE',
      message: expect.stringMatching(/sent only \d+ bytes for 0\.15 s/),
    });
  });

  it('refuses more than was announced, in the whole file and in a rest of it', async () => {
    const web = await server();
    const { downloads, stored, parts } = await world();
    const longer = Buffer.concat([rpm.bytes, Buffer.from('and more')]);
    const whole: Manner = (turn) => send({ ...turn, from: 0, content: longer }, { length: 'chunked' });
    await expect(downloads.fetch(wanted(web.put(path, rpm.bytes, whole)), usually)).rejects.toMatchObject({
      code: 'PACKAGE_DIGEST_MISMATCH',
      message: expect.stringContaining('more than'),
    });
    const rest: Manner = (turn) => {
      const headers = { 'content-range': `bytes ${turn.from}-${size - 1}/${size}` };
      send({ ...turn, content: longer }, { length: 'chunked', headers });
    };
    // The part is not believed any more, and the whole is asked for.
    await downloads.fetch(wanted(web.put('/rest.rpm', rpm.bytes, inTurn(cutAfter(1000), rest, good))), usually);
    expect(web.asked.filter((each) => each.path === '/rest.rpm').map(({ range }) => range)).toEqual([undefined, 'bytes=1000-', undefined]);
    expect([await stored(), await parts()]).toEqual([size, []]);
  });

  it('takes the whole from a server that ignores ranges', async () => {
    const web = await server();
    const { downloads, stored } = await world();
    const ignores: Manner = (turn) => send({ ...turn, from: 0 });
    expect(await downloads.fetch(wanted(web.put(path, rpm.bytes, inTurn(cutAfter(5000), ignores))), usually)).toMatchObject({ bytesFetched: size + 5000 });
    expect(await stored()).toBe(size);
  });

  it('never puts halves of two files together', async () => {
    const web = await server();
    const { downloads, stored } = await world();
    // Of the file as it was before, then of the wanted one: the first server says so, the second knows no If-Range, the third has no validators at all.
    const before: Manner = (turn) => send({ ...turn, content: other.bytes }, { bytesMax: 200_000, leaving: 'cut', headers: { etag: '"before"' } });
    const silent: Manner = (turn) => send(turn);
    const bare = (content: Uint8Array, cut: boolean): Manner => {
      return (turn) => send({ ...turn, content }, { ...(cut ? { bytesMax: 200_000, leaving: 'cut' as const } : {}), headers: { etag: '' } });
    };
    const manners = [inTurn(before, good), inTurn(before, silent), inTurn(bare(other.bytes, true), bare(rpm.bytes, false))];
    for (const [index, manner] of manners.entries()) {
      const fresh = await world();
      await fresh.downloads.fetch(wanted(web.put(`/${index}.rpm`, rpm.bytes, manner)), usually);
      expect(await fresh.stored()).toBe(size);
    }
    // For the last one only the digest told, and it was fetched once more from the start.
    expect(web.asked.filter((each) => each.path === '/2.rpm').map(({ range }) => range)).toEqual([undefined, 'bytes=200000-', undefined]);
    expect(await stored()).toBeUndefined();
    expect(downloads).toBeDefined();
  });

  it('asks for the whole where the rest that comes is another one', async () => {
    const web = await server();
    const { downloads, stored } = await world();
    const unfit: Manner = (turn) => send(turn, { headers: { 'content-range': `bytes 7-${size - 1}/${size}` } });
    await downloads.fetch(wanted(web.put(path, rpm.bytes, inTurn(cutAfter(1000), unfit, good))), usually);
    expect(web.asked.map(({ range }) => range)).toEqual([undefined, 'bytes=1000-', undefined]);
    expect(await stored()).toBe(size);
  });

  it('follows no redirect to a private address for the rest, and keeps what it has', async () => {
    const [web, mirror] = [await server(), await server()];
    const { downloads } = await world();
    const away: Manner = ({ response }) => void response.writeHead(302, { location: 'http://169.254.169.254/latest/' }).end();
    const { source } = await downloads.fetch(wanted(web.put(path, rpm.bytes, inTurn(cutAfter(1000), away)), mirror.put(path, rpm.bytes)), usually);
    expect(source.url).toBe(`${mirror.base}${path}`);
    expect(mirror.asked[0]?.range).toBe('bytes=1000-');
    const alone = await world();
    await expect(alone.downloads.fetch(wanted(web.put('/alone.rpm', rpm.bytes, inTurn(cutAfter(1000), away))), usually)).rejects.toMatchObject({
      code: 'REMOTE_REFUSED',
      message: expect.stringContaining('169.254.169.254 is not a public address'),
    });
  });

  it.each([1, 2, 3, 4, 5])('gets through connections that are cut anywhere: seed %i', async (seed) => {
    const web = await server();
    const { downloads, stored } = await world();
    let state = seed * 7919;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    const cuts: Manner = (turn) => {
      const bytesMax = Math.floor(random() * 120_000);
      send(turn, bytesMax < size - turn.from ? { bytesMax, leaving: 'cut' } : {});
    };
    const { bytesFetched } = await downloads.fetch(wanted(web.put(path, rpm.bytes, cuts)), usually);
    expect(await stored()).toBe(size);
    // Nothing came twice.
    expect([web.asked.length > 2, bytesFetched]).toEqual([true, size]);
  });

  it('goes on with what an earlier process left, and begins anew where that is not of this file', async () => {
    const web = await server();
    const url = web.put(path, rpm.bytes);
    const first = await world();
    await writeFile(first.partials.pathOf(downloadKey(wanted(url))), rpm.bytes.subarray(0, 250_000));
    expect(await first.downloads.fetch(wanted(url), usually)).toMatchObject({ bytesFetched: size - 250_000, bytesKept: 250_000 });
    const second = await world();
    await writeFile(second.partials.pathOf(downloadKey(wanted(url))), other.bytes.subarray(0, 250_000));
    expect(await second.downloads.fetch(wanted(url), usually)).toMatchObject({ bytesKept: 0 });
    expect(await second.stored()).toBe(size);
  });

  it('writes to no part that is a stored file as well', async () => {
    const web = await server();
    const { downloads, directory, partials } = await world();
    const url = web.put(path, rpm.bytes);
    const precious = join(directory, 'precious');
    await writeFile(precious, 'not ours');
    await link(precious, partials.pathOf(downloadKey(wanted(url))));
    await downloads.fetch(wanted(url), usually);
    expect(await readFile(precious, 'utf8')).toBe('not ours');
  });

  it('puts nothing together from two copies that may differ', async () => {
    const web = await server();
    const { downloads } = await world();
    const signed = rpmFile(nevra, { payload: payload(1), signature: 'by somebody' });
    const first = web.put('/signed.rpm', signed.bytes, inTurn(cutAfter(100_000), cutAfter(0)));
    const { ref, source } = await downloads.fetch(koji(first, web.put(path, rpm.bytes)), usually);
    expect([source.url, ref.sha256]).toEqual([`${web.base}${path}`, rpm.sha256]);
    expect(web.asked.filter((each) => each.path === path).map(({ range }) => range)).toEqual([undefined]);
  });

  it('goes to the mirror that worked, not again to the one that broke off', async () => {
    const [web, mirror] = [await server(), await server()];
    const { downloads } = await world();
    const next = rpmFile({ ...nevra, name: 'next' });
    web.put(path, rpm.bytes, cutAfter(0));
    web.put('/next.rpm', next.bytes);
    mirror.put(path, rpm.bytes);
    mirror.put('/next.rpm', next.bytes);
    await downloads.fetch(wanted(`${web.base}${path}`, `${mirror.base}${path}`), usually);
    const sources = [web, mirror].map(({ base }) => ({ url: `${base}/next.rpm`, size: next.bytes.byteLength, isSizeExact: true }));
    await downloads.fetch({ nevra: { ...nevra, name: 'next' }, sha256: next.sha256, sources }, usually);
    expect([web, mirror].map(({ asked }) => asked.map((each) => each.path))).toEqual([[path], [path, '/next.rpm']]);
  });
});

describe('all RPM downloads of a process', () => {
  it('fetch a file once for all who want it, and go on when one of them leaves', async () => {
    const web = await server();
    const { downloads, stored } = await world({ pace: { windowMs: 20_000, bytesMin: 0 } });
    let finish = () => {};
    const waits: Manner = (turn) => {
      send(turn, { bytesMax: 1000, leaving: 'stall' });
      finish = () => void turn.response.end(turn.content.subarray(1000));
    };
    const url = web.put(path, rpm.bytes, waits);
    const leaving = new AbortController();
    const left = downloads.fetch(wanted(url), { signal: leaving.signal });
    const stays = downloads.fetch(wanted(`${web.base}/elsewhere`, url), usually);
    await until(() => web.asked[0]?.bytesSent === 1000, { what: 'the first bytes' });
    leaving.abort(new Error('canceled'));
    await expect(left).rejects.toThrow('canceled');
    finish();
    expect(await stays).toMatchObject({ source: { url }, ref: { sha256: rpm.sha256 } });
    expect([web.asked.length, await stored()]).toEqual([1, size]);
  });

  it('end when nobody waits any more, and leave the part for the next', async () => {
    const web = await server();
    const { downloads, partials, stored } = await world();
    const url = web.put(
      path,
      rpm.bytes,
      inTurn((turn) => send(turn, { bytesMax: 1000, leaving: 'stall' }), good),
    );
    const leaving = new AbortController();
    const left = downloads.fetch(wanted(url), { signal: leaving.signal });
    await until(async () => (await partials.size(downloadKey(wanted(url)))) === 1000, { what: 'the part' });
    leaving.abort(new Error('canceled'));
    await expect(left).rejects.toThrow('canceled');
    expect(await downloads.fetch(wanted(url), usually)).toMatchObject({ bytesKept: 1000, bytesFetched: size - 1000 });
    expect(await stored()).toBe(size);
  });

  it('try the addresses that only the second one knew, where the first failed', async () => {
    const web = await server();
    const { downloads } = await world();
    const missing = downloads.fetch(wanted(`${web.base}/missing`), usually);
    const found = downloads.fetch(wanted(`${web.base}/missing`, web.put(path, rpm.bytes)), usually);
    await expect(missing).rejects.toMatchObject({ code: 'PACKAGE_UNREACHABLE' });
    expect((await found).source.url).toBe(`${web.base}${path}`);
  });

  it('keep within their bounds, and leave slots that a slow host may not have to others', async () => {
    const [slow, quick] = [await server(), await server()];
    const { downloads } = await world({ atOnceMax: 4, perHostMax: 3, pace: { windowMs: 20_000, bytesMin: 0 } });
    const rpms = Array.from({ length: 12 }, (_, index) => ({ nevra: { ...nevra, name: `part${index}` }, file: rpmFile({ ...nevra, name: `part${index}` }) }));
    const waiting: (() => void)[] = [];
    const ask = (web: MisbehavingServer, index: number, manner?: Manner) => {
      const { nevra: id, file } = rpms[index] as (typeof rpms)[number];
      const source = { url: web.put(`/${index}.rpm`, file.bytes, manner), size: file.bytes.byteLength, isSizeExact: true };
      return downloads.fetch({ nevra: id, sha256: file.sha256, sources: [source] }, usually);
    };
    const held = Array.from({ length: 6 }, (_, index) => ask(slow, index, (turn) => void waiting.push(() => send(turn))));
    await until(() => slow.asked.length === 3, { what: 'the slow host to be busy' });
    await Promise.all(Array.from({ length: 6 }, (_, index) => ask(quick, index + 6)));
    expect([slow.asked.length, quick.asked.length]).toEqual([3, 6]);
    // The second request may start before the first connection is seen to be idle.
    expect(quick.connections()).toBeLessThanOrEqual(2);
    for (let done = 0; done < 6; done += 1) (await until(() => waiting.shift(), { what: 'the next of the slow host' }))();
    await Promise.all(held);
  });

  it('say beforehand that there is no room, once for all, with what is promised to others', async () => {
    const { downloads, partials } = await world({ marginBytes: 1e6 });
    const { bytes: free } = await partials.room();
    await expect(downloads.reserve(free * 2)).rejects.toMatchObject({
      code: 'DISK_FULL',
      message: expect.stringMatching(
        / MB of packages have to be downloaded to .*\/downloads, where .* MB are free and 1\.0 MB stay free in any case: free at least .* MB more there/,
      ),
    });
    const room = await downloads.reserve(free * 0.6);
    await expect(downloads.reserve(free * 0.6)).rejects.toMatchObject({ code: 'DISK_FULL', message: expect.stringContaining('are promised to other builds') });
    room.release();
    room.release();
    (await downloads.reserve(free * 0.6)).release();
    expect(await downloads.reserve(0)).toBeDefined();
  });

  it('look for room where the files go as well, and name the place that lacks it', async ({ skip }) => {
    const directory = await testDirectory();
    const small = join(directory, 'small');
    await mkdir(small);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', small]).status !== 0) return skip('mounting a tmpfs needs root');
    onTestFinished(() => void spawnSync('umount', ['-l', small]));
    const partials = localPartialFiles({ directory: join(directory, 'downloads'), clock: systemClock(), goTo: [small] });
    const { downloads } = await world({ partials });
    await expect(downloads.reserve(400_000)).rejects.toMatchObject({
      code: 'DISK_FULL',
      message: expect.stringContaining(`downloaded to ${small}, where 0.3 MB are free`),
    });
    (await downloads.reserve(200_000)).release();
  });

  it('meet a disk that is full in the middle: nothing of the file is left, and the next one goes on', async ({ skip }) => {
    const small = join(await testDirectory(), 'small');
    await mkdir(small);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', small]).status !== 0) return skip('mounting a tmpfs needs root');
    onTestFinished(() => void spawnSync('umount', ['-l', small]));
    const web = await server();
    const { downloads, stored, parts } = await world({ directory: small });
    await expect(downloads.reserve(size)).rejects.toMatchObject({ code: 'DISK_FULL' });
    await expect(downloads.fetch(wanted(web.put(path, rpm.bytes)), usually)).rejects.toMatchObject({
      code: 'DISK_FULL',
      message: expect.stringContaining('free some'),
    });
    expect([await stored(), await parts()]).toEqual([undefined, []]);
    const fits = rpmFile({ ...nevra, name: 'fits' });
    const source = { url: web.put('/fits.rpm', fits.bytes), size: fits.bytes.byteLength, isSizeExact: true };
    await downloads.fetch({ nevra: { ...nevra, name: 'fits' }, sha256: fits.sha256, sources: [source] }, usually);
    expect(await stored(fits)).toBe(fits.bytes.byteLength);
  });

  it('survive kill -9: the next process fetches only what is missing', async () => {
    const web = await server();
    const half = Math.floor(size / 2);
    const url = web.put(
      path,
      rpm.bytes,
      inTurn((turn) => send(turn, { bytesMax: half, leaving: 'stall' }), good),
    );
    const directory = await testDirectory();
    const question = JSON.stringify({ directory, rpm: wanted(url) });
    const script = new URL('../support/download-rpm.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), script, question], { stdio: 'ignore' });
    onTestFinished(() => void child.kill('SIGKILL'));
    const { partials, downloads, stored } = await world({ directory });
    await until(async () => (await partials.size(downloadKey(wanted(url)))) === half, { timeoutMs: 9000, what: 'half of the file' });
    const ended = new Promise((resolve) => child.on('exit', (_, signal) => resolve(signal)));
    child.kill('SIGKILL');
    expect([await ended, await stored()]).toEqual(['SIGKILL', undefined]);
    expect(await downloads.fetch(wanted(url), usually)).toMatchObject({ bytesKept: half, bytesFetched: size - half });
    expect(web.asked.map(({ range, bytesSent }) => [range, bytesSent])).toEqual([
      [undefined, half],
      [`bytes=${half}-`, size - half],
    ]);
    expect([await stored(), (await stat(join(directory, 'downloads'))).isDirectory()]).toEqual([size, true]);
  });
});
