/** Starts the monitor: its routes on an address of its own, or for another service's address to serve too. */
import { restApp } from '../../shared/http/app.ts';
import type { RestSection } from '../../shared/http/section.ts';
import type { ServiceHost } from '../../shared/stage/service-host.ts';
import { workerCollection } from '../../shared/workers/worker.ts';
import { monitorSection } from './service.ts';

export async function monitorOf({ adapters, builds, topology, logger }: ServiceHost): Promise<RestSection> {
  const { store, bus, queues, clock } = adapters;
  return monitorSection({ builds, workers: await store.collection(workerCollection), bus, queues, topology, clock, logger });
}

export async function startMonitor(host: ServiceHost): Promise<{ readonly url: string }> {
  const { config, adapters, life, logger } = host;
  const { listen, publicUrl } = config;
  const app = await restApp({ ...adapters, logger, publicUrl, listenHost: listen.host }, [await monitorOf(host)]);
  const url = await app.listen({ host: listen.host, port: listen.port });
  life.add('monitor', () => app.close());
  return { url };
}
