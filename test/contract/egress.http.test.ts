/** The egress contract over HTTP, on a server of the test's own; and what only a real network shows: which addresses are refused. */
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { httpEgress } from '../../shared/egress/http.ts';
import { tempDirectory } from '../support/temp-directory.ts';
import { type EgressUnderTest, egressContract, partAnswer } from './egress.contract.ts';

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = new URL(request.url ?? '/', 'http://x').pathname;
  const hops = /^\/hop\/(\d+)$/.exec(path)?.[1];
  const redirect = (status: number, location: string) => response.writeHead(status, { location }).end('moved');
  if (hops !== undefined) {
    if (hops === '0') response.end('arrived');
    else redirect(302, `/hop/${Number(hops) - 1}`);
    return;
  }
  const part = /^\/part\/(.+)$/.exec(path)?.[1];
  if (part !== undefined) {
    const { status, headers, body, cutAfter } = partAnswer(part, { range: request.headers.range, ifRange: request.headers['if-range'] as string | undefined });
    // A rest that has another length than it says comes in chunks.
    response.writeHead(status, { ...headers, ...(cutAfter === undefined ? {} : { 'content-length': body.length }) });
    if (cutAfter === undefined) response.end(body);
    else response.write(body.slice(0, cutAfter), () => response.destroy());
    return;
  }
  switch (path) {
    case '/text':
      response.writeHead(200, { 'content-type': 'text/plain' }).end('hello');
      return;
    case '/echo': {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      response.end(`${request.method} ${request.headers['content-type']} ${Buffer.concat(chunks).toString()}`);
      return;
    }
    case '/agent':
      response.end(`${request.headers['user-agent']} ${request.headers['authorization'] ?? 'no authorization'}`);
      return;
    case '/to-file':
      redirect(301, 'file:///etc/passwd');
      return;
    case '/to':
      redirect(302, decodeURIComponent((request.url ?? '').split('?')[1] ?? ''));
      return;
    case '/moved':
      redirect(302, '/text');
      return;
    case '/kept':
      redirect(307, '/echo');
      return;
    case '/ranged': {
      const [, first = '0', last = '0'] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
      const whole = '0123456789';
      response.writeHead(206, { 'content-range': `bytes ${first}-${Math.min(Number(last), 9)}/10` }).end(whole.slice(Number(first), Number(last) + 1));
      return;
    }
    case '/other-range':
      response.writeHead(206, { 'content-range': 'bytes 5-9/10' }).end('56789');
      return;
    case '/announced':
      response.writeHead(200, { 'content-length': 5000 }).end('x'.repeat(5000));
      return;
    case '/unannounced':
      for (let part = 0; part < 5; part += 1) response.write('x'.repeat(1000));
      response.end();
      return;
    case '/stalls':
      response.writeHead(200, { 'content-length': 100 }).write('begun');
      return;
    case '/cut':
      response.writeHead(200, { 'content-length': 100 }).write('begun', () => response.destroy());
      return;
    default:
      response.writeHead(404).end('not here');
  }
}

async function site(host = '127.0.0.1'): Promise<{ readonly server: Server; readonly destination: string; close(): Promise<void> }> {
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { server, destination: `${host}:${port}`, close };
}

const userAgent = 'spindle-test/1 (+https://example.org)';
const bounds = { bytesMax: 1000, deadlineMs: 5000 };

const underTest = (transferThreads: number) => async (): Promise<EgressUnderTest> => {
  const [web, gone, directory] = await Promise.all([site(), site(), tempDirectory()]);
  await gone.close();
  return {
    egress: httpEgress({ userAgent, allow: [web.destination, gone.destination], transferThreads }),
    base: `http://${web.destination}`,
    nobody: `http://${gone.destination}/`,
    pathOf: (name) => join(directory.path, name),
    read: (path) => readFile(path).catch(() => undefined),
    close: async () => {
      await web.close();
      await directory.remove();
    },
  };
};

egressContract('http', underTest(0));
egressContract('http, with files in a thread', underTest(1));

describe('a name that changes between check and connect', () => {
  it('gains nothing: the address that was checked is the one that is connected to', async () => {
    const web = await site('127.0.0.2');
    const answers = [['127.0.0.2'], ['127.0.0.1'], ['169.254.169.254']];
    let asked = 0;
    const egress = httpEgress({
      userAgent,
      allow: ['127.0.0.2/32'],
      lookup: async () => {
        asked += 1;
        return answers[asked - 1] ?? [];
      },
    });
    onTestFinished(async () => {
      await egress.close();
      await web.close();
    });
    const port = web.destination.split(':')[1];
    expect(await egress.fetchText({ url: `http://changing.example:${port}/text`, ...bounds })).toMatchObject({ text: 'hello' });
    expect(asked).toBe(1);
  });

  it('is refused where only one of its addresses is private', async () => {
    const egress = httpEgress({ userAgent, lookup: async () => ['93.184.216.34', '10.0.0.1'] });
    onTestFinished(() => egress.close());
    await expect(egress.fetchText({ url: 'http://two-faced.example/', ...bounds })).rejects.toMatchObject({
      code: 'REMOTE_REFUSED',
      message: expect.stringContaining('10.0.0.1'),
    });
  });
});

describe('egress: http, beyond the contract', () => {
  const setUp = async (allow: (destination: string) => readonly string[]) => {
    const web = await site();
    const egress = httpEgress({ userAgent, allow: allow(web.destination) });
    onTestFinished(async () => {
      await egress.close();
      await web.close();
    });
    return { egress, web, port: web.destination.split(':')[1] };
  };

  it.each(['127.0.0.1', 'localhost', '2130706433', '0x7f.1', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0', '[::]'])(
    'refuses %s unless the operator allows it',
    async (host) => {
      const { egress, port } = await setUp(() => []);
      await expect(egress.fetchText({ url: `http://${host}:${port}/text`, ...bounds })).rejects.toMatchObject({ code: 'REMOTE_REFUSED' });
    },
  );

  it.each(['10.0.0.1', '169.254.169.254', '192.168.1.1', '172.31.0.1', '100.64.0.1', '[fe80::1]', '[fd00::1]', '[64:ff9b::7f00:1]', '[2002:7f00:1::]'])(
    'refuses the address %s without connecting',
    async (host) => {
      const { egress } = await setUp(() => []);
      await expect(egress.fetchText({ url: `http://${host}/`, ...bounds })).rejects.toMatchObject({
        code: 'REMOTE_REFUSED',
        message: expect.stringContaining('is not a public address'),
      });
    },
  );

  it('lets a named destination through, and no other port of it', async () => {
    const { egress, web } = await setUp((destination) => [destination]);
    const other = await site();
    onTestFinished(other.close);
    expect((await egress.fetchText({ url: `http://${web.destination}/text`, ...bounds })).text).toBe('hello');
    await expect(egress.fetchText({ url: `http://${other.destination}/text`, ...bounds })).rejects.toMatchObject({ code: 'REMOTE_REFUSED' });
    const redirecting = `http://${web.destination}/to?${encodeURIComponent(`http://${other.destination}/text`)}`;
    await expect(egress.fetchText({ url: redirecting, ...bounds })).rejects.toMatchObject({ code: 'REMOTE_REFUSED' });
  });

  it('lets a network through', async () => {
    const { egress, port } = await setUp(() => ['127.0.0.0/8']);
    expect((await egress.fetchText({ url: `http://127.0.0.1:${port}/text`, ...bounds })).text).toBe('hello');
  });

  it('refuses an allow list that is none', () => {
    for (const entry of ['127.0.0.1', '10.0.0.0/33', 'a/8', 'host:port']) expect(() => httpEgress({ userAgent, allow: [entry] })).toThrow(entry);
  });

  it('says who it is, and keeps its credentials from other hosts', async () => {
    const { egress, web } = await setUp(() => ['127.0.0.0/8']);
    const other = await site();
    onTestFinished(other.close);
    const headers = { Authorization: 'Bearer secret' };
    expect((await egress.fetchText({ url: `http://${web.destination}/agent`, headers, ...bounds })).text).toBe(`${userAgent} Bearer secret`);
    const redirecting = `http://${web.destination}/to?${encodeURIComponent(`http://${other.destination}/agent`)}`;
    expect((await egress.fetchText({ url: redirecting, headers, ...bounds })).text).toBe(`${userAgent} no authorization`);
  });

  it('uses a connection again', async () => {
    const { egress, web } = await setUp((destination) => [destination]);
    let connections = 0;
    web.server.on('connection', () => {
      connections += 1;
    });
    for (let round = 0; round < 5; round += 1) await egress.fetchText({ url: `http://${web.destination}/text`, ...bounds });
    // The second request may start before the first connection is seen to be idle.
    expect(connections).toBeLessThanOrEqual(2);
  });

  it('fetches many files in threads at once, each bounded as here, and ends them all when it is closed', async () => {
    const [web, directory] = await Promise.all([site(), tempDirectory()]);
    const egress = httpEgress({ userAgent, allow: [web.destination], transferThreads: 2 });
    onTestFinished(async () => {
      await egress.close();
      await web.close();
      await directory.remove();
    });
    const fetch = (path: string, name: string, more = {}) =>
      egress.download({ url: `http://${web.destination}${path}`, bytesMax: 5000, deadlineMs: 9000, ...more }, join(directory.path, name));
    const sizes = await Promise.all(Array.from({ length: 20 }, async (_, index) => (await fetch('/announced', `file-${index}`)).size));
    expect(sizes).toEqual(Array.from({ length: 20 }, () => 5000));
    expect(await readFile(join(directory.path, 'file-7'), 'utf8')).toBe('x'.repeat(5000));
    // What the file system says comes through as it is.
    await expect(fetch('/text', 'no-folder/file')).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(fetch('/text', 'file-7')).rejects.toMatchObject({ code: 'EEXIST' });
    const seen: number[] = [];
    const ending = new AbortController();
    const reason = new Error('canceled');
    const onBytes = (bytes: number) => {
      seen.push(bytes);
      ending.abort(reason);
    };
    await expect(fetch('/stalls', 'stalled', { onBytes, resume: {}, signal: ending.signal })).rejects.toBe(reason);
    expect([seen.at(-1), await readFile(join(directory.path, 'stalled'), 'utf8')]).toEqual([5, 'begun']);
    const left = fetch('/stalls', 'left').catch((error: { readonly code: string }) => error.code);
    await egress.close();
    expect(['REMOTE_UNREACHABLE', 'PORT_CLOSED']).toContain(await left);
    await expect(fetch('/text', 'late')).rejects.toMatchObject({ code: 'PORT_CLOSED' });
  });

  it('counts a host that falls silent as gone', async () => {
    const web = await site();
    const egress = httpEgress({ userAgent, allow: [web.destination], silenceMsMax: 100 });
    onTestFinished(async () => {
      await egress.close();
      await web.close();
    });
    await expect(egress.fetchText({ url: `http://${web.destination}/stalls`, ...bounds })).rejects.toMatchObject({
      code: 'REMOTE_UNREACHABLE',
      message: expect.stringContaining('stalled'),
    });
  });
});
