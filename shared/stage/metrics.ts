/** What a service's process tells Prometheus: the stages it ran, how the queues stand where it watches them, and the process itself. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Topology } from '../bus/bus.ts';
import { deadLetterQueue } from '../bus/dead-letter.ts';
import type { QueueReport } from '../bus/queue-report.ts';

export interface ServiceMetrics {
  readonly stageEnded: (run: { readonly stage: string; readonly outcome: string; readonly durationMs: number }) => void;
  /** From now on each look asks for the queues; where the bus does not tell, they are left out. */
  watchQueues(report: QueueReport, topology: Topology): void;
  /** In the text format of Prometheus. */
  readonly text: () => Promise<{ readonly contentType: string; readonly body: string }>;
}

/** Labels are names of ours only, so that there are never many: no build, no host, nothing that a requester wrote. */
export function serviceMetrics({ service, version }: { readonly service: string; readonly version: string }): ServiceMetrics {
  const registry = new Registry();
  const registers = [registry];
  registry.setDefaultLabels({ service });
  collectDefaultMetrics({ register: registry });
  new Gauge({ name: 'spindle_build_info', help: 'Always 1; the version is a label', labelNames: ['version'], registers }).set({ version }, 1);
  const runs = new Counter({ name: 'spindle_stage_runs_total', help: 'Runs of a stage that ended, by how', labelNames: ['stage', 'outcome'], registers });
  const durations = new Histogram({
    name: 'spindle_stage_duration_seconds',
    help: 'How long runs of a stage took',
    labelNames: ['stage'],
    buckets: [0.1, 1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14_400],
    registers,
  });
  let refresh = async (): Promise<void> => undefined;
  return {
    stageEnded: ({ stage, outcome, durationMs }) => {
      runs.inc({ stage, outcome });
      durations.observe({ stage }, durationMs / 1000);
    },
    watchQueues: (report, topology) => {
      const known = new Set([deadLetterQueue, ...topology.queues.map(({ name }) => name)]);
      const gauge = (name: string, help: string) => new Gauge({ name, help, labelNames: ['queue'], registers });
      const depth = gauge('spindle_queue_depth', 'Messages that wait in a queue');
      const inHand = gauge('spindle_queue_in_hand', 'Messages in the hands of readers');
      const consumers = gauge('spindle_queue_consumers', 'Readers of a queue');
      refresh = async () => {
        const states = await report.queues().catch(() => []);
        for (const each of [depth, inHand, consumers]) each.reset();
        for (const { name: queue, ...state } of states.filter(({ name }) => known.has(name))) {
          depth.set({ queue }, state.depth);
          inHand.set({ queue }, state.inHand);
          consumers.set({ queue }, state.consumers);
        }
      };
    },
    text: async () => {
      await refresh();
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}
