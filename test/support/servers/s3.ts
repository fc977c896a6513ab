/** An S3 server for tests: versitygw on a directory. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type TempDirectory, tempDirectory } from '../temp-directory.ts';
import { builtServer } from './built-servers.ts';
import { type ChildServer, freePorts, startChildServer } from './child-server.ts';

/** A bucket that somebody serves. Tests take prefixes of their own in it. */
export interface S3 {
  /** As the service is configured with, keys included: `s3://KEY:SECRET@BUCKET?endpoint=…&region=…`. */
  readonly url: string;
}

export interface OwnS3 extends S3 {
  readonly endpoint: string;
  readonly bucket: string;
  /** Where the server keeps the bucket's objects as files. */
  readonly directory: string;
  readonly pid: () => number;
  /** As a crash. `start` brings it back on the same port with what is on its disk. */
  kill(): Promise<void>;
  start(): Promise<void>;
  pause(): void;
  resume(): void;
  stop(): Promise<void>;
}

const bucket = 'spindle-test';
const access = 'spindle';
const secret = 'spindle-test-secret';
const region = 'us-east-1';

/** Why none can be started here; undefined where one can. */
export function s3Missing(): string | undefined {
  const built = builtServer('versitygw');
  return 'missing' in built ? built.missing : undefined;
}

/** `under`: where its data lie, instead of the system's place for temporary files. Needs a file system with extended attributes. */
export async function startS3({ under }: { readonly under?: string } = {}): Promise<OwnS3> {
  const built = builtServer('versitygw');
  if ('missing' in built) throw new Error(built.missing);
  const directory: TempDirectory = await tempDirectory(under);
  const [port = 0] = await freePorts(1);
  const root = join(directory.path, 'root');
  await mkdir(join(root, bucket), { recursive: true });
  const endpoint = `http://127.0.0.1:${port}`;
  let child: ChildServer | undefined;
  const start = async () => {
    child = await startChildServer({
      command: built.path,
      args: ['--port', `127.0.0.1:${port}`, '--region', region, '--keep-alive', '--quiet', '--health', '/health', 'posix', root],
      env: { ROOT_ACCESS_KEY_ID: access, ROOT_SECRET_ACCESS_KEY: secret },
      cwd: directory.path,
      logPath: join(directory.path, 'versitygw.log'),
      isReady: async () => (await fetch(`${endpoint}/health`)).ok,
    });
  };
  const stop = async () => {
    await child?.stop();
    await directory.remove();
  };
  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: `s3://${access}:${secret}@${bucket}?endpoint=${encodeURIComponent(endpoint)}&region=${region}`,
    endpoint,
    bucket,
    directory: join(root, bucket),
    pid: () => child?.pid ?? 0,
    kill: async () => child?.stop(),
    start,
    pause: () => child?.signal('SIGSTOP'),
    resume: () => child?.signal('SIGCONT'),
    stop,
  };
}
