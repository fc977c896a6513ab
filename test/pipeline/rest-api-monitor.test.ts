/** Queues and dead letters over REST and on the command line: shown, requeued, dropped, and what nothing can come of. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { admitted, type Build, drivingEvent, failed, stageEnded } from '../../shared/build/build.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import type { DeadLetter } from '../../shared/bus/dead-letter.ts';
import { spindleCommand } from '../support/spindle-command.ts';
import { until } from '../support/until.ts';
import { type Fixture, fixture, liveRequest } from './rest-api-fixture.ts';

let f: Fixture;
let url: string | undefined;
beforeEach(async () => {
  f = await fixture();
  await f.bus.assert(f.topology);
  url = undefined;
});
afterEach(() => f.close());

async function spindle(...args: readonly string[]) {
  url ??= await f.app.listen({ host: '127.0.0.1', port: 0 });
  return spindleCommand(args, { url, stdin: JSON.stringify(liveRequest) });
}

const get = async (path: string) => (await f.app.inject(`/api/v1${path}`)).json();
const ask = async (method: 'POST' | 'DELETE', path: string, payload?: object) => {
  const answer = await f.app.inject({ method, url: `/api/v1${path}`, ...(payload ? { payload } : {}) });
  return { status: answer.statusCode, location: answer.headers.location, body: answer.body === '' ? undefined : answer.json() };
};
const submitted = async (): Promise<string> => (await f.app.inject({ method: 'POST', url: '/api/v1/builds', payload: liveRequest })).json().id;

const digest = { sha256: 'a'.repeat(64), size: 1 };
/** A build whose side repository is there, so that it waits for its image. */
const untilBuilding = async (id: string): Promise<Build> => {
  await f.move(id, admitted);
  const target = { arch: 'x86_64', imageType: 'live', engine: 'kiwi', resolution: digest };
  const step = (stage: string, event: { readonly type: string; readonly data: unknown }) => (build: Build, now: number) => {
    const cause = drivingEvent(build)?.event;
    if (!cause) throw new Error('the build waits for nothing');
    return stageEnded(build, stage, cause, [event], now);
  };
  await f.move(id, step('resolver', { type: 'build.resolved', data: target }));
  return f.move(id, step('side-repo', { type: 'side-repo.ready', data: { ...target, repositories: digest } }));
};
const failure = { code: 'DISK_FULL', stage: 'image-builder', message: 'no space was left', fault: 'operator', retryable: true } as const;
/** Fails it as the runtime does when its tries are used up; its letter is on the bus afterwards. */
const givenUp = async (id: string): Promise<DeadLetter> => {
  await untilBuilding(id);
  const ended = await f.move(id, (build, now) => failed(build, { stage: 'image-builder', failure, now, isDeadLetter: true }));
  const entry = ended.outbox.find(({ deadLetter }) => deadLetter !== undefined);
  if (!entry?.deadLetter) throw new Error('a build that was given up has a dead letter in its outbox');
  const { stage, code, reason, attempts } = entry.deadLetter;
  const { event, routingKey } = entry;
  const letter = {
    id: event.id,
    at: event.time,
    stage,
    queue: `${stage}.${routingKey}`,
    routingKey,
    reason,
    code,
    buildId: id,
    attempts,
    body: JSON.stringify(event),
  };
  await f.bus.deadLetter(letter);
  return letter;
};
const foreign = (changes: Partial<DeadLetter> = {}): DeadLetter => ({
  id: 'not ours/../\u001b[31m',
  at: '2026-11-22T10:00:00.000Z',
  stage: 'bus',
  queue: 'resolver.build.requested',
  routingKey: 'build.requested',
  reason: 'unreadable build.requested: not JSON',
  code: 'MESSAGE_UNREADABLE',
  attempts: 1,
  body: 'not JSON',
  ...changes,
});

describe('queues', () => {
  test('each stage’s queue, with what the bus knows and what the builds know', async () => {
    const waiting = await submitted();
    await untilBuilding(await submitted());
    await f.bus.publish({ id: 'm1', routingKey: 'side-repo.ready.x86_64.live.kiwi', body: '{}' });
    let release = () => {};
    const subscription = await f.bus.subscribe({ queues: ['resolver.build.requested'], prefetch: 1 }, async () => {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      return 'ack';
    });
    await f.bus.publish({ id: 'm2', routingKey: 'build.requested', body: '{}' });
    await f.bus.publish({ id: 'm3', routingKey: 'build.requested', body: '{}' });
    await f.bus.deadLetter(foreign());
    const { meta, items } = await get('/queues');
    expect(meta.problem).toBe(null);
    const named = (name: string) => items.find((queue: { name: string }) => queue.name === name);
    expect(items[0]).toMatchObject({ name: 'scheduler.queued', stage: 'scheduler', depth: 1, inHand: 1, consumers: null });
    expect(items[0].oldestSince).toBe((await f.builds.get(waiting))?.document.createdAt);
    expect(named('resolver.build.requested')).toMatchObject({ stage: 'resolver', depth: 1, inHand: 1, consumers: 1, oldestSince: null });
    expect(named('image-builder.side-repo.ready.x86_64.live.kiwi')).toMatchObject({ stage: 'image-builder', depth: 1, inHand: 0, consumers: 0 });
    expect(named('image-builder.side-repo.ready.x86_64.live.kiwi').oldestAgeSeconds).toBeLessThan(60);
    expect(named('image-builder.side-repo.ready.x86_64.dvd.kiwi')).toMatchObject({ depth: 0, oldestSince: null, oldestAgeSeconds: null });
    expect(items.at(-1)).toMatchObject({ name: 'spindle.dead-letters', stage: null, depth: 1, oldestSince: '2026-11-22T10:00:00.000Z' });
    const shown = (await spindle('queues')).stdout.split('\n');
    expect(shown[0]).toMatch(/^QUEUE +WAITING +IN HAND +OLDEST +IN\/S +OUT\/S +READERS$/);
    expect(shown[1]).toMatch(/^scheduler.queued +1 +1 +\d:\d\d +- +- +-$/);
    expect(shown.some((line) => /^resolver.build.requested +1 +1 +- +\S+ +\S+ +1$/.test(line))).toBe(true);
    expect(shown.at(-2)).toMatch(/^and \d+ queues that are empty and that nobody reads/);
    expect((await spindle('queues', '--all')).stdout.split('\n')).toHaveLength(items.length + 2);
    expect(JSON.parse((await spindle('queues', '--output', 'json')).stdout).items).toHaveLength(items.length);
    await until(() => release.name !== 'release');
    release();
    const closing = subscription.close();
    await closing;
  });

  test('a bus that does not tell of its queues is said, and the store’s part is still there', async () => {
    await f.close();
    const problem = 'the management plugin of RabbitMQ at broker.example:15672 cannot be reached';
    f = await fixture(
      {},
      undefined,
      {},
      {
        queues: {
          queues: async () => {
            throw new SpindleError('BUS_UNAVAILABLE', problem);
          },
        },
      },
    );
    await submitted();
    const answer = await f.app.inject('/api/v1/queues');
    expect(answer.statusCode).toBe(200);
    expect(answer.json().meta.problem).toBe(problem);
    expect(answer.json().items[0]).toMatchObject({ depth: 1 });
    expect(answer.json().items[1]).toMatchObject({ depth: null, inHand: null, consumers: null });
    const shown = await spindle('queues', '--all');
    expect(shown).toMatchObject({ status: 0, stderr: `warning: ${problem}\n` });
    expect(shown.stdout).toMatch(/\nresolver.build.requested +- +- +- +- +- +-\n/);
  });
});

describe('dead letters', () => {
  test('the letter of a build that failed becomes a retry of it from the stage that gave up', async () => {
    const id = await submitted();
    const letter = await givenUp(id);
    const { items } = await get('/dead-letters');
    expect(items).toMatchObject([
      { id: letter.id, stage: 'image-builder', code: 'DISK_FULL', buildId: id, attempts: 1, links: { build: `/api/v1/builds/${id}` } },
    ]);
    expect(items[0]).not.toHaveProperty('body');
    expect((await get(`/dead-letters/${letter.id}`)).body).toBe(letter.body);
    const answer = await ask('POST', `/dead-letters/${letter.id}/requeue`);
    expect(answer).toMatchObject({ status: 202, body: { id: letter.id, outcome: 'retried' } });
    expect(answer.location).toBe(`/api/v1/builds/${answer.body.buildId}`);
    const retry = await get(`/builds/${answer.body.buildId}`);
    expect(retry).toMatchObject({ state: 'queued', retryOf: id, failure: null, artifacts: [] });
    const running = await f.move(answer.body.buildId, admitted);
    expect(running).toMatchObject({ state: 'building', stage: { name: 'image-builder', attempt: 1 }, resolution: digest, repositories: digest, resume: null });
    expect(drivingEvent(running)).toMatchObject({
      routingKey: 'side-repo.ready.x86_64.live.kiwi',
      event: { subject: running.id, data: { repositories: digest } },
    });
    expect(drivingEvent(running)?.event.id).not.toBe(letter.id);
    // The letter is gone, so a second requeue is not possible.
    expect(await ask('POST', `/dead-letters/${letter.id}/requeue`)).toMatchObject({ status: 404, body: { code: 'DEAD_LETTER_UNKNOWN' } });
    expect((await get('/dead-letters')).items).toEqual([]);
  });

  test('of many requeues at once one is done; one that a crash cut off makes no second build', async () => {
    const id = await submitted();
    const letter = await givenUp(id);
    const answers = await Promise.all(Array.from({ length: 5 }, () => ask('POST', `/dead-letters/${letter.id}/requeue`)));
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 404, 404, 404, 404]);
    // What a crash between the two steps leaves: the build is there, and the letter too.
    await f.bus.deadLetter(letter);
    const again = await ask('POST', `/dead-letters/${letter.id}/requeue`);
    expect(again.body.buildId).toBe(answers.find(({ status }) => status === 202)?.body.buildId);
    expect((await get('/builds')).items).toHaveLength(2);
  });

  test('the message of a build that still waits is published again, and so is one of no build', async () => {
    const building = await untilBuilding(await submitted());
    const event = drivingEvent(building)?.event;
    await f.bus.deadLetter(foreign({ id: event?.id ?? '', queue: 'x', routingKey: 'side-repo.ready.x86_64.live.kiwi', body: JSON.stringify(event) }));
    await f.bus.deadLetter(foreign());
    const seen: string[] = [];
    await f.bus.subscribe({ queues: ['image-builder.side-repo.ready.x86_64.live.kiwi', 'resolver.build.requested'], prefetch: 5 }, async ({ id, body }) => {
      seen.push(id);
      return body === 'not JSON' ? { deadLetter: 'still not JSON' } : 'ack';
    });
    expect(await ask('POST', `/dead-letters/${event?.id}/requeue`)).toMatchObject({ status: 202, body: { outcome: 'published', buildId: null } });
    const { items } = await get('/dead-letters');
    expect(items[0].id).toMatch(/^sha256:[0-9a-f]{32}$/);
    expect(await ask('POST', `/dead-letters/${items[0].id}/requeue`)).toMatchObject({ status: 202, body: { outcome: 'published' } });
    await until(() => seen.length === 2);
    // Its reader gave it up again while it was being requeued, or after: it is there again either way.
    await until(async () => (await get('/dead-letters')).items[0]?.reason === 'still not JSON');
  });

  test('what nothing can come of is refused, and the letter stays', async () => {
    const lost = await givenUp(await submitted());
    const record = await f.builds.get(lost.buildId ?? '');
    await f.builds.remove(record?.document.id ?? '', record?.version ?? 0);
    await f.bus.deadLetter(foreign({ id: 'no-queue', routingKey: 'nothing.is.bound' }));
    await f.bus.deadLetter(foreign({ id: 'no-key', routingKey: '' }));
    await f.bus.deadLetter(foreign({ id: 'long-key', routingKey: 'k'.repeat(300) }));
    await f.bus.deadLetter(foreign({ id: 'odd-build', buildId: '../../x' }));
    for (const [id, detail] of [
      [lost.id, 'is not recorded any more'],
      ['no-queue', 'no queue takes it'],
      ['no-key', 'names no queue'],
      ['long-key', 'names no queue'],
      ['odd-build', 'is not recorded any more'],
    ] as const) {
      const answer = await ask('POST', `/dead-letters/${id}/requeue`);
      expect(answer, id).toMatchObject({ status: 409, body: { code: 'DEAD_LETTER_UNUSABLE', detail: expect.stringContaining(detail) } });
    }
    expect((await get('/dead-letters')).items).toHaveLength(5);
    expect(f.errors).toEqual([]);
  });

  test('drop, and ids that are not there', async () => {
    await f.bus.deadLetter(foreign({ id: 'one' }));
    expect(await ask('DELETE', '/dead-letters/one')).toMatchObject({ status: 204, body: undefined });
    for (const [method, path] of [
      ['DELETE', '/dead-letters/one'],
      ['POST', '/dead-letters/nobody/requeue'],
      ['POST', '/dead-letters/%2e%2e%2f/requeue'],
    ] as const) {
      expect(await ask(method, path), path).toMatchObject({ status: 404, body: { code: 'DEAD_LETTER_UNKNOWN' } });
    }
    expect((await get('/dead-letters/one')).code).toBe('DEAD_LETTER_UNKNOWN');
    await f.bus.deadLetter(foreign({ id: 'two' }));
    expect(await ask('POST', '/dead-letters/two/requeue', { now: true })).toMatchObject({ status: 422, body: { code: 'REQUEST_INVALID' } });
  });

  test('pages, oldest first; limits and cursors that are none', async () => {
    for (let index = 0; index < 25; index += 1) {
      await f.bus.deadLetter(
        foreign({ id: `l-${String(index).padStart(2, '0')}`, at: new Date(Date.UTC(2026, 10, 22) + Math.floor(index / 4) * 1000).toISOString() }),
      );
    }
    const seen: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const page: { meta: { nextCursor: string | null }; items: { id: string }[] } = await get(
        `/dead-letters?limit=10${cursor === '' ? '' : `&cursor=${cursor}`}`,
      );
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.meta.nextCursor;
    }
    expect(seen).toEqual(Array.from({ length: 25 }, (_, index) => `l-${String(index).padStart(2, '0')}`));
    for (const query of ['limit=0', 'limit=201', 'limit=x', 'cursor=nonsense', `cursor=${'x'.repeat(2000)}`, 'colour=red']) {
      expect(await get(`/dead-letters?${query}`), query).toMatchObject({ status: 400, code: 'QUERY_INVALID' });
    }
  });

  test('the command line lists, shows, requeues and drops', async () => {
    expect((await spindle('dead-letters', 'list')).stdout).toBe('there are no dead letters\n');
    const id = await submitted();
    const letter = await givenUp(id);
    await f.bus.deadLetter(foreign({ reason: `\u001b[31m${'long '.repeat(40)}` }));
    const listed = await spindle('dead-letters', 'list');
    expect(listed.stdout).toMatch(new RegExp(`\n${letter.id} +0:0\\d +image-builder  DISK_FULL +1 +${id}  no space was left\n`));
    expect(listed.stdout).not.toContain('\u001b');
    expect(JSON.parse((await spindle('dead-letters', 'list', '--output', 'json', '--limit', '1')).stdout)).toHaveLength(1);
    expect(await spindle('dead-letters', 'list', '--limit', '0')).toMatchObject({ status: 2 });
    const foreignId = JSON.parse((await spindle('dead-letters', 'list', '--output', 'json')).stdout)[0].id as string;
    expect((await spindle('dead-letters', 'show', foreignId)).stdout).toMatch(
      /given up {2}2026-11-22T10:00:00.000Z, by bus, after 1 try\n[\s\S]*message\nnot JSON\n$/,
    );
    expect(await spindle('dead-letters', 'requeue', letter.id, 'nobody', foreignId)).toMatchObject({
      status: 4,
      stdout: expect.stringMatching(new RegExp(`^${letter.id} is retried as build [0-9a-f-]{36}\n$`)),
      stderr: expect.stringContaining('there is no dead letter of this id'),
    });
    expect(JSON.parse((await spindle('dead-letters', 'drop', foreignId, '--output', 'json')).stdout)).toEqual({ items: [{ id: foreignId, dropped: true }] });
    expect(await spindle('dead-letters', 'drop', foreignId)).toMatchObject({ status: 4 });
    expect(await spindle('dead-letters')).toMatchObject({ status: 2 });
    expect(await spindle('dead-letters', 'show', 'nobody', '--url', 'http://127.0.0.1:1')).toMatchObject({ status: 3 });
  });
});
