/** What the benchmarks over RabbitMQ measure on: a broker of their own with Spindle's queues, the embedded store, and the bare relay beside them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rabbitMqBus } from '../../shared/bus/rabbitmq.ts';
import { pipelineTopology } from '../../shared/bus/topology.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { createLog } from '../../shared/log/log.ts';
import { openEmbeddedStore } from '../../shared/store/embedded.ts';
import { startRabbitMq, virtualHost } from '../support/servers/rabbitmq.ts';
import { pipelineReleases, startWholePipeline, type WholePipeline } from '../support/whole-pipeline.ts';
import { type BareRelay, bareRelay } from './rabbitmq-relay.ts';

interface RabbitMqWorld {
  readonly pipeline: WholePipeline;
  readonly relay: BareRelay;
  /** Of the embedded store, so far. */
  commits(): number;
}

export async function overRabbitMq(
  {
    name,
    relay: relayOptions,
    pipeline: pipelineOptions,
  }: {
    /** Of the virtual host. */
    readonly name: string;
    readonly relay: Parameters<typeof bareRelay>[1];
    readonly pipeline: Omit<Parameters<typeof startWholePipeline>[0], 'store' | 'bus' | 'clock' | 'logger'>;
  },
  measure: (world: RabbitMqWorld) => Promise<void>,
): Promise<void> {
  const clock = systemClock();
  const server = await startRabbitMq();
  const directory = await mkdtemp(join(tmpdir(), 'spindle-bench-'));
  const store = await openEmbeddedStore({ path: join(directory, 'spindle.sqlite') });
  const host = await virtualHost(server, name);
  const bus = rabbitMqBus({ url: host.url, clock, worker: 'bench' });
  const relay = await bareRelay(host.url, relayOptions);
  try {
    await bus.assert(pipelineTopology(pipelineReleases));
    const pipeline = await startWholePipeline({ store, bus, clock, logger: createLog({ level: 'silent' }), ...pipelineOptions });
    await measure({ pipeline, relay, commits: () => store.commits });
    await pipeline.stop();
  } finally {
    await relay.stop();
    await bus.close();
    await store.close();
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  }
}
