/** The queue report port on RabbitMQ's management plugin, whose HTTP interface is the only one that tells of rates. */
import { z } from 'zod';
import { SpindleError } from '../build/failure.ts';
import type { Egress } from '../egress/egress.ts';
import type { QueueReport } from './queue-report.ts';

const answerBytesMax = 8 * 1024 * 1024;
const answerTimeoutMs = 5_000;
/** Over the last minute, from a sample every 5 s: what the plugin keeps without being told to. */
const rates = { msg_rates_age: '60', msg_rates_incr: '5' };
const columns = [
  'name',
  'messages_ready',
  'messages_unacknowledged',
  'consumers',
  'message_stats.publish_details.avg_rate',
  'message_stats.ack_details.avg_rate',
].join(',');

const Rate = z.object({ avg_rate: z.number().nonnegative().optional() }).optional();
/** A queue that has just been made has no figures yet, and one without traffic no rates. */
const Queue = z.object({
  name: z.string(),
  messages_ready: z.number().int().nonnegative().default(0),
  messages_unacknowledged: z.number().int().nonnegative().default(0),
  consumers: z.number().int().nonnegative().default(0),
  message_stats: z.object({ publish_details: Rate, ack_details: Rate }).optional(),
});

/** `url`: of the plugin, with user and password. `virtualHost`: as AMQP names it. `egress` reaches that host. */
export function rabbitMqManagement({
  egress,
  url,
  virtualHost,
}: {
  readonly egress: Pick<Egress, 'fetchText'>;
  readonly url: string;
  readonly virtualHost: string;
}): QueueReport {
  const { protocol, host, username, password, pathname } = new URL(url);
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  const base = `${protocol}//${host}${pathname.replace(/\/+$/, '')}`;
  const unavailable = (what: string, cause?: unknown) =>
    new SpindleError(
      'BUS_UNAVAILABLE',
      `the management plugin of RabbitMQ at ${host} ${what}; is it enabled, and is SPINDLE_BUS_MANAGEMENT_URL right?`,
      cause === undefined ? {} : { cause },
    );
  return {
    queues: async () => {
      const asked = {
        url: `${base}/api/queues/${encodeURIComponent(virtualHost)}?${new URLSearchParams({ columns, ...rates })}`,
        headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}`, accept: 'application/json' },
        bytesMax: answerBytesMax,
        deadlineMs: answerTimeoutMs,
      };
      const answer = await egress.fetchText(asked).catch((error: unknown) => {
        throw unavailable(`cannot be reached (${error instanceof Error ? error.message : String(error)})`, error);
      });
      if (answer.status === 401) throw unavailable('refuses the user and password (401)');
      if (answer.status !== 200) throw unavailable(`answers with status ${answer.status}`);
      let parsed: readonly z.infer<typeof Queue>[];
      try {
        parsed = z.array(Queue).parse(JSON.parse(answer.text));
      } catch (error) {
        throw unavailable('does not answer as RabbitMQ does', error);
      }
      return parsed.map(({ name, messages_ready, messages_unacknowledged, consumers, message_stats: stats }) => ({
        name,
        depth: messages_ready,
        inHand: messages_unacknowledged,
        publishRate: rounded(stats?.publish_details?.avg_rate),
        ackRate: rounded(stats?.ack_details?.avg_rate),
        consumers,
      }));
    },
  };
}

const rounded = (rate: number | undefined) => Math.round((rate ?? 0) * 100) / 100;
