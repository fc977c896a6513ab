/** The egress port without a network: each URL's answer comes from a function. No real time, file or connection is touched, so a run repeats exactly. */
import { createHash } from 'node:crypto';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { Egress, EgressAnswer, EgressRequest } from './egress.ts';
import { display, firstHop, type Hop, nextHop, redirectsMax } from './redirect.ts';
import { startRequest, totalSizeOf } from './start-of-file.ts';

export interface SimulatedAnswer {
  /** 200 where left out. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** Plays the hosts. Undefined: no host answers there. It may throw a SpindleError, wait, or never answer: the request's deadline holds. */
export type SimulatedRoutes = (hop: Hop, signal: AbortSignal) => SimulatedAnswer | undefined | Promise<SimulatedAnswer | undefined>;

export interface SimulatedEgressOptions {
  readonly routes: SimulatedRoutes;
  readonly clock: Clock;
  /** Takes what `download` writes. Without it downloads are refused. */
  readonly write?: (path: string, content: Uint8Array) => void;
}

export function simulatedEgress({ routes, clock, write }: SimulatedEgressOptions): Egress {
  let closed = false;

  const follow = async (request: EgressRequest, signal: AbortSignal): Promise<EgressAnswer & { readonly content: Uint8Array }> => {
    let hop = firstHop(request);
    for (let hops = 0; ; hops += 1) {
      const found = await routes(hop, signal);
      if (!found) throw new SpindleError('REMOTE_UNREACHABLE', `${hop.method} ${display(hop.url)}: the connection was refused (ECONNREFUSED)`);
      const { status = 200, headers = {}, body = '' } = found;
      const content = typeof body === 'string' ? new TextEncoder().encode(body) : body;
      const next = nextHop(hop, { status, headers });
      if (!next) {
        if (content.byteLength > request.bytesMax)
          throw new SpindleError('REMOTE_TOO_LARGE', `${display(hop.url)} answers with more than ${request.bytesMax} bytes`);
        return { status, headers, url: hop.url.href, content };
      }
      if (hops >= redirectsMax) throw new SpindleError('REMOTE_REFUSED', `${display(firstHop(request).url)} redirects more than ${redirectsMax} times`);
      hop = next;
    }
  };

  const exchange = async (request: EgressRequest): Promise<EgressAnswer & { readonly content: Uint8Array }> => {
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

  return {
    fetchText: async (request) => {
      const { content, ...answer } = await exchange(request);
      return { ...answer, text: new TextDecoder().decode(content) };
    },
    download: async (request, path) => {
      const { content, ...answer } = await exchange(request);
      const written = answer.status === 200 ? content : new Uint8Array();
      if (answer.status === 200) {
        if (!write) throw new SpindleError('INTERNAL', 'this egress has no way to write a download: make it with write');
        write(path, written);
      }
      return { ...answer, sha256: createHash('sha256').update(written).digest('hex'), size: written.byteLength };
    },
    fetchStart: async ({ bytes, ...request }) => {
      const { content, ...answer } = await exchange(startRequest({ ...request, bytes }));
      const totalSize = totalSizeOf(answer) ?? (answer.status === 200 ? content.byteLength : undefined);
      const isThere = answer.status === 200 || answer.status === 206;
      return { ...answer, content: isThere ? content.subarray(0, bytes) : new Uint8Array(), totalSize };
    },
    close: async () => {
      closed = true;
    },
  };
}
