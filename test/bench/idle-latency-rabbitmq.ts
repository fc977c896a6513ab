/**
 * What Spindle adds, over RabbitMQ, between the 202 and the start of the image tool: one build on idle services with the real handlers, every step a durable commit in the embedded store, and
 * child processes that take no time. The reference is one message relayed by amqplib alone over as many queues, as idle.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isEnded } from '../../shared/build/states.ts';
import { rabbitMqBus } from '../../shared/bus/rabbitmq.ts';
import { pipelineTopology } from '../../shared/bus/topology.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { createLog } from '../../shared/log/log.ts';
import { openEmbeddedStore } from '../../shared/store/embedded.ts';
import { startRabbitMq, virtualHost } from '../support/servers/rabbitmq.ts';
import { until } from '../support/until.ts';
import { pipelineReleases, startWholePipeline } from '../support/whole-pipeline.ts';
import { compare, print } from './figure.ts';
import { bareRelay } from './rabbitmq-relay.ts';

/** Queues before the image tool starts: of the resolver, the side repository and the image builder. */
const hops = 3;
const rounds = 15;
const endMsMax = 30_000;

const clock = systemClock();

export async function idleLatencyRabbitMq(): Promise<void> {
  const server = await startRabbitMq();
  const directory = await mkdtemp(join(tmpdir(), 'spindle-bench-'));
  const store = await openEmbeddedStore({ path: join(directory, 'spindle.sqlite') });
  const host = await virtualHost(server, 'idle');
  const bus = rabbitMqBus({ url: host.url, clock, worker: 'bench' });
  const relay = await bareRelay(host.url, { hops, prefetch: 1 });
  try {
    await bus.assert(pipelineTopology(pipelineReleases));
    let toolStartedAt = 0;
    const pipeline = await startWholePipeline({
      store,
      bus,
      clock,
      logger: createLog({ level: 'silent' }),
      handlers: 'real',
      slots: 2,
      inFlightMax: 4,
      onProgram: (command) => {
        if (command === 'kiwi-ng' && toolStartedAt === 0) toolStartedAt = performance.now();
      },
    });
    const ours = async () => {
      toolStartedAt = 0;
      // The build is stored, and the scheduler told: the moment of the 202.
      const id = await pipeline.submit();
      const acceptedAt = performance.now();
      await until(async () => isEnded((await pipeline.builds.get(id))?.document.state ?? 'queued'), { timeoutMs: endMsMax, what: 'the end of the build' });
      return toolStartedAt - acceptedAt;
    };
    for (let warm = 0; warm < 3; warm += 1) {
      await ours();
      await relay.latency();
    }
    print('idle-latency-rabbitmq', 'ms', await compare(rounds, { ours, reference: () => relay.latency() }), { hops });
    await pipeline.stop();
  } finally {
    await relay.stop();
    await bus.close();
    await store.close();
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  }
}
