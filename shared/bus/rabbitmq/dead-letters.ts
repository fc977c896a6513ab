/** Reads the dead letters out of their queue, and takes single ones from it. */
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { SpindleError } from '../../build/failure.ts';
import { type Clock, timestamp } from '../../clock/clock.ts';
import { type DeadLetter, deadLetterQueue, deadLettersMax } from '../dead-letter.ts';
import { openChannel } from './link.ts';
import { letterOf } from './wire.ts';

const bytesReadMax = 64 * 1024 * 1024;
/** The broker says how many there are; should one be taken out meanwhile, this ends the wait for it. */
const silenceMs = 1_000;
const othersWaitMs = 5_000;
/** Of AMQP: the queue belongs to another connection. */
const resourceLocked = 405;
const readerLock = 'spindle.dead-letters.reader';

/**
 * Oldest first, the same id once, at most `limit`. Reading hands the letters out and gives them back, so there is one reader at a time, over all hosts: what one has in hand
 * another would not see.
 */
export async function readDeadLetters(model: ChannelModel, clock: Pick<Clock, 'now' | 'after' | 'sleep'>, limit: number): Promise<readonly DeadLetter[]> {
  return withLetters(model, clock, async (messages) => {
    const letters = new Map<string, DeadLetter>();
    for (const message of messages) {
      const letter = letterOf(message, timestamp(clock));
      if (!letters.has(letter.id)) letters.set(letter.id, letter);
    }
    return { result: [...letters.values()].sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0)).slice(0, limit), done: [] };
  });
}

/** The bus port's `takeDeadLetter`. The letter stays in hand until `act` has resolved: one of the same id that comes meanwhile is another message. */
export async function takeDeadLetter(
  model: ChannelModel,
  clock: Pick<Clock, 'now' | 'after' | 'sleep'>,
  id: string,
  act: (letter: DeadLetter) => Promise<void>,
): Promise<boolean> {
  let refusal: { readonly reason: unknown } | undefined;
  const isTaken = await withLetters(model, clock, async (messages) => {
    const done = messages.filter((message) => letterOf(message, timestamp(clock)).id === id);
    const [first] = done;
    if (!first) return { result: false, done: [] };
    try {
      await act(letterOf(first, timestamp(clock)));
    } catch (reason) {
      refusal = { reason };
      return { result: false, done: [] };
    }
    return { result: true, done };
  });
  // As it came: it is not the broker's.
  if (refusal) throw refusal.reason;
  return isTaken;
}

/** Hands all letters to `act`, forgets those that it says are done, and gives the others back. */
async function withLetters<T>(
  model: ChannelModel,
  clock: Pick<Clock, 'now' | 'after' | 'sleep'>,
  act: (messages: readonly ConsumeMessage[]) => Promise<{ readonly result: T; readonly done: readonly ConsumeMessage[] }>,
): Promise<T> {
  try {
    return await withReaderLock(model, clock, async () => {
      const channel = await openChannel(model.createChannel());
      const messages = await handedOut(channel, clock);
      const { result, done } = await act(messages);
      for (const message of done) channel.ack(message);
      if (messages.length > done.length) channel.nackAll(true);
      await givenBack(channel, clock, messages.length - done.length);
      await channel.close();
      return result;
    });
  } catch (error) {
    throw new SpindleError('BUS_UNAVAILABLE', `the dead letters could not be read: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

/** A queue that only one connection may have says whose turn it is. It goes with its connection, and so never outlives a reader that died. */
async function withReaderLock<T>(model: ChannelModel, clock: Pick<Clock, 'now' | 'sleep'>, act: () => Promise<T>): Promise<T> {
  const giveUpAt = clock.now() + othersWaitMs;
  for (;;) {
    const channel = await openChannel(model.createChannel());
    try {
      await channel.assertQueue(readerLock, { exclusive: true, durable: false });
    } catch (error) {
      if ((error as { code?: unknown } | null)?.code !== resourceLocked || clock.now() > giveUpAt) throw error;
      await clock.sleep(50);
      continue;
    }
    try {
      return await act();
    } finally {
      await channel.deleteQueue(readerLock).catch(() => undefined);
      await channel.close().catch(() => undefined);
    }
  }
}

async function handedOut(channel: Channel, clock: Pick<Clock, 'now' | 'after' | 'sleep'>): Promise<readonly ConsumeMessage[]> {
  const { messageCount } = await channel.checkQueue(deadLetterQueue);
  const wanted = Math.min(messageCount, deadLettersMax);
  if (wanted === 0) return [];
  await channel.prefetch(wanted);
  const messages: ConsumeMessage[] = [];
  await new Promise<void>((resolve, reject) => {
    let bytes = 0;
    let forget = () => {};
    const waitOn = () => {
      forget();
      forget = clock.after(silenceMs, resolve);
    };
    channel.once('close', () => reject(new Error('the connection was lost')));
    waitOn();
    channel
      .consume(
        deadLetterQueue,
        (message) => {
          if (message === null) return resolve();
          messages.push(message);
          bytes += message.content.length;
          if (messages.length >= wanted || bytes > bytesReadMax) resolve();
          else waitOn();
        },
        { consumerTag: readerLock },
      )
      .catch(reject);
  });
  await channel.cancel(readerLock);
  return messages;
}

/** The next reader counts what is there: so it is not its turn before they are back. The broker's answer says also that it has heard what was said before. */
async function givenBack(channel: Channel, clock: Pick<Clock, 'now' | 'sleep'>, count: number): Promise<void> {
  const giveUpAt = clock.now() + silenceMs;
  while ((await channel.checkQueue(deadLetterQueue)).messageCount < count && clock.now() < giveUpAt) await clock.sleep(2);
}
