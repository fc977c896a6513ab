/** The egress port over HTTP: checks every address before it connects to exactly that one, and bounds redirects, sizes and time. */
import { createHash, type Hash } from 'node:crypto';
import { lookup as dnsLookup } from 'node:dns/promises';
import { constants } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { Readable } from 'node:stream';
import { Agent, buildConnector, type Dispatcher } from 'undici';
import { SpindleError } from '../build/failure.ts';
import { isFullDisk } from '../files/disk-full.ts';
import { slots } from '../parallel/slots.ts';
import { addressPolicy } from './address-policy.ts';
import type { DownloadAnswer, DownloadRequest, Egress, EgressAnswer, EgressRequest } from './egress.ts';
import { display, firstHop, type Hop, nextHop, redirectsMax } from './redirect.ts';
import { restHeaders, sizeByRest, validatorOf } from './rest-of-file.ts';
import { startRequest, totalSizeOf } from './start-of-file.ts';

export interface HttpEgressOptions {
  /** Honest: `<service>/<version> (+contact)`. Never a browser's. */
  readonly userAgent: string;
  /** What may be connected to besides public addresses: see addressPolicy. */
  readonly allow?: readonly string[];
  readonly connectTimeoutMs?: number;
  /** Without any byte for so long, the other side counts as gone. */
  readonly silenceMsMax?: number;
  readonly connectionsPerHostMax?: number;
  /** To all hosts together; further ones wait, within their deadlines. */
  readonly exchangesMax?: number;
  /** Every address of a name; the system's own way of finding them where left out. */
  readonly lookup?: (hostname: string) => Promise<readonly string[]>;
}

export function httpEgress(options: HttpEgressOptions): Egress {
  const agent = new Agent({
    connect: checkedConnector(options),
    connections: options.connectionsPerHostMax ?? 8,
    headersTimeout: options.silenceMsMax ?? 60_000,
    bodyTimeout: options.silenceMsMax ?? 60_000,
    keepAliveTimeout: 20_000,
    // Each request has its own bound; the agent's would be one for all.
    maxResponseSize: -1,
  });
  const exchanges = slots(options.exchangesMax ?? 64);
  let closed = false;

  /** One exchange, redirects followed, under the request's bounds. `consume` reads the final body. */
  const exchange = async <T>(request: EgressRequest, consume: (answer: EgressAnswer, body: Arrivals) => Promise<T>): Promise<T> => {
    if (closed) throw new SpindleError('PORT_CLOSED', 'the egress was used after it was closed');
    request.signal?.throwIfAborted();
    const deadline = AbortSignal.timeout(request.deadlineMs);
    const ending = new AbortController();
    const end = () => ending.abort();
    deadline.addEventListener('abort', end, { once: true });
    request.signal?.addEventListener('abort', end, { once: true });
    let hop = firstHop(request);
    const follow = async (): Promise<T> => {
      for (let hops = 0; ; hops += 1) {
        const response = await agent.request({
          origin: hop.url.origin,
          path: `${hop.url.pathname}${hop.url.search}`,
          method: hop.method,
          headers: { 'user-agent': options.userAgent, ...hop.headers },
          ...(hop.body === undefined ? {} : { body: hop.body }),
          signal: ending.signal,
        });
        // A body that nobody reads any more ends with an error of its own.
        response.body.on('error', () => {});
        const answer = { status: response.statusCode, headers: flatHeaders(response.headers), url: hop.url.href };
        const next: Hop | undefined = nextHop(hop, answer);
        if (!next) {
          if (hop.method !== 'HEAD') checkAnnounced(answer, request, hop);
          const result = await consume(answer, bounded(arrivals(response.body), request, hop));
          return result;
        }
        if (hops >= redirectsMax) throw new SpindleError('REMOTE_REFUSED', `${display(firstHop(request).url)} redirects more than ${redirectsMax} times`);
        await response.body.dump({ limit: 64 * 1024 });
        hop = next;
      }
    };
    try {
      return await exchanges.use(ending.signal, follow);
    } catch (error) {
      if (request.signal?.aborted) throw request.signal.reason;
      throw remoteError(error, hop, deadline.aborted ? request.deadlineMs : undefined);
    } finally {
      deadline.removeEventListener('abort', end);
      request.signal?.removeEventListener('abort', end);
      // Ends a connection whose body was left unread, by an error or a bound.
      ending.abort();
    }
  };

  return {
    fetchText: (request) =>
      exchange(request, async (answer, body) => {
        const encoding = answer.headers['content-encoding'] ?? 'identity';
        if (encoding !== 'identity')
          throw new SpindleError('REMOTE_UNREACHABLE', `${answer.url} answers in the encoding ${encoding.slice(0, 32)}, which was not asked for`);
        const chunks: Buffer[] = [];
        for await (const arrived of body) chunks.push(...arrived);
        return { ...answer, text: Buffer.concat(chunks).toString('utf8') };
      }),
    download: async (request, path) => {
      if (request.resume) return resumed({ ...request, resume: request.resume }, path, exchange);
      return exchange(request, async (answer, body) => {
        if (answer.status !== 200) return { ...answer, ...nothing };
        const written = await writeNew(path, body, request.onBytes);
        return { ...answer, ...written, resumedFrom: 0 };
      });
    },
    fetchStart: ({ bytes, ...request }) =>
      exchange(startRequest({ ...request, bytes }), async (answer, body) => {
        const totalSize = totalSizeOf(answer);
        const chunks: Buffer[] = [];
        let left = answer.status === 200 || answer.status === 206 ? bytes : 0;
        if (left > 0) {
          for await (const arrived of body) {
            const chunk = Buffer.concat(arrived);
            chunks.push(chunk.subarray(0, left));
            left -= chunk.byteLength;
            // What a host sends beyond that is left on the wire; an answer that ends here is read to its end, so that its connection serves again.
            if (left < 0 || (left === 0 && answer.status === 200 && totalSize !== bytes)) break;
          }
        }
        return { ...answer, content: Buffer.concat(chunks), totalSize };
      }),
    close: async () => {
      closed = true;
      await agent.destroy();
    },
  };
}

const systemLookup = async (hostname: string): Promise<readonly string[]> => (await dnsLookup(hostname, { all: true })).map(({ address }) => address);

/** Resolves a name itself, checks every address of it, and connects to one that it checked: a name that changes between check and connect gains nothing. */
function checkedConnector({ allow, connectTimeoutMs = 10_000, lookup = systemLookup }: HttpEgressOptions): buildConnector.connector {
  const policy = addressPolicy(allow);
  const connect = buildConnector({ timeout: connectTimeoutMs });

  const addressesOf = async (hostname: string, port: number): Promise<readonly string[]> => {
    const literal = hostname.replace(/^\[|\]$/g, '');
    const addresses = isIP(literal) ? [literal] : await lookup(literal);
    if (policy.isNamed(hostname, port)) return addresses;
    for (const address of addresses) {
      const refusal = policy.refusal(address);
      if (refusal) {
        const which = address === literal ? address : `${literal} (${address})`;
        throw new SpindleError('REMOTE_REFUSED', `${which} ${refusal}, and the operator has not allowed ${literal}:${port}`);
      }
    }
    return addresses;
  };

  return (target, callback) => {
    const port = Number(target.port || (target.protocol === 'https:' ? 443 : 80));
    const attempt = (addresses: readonly string[]): void => {
      const [address, ...others] = addresses;
      if (address === undefined) {
        callback(new SpindleError('REMOTE_UNREACHABLE', `${target.hostname} has no address`), null);
        return;
      }
      // `host` stays the name, so that a certificate is checked against it.
      connect({ ...target, hostname: address }, (...[error, socket]) => {
        if (error && others.length > 0) attempt(others);
        else if (error) callback(error, null);
        else callback(null, socket as never);
      });
    };
    addressesOf(target.hostname, port).then(attempt, (error: Error) => callback(error, null));
  };
}

function flatHeaders(headers: Dispatcher.ResponseData['headers']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name.toLowerCase(), Array.isArray(value) ? value.join(', ') : value]])),
  );
}

function tooLarge(hop: Hop, bytesMax: number): SpindleError {
  return new SpindleError('REMOTE_TOO_LARGE', `${display(hop.url)} answers with more than ${bytesMax} bytes`);
}

function checkAnnounced({ headers }: EgressAnswer, { bytesMax }: EgressRequest, hop: Hop): void {
  if (Number(headers['content-length'] ?? 0) > bytesMax) throw tooLarge(hop, bytesMax);
}

/** What came of a body since the last look. */
type Arrivals = AsyncIterable<readonly Buffer[]>;

/** Of one body; more is left in the socket, so that the host waits. */
const waitingBytesMax = 1024 * 1024;

/**
 * Everything that came is given out before the error is that ended it: by itself a stream forgets what nobody had read yet. Listens from the call on, since the end may come before anybody has
 * asked for the first part.
 */
function arrivals(body: Readable): Arrivals {
  let waiting: Buffer[] = [];
  let bytes = 0;
  let wake = () => {};
  let ended: { readonly error?: unknown } | undefined;
  const end = (error?: unknown) => {
    ended ??= error === undefined ? {} : { error };
    wake();
  };
  body.on('error', end);
  body.on('end', () => end());
  body.on('close', () => end());
  body.on('data', (chunk: Buffer) => {
    waiting.push(chunk);
    bytes += chunk.byteLength;
    if (bytes >= waitingBytesMax) body.pause();
    wake();
  });
  if (body.errored) end(body.errored);
  return (async function* () {
    for (;;) {
      if (waiting.length > 0) {
        const arrived = waiting;
        waiting = [];
        bytes = 0;
        if (body.isPaused()) body.resume();
        yield arrived;
      } else if (ended) {
        if ('error' in ended) throw ended.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  })();
}

const bytesOf = (chunks: readonly Buffer[]) => chunks.reduce((sum, { byteLength }) => sum + byteLength, 0);

async function* bounded(body: Arrivals, { bytesMax }: EgressRequest, hop: Hop): Arrivals {
  let size = 0;
  for await (const arrived of body) {
    size += bytesOf(arrived);
    if (size > bytesMax) throw tooLarge(hop, bytesMax);
    yield arrived;
  }
}

const nothing = { sha256: createHash('sha256').digest('hex'), size: 0, resumedFrom: 0 };

/** Writes a file that was not there before, or leaves none. */
async function writeNew(path: string, body: Arrivals, onBytes: DownloadRequest['onBytes']): Promise<{ readonly sha256: string; readonly size: number }> {
  const file: FileHandle = await open(path, 'wx', 0o600);
  try {
    return await append({ file, hash: createHash('sha256'), size: 0 }, body, onBytes);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

/** A file with its first `size` bytes hashed. */
interface Part {
  readonly file: FileHandle;
  readonly hash: Hash;
  readonly size: number;
}

async function append({ file, hash, size: from }: Part, body: Arrivals, onBytes: DownloadRequest['onBytes']): Promise<{ sha256: string; size: number }> {
  let size = from;
  for await (const arrived of body) {
    for (const chunk of arrived) hash.update(chunk);
    await writeFully(file, arrived, size);
    size += bytesOf(arrived);
    onBytes?.(size);
  }
  return { sha256: hash.digest('hex'), size };
}

async function writeFully(file: FileHandle, chunks: readonly Buffer[], position: number): Promise<void> {
  const { bytesWritten } = await file.writev(chunks, position);
  const length = bytesOf(chunks);
  if (bytesWritten === length) return;
  // A disk that has room for a part takes that, and says so only when asked again.
  const rest = Buffer.concat(chunks);
  for (let written = bytesWritten; written < length; ) {
    written += (await file.write(rest, written, length - written, position + written)).bytesWritten;
  }
}

type Exchange = <T>(request: EgressRequest, consume: (answer: EgressAnswer, body: Arrivals) => Promise<T>) => Promise<T>;

/** Goes on with the part at `path`, or takes the whole where no rest of it is to be had. */
async function resumed(request: DownloadRequest & Required<Pick<DownloadRequest, 'resume'>>, path: string, exchange: Exchange): Promise<DownloadAnswer> {
  const { resume, bytesMax, onBytes } = request;
  const file = await openOwn(path);
  let isKept = true;
  try {
    // Of what has all its bytes the last one is fetched again: a host has no answer but an error to the question for nothing.
    const part = await openPart(file, Math.max(0, bytesMax - 1), request.signal);
    const whole = async (answer: EgressAnswer, body: Arrivals): Promise<DownloadAnswer> => {
      if (answer.status !== 200) return { ...answer, ...nothing };
      await file.truncate(0);
      resume.onAnswer?.({ validator: validatorOf(answer.headers), from: 0 });
      return { ...answer, ...(await append({ file, hash: createHash('sha256'), size: 0 }, body, onBytes)), resumedFrom: 0 };
    };
    const wanted = { from: part.size, bytesMax, ...(resume.validator === undefined ? {} : { validator: resume.validator }) };
    const rest = async (answer: EgressAnswer, body: Arrivals): Promise<DownloadAnswer | undefined> => {
      if (answer.status !== 206) return answer.status === 416 ? undefined : whole(answer, body);
      const size = sizeByRest(answer, wanted);
      if (size === undefined) return undefined;
      resume.onAnswer?.({ validator: validatorOf(answer.headers), from: part.size });
      const appended = await append(part, cutAt(body, size - part.size, answer.url), onBytes);
      if (appended.size < size) throw new SpindleError('REMOTE_UNREACHABLE', `${answer.url} ended after ${appended.size} of ${size} bytes`);
      return { ...answer, ...appended, resumedFrom: part.size };
    };
    if (part.size > 0) {
      const answer = await exchange({ ...request, headers: { ...request.headers, ...restHeaders(part.size, resume.validator) } }, rest);
      if (answer) return answer;
    }
    return await exchange(request, whole);
  } catch (error) {
    isKept = request.signal?.aborted === true || (error instanceof SpindleError && (error.code === 'REMOTE_UNREACHABLE' || error.code === 'REMOTE_REFUSED'));
    throw error;
  } finally {
    if (!isKept || (await file.stat()).size === 0) await rm(path, { force: true });
    await file.close();
  }
}

/** A file that has another name too may be a stored one by now, which nobody may write to: only this name of it is given up. */
async function openOwn(path: string): Promise<FileHandle> {
  const openHere = () => open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  try {
    const file = await openHere();
    if ((await file.stat()).nlink === 1) return file;
    await file.close();
    await rm(path);
    return await openHere();
  } catch (error) {
    throw diskFull(error, `the download to ${path}`);
  }
}

/** Hashes what is there, and cuts it to `sizeMax` bytes. */
async function openPart(file: FileHandle, sizeMax: number, signal: AbortSignal | undefined): Promise<Part> {
  const found = (await file.stat()).size;
  const hash = createHash('sha256');
  if (found === 0) return { file, hash, size: 0 };
  if (found > sizeMax) await file.truncate(sizeMax);
  const buffer = Buffer.allocUnsafe(Math.min(found, 1 << 20));
  let size = 0;
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, buffer.byteLength, size);
    if (bytesRead === 0) return { file, hash, size };
    hash.update(buffer.subarray(0, bytesRead));
    size += bytesRead;
  }
}

/** A host that sends more than the range it names is not to be believed in what it sent before either. */
async function* cutAt(body: Arrivals, bytesMax: number, url: string): Arrivals {
  let size = 0;
  for await (const arrived of body) {
    size += bytesOf(arrived);
    if (size > bytesMax) throw new SpindleError('REMOTE_TOO_LARGE', `${url} answers with more than the ${bytesMax} bytes that it announced`);
    yield arrived;
  }
}

function remoteError(error: unknown, hop: Hop, timedOutAfterMs: number | undefined): unknown {
  if (error instanceof SpindleError) return error;
  const where = `${hop.method} ${display(hop.url)}`;
  if (timedOutAfterMs !== undefined)
    return new SpindleError('REMOTE_UNREACHABLE', `${where} was not answered in full within ${timedOutAfterMs / 1000} s`, { cause: error });
  const { code = '', message = String(error) } = error as { readonly code?: string; readonly message?: string };
  if (isFullDisk(error)) return diskFull(error, `what ${where} answers`);
  // The file's own troubles are not the remote's.
  if (['EEXIST', 'ENOENT', 'ENOTDIR', 'EACCES', 'EROFS', 'EIO', 'EMFILE'].includes(code)) return error;
  return new SpindleError('REMOTE_UNREACHABLE', `${where}: ${reasons[code] ?? message} ${code ? `(${code})` : ''}`.trim(), { cause: error });
}

/** The same error, unless it says that the disk is full. */
function diskFull(error: unknown, what: string): unknown {
  if (!isFullDisk(error)) return error;
  return new SpindleError('DISK_FULL', `no space was left to store ${what}; free some on that file system`, { cause: error });
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection was refused',
  ECONNRESET: 'the connection was cut',
  ENOTFOUND: 'the name is not known',
  EAI_AGAIN: 'the name could not be looked up',
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'the answer stalled',
  UND_ERR_SOCKET: 'the connection was cut',
};
