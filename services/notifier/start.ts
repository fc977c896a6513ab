/** Starts the notifier in a process, alone or beside others. */
import { stageQueue } from '../../shared/bus/topology.ts';
import type { ServiceHost } from '../../shared/stage/service-host.ts';
import { deliveryCollection } from './delivery.ts';
import { runNotifier } from './service.ts';

export async function startNotifier({ adapters, builds, config, life, logger }: ServiceHost): Promise<void> {
  const { store, bus, files, mail, clock } = adapters;
  const deliveries = await store.collection(deliveryCollection);
  const notifier = await runNotifier(
    { bus, builds, deliveries, files, mail, clock, logger, publicUrl: config.publicUrl },
    { queues: [stageQueue('notifier', 'build.ended')] },
  );
  life.add('notifier', () => notifier.stop());
}
