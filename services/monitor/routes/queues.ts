/** The route for the queues: what waits for which stage, since when, and who reads it. */
import { deadLetterQueue } from '../../../shared/bus/dead-letter.ts';
import type { QueueState } from '../../../shared/bus/queue-report.ts';
import { isoTime } from '../../../shared/clock/clock.ts';
import { type App, apiPrefix } from '../../../shared/http/section.ts';
import type { MonitorPorts } from '../ports.ts';
import { type PublicQueue, QueueList } from '../view.ts';
import { longestWaits } from '../waiting.ts';

export function queueRoutes(app: App, ports: MonitorPorts): void {
  const { builds, bus, queues, topology, clock, logger } = ports;

  const reported = async (): Promise<{ readonly states: ReadonlyMap<string, QueueState>; readonly problem: string | null }> => {
    try {
      return { states: new Map((await queues.queues()).map((state) => [state.name, state])), problem: null };
    } catch (error) {
      logger.warn({ err: error }, 'the bus does not tell of its queues');
      return { states: new Map(), problem: error instanceof Error ? error.message : String(error) };
    }
  };

  const oldestLetter = async (states: ReadonlyMap<string, QueueState>): Promise<string | undefined> =>
    (states.get(deadLetterQueue)?.depth ?? 0) > 0 ? (await bus.deadLetters(1))[0]?.at : undefined;

  app.route({
    method: 'GET',
    url: `${apiPrefix}/queues`,
    schema: {
      tags: ['queues'],
      summary: 'What waits for which stage',
      description:
        'The builds that wait for a slot, then every queue of the bus. The bus tells of messages: depth, rates, consumers. How long the oldest has waited comes from the builds themselves.',
      response: { 200: QueueList },
    },
    handler: async () => {
      const [{ states, problem }, waits, depth, inHand, [first]] = await Promise.all([
        reported(),
        longestWaits(builds),
        builds.count({ index: 'byPhase', prefix: ['queued'] }),
        builds.count({ index: 'byPhase', prefix: ['active'] }),
        builds.find({ index: 'byPhase', prefix: ['queued'], limit: 1 }),
      ]);
      const now = clock.now();
      const letter = await oldestLetter(states);
      const oldest = (since: string | undefined) => {
        const at = Date.parse(since ?? '');
        // The time of a dead letter is a header that somebody else may have written.
        if (Number.isNaN(at)) return { oldestSince: null, oldestAgeSeconds: null };
        return { oldestSince: isoTime(at), oldestAgeSeconds: Math.max(0, Math.round((now - at) / 100) / 10) };
      };
      const item = (name: string, stage: string | null, since: string | undefined): PublicQueue => {
        const { depth: length = null, inHand: taken = null, publishRate = null, ackRate = null, consumers = null } = states.get(name) ?? {};
        return { name, stage, depth: length, inHand: taken, ...oldest(since), publishRate, ackRate, consumers };
      };
      const waitingBuilds = {
        name: 'scheduler.queued',
        stage: 'scheduler',
        depth,
        inHand,
        ...oldest(first?.document.stage?.waitingSince),
        publishRate: null,
        ackRate: null,
        consumers: null,
      };
      const items = topology.queues.map(({ name }) => item(name, name.split('.')[0] ?? name, waits.get(name)));
      return { meta: { at: isoTime(now), problem }, items: [waitingBuilds, ...items, item(deadLetterQueue, null, letter)] };
    },
  });
}
