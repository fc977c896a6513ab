/** The egress port over HTTP: checks every address before it connects to exactly that one, and bounds redirects, sizes and time. */
import { createHash } from 'node:crypto';
import { lookup as dnsLookup } from 'node:dns/promises';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { Agent, buildConnector, type Dispatcher } from 'undici';
import { SpindleError } from '../build/failure.ts';
import { addressPolicy } from './address-policy.ts';
import type { Egress, EgressAnswer, EgressRequest } from './egress.ts';
import { display, firstHop, type Hop, nextHop, redirectsMax } from './redirect.ts';
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
  let closed = false;

  /** One exchange, redirects followed, under the request's bounds. `consume` reads the final body. */
  const exchange = async <T>(request: EgressRequest, consume: (answer: EgressAnswer, body: AsyncIterable<Buffer>) => Promise<T>): Promise<T> => {
    if (closed) throw new SpindleError('PORT_CLOSED', 'the egress was used after it was closed');
    request.signal?.throwIfAborted();
    const deadline = AbortSignal.timeout(request.deadlineMs);
    const ending = new AbortController();
    const end = () => ending.abort();
    deadline.addEventListener('abort', end, { once: true });
    request.signal?.addEventListener('abort', end, { once: true });
    let hop = firstHop(request);
    try {
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
          const result = await consume(answer, bounded(response.body, request, hop));
          return result;
        }
        if (hops >= redirectsMax) throw new SpindleError('REMOTE_REFUSED', `${display(firstHop(request).url)} redirects more than ${redirectsMax} times`);
        await response.body.dump({ limit: 64 * 1024 });
        hop = next;
      }
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
        for await (const chunk of body) chunks.push(chunk);
        return { ...answer, text: Buffer.concat(chunks).toString('utf8') };
      }),
    download: (request, path) =>
      exchange(request, async (answer, body) => {
        const hash = createHash('sha256');
        let size = 0;
        if (answer.status === 200) {
          size = await writeNew(path, body, (chunk) => hash.update(chunk));
        }
        return { ...answer, sha256: hash.digest('hex'), size };
      }),
    fetchStart: ({ bytes, ...request }) =>
      exchange(startRequest({ ...request, bytes }), async (answer, body) => {
        const totalSize = totalSizeOf(answer);
        const chunks: Buffer[] = [];
        let left = answer.status === 200 || answer.status === 206 ? bytes : 0;
        if (left > 0) {
          for await (const chunk of body) {
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

async function* bounded(body: AsyncIterable<Buffer>, { bytesMax }: EgressRequest, hop: Hop): AsyncIterable<Buffer> {
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > bytesMax) throw tooLarge(hop, bytesMax);
    yield chunk;
  }
}

/** Writes a file that was not there before, or leaves none. Returns its size. */
async function writeNew(path: string, body: AsyncIterable<Buffer>, see: (chunk: Buffer) => void): Promise<number> {
  const file: FileHandle = await open(path, 'wx', 0o600);
  let size = 0;
  try {
    for await (const chunk of body) {
      see(chunk);
      for (let written = 0; written < chunk.byteLength; ) written += (await file.write(chunk, written)).bytesWritten;
      size += chunk.byteLength;
    }
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  return size;
}

function remoteError(error: unknown, hop: Hop, timedOutAfterMs: number | undefined): unknown {
  if (error instanceof SpindleError) return error;
  const where = `${hop.method} ${display(hop.url)}`;
  if (timedOutAfterMs !== undefined)
    return new SpindleError('REMOTE_UNREACHABLE', `${where} was not answered in full within ${timedOutAfterMs / 1000} s`, { cause: error });
  const { code = '', message = String(error) } = error as { readonly code?: string; readonly message?: string };
  if (code === 'ENOSPC' || code === 'EDQUOT') return new SpindleError('DISK_FULL', `no space was left while ${where} was stored`, { cause: error });
  // The file's own troubles are not the remote's.
  if (['EEXIST', 'ENOENT', 'ENOTDIR', 'EACCES', 'EROFS', 'EIO', 'EMFILE'].includes(code)) return error;
  return new SpindleError('REMOTE_UNREACHABLE', `${where}: ${reasons[code] ?? message} ${code ? `(${code})` : ''}`.trim(), { cause: error });
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
