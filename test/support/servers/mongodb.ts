/** A server of MongoDB's protocol for tests: FerretDB on SQLite, behind a proxy that makes its conditional writes safe. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TempDirectory, tempDirectory } from '../temp-directory.ts';
import { builtServer } from './built-servers.ts';
import { type ChildServer, freePorts, startChildServer } from './child-server.ts';
import { oneWriteAtATime, type WriteProxy } from './one-write-at-a-time.ts';

/** A server that somebody runs. Tests take databases of their own on it. */
export interface MongoDb {
  /** Without a database. */
  readonly url: string;
}

export interface OwnMongoDb extends MongoDb {
  /** Past the proxy, where FerretDB answers for itself. */
  readonly directUrl: string;
  readonly proxy: WriteProxy;
  /** As a crash. `start` brings it back on the same port with what is on its disk. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** SIGSTOP: its sockets stay open and say nothing. */
  pause(): void;
  resume(): void;
  /** Ends it and removes its directory. */
  stop(): Promise<void>;
}

/** Why none can be started here; undefined where one can. */
export function mongoDbMissing(): string | undefined {
  const built = builtServer('ferretdb');
  return 'missing' in built ? built.missing : undefined;
}

export async function startMongoDb(): Promise<OwnMongoDb> {
  const built = builtServer('ferretdb');
  if ('missing' in built) throw new Error(built.missing);
  const directory: TempDirectory = await tempDirectory();
  const [port = 0] = await freePorts(1);
  const data = join(directory.path, 'data');
  const logPath = join(directory.path, 'ferretdb.log');
  await mkdir(data);
  let child: ChildServer | undefined;
  const start = async () => {
    child = await startChildServer({
      command: built.path,
      args: [`127.0.0.1:${port}`, data],
      cwd: directory.path,
      logPath,
      isReady: async () => (await readFile(logPath, 'utf8')).split('mongodb://').length > starts,
    });
    starts += 1;
  };
  let starts = 1;
  let proxy: WriteProxy | undefined;
  const stop = async () => {
    await proxy?.close();
    await child?.stop();
    await directory.remove();
  };
  try {
    await start();
    proxy = await oneWriteAtATime({ host: '127.0.0.1', port });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: `mongodb://${proxy.address}`,
    directUrl: `mongodb://127.0.0.1:${port}`,
    proxy,
    kill: async () => child?.stop(),
    start,
    pause: () => child?.signal('SIGSTOP'),
    resume: () => child?.signal('SIGCONT'),
    stop,
  };
}
