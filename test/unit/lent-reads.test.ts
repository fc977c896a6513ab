/** Connections that read into one buffer: what comes in pieces, on several connections at once, over TLS, or unasked, is never mixed up. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { buildConnector as Connecting } from 'undici';
import { expect, onTestFinished, test } from 'vitest';
import { askOnce } from '../../shared/egress/ask-once.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import { lentReads } from '../../shared/egress/lent-reads.ts';
import { Agent, buildConnector } from '../../shared/egress/undici-parts.ts';
import { testDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';

const bounds = { bytesMax: 10_000_000, deadlineMs: 9000 };

async function listening(server: Server): Promise<string> {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => open.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Answers each path by hand. */
const byHand = (answer: (path: string, socket: Socket) => void) =>
  listening(
    createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (head) => answer(/^GET (\S+)/.exec(head.toString())?.[1] ?? '', socket));
    }),
  );

function egressTo(destination: string) {
  const egress = httpEgress({ userAgent: 'spindle-test/1', allow: [destination] });
  onTestFinished(() => egress.close());
  return egress;
}

test('a head that comes in pieces is whole, while bodies pass on other connections', async () => {
  const body = randomBytes(1_500_000).toString('latin1').replace(/\r/g, '\n');
  const long = 'v'.repeat(3000);
  const head = `HTTP/1.1 200 OK\r\nx-long: ${long}\r\ncontent-length: 5\r\n\r\nhello`;
  let slow: Socket | undefined;
  const destination = await byHand((path, socket) => {
    if (path === '/slow') slow = socket;
    else socket.write(Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`, 'latin1'));
  });
  const egress = egressTo(destination);
  const waiting = egress.fetchText({ url: `http://${destination}/slow`, ...bounds });
  await until(() => slow, { what: 'the question' });
  for (let at = 0; at < head.length; at += 400) {
    slow?.write(head.slice(at, at + 400));
    const { text } = await egress.fetchText({ url: `http://${destination}/body`, ...bounds });
    expect(text).toBe(Buffer.from(body, 'latin1').toString('utf8'));
  }
  expect(await waiting).toMatchObject({ text: 'hello', headers: { 'x-long': long } });
});

test('what is sent unasked behind an answer gets into no other answer', async () => {
  const destination = await byHand((path, socket) => {
    const extra = path === '/first' ? 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfalse' : '';
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrue${extra}`);
  });
  const egress = egressTo(destination);
  for (const path of ['/first', '/second', '/first', '/third']) {
    expect((await egress.fetchText({ url: `http://${destination}${path}`, ...bounds })).text).toBe('true');
  }
});

test('a body over TLS comes as it was sent', async ({ skip }) => {
  const directory = await testDirectory();
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  const made = spawnSync('openssl', [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '1',
    ...subject,
    '-keyout',
    key,
    '-out',
    cert,
  ]);
  if (made.status !== 0) return skip('openssl makes the certificate');
  const ca = await readFile(cert);
  const content = randomBytes(3_000_000);
  const web = createTlsServer(
    { key: await readFile(key), cert: ca },
    (_, response) => void response.writeHead(200, { 'content-length': content.length }).end(content),
  );
  const port = (await listening(web)).split(':')[1];
  const reads = lentReads();
  const connect = buildConnector({ ca, onread: reads.onread } as Connecting.BuildOptions) as (...args: Parameters<Connecting.connector>) => Socket;
  const agent = new Agent({ connections: 2, connect: (target, callback) => reads.adopt(connect({ ...target, hostname: '127.0.0.1' }, callback)) });
  onTestFinished(() => agent.destroy());
  const ask = () =>
    askOnce(
      { url: new URL(`https://localhost:${port}/`), method: 'GET', headers: {} },
      { dispatcher: agent, reads, signal: new AbortController().signal },
      () => {
        const chunks: Buffer[] = [];
        return {
          take: (bytes) => {
            chunks.push(Buffer.from(bytes));
            return undefined;
          },
          end: () => Buffer.concat(chunks),
        };
      },
    );
  for (const bodies of [await Promise.all([ask(), ask(), ask()]), [await ask()]]) expect(bodies.every((body) => body.equals(content))).toBe(true);
});
