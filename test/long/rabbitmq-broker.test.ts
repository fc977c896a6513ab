/**
 * The whole pipeline on RabbitMQ through a broker's bad days: it times deliveries out, is killed, falls silent, takes no messages. On a broker of its own, whose patience for
 * unanswered messages is seconds instead of half an hour.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Bus } from '../../shared/bus/bus.ts';
import { rabbitMqBus } from '../../shared/bus/rabbitmq.ts';
import { pipelineTopology } from '../../shared/bus/topology.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { memoryStore } from '../../shared/store/memory.ts';
import { managementApi, type OwnRabbitMq, rabbitMqMissing, startRabbitMq, type VirtualHost, virtualHost } from '../support/servers/rabbitmq.ts';
import { silentLog } from '../support/stage-world.ts';
import { until } from '../support/until.ts';
import { pipelineReleases, startWholePipeline, type WholePipeline, type WholePipelineOptions } from '../support/whole-pipeline.ts';

/** The broker looks for overdue answers each second, and closes the channel of one that is 2 s overdue. */
const consumerTimeoutMs = 2_000;
const clock = systemClock();

describe.skipIf(rabbitMqMissing() !== undefined)(
  `the pipeline on a RabbitMQ with bad days${rabbitMqMissing() ? ` (${rabbitMqMissing()})` : ''}`,
  { timeout: 120_000 },
  () => {
    let server: OwnRabbitMq;
    let host: VirtualHost;
    let assertedAt = 0;
    /** One for all: what one test leaves in the queues is about builds that the next one finds. */
    const store = memoryStore();
    const closers: (() => Promise<void>)[] = [];

    beforeAll(async () => {
      server = await startRabbitMq({ settings: { consumer_timeout: consumerTimeoutMs, channel_tick_interval: 1_000 } });
      host = await virtualHost(server, 'pipeline');
      const bus = rabbitMqBus({ url: host.url, clock, worker: 'first' });
      await bus.assert(pipelineTopology(pipelineReleases));
      assertedAt = performance.now();
      await bus.close();
    }, 120_000);
    /** RabbitMQ 3.10 writes down only now and then which queues it has: one that is younger is broken after a crash. */
    const killBroker = async () => {
      await until(() => performance.now() - assertedAt > 3_000);
      await server.kill();
    };
    afterAll(() => server?.stop());
    afterEach(async () => {
      for (const close of closers.splice(0).reverse()) await close();
    }, 60_000);

    const start = async (
      options: Partial<WholePipelineOptions> = {},
    ): Promise<{
      readonly pipeline: WholePipeline;
      readonly bus: Bus;
      readonly troubles: readonly string[];
    }> => {
      const troubles: string[] = [];
      const bus = rabbitMqBus({
        url: `${host.url}?heartbeat=1`,
        clock,
        worker: 'test',
        onTrouble: (error, what) => troubles.push(`${what}: ${error instanceof Error ? error.message : ''}`),
      });
      closers.push(() => bus.close());
      await bus.assert(pipelineTopology(pipelineReleases));
      const pipeline = await startWholePipeline({ store, bus, clock, logger: silentLog, handlers: 'real', slots: 4, inFlightMax: 16, ...options });
      closers.push(() => pipeline.stop());
      return { pipeline, bus, troubles };
    };

    const ended = (pipeline: WholePipeline, id: string) =>
      until(
        async () => {
          const build = (await pipeline.builds.get(id))?.document;
          return build?.state === 'finished' || build?.state === 'failed' ? build : undefined;
        },
        { timeoutMs: 60_000, what: `the end of ${id}` },
      );
    const finished = (pipeline: WholePipeline) => pipeline.builds.count({ index: 'byState', prefix: ['finished'] });
    /** Messages that wait or are in hand, over all queues but the dead letters. */
    const left = async () => {
      const queues = (await managementApi(
        server.managementUrl,
        'GET',
        `queues/${encodeURIComponent(host.name)}?disable_stats=true&enable_queue_totals=true`,
      )) as {
        name: string;
        messages?: number;
      }[];
      return queues.filter(({ name }) => name !== 'spindle.dead-letters').reduce((sum, { messages = 0 }) => sum + messages, 0);
    };
    const isReady = (bus: Bus) =>
      bus.ping().then(
        () => true,
        () => false,
      );

    test('builds go through all stages, each once, and leave nothing in a queue', async () => {
      const { pipeline, bus } = await start();
      const before = await finished(pipeline);
      await pipeline.run(30, 60_000);
      expect((await finished(pipeline)) - before).toBe(30);
      await until(async () => (await left()) === 0, { timeoutMs: 20_000, what: 'empty queues' });
      expect(await bus.deadLetters(10)).toEqual([]);
    });

    test('a stage runs once though it takes longer than the broker waits for an answer', async () => {
      const runs: string[] = [];
      const { pipeline, bus, troubles } = await start({
        before: async (stage) => {
          runs.push(stage);
          // A long stage, whose message is answered at its claim; and the resolver, which is quick as a rule and keeps its message.
          if (stage === 'image-builder' || stage === 'resolver') await clock.sleep(2.5 * consumerTimeoutMs);
        },
      });
      const id = await pipeline.submit();
      expect((await ended(pipeline, id)).state).toBe('finished');
      expect(runs.sort()).toEqual(['boot-test', 'image-builder', 'resolver', 'side-repo', 'uploader']);
      await until(async () => (await left()) === 0, { timeoutMs: 20_000, what: 'empty queues' });
      expect(await bus.deadLetters(10)).toEqual([]);
      expect(troubles).toEqual([]);
    });

    test('a broker that is killed in the middle of a build and comes back: the build runs on and is not built twice', async () => {
      const runs: string[] = [];
      let release = () => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      const { pipeline, bus } = await start({
        before: async (stage) => {
          runs.push(stage);
          if (stage === 'image-builder') await held;
        },
      });
      const id = await pipeline.submit();
      await until(() => runs.includes('image-builder'), { timeoutMs: 20_000 });
      await killBroker();
      await until(async () => !(await isReady(bus)), { timeoutMs: 20_000, what: 'the bus to be not ready' });
      release();
      // It commits without the broker; what it commits goes out when the broker is back.
      await until(async () => (await pipeline.builds.get(id))?.document.state === 'boot-testing', { timeoutMs: 20_000 });
      await server.start();
      await until(() => isReady(bus), { timeoutMs: 30_000, what: 'the bus to be ready again' });
      expect((await ended(pipeline, id)).state).toBe('finished');
      expect(runs.sort()).toEqual(['boot-test', 'image-builder', 'resolver', 'side-repo', 'uploader']);
    });

    test('a stream of builds goes on when the broker is killed under it, and each ends once', async () => {
      const { pipeline, bus } = await start();
      const before = await finished(pipeline);
      const done = pipeline.run(150, 100_000);
      await until(async () => (await finished(pipeline)) - before > 20, { timeoutMs: 30_000 });
      await killBroker();
      await until(async () => !(await isReady(bus)), { timeoutMs: 20_000 });
      await server.start();
      await done;
      expect((await finished(pipeline)) - before).toBe(150);
      expect(await bus.deadLetters(10)).toEqual([]);
      await until(async () => (await left()) === 0, { timeoutMs: 30_000, what: 'empty queues' });
    });

    test('a broker that falls silent is noticed, and worked with again when it speaks', async () => {
      const { pipeline, bus } = await start();
      server.pause();
      try {
        await until(async () => !(await isReady(bus)), { timeoutMs: 20_000, what: 'the bus to be not ready' });
        await expect(bus.publish({ id: 'x', routingKey: 'build.requested', body: '{}' })).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
      } finally {
        server.resume();
      }
      await until(() => isReady(bus), { timeoutMs: 30_000, what: 'the bus to be ready again' });
      const id = await pipeline.submit();
      expect((await ended(pipeline, id)).state).toBe('finished');
    });

    test('a broker that is short of memory takes no messages, which is said; what was read is still answered; it goes on when there is memory', async () => {
      const { bus } = await start();
      const seen: string[] = [];
      await bus.assert({ queues: [{ name: 'extra', bindings: ['extra'] }] });
      await bus.publish({ id: 'before', routingKey: 'extra', body: '' });
      await server.control('set_vm_memory_high_watermark', '0.00001');
      try {
        // The broker tells it to a connection that publishes, and that message may still be taken.
        await until(
          async () => {
            void bus.publish({ id: 'during', routingKey: 'extra', body: '' }).catch(() => undefined);
            return !(await isReady(bus));
          },
          { timeoutMs: 20_000, what: 'the bus to be not ready' },
        );
        const refused = bus.publish({ id: 'refused', routingKey: 'extra', body: '' }).catch((error: unknown) => error);

        await bus.subscribe({ queues: ['extra'], prefetch: 1 }, async ({ id }) => {
          seen.push(id);
          return 'ack';
        });
        await until(() => seen.includes('before'));
        await until(async () => ((await managementApi(server.managementUrl, 'GET', `queues/${host.name}/extra`)) as { messages?: number }).messages === 0, {
          timeoutMs: 20_000,
          what: 'the answer to arrive',
        });
        expect(await refused).toMatchObject({ code: 'BUS_UNAVAILABLE' });
      } finally {
        await server.control('set_vm_memory_high_watermark', '0.6');
      }
      await until(() => isReady(bus), { timeoutMs: 30_000, what: 'the bus to be ready again' });
      await bus.publish({ id: 'after', routingKey: 'extra', body: '' });
      await until(() => seen.includes('after'));
    });
  },
);
