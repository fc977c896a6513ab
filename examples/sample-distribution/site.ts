/** The site of Sample Linux on a port of this machine: its mirror with metalink and mirrorlist, its Koji hub at /kojihub with files under /kojifiles, and its Bodhi under /bodhi. */
import { type FileHandle, open, readFile, realpath } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { decodeCall, XmlRpcError } from '../../shared/koji/xml-rpc.ts';
import { answerBodhi } from './bodhi-server.ts';
import { sampleRepositories } from './known-names.ts';
import { answerCall, kojiVersion } from './koji-hub.ts';
import type { KojiContent } from './koji-records.ts';
import { brokenMirror, metalinkOf, mirrorlistOf } from './mirror-lists.ts';

export interface SampleSiteOptions {
  /** What `generateSampleDistribution` made. */
  readonly directory: string;
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
}

export interface SampleSite {
  /** Without a slash at its end: `http://127.0.0.1:40123`. */
  readonly url: string;
  /** Ends every connection. Twice is once. */
  close(): Promise<void>;
}

/** As the real hub's MaxRequestLength. */
const requestBytesMax = 4 * 1024 * 1024;
const publicFolders: readonly string[] = [...Object.values(sampleRepositories), 'kojifiles', 'keys', 'unsigned'];

/** Starts to listen; rejects where the port is taken. The directory is looked at anew for each request: until the distribution stands there, the answer is 503. */
export async function startSampleSite({ directory, host, port }: SampleSiteOptions): Promise<SampleSite> {
  const server = createServer((request, response) => {
    answer(request, response, directory).catch(() => {
      if (response.headersSent) response.destroy();
      else sendText(response, 500, 'the site of Sample Linux broke\n');
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const { port: actualPort, family, address } = server.address() as AddressInfo;
  let closed: Promise<void> | undefined;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${actualPort}`,
    close() {
      closed ??= new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return closed;
    },
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, directory: string): Promise<void> {
  const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
  const root = await realpath(directory).catch(() => undefined);
  if (root === undefined) return sendText(response, 503, 'the sample distribution is still being made\n', { 'Retry-After': '5' });
  if (path === '/kojihub') return answerHub(request, response, JSON.parse(await readFile(join(root, 'koji.json'), 'utf8')) as KojiContent);
  if (request.method !== 'GET' && request.method !== 'HEAD') return sendText(response, 405, 'only GET and HEAD\n', { Allow: 'GET, HEAD' });
  const url = new URL(request.url ?? '/', `http://${request.headers.host ?? 'sample.invalid'}`);
  if (path.startsWith('/bodhi/')) return sendBodhi(response, url, request.headers.accept ?? '');
  if (path === '/metalink' || path === '/mirrorlist') return sendMirrors(response, url, root);
  if (path.startsWith(`/${brokenMirror}/`)) return sendText(response, 404, 'this mirror has lost its disk\n');
  const file = await openBelow(root, path);
  if (file === undefined) return sendText(response, 404, 'not found\n');
  try {
    await sendFile(request, response, file);
  } finally {
    await file.close();
  }
}

function sendBodhi(response: ServerResponse, url: URL, accept: string): void {
  const { status, type, body, location } = answerBodhi(decodeURI(url.pathname.slice('/bodhi'.length)), url.searchParams, accept, url.origin);
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body), ...(location === undefined ? {} : { Location: location }) });
  response.end(body);
}

/** As MirrorManager answers: by the names of repository and architecture, from the repomd.xml that stands there now. */
async function sendMirrors(response: ServerResponse, { pathname, searchParams, origin }: URL, root: string): Promise<void> {
  const repo = searchParams.get('repo') ?? '';
  const arch = searchParams.get('arch') ?? '';
  const folder = Object.hasOwn(sampleRepositories, repo) ? sampleRepositories[repo as keyof typeof sampleRepositories] : undefined;
  const file = folder !== undefined && /^[a-z0-9_]+$/.test(arch) ? join(root, folder, arch, 'repodata', 'repomd.xml') : undefined;
  const repomd = file === undefined ? undefined : await readFile(file).catch(() => undefined);
  if (repomd === undefined) return sendText(response, 404, 'no such repository\n');
  const bases = [`${origin}/${brokenMirror}/${folder}/${arch}/`, `${origin}/${folder}/${arch}/`];
  if (pathname === '/mirrorlist') return sendText(response, 200, mirrorlistOf(repo, arch, bases));
  const text = metalinkOf(repomd, bases);
  response.writeHead(200, { 'Content-Type': 'application/metalink+xml', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

async function answerHub(request: IncomingMessage, response: ServerResponse, koji: KojiContent): Promise<void> {
  if (request.method !== 'POST') return sendText(response, 405, 'This is an XML-RPC server. Only POST requests are accepted.\n', { Allow: 'POST' });
  const body = await readBody(request);
  if (body === undefined) return sendText(response, 400, 'Request too long\n', { Connection: 'close' });
  let text: string;
  try {
    text = answerCall(decodeCall(body, { lengthMax: requestBytesMax }), koji);
  } catch (error) {
    if (error instanceof XmlRpcError) return sendText(response, 400, `Unable to parse request: ${error.message}\n`);
    throw error;
  }
  response.writeHead(200, { 'Content-Type': 'text/xml', 'Content-Length': Buffer.byteLength(text), 'Koji-Version': kojiVersion });
  response.end(text);
}

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > requestBytesMax) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The file of a URL's path, or undefined where there is none, where it is none of the public folders', or where a name or a link leads out of them. */
async function openBelow(root: string, path: string): Promise<FileHandle | undefined> {
  let names: string[];
  try {
    names = path.slice(1).split('/').map(decodeURIComponent);
  } catch {
    return undefined;
  }
  const [folder = ''] = names;
  if (!publicFolders.includes(folder) || names.some((name) => name === '' || name === '.' || name === '..' || /[\0/\\]/.test(name))) return undefined;
  const base = join(root, folder);
  const real = await realpath(join(root, ...names)).catch(() => undefined);
  if (real === undefined || !real.startsWith(`${base}${sep}`)) return undefined;
  const file = await open(real, 'r').catch(() => undefined);
  if (file === undefined || (await file.stat()).isFile()) return file;
  await file.close();
  return undefined;
}

const contentTypes: readonly (readonly [string, string])[] = [
  ['.rpm', 'application/x-rpm'],
  ['.xml', 'application/xml'],
  ['.gz', 'application/gzip'],
  ['.zst', 'application/zstd'],
];

async function sendFile(request: IncomingMessage, response: ServerResponse, file: FileHandle): Promise<void> {
  const { size, mtime } = await file.stat();
  const range = parseRange(request.headers.range, size);
  const type = contentTypes.find(([ending]) => (request.url ?? '').endsWith(ending))?.[1] ?? 'application/octet-stream';
  const headers = { 'Content-Type': type, 'Last-Modified': mtime.toUTCString(), 'Accept-Ranges': 'bytes' };
  if (range === 'unsatisfiable') return sendText(response, 416, 'no such range\n', { 'Content-Range': `bytes */${size}` });
  const { first, last } = range ?? { first: 0, last: size - 1 };
  response.writeHead(range ? 206 : 200, {
    ...headers,
    'Content-Length': last - first + 1,
    ...(range ? { 'Content-Range': `bytes ${first}-${last}/${size}` } : {}),
  });
  if (request.method === 'HEAD' || size === 0) {
    response.end();
    return;
  }
  // A reader that goes away is its own matter; the stream is closed either way.
  await pipeline(file.createReadStream({ start: first, end: last, autoClose: false }), response).catch(() => response.destroy());
}

/** One range of bytes. Several at once, other units and what is no range are answered with the whole file, as the standard allows. */
function parseRange(header: string | undefined, size: number): { readonly first: number; readonly last: number } | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '');
  if (match === null) return undefined;
  const [, from = '', to = ''] = match;
  if (from === '' && to === '') return undefined;
  const first = from === '' ? Math.max(0, size - Number(to)) : Number(from);
  const last = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1);
  if (from !== '' && to !== '' && Number(to) < Number(from)) return undefined;
  return first > last ? 'unsatisfiable' : { first, last };
}

function sendText(response: ServerResponse, status: number, text: string, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': Buffer.byteLength(text), ...headers });
  response.end(text);
}
