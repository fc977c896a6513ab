/** The egress port without a network: each URL's answer comes from a function. No real time, file or connection is touched, so a run repeats exactly. */
import { createHash } from 'node:crypto';
import { SpindleError } from '../build/spindle-error.ts';
import type { Clock } from '../clock/clock.ts';
import type { DownloadAnswer, DownloadRequest, Egress, EgressAnswer, EgressRequest } from './egress.ts';
import { display, firstHop, type Hop, nextHop, redirectsMax } from './redirect.ts';
import { restHeaders, sizeByRest, validatorOf } from './rest-of-file.ts';
import { startRequest, totalSizeOf } from './start-of-file.ts';

export interface SimulatedAnswer {
  /** 200 where left out. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** The connection ends after so many bytes of the body. */
  readonly cutAfter?: number;
}

/** Plays the hosts. Undefined: no host answers there. It may throw a SpindleError, wait, or never answer: the request's deadline holds. */
export type SimulatedRoutes = (hop: Hop, signal: AbortSignal) => SimulatedAnswer | undefined | Promise<SimulatedAnswer | undefined>;

export interface SimulatedEgressOptions {
  readonly routes: SimulatedRoutes;
  readonly clock: Clock;
  /** Takes what `download` writes. Without it downloads are refused. */
  readonly write?: (path: string, content: Uint8Array) => void;
  /** What is at a path. Without it no download goes on with a part. */
  readonly read?: (path: string) => Uint8Array | undefined;
  /** Takes away a part that is of no use. */
  readonly remove?: (path: string) => void;
}

/** `isCut`: the content is no more than the start of what the host had to say. */
type SimulatedExchange = EgressAnswer & { readonly content: Uint8Array; readonly isCut: boolean };

export function simulatedEgress({ routes, clock, write, read, remove }: SimulatedEgressOptions): Egress {
  let closed = false;

  const follow = async (request: EgressRequest, signal: AbortSignal): Promise<SimulatedExchange> => {
    let hop = firstHop(request);
    for (let hops = 0; ; hops += 1) {
      const found = await routes(hop, signal);
      if (!found) throw new SpindleError('REMOTE_UNREACHABLE', `${hop.method} ${display(hop.url)}: the connection was refused (ECONNREFUSED)`);
      const { status = 200, headers = {}, body = '', cutAfter } = found;
      const content = typeof body === 'string' ? new TextEncoder().encode(body) : body;
      const next = nextHop(hop, { status, headers });
      if (!next) {
        if (content.byteLength > request.bytesMax)
          throw new SpindleError('REMOTE_TOO_LARGE', `${display(hop.url)} answers with more than ${request.bytesMax} bytes`);
        const isCut = cutAfter !== undefined && cutAfter < content.byteLength;
        return { status, headers, url: hop.url.href, content: isCut ? content.subarray(0, cutAfter) : content, isCut };
      }
      if (hops >= redirectsMax) throw new SpindleError('REMOTE_REFUSED', `${display(firstHop(request).url)} redirects more than ${redirectsMax} times`);
      hop = next;
    }
  };

  const exchange = async (request: EgressRequest): Promise<SimulatedExchange> => {
    if (closed) throw new SpindleError('PORT_CLOSED', 'the egress was used after it was closed');
    request.signal?.throwIfAborted();
    const ending = new AbortController();
    const cut = new Promise<never>((_, reject) => ending.signal.addEventListener('abort', () => reject(ending.signal.reason), { once: true }));
    cut.catch(() => {});
    const forgetDeadline = clock.after(request.deadlineMs, () =>
      ending.abort(new SpindleError('REMOTE_UNREACHABLE', `${request.url.slice(0, 300)} was not answered in full within ${request.deadlineMs / 1000} s`)),
    );
    const abort = () => ending.abort(request.signal?.reason);
    request.signal?.addEventListener('abort', abort, { once: true });
    try {
      const followed = follow(request, ending.signal);
      followed.catch(() => {});
      return await Promise.race([followed, cut]);
    } finally {
      forgetDeadline();
      request.signal?.removeEventListener('abort', abort);
    }
  };

  const uncut = async (request: EgressRequest): Promise<EgressAnswer & { readonly content: Uint8Array }> => {
    const { isCut, ...answer } = await exchange(request);
    if (isCut) throw cutOff(answer.url);
    return answer;
  };
  const put = (path: string, content: Uint8Array): void => {
    if (!write) throw new SpindleError('INTERNAL', 'this egress has no way to write a download: make it with write');
    write(path, content);
  };

  /** As over HTTP: the rest where the host has it, else the whole; what came before a cut stays. */
  const resumed = async ({ resume, onBytes, ...request }: DownloadRequest, path: string): Promise<DownloadAnswer> => {
    const part = read?.(path)?.subarray(0, Math.max(0, request.bytesMax - 1)) ?? new Uint8Array();
    const wanted = { from: part.byteLength, bytesMax: request.bytesMax, ...(resume?.validator === undefined ? {} : { validator: resume.validator }) };
    const asked = part.byteLength === 0 ? request : { ...request, headers: { ...request.headers, ...restHeaders(part.byteLength, resume?.validator) } };
    let answer = await exchange(asked);
    let before = part;
    let size: number | undefined;
    if (answer.status === 206) size = sizeByRest(answer, wanted);
    const isUnfit = answer.status === 416 || (answer.status === 206 && size === undefined);
    if (isUnfit && part.byteLength > 0) answer = await exchange(request);
    if (isUnfit || answer.status === 200) before = new Uint8Array();
    const { content, isCut, ...rest } = answer;
    if (rest.status !== 200 && rest.status !== 206) return { ...rest, ...hashed(new Uint8Array()), resumedFrom: 0 };
    resume?.onAnswer?.({ validator: validatorOf(rest.headers), from: before.byteLength });
    const whole = Buffer.concat([before, content]);
    if (size !== undefined && whole.byteLength > size) throw new SpindleError('REMOTE_TOO_LARGE', `${rest.url} answers with more than it announced`);
    put(path, whole);
    onBytes?.(whole.byteLength);
    if (isCut || (size !== undefined && whole.byteLength < size)) throw cutOff(rest.url);
    return { ...rest, ...hashed(whole), resumedFrom: before.byteLength };
  };

  return {
    fetchText: async (request) => {
      const { content, ...answer } = await uncut(request);
      return { ...answer, text: new TextDecoder().decode(content) };
    },
    download: async (request, path) => {
      if (request.resume) {
        return resumed(request, path).catch((error: unknown) => {
          if (error instanceof SpindleError && error.code === 'REMOTE_TOO_LARGE') remove?.(path);
          throw error;
        });
      }
      const { content, ...answer } = await uncut(request);
      const written = answer.status === 200 ? content : new Uint8Array();
      if (answer.status === 200) put(path, written);
      request.onBytes?.(written.byteLength);
      return { ...answer, ...hashed(written), resumedFrom: 0 };
    },
    fetchStart: async ({ bytes, ...request }) => {
      const { content, ...answer } = await uncut(startRequest({ ...request, bytes }));
      const totalSize = totalSizeOf(answer) ?? (answer.status === 200 ? content.byteLength : undefined);
      const isThere = answer.status === 200 || answer.status === 206;
      return { ...answer, content: isThere ? content.subarray(0, bytes) : new Uint8Array(), totalSize };
    },
    close: async () => {
      closed = true;
    },
  };
}

const cutOff = (url: string) => new SpindleError('REMOTE_UNREACHABLE', `${url.slice(0, 300)}: the connection was cut`);

const hashed = (content: Uint8Array) => ({ sha256: createHash('sha256').update(content).digest('hex'), size: content.byteLength });
