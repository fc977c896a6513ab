/** The REST interface as the client uses it: requests with a bound, problems as errors, streams that resume. */
import { createParser } from 'eventsource-parser';
import { z } from 'zod';
import { logPosition } from '../../shared/build-log/left-out.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import { RefusedError, UnreachableError } from './outcome.ts';
import type { Settings } from './settings.ts';

const answerTimeoutMs = 30_000;
const answerBytesMax = 64 * 1024 * 1024;
/** A stream that is silent for so long is cut and opened again: the service sends a heartbeat every 15 s. */
const silenceMaxMs = 60_000;
/** How long a service may be away, such as for a restart, before a follower gives up. */
const awayMaxMs = 60_000;

const Timestamp = z.string();
/** What the client reads of a build. Everything else is passed on to `--output json` as it came. */
export const ShownBuild = z.looseObject({
  id: z.string(),
  groupId: z.string().nullish(),
  state: z.string(),
  stage: z
    .looseObject({
      name: z.string(),
      startedAt: Timestamp.nullish(),
      worker: z.string().nullish(),
      attempt: z.number(),
      problem: z.looseObject({ code: z.string(), message: z.string() }).nullish(),
    })
    .nullish(),
  queue: z.object({ place: z.number() }).nullish(),
  verdict: z.string().nullish(),
  verdictReason: z.string().nullish(),
  failure: z
    .looseObject({ code: z.string(), stage: z.string(), phase: z.string().optional(), message: z.string(), details: z.array(z.string()).optional() })
    .nullish(),
  createdAt: Timestamp,
  endedAt: Timestamp.nullish(),
  request: z.looseObject({ release: z.string(), arch: z.string(), imageType: z.string(), label: z.string() }),
  timeline: z.array(z.looseObject({ at: Timestamp, state: z.string(), message: z.string().optional() })),
  runs: z
    .array(
      z.looseObject({
        stage: z.string(),
        attempt: z.number(),
        startedAt: Timestamp,
        durationMs: z.number().nullish(),
        outcome: z.string().nullish(),
        phases: z.array(z.looseObject({ name: z.string(), startedAt: Timestamp, durationMs: z.number().nullish() })),
      }),
    )
    .optional(),
  warnings: z.array(z.string()).optional(),
  artifacts: z.array(z.looseObject({ name: z.string(), sha256: z.string(), size: z.number(), url: z.string() })),
});
export type ShownBuild = z.infer<typeof ShownBuild>;

const ProblemBody = z.looseObject({
  code: z.string(),
  detail: z.string(),
  errors: z.array(z.looseObject({ field: z.string(), message: z.string() })).optional(),
});

interface ServerEvent {
  readonly event: string;
  readonly data: unknown;
}

export interface Api {
  /** Rejects with RefusedError (4xx) or UnreachableError (no answer, 5xx, not the service). `timeoutMs` is for the whole answer. */
  json<T extends z.ZodType>(
    schema: T,
    path: string,
    options?: {
      readonly method?: string;
      /** A value, sent as JSON; or bytes as they come. */
      readonly body?: unknown;
      readonly stream?: AsyncIterable<Uint8Array>;
      readonly headers?: Record<string, string>;
      readonly timeoutMs?: number;
    },
  ): Promise<z.output<T>>;
  /** An open answer, for large bodies. */
  open(path: string, headers?: Record<string, string>, signal?: AbortSignal): Promise<Response>;
  /** Events of a build to its end, each once, through cuts and restarts of the service. */
  events(buildId: string, signal?: AbortSignal): AsyncIterable<ServerEvent>;
  /** The log's bytes, each once; with `isFollowed` through cuts and until the build has ended. */
  log(buildId: string, isFollowed: boolean, signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

const api = '/api/v1';

export function connectApi(settings: Settings, clock: Clock): Api {
  const open: Api['open'] = (path, headers = {}, signal) => send(path, { headers }, signal);

  const send = async (path: string, init: RequestInit & { readonly headers?: Record<string, string> }, signal?: AbortSignal): Promise<Response> => {
    let response: Response;
    try {
      response = await fetch(`${settings.url}${api}${path}`, {
        redirect: 'error',
        ...init,
        ...(signal ? { signal } : {}),
        headers: { 'user-agent': 'spindle-cli', ...(settings.token ? { authorization: `Bearer ${settings.token.reveal()}` } : {}), ...init.headers },
      });
    } catch (error) {
      throw unreachable(settings.url, error);
    }
    if (response.ok) return response;
    throw await refusal(settings.url, response);
  };

  const json: Api['json'] = async (schema, path, { method = 'GET', body, stream, headers = {}, timeoutMs = answerTimeoutMs } = {}) => {
    const init = { method, headers: { accept: 'application/json', ...headers } };
    const withBody = body === undefined ? init : { ...init, body: JSON.stringify(body), headers: { ...init.headers, 'content-type': 'application/json' } };
    const withStream = stream === undefined ? withBody : { ...withBody, body: ReadableStream.from(stream), duplex: 'half' as const };
    const response = await send(path, withStream as RequestInit & { readonly headers: Record<string, string> }, AbortSignal.timeout(timeoutMs));
    const parsed = schema.safeParse(parsedJson(await boundedText(response, settings.url)));
    if (!parsed.success)
      throw new UnreachableError(
        `what answers at ${settings.url} does not speak as Spindle does: ${parsed.error.issues[0]?.path.join('.')}: ${parsed.error.issues[0]?.message}`,
      );
    return parsed.data;
  };

  /** Reads a stream again and again until it is complete. What arrives renews the patience with a service that is away. */
  async function* resumed<T>(stream: {
    readonly open: (signal: AbortSignal) => Promise<Response>;
    readonly read: (body: AsyncIterable<Uint8Array>) => AsyncIterable<T>;
    readonly isComplete: () => boolean;
    readonly signal: AbortSignal | undefined;
  }): AsyncGenerator<T> {
    const { signal } = stream;
    let awaySince: number | undefined;
    for (let failures = 0; ; failures += 1) {
      signal?.throwIfAborted();
      const silence = new AbortController();
      let forget = () => {};
      const heard = () => {
        forget();
        forget = clock.after(silenceMaxMs, () => silence.abort(new Error('the service fell silent')));
      };
      const chunks = async function* (body: AsyncIterable<Uint8Array>) {
        for await (const chunk of body) {
          heard();
          awaySince = undefined;
          failures = 0;
          yield chunk;
        }
      };
      try {
        heard();
        const response = await stream.open(signal ? AbortSignal.any([silence.signal, signal]) : silence.signal);
        yield* stream.read(chunks((response.body ?? []) as AsyncIterable<Uint8Array>));
        if (stream.isComplete()) return;
        throw new Error('the stream ended early');
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof RefusedError && error.status !== 429) throw error;
        awaySince ??= clock.now();
        if (clock.now() - awaySince > awayMaxMs) throw error instanceof UnreachableError ? error : unreachable(settings.url, error);
      } finally {
        forget();
      }
      await clock.sleep(Math.min(250 * 2 ** failures, 3000), signal);
    }
  }

  async function* events(buildId: string, signal?: AbortSignal): AsyncGenerator<ServerEvent> {
    let lastId: string | undefined;
    let hasEnded = false;
    async function* read(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent> {
      const waiting: ServerEvent[] = [];
      const decoder = new TextDecoder();
      const parser = createParser({
        onEvent: ({ id, event, data }) => {
          lastId = id ?? lastId;
          waiting.push({ event: event ?? 'message', data: parsedJson(data) });
        },
      });
      for await (const chunk of body) {
        parser.feed(decoder.decode(chunk, { stream: true }));
        for (const item of waiting.splice(0)) {
          hasEnded ||= item.event === 'end';
          yield item;
        }
        if (hasEnded) return;
      }
    }
    const openEvents = (either: AbortSignal) => {
      const resume: Record<string, string> = lastId === undefined ? {} : { 'last-event-id': lastId };
      return open(`/builds/${encodeURIComponent(buildId)}/events`, { accept: 'text/event-stream', ...resume }, either);
    };
    yield* resumed({ open: openEvents, read, isComplete: () => hasEnded, signal });
  }

  async function* log(buildId: string, isFollowed: boolean, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const path = `/builds/${encodeURIComponent(buildId)}`;
    const position = logPosition();
    async function* read(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      for await (const chunk of body) {
        position.push(chunk);
        yield chunk;
      }
    }
    if (!isFollowed) {
      yield* read(((await open(`${path}/log`)).body ?? []) as AsyncIterable<Uint8Array>);
      return;
    }
    // A log that ends may also mean that the service stops: it is complete only where the build has ended, and was asked for after that.
    let wasEnded = false;
    const openLog = async (either: AbortSignal) => {
      wasEnded = isEnded((await json(ShownBuild, path)).state);
      return open(`${path}/log?follow=1&offset=${position.offset}`, {}, either);
    };
    yield* resumed({ open: openLog, read, isComplete: () => wasEnded, signal });
  }

  return { json, open, events, log };
}

export function isEnded(state: string): boolean {
  return ['finished', 'failed', 'canceled', 'expired'].includes(state);
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function boundedText(response: Response, url: string): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      size += part.byteLength;
      if (size > answerBytesMax) throw new Error(`the answer has more than ${answerBytesMax} bytes`);
      parts.push(part);
    }
  } catch (error) {
    throw unreachable(url, error);
  }
  return Buffer.concat(parts).toString('utf8');
}

async function refusal(url: string, response: Response): Promise<RefusedError | UnreachableError> {
  const problem = ProblemBody.safeParse(parsedJson(await boundedText(response, url).catch(() => '')));
  const { status } = response;
  if (!problem.success) return new UnreachableError(`what answers at ${url} is not Spindle: it said ${status} ${response.statusText}`);
  const { code, detail, errors = [] } = problem.data;
  if (status >= 500) return new UnreachableError(`the service at ${url} cannot answer now: ${detail} (${status} ${code})`);
  return new RefusedError(status, code, detail, errors);
}

function unreachable(url: string, error: unknown): UnreachableError {
  const { cause, message } = error instanceof Error ? error : { cause: undefined, message: String(error) };
  const reason = cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.message) : message;
  return new UnreachableError(`the service at ${url} cannot be reached (${reason}); is it running, and is the address (--url, SPINDLE_URL) right?`, {
    cause: error,
  });
}
