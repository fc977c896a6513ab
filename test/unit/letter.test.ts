/** Letters and their deliveries: one for each recipient and end, the same at each try, and nothing in them that a mail program would act on. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deliveriesOf, deliveryClaimed, deliveryCollection, deliveryGivenUp, deliveryPostponed, deliverySent } from '../../services/notifier/delivery.ts';
import { letterOf } from '../../services/notifier/letter.ts';
import { runNotifier } from '../../services/notifier/service.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import { stageQueue } from '../../shared/bus/topology.ts';
import { checkedLetter } from '../../shared/mail/checked-letter.ts';
import { type MemoryMail, memoryMail } from '../../shared/mail/memory.ts';
import { relayOutbox } from '../../shared/stage/outbox.ts';
import { buildIn, startMs } from '../support/build-records.ts';
import { type StageWorld, silentLog, stageWorld } from '../support/stage-world.ts';

const publicUrl = 'http://spindle.example';
const mailed = (...email: readonly string[]) => ({ notify: { email } });

/** Ends a build with these recipients and lets its end event out. */
async function endBuild(world: StageWorld, ...email: readonly string[]): Promise<string> {
  const build = { ...buildIn('finished', mailed(...email)), id: world.clock.id() };
  const document = { ...build, outbox: build.outbox.map((entry) => ({ ...entry, event: { ...entry.event, id: world.clock.id(), subject: build.id } })) };
  await world.builds.insert(document);
  await relayOutbox({ bus: world.bus, builds: world.builds }, { document, version: 1 });
  return build.id;
}

async function notifierIn(world: StageWorld, mail: Pick<MemoryMail, 'send'>) {
  const { bus, builds, files, clock, store } = world;
  const deliveries = await store.collection(deliveryCollection);
  const notifier = await runNotifier(
    { bus, builds, deliveries, files, clock, mail: { send: mail.send, close: async () => undefined }, logger: silentLog, publicUrl },
    { queues: [stageQueue('notifier', 'build.ended')] },
  );
  const stateOf = async (id: string) => (await deliveries.find({ index: 'byBuild', prefix: [id], limit: 100 })).map(({ document }) => document.state);
  return { notifier, deliveries, stateOf };
}

describe('deliveries', () => {
  const build = buildIn('finished', mailed('me@example.org', 'you@example.org', 'me@example.org'));
  const event = { id: '01936f00-0000-7000-8000-0000000000bb', time: '2026-11-22T00:06:00.000Z' };

  test('are one for each address, with ids that come from build, event and address alone', () => {
    const first = deliveriesOf(build, event, 'spindle.example', startMs);
    expect(first.map(({ recipient }) => recipient)).toEqual(['me@example.org', 'you@example.org']);
    expect(deliveriesOf(build, event, 'spindle.example', startMs + 99).map(({ id, messageId }) => [id, messageId])).toEqual(
      first.map(({ id, messageId }) => [id, messageId]),
    );
    expect(first[0]?.messageId).toBe(`<${first[0]?.id}@spindle.example>`);
    expect(deliveriesOf(build, { ...event, id: '01936f00-0000-7000-8000-0000000000cc' }, 'spindle.example', startMs)[0]?.id).not.toBe(first[0]?.id);
  });

  test('are found by when they are due, until they are sent or given up', () => {
    const [delivery] = deliveriesOf(build, event, 'spindle.example', startMs);
    if (!delivery) throw new Error('there is no delivery');
    const due = deliveryCollection.indexes['byWake'];
    const claimed = deliveryClaimed(delivery, 'token', startMs + 60_000);
    expect(due?.(delivery)).toEqual(['due', startMs]);
    expect(claimed).toMatchObject({ attempts: 1, claim: { token: 'token' }, wakeAt: startMs + 60_000 });
    expect(deliveryPostponed(claimed, 'busy', startMs + 5_000)).toMatchObject({
      state: 'pending',
      claim: null,
      wakeAt: startMs + 5_000,
      problem: 'busy',
      attempts: 1,
    });
    for (const over of [deliverySent(claimed), deliveryGivenUp(claimed, 'no')]) {
      expect(due?.(over)).toBeUndefined();
      expect(deliveryCollection.read(JSON.parse(JSON.stringify(over)))).toEqual(over);
    }
  });
});

describe('the notifier', () => {
  test('sends one letter to each recipient, then the build rests', async () => {
    const world = await stageWorld();
    const mail = memoryMail();
    const { notifier, stateOf } = await notifierIn(world, mail);
    const id = await endBuild(world, 'me@example.org', 'you@example.org');
    await world.until('both letters', () => mail.letters.length === 2, 0);
    expect(new Set(mail.letters.map(({ to }) => to))).toEqual(new Set(['me@example.org', 'you@example.org']));
    for (const letter of mail.letters)
      expect(letter).toMatchObject({ subject: '[Spindle] Test (sample x86_64 live): boots', headers: { 'Auto-Submitted': 'auto-generated' } });
    await world.until('rest', async () => (await stateOf(id)).every((state) => state === 'sent'), 0);
    expect(await world.build(id)).toMatchObject({ outbox: [], wakeAt: null });
    await notifier.stop();
  });

  test('sends nothing a second time where the end event comes again', async () => {
    const world = await stageWorld();
    const mail = memoryMail();
    const { notifier, stateOf } = await notifierIn(world, mail);
    const id = await endBuild(world, 'me@example.org');
    await world.until('the letter', async () => (await stateOf(id)).join() === 'sent', 0);
    const event = { ...buildIn('finished', mailed('me@example.org')).outbox.at(-1)?.event, subject: id };
    await world.bus.publish({ id: event.id ?? '', routingKey: 'build.finished', body: JSON.stringify(event) });
    await world.clock.advance(120_000);
    expect(mail.letters).toHaveLength(1);
    expect(await world.bus.deadLetters(10)).toEqual([]);
    await notifier.stop();
  });

  test('tries again where the mail server is away, with the same letter', async () => {
    const world = await stageWorld();
    const mail = memoryMail();
    let tries = 0;
    const { notifier, stateOf } = await notifierIn(world, {
      send: async (letter) => {
        tries += 1;
        if (tries < 4) throw new SpindleError('MAIL_UNAVAILABLE', 'the mail server is busy');
        await mail.send(letter);
      },
    });
    const id = await endBuild(world, 'me@example.org');
    await world.until('the letter', async () => (await stateOf(id)).join() === 'sent', 120_000);
    expect([tries, mail.letters.length]).toEqual([4, 1]);
    await notifier.stop();
  });

  test('gives a letter up that is refused for good, or that nobody takes for long, and the others still go', async () => {
    const world = await stageWorld();
    const mail = memoryMail();
    const { notifier, stateOf } = await notifierIn(world, {
      send: async (letter) => {
        if (letter.to === 'no@example.org') throw new SpindleError('MAIL_REFUSED', 'no such mailbox');
        if (letter.to === 'never@example.org') throw new SpindleError('MAIL_UNAVAILABLE', 'greylisted');
        await mail.send(letter);
      },
    });
    const id = await endBuild(world, 'no@example.org', 'never@example.org', 'me@example.org');
    await world.until('the end', async () => !(await stateOf(id)).includes('pending'), 600_000);
    expect((await stateOf(id)).sort()).toEqual(['given-up', 'given-up', 'sent']);
    expect(await world.build(id)).toMatchObject({ outbox: [], wakeAt: null });
    await notifier.stop();
  });

  test('takes over a letter whose sender vanished: the same Message-ID goes out', async () => {
    const world = await stageWorld();
    const mail = memoryMail();
    const stuck = await notifierIn(world, { send: () => new Promise(() => undefined) });
    const id = await endBuild(world, 'me@example.org');
    await world.until('the claim', async () => (await stuck.deliveries.find({ index: 'byBuild', prefix: [id], limit: 1 }))[0]?.document.claim !== null, 0);
    const { notifier, stateOf } = await notifierIn(world, mail);
    await world.clock.advance(58_000);
    expect(mail.letters).toEqual([]);
    await world.until('the letter', async () => (await stateOf(id)).join() === 'sent', 5_000);
    expect(mail.letters.map(({ messageId }) => messageId)).toEqual([
      (await stuck.deliveries.find({ index: 'byBuild', prefix: [id], limit: 1 }))[0]?.document.messageId,
    ]);
    await notifier.stop();
  });

  test('keeps what it cannot read, and what is about no ended build, as dead letters', async () => {
    const world = await stageWorld();
    const { notifier } = await notifierIn(world, memoryMail());
    const event = buildIn('finished').outbox.at(-1)?.event;
    const running = await world.admit();
    const bodies = ['not json', JSON.stringify(event), JSON.stringify({ ...event, subject: running })];
    for (const [index, body] of bodies.entries()) await world.bus.publish({ id: `odd-${index}`, routingKey: 'build.finished', body });
    await world.until('all three', async () => (await world.bus.deadLetters(10)).length === 3, 0);
    expect((await world.bus.deadLetters(10)).map(({ reason }) => reason).sort()).toEqual([
      `build ${running} has not ended`,
      expect.stringMatching(/^no build .* is recorded$/),
      'unreadable end event',
    ]);
    await notifier.stop();
  });
});

describe('a letter', () => {
  test('of whatever text can be sent, and holds no control characters', () => {
    const odd = fc.string({ unit: 'binary', maxLength: 60 });
    fc.assert(
      fc.property(fc.constantFrom('finished', 'failed', 'canceled', 'expired'), odd, fc.array(odd, { maxLength: 30 }), (state, text, tail) => {
        const failure = { code: 'ENGINE_FAILED', stage: 'image-builder', message: text, fault: 'operator', retryable: true } as const;
        const build = { ...buildIn('finished'), state: state as 'finished', failure, verdictReason: text };
        const letter = letterOf(build, publicUrl, tail);
        expect(letter.subject + letter.text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
        expect(checkedLetter({ ...letter, messageId: '<a@b>', to: 'me@example.org', date: new Date(startMs) }).text).toBe(letter.text);
      }),
    );
  });
});
