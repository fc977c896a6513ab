/** A web server of a test's own: files from memory, failures on demand, and a record of what was asked for. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface StaticServer {
  /** `http://127.0.0.1:1234` */
  readonly base: string;
  /** `127.0.0.1:1234` */
  readonly destination: string;
  /** Paths, in order. */
  readonly asked: string[];
  /** By path, from now on. */
  readonly files: Map<string, string | Uint8Array>;
  /** Status for paths that begin so. */
  readonly failures: Map<string, number>;
  close(): Promise<void>;
}

export async function staticServer(): Promise<StaticServer> {
  const asked: string[] = [];
  const files = new Map<string, string | Uint8Array>();
  const failures = new Map<string, number>();
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    asked.push(path);
    const failure = [...failures].find(([prefix]) => path.startsWith(prefix))?.[1];
    const content = files.get(path);
    if (failure !== undefined || content === undefined) response.writeHead(failure ?? 404).end('no');
    else response.writeHead(200).end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const destination = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    base: `http://${destination}`,
    destination,
    asked,
    files,
    failures,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
