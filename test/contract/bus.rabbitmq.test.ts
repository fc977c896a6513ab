/** The RabbitMQ bus against the bus contract, on a real broker. */

import { rabbitMqBus } from '../../shared/bus/rabbitmq.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { virtualHost } from '../support/servers/rabbitmq.ts';
import { sharedRabbitMq } from '../support/servers/shared.ts';
import { tcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/until.ts';
import { busContract } from './bus.contract.ts';

let count = 0;

busContract(
  'RabbitMQ',
  async () => {
    const server = await sharedRabbitMq();
    if (typeof server === 'string') return server;
    count += 1;
    const host = await virtualHost(server, `bus-contract-${process.pid}-${count}`);
    const proxy = await tcpProxy({ host: new URL(host.url).hostname, port: Number(new URL(host.url).port) });
    const proxied = new URL(host.url);
    proxied.hostname = '127.0.0.1';
    proxied.port = String(proxy.port);
    const clock = systemClock();
    const bus = rabbitMqBus({ url: host.url, clock, worker: 'one' });
    const other = rabbitMqBus({ url: proxied.href, clock, worker: 'other' });
    // The contract's second client is there from the start.
    await until(() =>
      other.ping().then(
        () => true,
        () => false,
      ),
    );
    return {
      bus,
      other,
      cutOther: async () => {
        proxy.cut();
        await until(() =>
          other.ping().then(
            () => false,
            () => true,
          ),
        );
      },
      dispose: async () => {
        await proxy.close();
        await host.remove();
      },
    };
  },
  { ordered: true },
);
