/** Makes the broker hold what a topology says, and tells what it holds otherwise. */
import type { Channel, ChannelModel } from 'amqplib';
import { SpindleError } from '../../build/failure.ts';
import type { BrokerObjects } from './broker-objects.ts';
import { openChannel } from './link.ts';

/** Queues of many members take the broker a while to make, and it makes several at once. */
const channelsMax = 4;

/**
 * Declares exchanges, then queues with their bindings. What the broker confirms is as it was asked for. Rejects with BUS_TOPOLOGY_DRIFT, with one sentence for each object
 * that is there in another shape, after everything else was declared; with BUS_UNAVAILABLE where the broker fails.
 */
export async function declareObjects(model: ChannelModel, { exchanges, queues, bindings }: BrokerObjects): Promise<void> {
  const drift: string[] = [];
  await runAll(
    model,
    exchanges.map(
      ({ name, type }) =>
        (channel) =>
          channel.assertExchange(name, type, { durable: true }),
    ),
    drift,
  );
  await runAll(
    model,
    queues.map((queue) => async (channel) => {
      await channel.assertQueue(queue.name, { durable: true, arguments: queue.arguments });
      for (const { exchange, key } of bindings.filter((binding) => binding.queue === queue.name)) await channel.bindQueue(queue.name, exchange, key);
    }),
    drift,
  );
  if (drift.length === 0) return;
  throw new SpindleError(
    'BUS_TOPOLOGY_DRIFT',
    `the broker holds ${drift.length === 1 ? 'a queue or exchange' : `${drift.length} queues or exchanges`} of another shape than this version of Spindle needs: ${drift[0]}; ` +
      'delete it on the broker once it is empty, and start again',
    { details: drift },
  );
}

type Declaration = (channel: Channel) => Promise<unknown>;

async function runAll(model: ChannelModel, declarations: readonly Declaration[], drift: string[]): Promise<void> {
  const left = [...declarations];
  const work = async () => {
    let channel: Channel | undefined;
    for (let next = left.shift(); next; next = left.shift()) {
      channel ??= await openChannel(model.createChannel());
      try {
        await next(channel);
      } catch (error) {
        // The broker closes a channel on which something was wrong.
        channel = undefined;
        const found = driftIn(error);
        if (found === undefined) throw unavailable(error);
        drift.push(found);
      }
    }
    await channel?.close();
  };
  try {
    await Promise.all(Array.from({ length: Math.min(channelsMax, declarations.length) }, work));
  } catch (error) {
    throw error instanceof SpindleError ? error : unavailable(error);
  }
}

const preconditionFailed = 406;

/** The broker's own words on what differs: `inequivalent arg 'x-delivery-limit' for queue 'a' in vhost '/': received '50' but current is '20'`. */
function driftIn(error: unknown): string | undefined {
  if (!(error instanceof Error) || (error as { code?: unknown }).code !== preconditionFailed) return undefined;
  return /PRECONDITION_FAILED - (.*?)"?$/s.exec(error.message)?.[1] ?? error.message;
}

function unavailable(error: unknown): SpindleError {
  return new SpindleError('BUS_UNAVAILABLE', `the broker did not make what Spindle needs: ${error instanceof Error ? error.message : String(error)}`, {
    cause: error,
  });
}
