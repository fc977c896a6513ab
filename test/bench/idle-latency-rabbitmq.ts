/**
 * What Spindle adds, over RabbitMQ, between the 202 and the start of the image tool: one build on idle services with the real handlers, every step a durable commit in the embedded store, and
 * child processes that take no time. The reference is one message relayed by amqplib alone over as many queues, as idle.
 */
import { isEnded } from '../../shared/build/states.ts';
import { until } from '../support/until.ts';
import { compare, print } from './figure.ts';
import { overRabbitMq } from './rabbitmq-world.ts';

/** Queues before the image tool starts: of the resolver, the side repository and the image builder. */
const hops = 3;
const rounds = 15;
const endMsMax = 30_000;

export async function idleLatencyRabbitMq(): Promise<void> {
  let toolStartedAt = 0;
  const onProgram = (command: string) => {
    if (command === 'kiwi-ng' && toolStartedAt === 0) toolStartedAt = performance.now();
  };
  const real = { handlers: 'real', slots: 2, inFlightMax: 4, onProgram } as const;
  await overRabbitMq({ name: 'idle', relay: { hops, prefetch: 1 }, pipeline: real }, async ({ pipeline, relay }) => {
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
  });
}
