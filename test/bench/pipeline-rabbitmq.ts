/**
 * Builds a second through all stages over RabbitMQ: every event a quorum-queue message with confirm and acknowledgement, every step a durable commit in the embedded store, stages whose
 * work takes no time. The reference relays messages over as many queues with amqplib alone.
 */
import { compare, print } from './figure.ts';
import { overRabbitMq } from './rabbitmq-world.ts';

/** Queues that a build's events go through: of the resolver, the side repository, the image builder, the boot test, the uploader, the notifier. */
const hops = 6;
const atOnce = 256;
const rounds = 5;
const buildsPerRound = 2_000;
const roundMs = 120_000;

export async function pipelineRabbitMq(): Promise<void> {
  const instantaneous = { handlers: 'instantaneous', slots: atOnce, inFlightMax: atOnce } as const;
  await overRabbitMq({ name: 'pipeline', relay: { hops, prefetch: atOnce }, pipeline: instantaneous }, async ({ pipeline, relay, commits }) => {
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
    const commitsBefore = commits();
    const figure = await compare(rounds, { ours: () => ours(buildsPerRound), reference: () => relay.throughput(buildsPerRound, atOnce) });
    print('pipeline-rabbitmq', 'builds/s', figure, { hops, atOnce, commitsPerBuild: (commits() - commitsBefore) / (rounds * buildsPerRound) });
  });
}
