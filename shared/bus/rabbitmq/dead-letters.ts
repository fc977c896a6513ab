/** Reads the dead letters out of their queue without taking them from it. */
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { SpindleError } from '../../build/failure.ts';
import { type Clock, timestamp } from '../../clock/clock.ts';
import type { DeadLetter } from '../dead-letter.ts';
import { deadLetterQueue } from './broker-objects.ts';
import { openChannel } from './link.ts';
import { letterOf } from './wire.ts';

/** Of the front of the queue, which holds the oldest. */
const lettersReadMax = 2_000;
const bytesReadMax = 64 * 1024 * 1024;
/** The broker says how many there are; should some be on their way to another reader that is just giving them back, this ends the wait. */
const silenceMs = 1_000;
const othersWaitMs = 5_000;
const accessRefused = 403;

/** Oldest first, the same id once, at most `limit`. One reader at a time, over all hosts: what one has in hand another would not see. */
export async function readDeadLetters(model: ChannelModel, clock: Pick<Clock, 'now' | 'after' | 'sleep'>, limit: number): Promise<readonly DeadLetter[]> {
  const giveUpAt = clock.now() + othersWaitMs;
  for (;;) {
    try {
      const messages = await look(model, clock);
      const letters = new Map<string, DeadLetter>();
      for (const message of messages) {
        const letter = letterOf(message, timestamp(clock));
        if (!letters.has(letter.id)) letters.set(letter.id, letter);
      }
      return [...letters.values()].sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0)).slice(0, limit);
    } catch (error) {
      const isTaken = (error as { code?: unknown } | null)?.code === accessRefused;
      if (!isTaken || clock.now() > giveUpAt) {
        throw new SpindleError('BUS_UNAVAILABLE', `the dead letters could not be read: ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        });
      }
      await clock.sleep(50);
    }
  }
}

async function look(model: ChannelModel, clock: Pick<Clock, 'after'>): Promise<readonly ConsumeMessage[]> {
  const channel: Channel = await openChannel(model.createChannel());
  try {
    const { messageCount } = await channel.checkQueue(deadLetterQueue);
    const wanted = Math.min(messageCount, lettersReadMax);
    if (wanted === 0) return [];
    await channel.prefetch(wanted);
    return await new Promise((resolve, reject) => {
      const messages: ConsumeMessage[] = [];
      let bytes = 0;
      let forget = () => {};
      const end = () => {
        forget();
        resolve(messages);
      };
      const waitOn = () => {
        forget();
        forget = clock.after(silenceMs, end);
      };
      channel.once('close', () => {
        forget();
        reject(new Error('the connection was lost'));
      });
      waitOn();
      channel
        .consume(
          deadLetterQueue,
          (message) => {
            if (message === null) return end();
            messages.push(message);
            bytes += message.content.length;
            if (messages.length >= wanted || bytes > bytesReadMax) end();
            else waitOn();
          },
          { exclusive: true },
        )
        .catch((error: unknown) => {
          forget();
          reject(error);
        });
    });
  } finally {
    // Closing gives them all back.
    await channel.close().catch(() => undefined);
  }
}
