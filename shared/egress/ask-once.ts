/** One request to one host, and its answer handed on as it comes. Follows nothing, and knows no bounds. */
import type { Dispatcher } from 'undici';
import type { EgressAnswer } from './egress.ts';
import type { LentReads } from './lent-reads.ts';
import type { Hop } from './redirect.ts';

/** Takes an answer's content. What either of them throws ends the connection. */
export interface Body<T> {
  /** The bytes are lent: another read overwrites them. `enough`: no more is wanted, whatever the host still has. */
  take(bytes: Uint8Array): 'enough' | undefined;
  /** All that was wanted came. */
  end(): T;
}

/** Rejects with what undici or `open` throws, or an AbortError. After it settled nothing is handed on any more. */
export function askOnce<T>(
  { url, method, headers, body: content }: Hop,
  { dispatcher, reads, signal }: { readonly dispatcher: Dispatcher; readonly reads: LentReads; readonly signal: AbortSignal },
  open: (answer: EgressAnswer) => Body<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let connection: Dispatcher.DispatchController | undefined;
    let body: Body<T> | undefined;
    let isOver = false;
    const settle = (how: () => void): void => {
      if (isOver) return;
      isOver = true;
      signal.removeEventListener('abort', abort);
      how();
    };
    const fail = (error: unknown): void => {
      settle(() => reject(error as Error));
      connection?.abort(error instanceof Error ? error : new Error(String(error)));
    };
    const abort = () => fail(new DOMException('The request was aborted', 'AbortError'));
    const end = (): void => {
      if (!body) return;
      try {
        const result = body.end();
        settle(() => resolve(result));
      } catch (error) {
        fail(error);
      }
    };
    if (signal.aborted) {
      abort();
      return;
    }
    signal.addEventListener('abort', abort, { once: true });

    const handler: Dispatcher.DispatchHandler = {
      onRequestStart: (controller) => {
        connection = controller;
        if (isOver) controller.abort(new Error('nobody waits for this any more'));
      },
      onResponseStart: (_controller, status, received) => {
        if (isOver || status < 200) return;
        try {
          const answer = { status, headers: flatHeaders(received), url: url.href };
          const length = answer.headers['content-length'];
          // Of these it is certain that a body of that length follows.
          if (method === 'GET' && (status === 200 || status === 206) && /^\d{1,15}$/.test(length ?? '')) reads.expectBody(Number(length));
          body = open(answer);
        } catch (error) {
          fail(error);
        }
      },
      onResponseData: (controller, bytes) => {
        reads.tookBody(bytes.byteLength);
        if (isOver || !body) return;
        try {
          if (body.take(bytes) !== 'enough') return;
          end();
          controller.abort(new Error('no more is wanted'));
        } catch (error) {
          fail(error);
        }
      },
      onResponseEnd: end,
      onResponseError: (_controller, error) => settle(() => reject(error)),
    };
    dispatcher.dispatch({ origin: url.origin, path: `${url.pathname}${url.search}`, method, headers, body: content ?? null }, handler);
  });
}

function flatHeaders(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name.toLowerCase(), Array.isArray(value) ? value.join(', ') : value]])),
  );
}
