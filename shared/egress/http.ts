/** The egress port over HTTP: checks every address before it connects to exactly that one, and bounds redirects, sizes and time. */
import { createHash } from 'node:crypto';
import { SpindleError } from '../build/spindle-error.ts';
import { isFullDisk } from '../files/disk-full.ts';
import { hostSlots } from '../parallel/host-slots.ts';
import { askOnce, type Body } from './ask-once.ts';
import { type ConnectorOptions, checkedConnector } from './checked-connector.ts';
import type { DownloadAnswer, DownloadRequest, Egress, EgressAnswer, EgressRequest } from './egress.ts';
import { lentReads } from './lent-reads.ts';
import { newPart, openPart, type PartFile } from './part-file.ts';
import { display, firstHop, type Hop, nextHop, redirectsMax } from './redirect.ts';
import { restHeaders, sizeByRest, validatorOf } from './rest-of-file.ts';
import { startRequest, totalSizeOf } from './start-of-file.ts';
import { type TransferThreads, transferThreads } from './transfer-threads.ts';
import { Agent } from './undici-parts.ts';

export interface HttpEgressOptions extends ConnectorOptions {
  /** Honest: `<service>/<version> (+contact)`. Never a browser's. */
  readonly userAgent: string;
  /** Without any byte for so long, the other side counts as gone. */
  readonly silenceMsMax?: number;
  readonly connectionsPerHostMax?: number;
  /** To all hosts together; further ones wait, within their deadlines. */
  readonly exchangesMax?: number;
  /**
   * Files are fetched, hashed and written in so many threads beside this one, under the same rules; 0, as where left out: in this one, which then waits for the disk. Not together with `lookup`.
   */
  readonly transferThreads?: number;
}

/** Of a body that nobody reads, so that its connection serves again. */
const drainedBytesMax = 64 * 1024;

export function httpEgress(options: HttpEgressOptions): Egress {
  const { userAgent, connectionsPerHostMax = 8, exchangesMax = 64, silenceMsMax = 60_000, transferThreads: threadsMax = 0 } = options;
  const reads = lentReads();
  const agent = new Agent({
    connect: checkedConnector(options, reads),
    connections: connectionsPerHostMax,
    headersTimeout: silenceMsMax,
    bodyTimeout: silenceMsMax,
    keepAliveTimeout: 20_000,
    // Each request has its own bound; the agent's would be one for all.
    maxResponseSize: -1,
  });
  // Whichever thread they run in.
  const exchanges = hostSlots({ atOnceMax: exchangesMax, perHostMax: connectionsPerHostMax });
  const threads = threadsMax > 0 ? transferThreads(options, threadsMax) : undefined;
  let closed = false;

  /** Runs what a request asks for, within its deadline and for as long as it is wanted. `at`: where it is, for what is said of a failure. */
  const bounded = async <T>(request: EgressRequest, action: (at: { hop: Hop }, ending: AbortSignal) => Promise<T>): Promise<T> => {
    if (closed) throw closedError();
    request.signal?.throwIfAborted();
    const at = { hop: firstHop(request) };
    const deadline = AbortSignal.timeout(request.deadlineMs);
    const ending = new AbortController();
    const end = () => ending.abort();
    deadline.addEventListener('abort', end, { once: true });
    request.signal?.addEventListener('abort', end, { once: true });
    try {
      return await exchanges.use(at.hop.url.host, ending.signal, () => action(at, ending.signal));
    } catch (error) {
      if (request.signal?.aborted) throw request.signal.reason;
      throw remoteError(error, at.hop, deadline.aborted ? request.deadlineMs : undefined);
    } finally {
      deadline.removeEventListener('abort', end);
      request.signal?.removeEventListener('abort', end);
    }
  };

  /** One exchange, redirects followed. `open` gets the final answer, and says who takes its content. */
  const exchange = <T>(request: EgressRequest, open: (answer: EgressAnswer) => Body<T>): Promise<T> =>
    bounded(request, async (at, signal) => {
      for (let hops = 0; ; hops += 1) {
        const { hop } = at;
        const asked = { ...hop, headers: { 'user-agent': userAgent, ...hop.headers } };
        const outcome = await askOnce<{ readonly next: Hop } | { readonly result: T }>(asked, { dispatcher: agent, reads, signal }, (answer) => {
          const next = nextHop(hop, answer);
          if (next) return drained(() => ({ next }));
          if (hop.method !== 'HEAD') checkAnnounced(answer, request);
          const body = open(answer);
          return { take: body.take, end: () => ({ result: body.end() }) };
        });
        if ('result' in outcome) return outcome.result;
        if (hops >= redirectsMax) throw new SpindleError('REMOTE_REFUSED', `${display(firstHop(request).url)} redirects more than ${redirectsMax} times`);
        at.hop = outcome.next;
      }
    });

  const downloadHere = async (request: DownloadRequest, path: string): Promise<DownloadAnswer> => {
    if (request.resume) return resumed({ ...request, resume: request.resume }, path, exchange);
    let part: PartFile | undefined;
    let isWhole = false;
    try {
      const answer = await exchange(request, (received) => {
        if (received.status !== 200) return drained(() => ({ ...received, ...nothing }));
        part = newPart(path);
        return appended(part, received, request, { from: 0, sizeMax: request.bytesMax });
      });
      isWhole = true;
      return answer;
    } finally {
      part?.close(isWhole);
    }
  };

  /** The thread keeps the deadline, from when it is the file's turn on. */
  const downloadInThread = async (request: DownloadRequest, path: string, { download }: TransferThreads): Promise<DownloadAnswer> => {
    if (closed) throw closedError();
    const { host } = firstHop(request).url;
    try {
      return await exchanges.use(host, request.signal ?? neverFires, () => download(request, path));
    } catch (error) {
      throw request.signal?.aborted ? request.signal.reason : error;
    }
  };

  return {
    fetchText: (request) =>
      exchange(request, (answer) => {
        const encoding = answer.headers['content-encoding'] ?? 'identity';
        if (encoding !== 'identity')
          throw new SpindleError('REMOTE_UNREACHABLE', `${answer.url} answers in the encoding ${encoding.slice(0, 32)}, which was not asked for`);
        const chunks: Buffer[] = [];
        let size = 0;
        return {
          take: (bytes) => {
            size += bytes.byteLength;
            if (size > request.bytesMax) throw tooLarge(answer, request.bytesMax);
            chunks.push(Buffer.from(bytes));
            return undefined;
          },
          end: () => ({ ...answer, text: Buffer.concat(chunks).toString('utf8') }),
        };
      }),
    download: (request, path) => (threads ? downloadInThread(request, path, threads) : downloadHere(request, path)),
    fetchStart: ({ bytes: wanted, ...request }) =>
      exchange(startRequest({ ...request, bytes: wanted }), (answer) => {
        const totalSize = totalSizeOf(answer);
        if (answer.status !== 200 && answer.status !== 206) return drained(() => ({ ...answer, content: Buffer.alloc(0), totalSize }));
        const chunks: Buffer[] = [];
        let left = wanted;
        return {
          take: (bytes) => {
            chunks.push(Buffer.from(bytes.subarray(0, left)));
            left -= Math.min(left, bytes.byteLength);
            if (left > 0) return undefined;
            // What a host sends beyond that is left on the wire; an answer that ends here is read to its end, so that its connection serves again.
            return answer.status === 200 && totalSize !== wanted ? 'enough' : undefined;
          },
          end: () => ({ ...answer, content: Buffer.concat(chunks), totalSize }),
        };
      }),
    close: async () => {
      closed = true;
      await Promise.all([agent.destroy(), threads?.close()]);
    },
  };
}

const closedError = () => new SpindleError('PORT_CLOSED', 'the egress was used after it was closed');
const neverFires = new AbortController().signal;

type Exchange = <T>(request: EgressRequest, open: (answer: EgressAnswer) => Body<T>) => Promise<T>;

/** Content that nobody wants. */
function drained<T>(end: () => T): Body<T> {
  let left = drainedBytesMax;
  return {
    take: (bytes) => {
      left -= bytes.byteLength;
      return left < 0 ? 'enough' : undefined;
    },
    end,
  };
}

function tooLarge({ url }: { readonly url: string }, bytesMax: number): SpindleError {
  return new SpindleError('REMOTE_TOO_LARGE', `${display(new URL(url))} answers with more than ${bytesMax} bytes`);
}

function checkAnnounced(answer: EgressAnswer, { bytesMax }: EgressRequest): void {
  if (Number(answer.headers['content-length'] ?? 0) > bytesMax) throw tooLarge(answer, bytesMax);
}

const nothing = { sha256: createHash('sha256').digest('hex'), size: 0, resumedFrom: 0 };

/** Content that goes to the end of a part, which may have `sizeMax` bytes then. */
function appended(
  part: PartFile,
  answer: EgressAnswer,
  { onBytes }: DownloadRequest,
  { from, sizeMax }: { readonly from: number; readonly sizeMax: number },
): Body<DownloadAnswer> {
  return {
    take: (bytes) => {
      if (part.size + bytes.byteLength > sizeMax) throw tooLarge(answer, sizeMax);
      part.append(bytes);
      onBytes?.(part.size);
      return undefined;
    },
    end: () => ({ ...answer, sha256: part.digest(), size: part.size, resumedFrom: from }),
  };
}

/** Goes on with the part at `path`, or takes the whole where no rest of it is to be had. */
async function resumed(request: DownloadRequest & Required<Pick<DownloadRequest, 'resume'>>, path: string, exchange: Exchange): Promise<DownloadAnswer> {
  const { resume, bytesMax, signal } = request;
  signal?.throwIfAborted();
  // Of what has all its bytes the last one is fetched again: a host has no answer but an error to the question for nothing.
  const part = await openPart(path, Math.max(0, bytesMax - 1), signal).catch((error: unknown) => {
    throw diskFull(error, `the download to ${path}`);
  });
  let isKept = true;
  try {
    const whole = (answer: EgressAnswer): Body<DownloadAnswer> => {
      if (answer.status !== 200) return drained(() => ({ ...answer, ...nothing }));
      if (part.size > 0) part.empty();
      resume.onAnswer?.({ validator: validatorOf(answer.headers), from: 0 });
      return appended(part, answer, request, { from: 0, sizeMax: bytesMax });
    };
    const from = part.size;
    const wanted = { from, bytesMax, ...(resume.validator === undefined ? {} : { validator: resume.validator }) };
    const rest = (answer: EgressAnswer): Body<DownloadAnswer | undefined> => {
      if (answer.status !== 206) return answer.status === 416 ? drained(() => undefined) : whole(answer);
      const size = sizeByRest(answer, wanted);
      if (size === undefined) return drained(() => undefined);
      resume.onAnswer?.({ validator: validatorOf(answer.headers), from });
      // A host that sends more than the range it names is not to be believed in what it sent before either.
      const body = appended(part, answer, request, { from, sizeMax: size });
      return {
        take: body.take,
        end: () => {
          if (part.size < size) throw new SpindleError('REMOTE_UNREACHABLE', `${answer.url} ended after ${part.size} of ${size} bytes`);
          return body.end();
        },
      };
    };
    const answer =
      (from > 0 ? await exchange({ ...request, headers: { ...request.headers, ...restHeaders(from, resume.validator) } }, rest) : undefined) ??
      (await exchange(request, whole));
    if (answer.status === 200 || answer.status === 206) part.makeReadOnly();
    return answer;
  } catch (error) {
    isKept = signal?.aborted === true || (error instanceof SpindleError && (error.code === 'REMOTE_UNREACHABLE' || error.code === 'REMOTE_REFUSED'));
    throw error;
  } finally {
    part.close(isKept && part.size > 0);
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
