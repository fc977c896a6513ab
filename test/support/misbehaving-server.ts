/** A web server that has one file a path, and the manners that a test gives it: it cuts, stalls, lies about lengths and ranges. Keeps what it was asked for. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

interface Asked {
  readonly path: string;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
  /** Of the body, handed to the connection. */
  bytesSent: number;
}

export interface Turn {
  readonly content: Uint8Array;
  /** First byte that was asked for; 0 for the whole. */
  readonly from: number;
  /** How often this path was asked for, this time included. */
  readonly nth: number;
  readonly asked: Asked;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** Answers one request, or leaves it hanging. */
export type Manner = (turn: Turn) => void;

export interface MisbehavingServer {
  /** `http://127.0.0.1:1234` */
  readonly base: string;
  /** `127.0.0.1:1234` */
  readonly destination: string;
  readonly asked: Asked[];
  /** Connections that were opened. */
  readonly connections: () => number;
  put(path: string, content: Uint8Array, manner?: Manner): string;
  close(): Promise<void>;
}

export async function misbehavingServer(): Promise<MisbehavingServer> {
  const asked: Asked[] = [];
  const files = new Map<string, { readonly content: Uint8Array; readonly manner: Manner }>();
  let connections = 0;
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    const seen: Asked = { path, range: request.headers.range, ifRange: request.headers['if-range'] as string | undefined, bytesSent: 0 };
    asked.push(seen);
    response.on('error', () => {});
    const file = files.get(path);
    if (!file) {
      response.writeHead(404).end('not here');
      return;
    }
    const nth = asked.filter((each) => each.path === path).length;
    const from = Number(/^bytes=(\d+)-$/.exec(seen.range ?? '')?.[1] ?? 0);
    file.manner({ content: file.content, from, nth, asked: seen, request, response });
  });
  server.on('connection', () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const destination = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    base: `http://${destination}`,
    destination,
    asked,
    connections: () => connections,
    put: (path, content, manner = good) => {
      files.set(path, { content, manner });
      return `http://${destination}${path}`;
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Part {
  readonly headers?: Readonly<Record<string, string>>;
  /** Of the body, before the connection is left. */
  readonly bytesMax?: number;
  readonly leaving?: 'end' | 'cut' | 'stall';
  /** In the place of the right one; `none`: the end of the connection is the end of the file. */
  readonly length?: 'chunked' | 'none';
}

/** What a good server would send, with an ETag, or as much of it as is left of its manners. */
export function send(
  { content, from, asked, response }: Turn,
  { headers = {}, bytesMax = Number.POSITIVE_INFINITY, leaving = 'end', length }: Part = {},
): void {
  const rest = content.subarray(from);
  const body = rest.subarray(0, bytesMax);
  const range = from > 0 ? { 'content-range': `bytes ${from}-${content.byteLength - 1}/${content.byteLength}` } : {};
  if (length === 'none') {
    response.useChunkedEncodingByDefault = false;
    response.shouldKeepAlive = false;
  }
  response.writeHead(from > 0 ? 206 : 200, {
    etag: '"one"',
    ...(length === undefined ? { 'content-length': String(rest.byteLength) } : {}),
    ...range,
    ...headers,
  });
  asked.bytesSent += body.byteLength;
  if (leaving === 'end') response.end(body);
  else response.write(body, () => (leaving === 'cut' ? response.destroy() : undefined));
}

/** Knows ranges, and If-Range. */
export const good: Manner = (turn) => {
  const isOther = turn.asked.ifRange !== undefined && turn.asked.ifRange !== '"one"';
  send(isOther ? { ...turn, from: 0 } : turn);
};

/** Another manner each time a path is asked for; the last one for good. */
export const inTurn =
  (...manners: readonly Manner[]): Manner =>
  (turn) =>
    (manners[Math.min(turn.nth, manners.length) - 1] ?? good)(turn);
