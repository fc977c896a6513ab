/** RabbitMQ for tests: started from the distribution's package with ports, node name, cookie and directories of its own. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type TempDirectory, tempDirectory } from '../temp-directory.ts';
import { type ChildServer, freePorts, startChildServer } from './child-server.ts';

/** A broker that somebody runs. */
export interface RabbitMq {
  /** With user and password, without a virtual host. */
  readonly amqpUrl: string;
  /** Of the management plugin, with user and password. */
  readonly managementUrl: string;
}

export interface OwnRabbitMq extends RabbitMq {
  /** As a crash: what was not synced is gone. `start` brings it back on the same ports with what is on its disk. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** SIGSTOP: its sockets stay open and say nothing. */
  pause(): void;
  resume(): void;
  /** What `rabbitmqctl` does with these arguments. */
  control(...args: readonly string[]): Promise<void>;
  /** Ends it and removes its directory. Twice is once. */
  stop(): Promise<void>;
}

/** Debian's and Fedora's package put the broker's own script, which does not change the user, below this. */
const installed = ['/usr/lib/rabbitmq/bin/rabbitmq-server', '/usr/sbin/rabbitmq-server'];

/** Why no broker can be started here; undefined where one can. */
export function rabbitMqMissing(): string | undefined {
  return installed.some((path) => existsSync(path)) ? undefined : 'no RabbitMQ is installed: node bin/set-up.mjs installs it';
}

/** Starts a broker. `settings`: numbers of its application `rabbit`, some of which rabbitmq.conf cannot say. */
export async function startRabbitMq({ settings = {} }: { readonly settings?: Readonly<Record<string, number>> } = {}): Promise<OwnRabbitMq> {
  const command = installed.find((path) => existsSync(path));
  if (command === undefined) throw new Error(rabbitMqMissing());
  const directory: TempDirectory = await tempDirectory();
  const path = (name: string) => join(directory.path, name);
  const [amqp = 0, management = 0, distribution = 0, epmd = 0] = await freePorts(4);
  await mkdir(path('data'));
  const config = [
    `listeners.tcp.1 = 127.0.0.1:${amqp}`,
    'management.tcp.ip = 127.0.0.1',
    `management.tcp.port = ${management}`,
    'log.console = true',
    'log.console.level = warning',
    // A test machine's disk may be nearly full, and its memory is shared.
    'disk_free_limit.absolute = 50MB',
  ];
  await writeFile(path('rabbitmq.conf'), `${config.join('\n')}\n`);
  const terms = Object.entries(settings).map(([name, value]) => `{${name}, ${value}}`);
  await writeFile(path('advanced.config'), `[{rabbit, [${terms.join(', ')}]}].\n`);
  await writeFile(path('enabled_plugins'), '[rabbitmq_management].\n');
  const erlang = { HOME: directory.path, ERL_EPMD_PORT: String(epmd), ERL_EPMD_ADDRESS: '127.0.0.1' };
  const env = {
    ...erlang,
    RABBITMQ_NODENAME: `spindle-test-${amqp}@localhost`,
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_MNESIA_BASE: path('data'),
    RABBITMQ_LOG_BASE: path('log'),
    RABBITMQ_LOGS: '-',
    RABBITMQ_CONFIG_FILE: path('rabbitmq.conf'),
    RABBITMQ_ADVANCED_CONFIG_FILE: path('advanced.config'),
    RABBITMQ_ENABLED_PLUGINS_FILE: path('enabled_plugins'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    // Makes the script become the broker instead of waiting for it: signals then reach what they are meant for.
    RUNNING_UNDER_SYSTEMD: 'true',
  };
  const credentials = 'guest:guest';
  const managementUrl = `http://${credentials}@127.0.0.1:${management}`;
  // The broker would start a port mapper that outlives it; this one is a child like it.
  const mapper = await startChildServer({
    command: 'epmd',
    args: ['-port', String(epmd), '-address', '127.0.0.1'],
    env: erlang,
    cwd: directory.path,
    logPath: path('epmd.log'),
    isReady: () => isListening(epmd),
  });
  let broker: ChildServer | undefined;
  const start = async () => {
    broker = await startChildServer({
      command,
      args: [],
      env,
      cwd: directory.path,
      logPath: path('broker.log'),
      // The listener comes last; the management plugin answers a moment before or after.
      isReady: async () => (await isListening(amqp)) && (await managementApi(managementUrl, 'GET', 'overview')) !== undefined,
    });
  };
  const stop = async () => {
    await broker?.stop();
    await mapper.stop();
    await directory.remove();
  };
  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    amqpUrl: `amqp://${credentials}@127.0.0.1:${amqp}`,
    managementUrl,
    kill: async () => broker?.stop(),
    start,
    pause: () => broker?.signal('SIGSTOP'),
    resume: () => broker?.signal('SIGCONT'),
    control: async (...args) => {
      const path = process.env['PATH'] ?? '';
      await promisify(execFile)(join(dirname(command), 'rabbitmqctl'), ['-n', env.RABBITMQ_NODENAME, ...args], {
        env: { ...erlang, PATH: path, RABBITMQ_CONF_ENV_FILE: '/dev/null' },
        timeout: 60_000,
      });
    },
    stop,
  };
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}

export interface VirtualHost {
  readonly name: string;
  /** What a service is configured with. */
  readonly url: string;
  remove(): Promise<void>;
}

/** A virtual host of a test's own: nothing is shared with others on the same broker. */
export async function virtualHost(server: RabbitMq, name: string): Promise<VirtualHost> {
  await managementApi(server.managementUrl, 'PUT', `vhosts/${encodeURIComponent(name)}`, {});
  return {
    name,
    url: `${server.amqpUrl}/${encodeURIComponent(name)}`,
    remove: async () => {
      await managementApi(server.managementUrl, 'DELETE', `vhosts/${encodeURIComponent(name)}`);
    },
  };
}

/** One call of the management plugin; resolves with what it answers as JSON, null where it answers nothing. */
export async function managementApi(managementUrl: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const url = new URL(managementUrl);
  const authorization = `Basic ${Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`).toString('base64')}`;
  const response = await fetch(`${url.origin}/api/${path}`, {
    method,
    headers: { authorization, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 500)}`);
  return text === '' ? null : (JSON.parse(text) as unknown);
}
