/**
 * Builds a second through all stages over RabbitMQ: every event a quorum-queue message with confirm and acknowledgement, every step a durable commit in the embedded store, stages whose
 * work takes no time. The reference relays messages over as many queues with amqplib alone.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rabbitMqBus } from '../../shared/bus/rabbitmq.ts';
import { pipelineTopology } from '../../shared/bus/topology.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { createLog } from '../../shared/log/log.ts';
import { openEmbeddedStore } from '../../shared/store/embedded.ts';
import { startRabbitMq, virtualHost } from '../support/servers/rabbitmq.ts';
import { pipelineReleases, startWholePipeline } from '../support/whole-pipeline.ts';
import { compare, print } from './figure.ts';
import { bareRelay } from './rabbitmq-relay.ts';

/** Queues that a build's events go through: of the resolver, the side repository, the image builder, the boot test, the uploader, the notifier. */
const hops = 6;
const atOnce = 256;
const rounds = 5;
const buildsPerRound = 2_000;
const roundMs = 120_000;

const clock = systemClock();

export async function pipelineRabbitMq(): Promise<void> {
  const server = await startRabbitMq();
  const directory = await mkdtemp(join(tmpdir(), 'spindle-bench-'));
  const store = await openEmbeddedStore({ path: join(directory, 'spindle.sqlite') });
  const host = await virtualHost(server, 'pipeline');
  const bus = rabbitMqBus({ url: host.url, clock, worker: 'bench' });
  const relay = await bareRelay(host.url, { hops, prefetch: atOnce });
  try {
    await bus.assert(pipelineTopology(pipelineReleases));
    const pipeline = await startWholePipeline({
      store,
      bus,
      clock,
      logger: createLog({ level: 'silent' }),
      handlers: 'instantaneous',
      slots: atOnce,
      inFlightMax: atOnce,
    });
    const ours = async (count: number) => {
      const finishedBefore = await pipeline.builds.count({ index: 'byState', prefix: ['finished'] });
      const startedAt = performance.now();
      await pipeline.run(count, roundMs);
      const seconds = (performance.now() - startedAt) / 1000;
      const finished = (await pipeline.builds.count({ index: 'byState', prefix: ['finished'] })) - finishedBefore;
      if (finished !== count) throw new Error(`only ${finished} of ${count} builds finished`);
      return count / seconds;
    };
    await ours(300);
    await relay.throughput(300, atOnce);
    const commitsBefore = store.commits;
    const figure = await compare(rounds, { ours: () => ours(buildsPerRound), reference: () => relay.throughput(buildsPerRound, atOnce) });
    print('pipeline-rabbitmq', 'builds/s', figure, { hops, atOnce, commitsPerBuild: (store.commits - commitsBefore) / (rounds * buildsPerRound) });
    await pipeline.stop();
  } finally {
    await relay.stop();
    await bus.close();
    await store.close();
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  }
}
