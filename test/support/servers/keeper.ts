/**
 * Keeps the servers that test files share: one of each kind a test run, started when the first test asks, ended with the run. Vitest runs `setup` once, before all
 * projects; test files run in processes of their own and ask it through a socket.
 */
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { tempDirectory } from '../temp-directory.ts';
import { mongoDbMissing, startMongoDb } from './mongodb.ts';
import { rabbitMqMissing, startRabbitMq } from './rabbitmq.ts';
import { s3Missing, startS3 } from './s3.ts';

declare module 'vitest' {
  interface ProvidedContext {
    serverKeeper: string;
  }
}

/** How a server of each kind is started. What it says of itself is sent to the tests as JSON. */
interface Kind {
  /** Why it cannot be started here; undefined where it can. */
  readonly missing: () => string | undefined;
  readonly start: () => Promise<{ readonly stop: () => Promise<void> }>;
}

const kinds: Readonly<Record<string, Kind>> = {
  mongodb: { missing: mongoDbMissing, start: startMongoDb },
  rabbitmq: { missing: rabbitMqMissing, start: () => startRabbitMq() },
  s3: { missing: s3Missing, start: () => startS3() },
};

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const directory = await tempDirectory();
  const started = new Map<string, Promise<{ readonly stop: () => Promise<void> }>>();
  const answer = async (name: string): Promise<unknown> => {
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    if (!kind) return { broken: `there is no kind of server ${name}` };
    const missing = kind.missing();
    if (missing !== undefined) return { missing };
    const server = started.get(name) ?? kind.start();
    started.set(name, server);
    return server.then(
      (facts) => ({ server: facts }),
      (error: unknown) => ({ broken: error instanceof Error ? error.message : String(error) }),
    );
  };
  const server: Server = createServer((request, response) => {
    void answer((request.url ?? '').slice(1)).then((body) => response.end(JSON.stringify(body)));
  });
  const socketPath = join(directory.path, 'keeper.sock');
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(socketPath, resolve));
  project.provide('serverKeeper', socketPath);
  return async () => {
    server.close();
    server.closeAllConnections();
    await Promise.all([...started.values()].map((one) => one.then(({ stop }) => stop()).catch(() => undefined)));
    await directory.remove();
  };
}
