/** A real server as a child of the tests: its own directory, free ports of loopback, gone with whoever started it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { until } from '../until.ts';

export interface ChildServer {
  readonly pid: number;
  /** False once it has ended, by whatever way. */
  isRunning(): boolean;
  signal(name: NodeJS.Signals): void;
  /** Ends it with its whole process group; resolves when it is gone. Twice is once. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export interface ChildServerOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** What it writes to both its outputs goes there. */
  readonly logPath: string;
  /** Resolves with true as soon as it serves; asked again and again until then. */
  readonly isReady: () => Promise<boolean>;
  readonly readyTimeoutMs?: number;
}

/**
 * Resolves once the server serves; rejects with the end of its log where it ends before, or does not serve in time. The kernel ends it should this process die: a
 * test run that is killed leaves no server behind.
 */
export async function startChildServer(options: ChildServerOptions): Promise<ChildServer> {
  const { command, args, env = {}, cwd, logPath, isReady, readyTimeoutMs = 60_000 } = options;
  const log = createWriteStream(logPath, { flags: 'a' });
  await new Promise<void>((resolve, reject) => log.once('open', () => resolve()).once('error', reject));
  const child: ChildProcess = spawn('setpriv', ['--pdeathsig', 'KILL', '--', command, ...args], {
    cwd,
    env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', ...env },
    stdio: ['ignore', log, log],
    // A group of its own: what it starts itself is ended with it.
    detached: true,
  });
  let ended: string | undefined;
  const exit = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      ended = error.message;
      resolve();
    });
    child.once('exit', (code, signal) => {
      ended = `it ended with ${signal ?? `status ${code}`}`;
      resolve();
    });
  });
  const signal = (name: NodeJS.Signals) => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, name);
    } catch {
      // The group is gone already.
    }
  };
  let stopping: Promise<void> | undefined;
  const stop = (name: NodeJS.Signals = 'SIGKILL') => {
    stopping ??= (async () => {
      signal(name);
      await exit;
      signal('SIGKILL');
      log.end();
    })();
    return stopping;
  };
  try {
    await until(
      async () => {
        if (ended !== undefined) throw new Error(ended);
        return isReady().catch(() => false);
      },
      { timeoutMs: readyTimeoutMs, what: `${command} to serve` },
    );
  } catch (error) {
    await stop();
    const tail = (await readFile(logPath, 'utf8').catch(() => '')).split('\n').slice(-30).join('\n');
    throw new Error(`${command} does not serve: ${error instanceof Error ? error.message : error}\n${tail}`);
  }
  return { pid: child.pid ?? 0, isRunning: () => ended === undefined, signal, stop };
}

/** Ports of loopback that nobody listened on a moment ago, all different. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
