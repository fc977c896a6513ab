/** RabbitMQ's management plugin against the queue report contract, on a real broker; and answers that are not the plugin's. */
import { describe, expect, test } from 'vitest';
import { rabbitMqBus } from '../../shared/bus/rabbitmq.ts';
import { rabbitMqManagement } from '../../shared/bus/rabbitmq-management.ts';
import { systemClock } from '../../shared/clock/system.ts';
import type { Egress } from '../../shared/egress/egress.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import { virtualHost } from '../support/servers/rabbitmq.ts';
import { sharedRabbitMq } from '../support/servers/shared.ts';
import { queueReportContract } from './queue-report.contract.ts';

const clock = systemClock();

queueReportContract(
  'RabbitMQ',
  async () => {
    const server = await sharedRabbitMq();
    if (typeof server === 'string') return server;
    const host = await virtualHost(server, `report/${process.pid}`);
    const egress = httpEgress({ userAgent: 'test', allow: [new URL(server.managementUrl).host] });
    return {
      bus: rabbitMqBus({ url: host.url, clock, worker: 'test' }),
      report: rabbitMqManagement({ egress, url: server.managementUrl, virtualHost: host.name }),
      dispose: async () => {
        await egress.close();
        await host.remove();
      },
    };
  },
  150_000,
);

describe('what is not the plugin', () => {
  const answering = (status: number, text: string): Pick<Egress, 'fetchText'> => ({ fetchText: async ({ url }) => ({ status, headers: {}, url, text }) });
  const report = (egress: Pick<Egress, 'fetchText'>) => rabbitMqManagement({ egress, url: 'http://user:hunter2@broker.example:15672/', virtualHost: '/' });

  test('is said to be none, without the password', async () => {
    for (const [status, text, said] of [
      [401, '{"error":"not_authorized"}', 'refuses the user and password'],
      [404, '', 'answers with status 404'],
      [200, '<html>', 'does not answer as RabbitMQ does'],
      [200, '{"items":[]}', 'does not answer as RabbitMQ does'],
      [200, '[{"name":"one","messages_ready":-1}]', 'does not answer as RabbitMQ does'],
    ] as const) {
      const refusal = await report(answering(status, text))
        .queues()
        .catch((error: unknown) => error);
      expect(refusal).toMatchObject({ code: 'BUS_UNAVAILABLE', message: expect.stringContaining(said) });
      expect(String(refusal)).not.toContain('hunter2');
    }
    await expect(report({ fetchText: () => Promise.reject(new Error('ECONNREFUSED')) }).queues()).rejects.toMatchObject({
      code: 'BUS_UNAVAILABLE',
      message: expect.stringContaining('broker.example:15672 cannot be reached (ECONNREFUSED)'),
    });
  });

  test('a queue without figures yet, and one of which the plugin says more than is asked', async () => {
    const text = JSON.stringify([
      { name: 'new' },
      { name: 'busy', messages_ready: 7, consumers: 1, more: {}, message_stats: { ack_details: { avg_rate: 1.26, rate: 0 } } },
    ]);
    expect(await report(answering(200, text)).queues()).toEqual([
      { name: 'new', depth: 0, inHand: 0, consumers: 0, publishRate: 0, ackRate: 0 },
      { name: 'busy', depth: 7, inHand: 0, consumers: 1, publishRate: 0, ackRate: 1.26 },
    ]);
  });
});
