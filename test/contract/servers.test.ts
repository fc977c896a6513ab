/** The real servers of the tests themselves: one a run, shared, with something of its own for each test. */
import { expect, test } from 'vitest';
import { managementApi, virtualHost } from '../support/servers/rabbitmq.ts';
import { sharedRabbitMq } from '../support/servers/shared.ts';

test('the run’s RabbitMQ is started once, and gives each test a virtual host', { timeout: 120_000 }, async ({ skip, onTestFinished }) => {
  const [server, again] = await Promise.all([sharedRabbitMq(), sharedRabbitMq()]);
  if (typeof server === 'string') return skip(server);
  expect(again).toEqual(server);
  const host = await virtualHost(server, 'servers test/1');
  onTestFinished(host.remove);
  expect(await managementApi(server.managementUrl, 'GET', `vhosts/${encodeURIComponent(host.name)}`)).toMatchObject({ name: 'servers test/1' });
  expect(new URL(host.url).pathname).toBe('/servers%20test%2F1');
});
