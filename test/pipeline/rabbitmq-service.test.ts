/** The whole service in one process with `SPINDLE_BUS_URL` naming RabbitMQ, over REST: ready, not ready while the broker is away, ready again; strangers' messages. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'amqplib';
import { expect, test } from 'vitest';
import { type EmbeddedService, startEmbedded } from '../../services/embedded.ts';
import { readConfig } from '../../shared/config/config.ts';
import { managementApi, virtualHost } from '../support/servers/rabbitmq.ts';
import { sharedRabbitMq } from '../support/servers/shared.ts';
import { silentLog } from '../support/stage-world.ts';
import { tcpProxy } from '../support/tcp-proxy.ts';
import { testDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';

const releases = `releases:
  - id: "44"
    name: Fedora Linux 44
    arches: [x86_64]
    repositories: [{id: fedora, role: stable, baseurl: "http://127.0.0.1:1/"}]
    unsigned: allow
    engines: {live: kiwi}
`;

test('the service works over RabbitMQ, says not ready while it is away, and goes on by itself', { timeout: 180_000 }, async ({ skip, onTestFinished }) => {
  const server = await sharedRabbitMq();
  if (typeof server === 'string') return skip(server);
  const host = await virtualHost(server, `service ${process.pid}`);
  onTestFinished(host.remove);
  const url = new URL(host.url);
  const proxy = await tcpProxy({ host: url.hostname, port: Number(url.port) });
  onTestFinished(proxy.close);
  url.hostname = '127.0.0.1';
  url.port = String(proxy.port);
  const stateDir = await testDirectory();
  const releasesFile = join(stateDir, 'releases.yaml');
  await writeFile(releasesFile, releases);
  const config = readConfig({ SPINDLE_STATE_DIR: stateDir, SPINDLE_LISTEN: '127.0.0.1:0', SPINDLE_RELEASES_FILE: releasesFile, SPINDLE_BUS_URL: url.href });
  let service: EmbeddedService | undefined = await startEmbedded(config, silentLog);
  onTestFinished(async () => service?.stop());
  const get = async (path: string) => {
    const response = await fetch(`${service?.url}${path}`);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  expect(await get('/readyz')).toMatchObject({ status: 200, body: { checks: { bus: 'ok' } } });

  const submitted = await fetch(`${service.url}/api/v1/builds`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ release: '44', imageType: 'live', label: 'OVERBUS', packages: ['bash'] }),
  });
  expect(submitted.status).toBe(202);
  const { id } = (await submitted.json()) as { id: string };
  const build = async () => (await get(`/api/v1/builds/${id}`)).body as { state: string };
  // There is no such repository: the resolver says so, and its event has come over the bus.
  await until(async () => (await build()).state === 'failed', { timeoutMs: 60_000, what: 'the end of the build' });

  proxy.cut();
  await until(async () => (await get('/readyz')).status === 503, { timeoutMs: 10_000, what: 'not ready' });
  expect(await get('/readyz')).toMatchObject({ body: { status: 'not-ready', checks: { bus: 'failed', store: 'ok' } } });
  expect((await get('/healthz')).status).toBe(200);
  proxy.heal();
  await until(async () => (await get('/readyz')).status === 200, { timeoutMs: 20_000, what: 'ready again' });

  const stranger = await connect(host.url);
  onTestFinished(() => stranger.close());
  const channel = await stranger.createChannel();
  channel.publish('spindle', 'build.requested', Buffer.from('this is not JSON'), { messageId: 'strange' });
  const letter = await until(async () => (await channel.get('spindle.dead-letters')) || undefined, { timeoutMs: 20_000, what: 'the dead letter' });
  expect(letter.content.toString()).toBe('this is not JSON');
  expect(letter.properties.headers).toMatchObject({ 'spindle-queue': 'resolver.build.requested', 'spindle-reason': expect.stringContaining('unreadable') });

  await service.stop();
  service = undefined;
  // Nothing of it is left on the broker but its queues, empty.
  const connections = async () =>
    ((await managementApi(server.managementUrl, 'GET', 'connections')) as { vhost?: string; user_provided_name?: string }[]) ?? [];
  await until(async () => !(await connections()).some(({ vhost, user_provided_name: name }) => vhost === host.name && name?.startsWith('spindle')), {
    timeoutMs: 20_000,
    what: 'its connections to be gone',
  });
});
