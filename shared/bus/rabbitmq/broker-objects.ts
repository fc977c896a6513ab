/**
 * What a topology is on RabbitMQ: exchanges, quorum queues with their arguments, bindings. As data, to print, compare and assert. The same on 3.10 and 4.x: arguments whose default
 * differs between them are always given, so that a broker can be upgraded under its queues. Pure.
 */
import type { Topology } from '../bus.ts';
import { deadLetterQueue } from '../dead-letter.ts';

/** Stage events; the key is the event's type. Nothing binds `#` here, so that a message that is not returned has reached its stage. */
export const stageExchange = 'spindle';
/** Everything that comes here goes to the one queue below, under the key that it had. */
export const deadLetterExchange = 'spindle.dead-letter';
/** Broadcasts: every process hears all, and sorts them by topic itself. */
export const broadcastExchange = 'spindle.broadcast';

interface BrokerExchange {
  readonly name: string;
  readonly type: 'topic' | 'fanout';
}

interface BrokerQueue {
  readonly name: string;
  readonly arguments: Readonly<Record<string, string | number>>;
}

interface BrokerBinding {
  readonly queue: string;
  readonly exchange: string;
  readonly key: string;
}

/** All of it is durable. */
export interface BrokerObjects {
  readonly exchanges: readonly BrokerExchange[];
  readonly queues: readonly BrokerQueue[];
  readonly bindings: readonly BrokerBinding[];
}

/** Messages in one queue. Beyond it the broker refuses, and the outbox keeps the event: a queue that grows so long has no reader. */
const lengthMax = 200_000;
/** A message that came back unanswered so often takes its readers down with it. Handing back with a word does not count. */
const deliveriesMaxDefault = 50;
/** Reading the letters hands them out and gives them back, and that must never use one up. Version 3 has no limit by default, version 4 has 20; this is the highest that both take. */
const lettersReadMax = 2_147_483_647;

export function brokerObjects(topology: Topology): BrokerObjects {
  return {
    exchanges: [
      { name: stageExchange, type: 'topic' },
      { name: deadLetterExchange, type: 'fanout' },
      { name: broadcastExchange, type: 'fanout' },
    ],
    queues: [
      { name: deadLetterQueue, arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': lettersReadMax } },
      ...topology.queues.map(({ name, deliveriesMax = deliveriesMaxDefault }) => ({
        name,
        arguments: {
          'x-queue-type': 'quorum',
          'x-delivery-limit': deliveriesMax,
          'x-dead-letter-exchange': deadLetterExchange,
          // The broker forgets the message only once the dead-letter queue has it. That needs `reject-publish`.
          'x-dead-letter-strategy': 'at-least-once',
          'x-overflow': 'reject-publish',
          'x-max-length': lengthMax,
        },
      })),
    ],
    bindings: [
      { queue: deadLetterQueue, exchange: deadLetterExchange, key: '' },
      ...topology.queues.flatMap(({ name, bindings }) => bindings.map((key) => ({ queue: name, exchange: stageExchange, key }))),
    ],
  };
}

/** One line an object, as a person would read it. */
export function printBrokerObjects({ exchanges, queues, bindings }: BrokerObjects): string {
  const words = (queue: BrokerQueue) =>
    Object.entries(queue.arguments)
      .map(([name, value]) => `${name}=${value}`)
      .join(' ');
  const keysOf = (queue: string) => bindings.filter((binding) => binding.queue === queue);
  return [
    ...exchanges.map(({ name, type }) => `exchange ${name} type=${type} durable`),
    ...queues.flatMap((queue) => [
      `queue ${queue.name} durable ${words(queue)}`,
      ...keysOf(queue.name).map(({ exchange, key }) => `  bound to ${exchange} by ${key === '' ? 'everything' : key}`),
    ]),
    '',
  ].join('\n');
}
