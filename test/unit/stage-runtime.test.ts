/** The stage runtime on memory adapters and a virtual clock: every way in which a try can end, and what is left of it. */
import { afterEach, describe, expect, test } from 'vitest';
import { type Build, claimed, drivingEvent, hasLiveClaim } from '../../shared/build/build.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import type { VirtualClock } from '../../shared/clock/virtual.ts';
import { BuildFailed, BuildRequested, BuildResolved, ImageBuilt } from '../../shared/events/catalog.ts';
import { cancelBuild } from '../../shared/stage/cancel.ts';
import { type RunningStage, runStage } from '../../shared/stage/run.ts';
import { defineStage, type StageContext, type StageLimits } from '../../shared/stage/stage.ts';
import { wellEnded } from '../support/build-records.ts';
import { type StageWorld, stageWorld } from '../support/stage-world.ts';

const queue = 'resolver.build.requested';
const limits: StageLimits = { concurrency: 2, attemptsMax: 6, deadlineMs: 600_000 };
const resolved = () => wellEnded('resolving')[0] as ReturnType<typeof BuildResolved>;
const unknownPackage = { code: 'PACKAGE_UNKNOWN', stage: 'resolver', message: 'no package helo', fault: 'requester', retryable: false } as const;

type Handler = (context: StageContext) => Promise<ReturnType<typeof BuildResolved> | ReturnType<typeof BuildFailed>>;

/** A stage in the resolver's place that does what the test says. */
function stageOf(handle: Handler, changes: { readonly long?: boolean; readonly limits?: Partial<StageLimits> } = {}) {
  return defineStage({
    name: 'resolver',
    state: 'resolving',
    consumes: BuildRequested,
    emits: [BuildResolved, BuildFailed],
    long: changes.long ?? true,
    limits: { ...limits, ...changes.limits },
    handle: (_event, context) => handle(context),
  });
}

const running: { readonly stage: RunningStage; readonly clock: VirtualClock }[] = [];
const start = async (runtime: ReturnType<StageWorld['process']>, handle: Handler, changes?: Parameters<typeof stageOf>[1]) => {
  const stage = await runStage(stageOf(handle, changes), runtime, { queues: [queue] });
  running.push({ stage, clock: runtime.clock });
  return stage;
};
afterEach(async () => {
  for (const { stage, clock } of running.splice(0)) {
    let isStopped = false;
    const stopped = stage.stop().then(() => {
      isStopped = true;
    });
    // Handlers that ignore their signal are given up by the clock.
    await clock.run(() => isStopped, { timersMax: 100_000, elapsedMsMax: 120_000 });
    await stopped;
  }
});

const becomes = (world: StageWorld, id: string, state: Build['state'], withinMs: number) =>
  world.until(`build ${state}`, async () => (await world.build(id)).state === state, withinMs);
/** A handler that goes on until its signal fires, and remembers the reason. */
function patient() {
  const reasons: string[] = [];
  let tries = 0;
  const handle: Handler = ({ signal }) =>
    new Promise((_resolve, reject) => {
      tries += 1;
      signal.addEventListener('abort', () => {
        reasons.push((signal.reason as Error).message);
        reject(signal.reason);
      });
    });
  return { handle, reasons, tries: () => tries };
}
/** A handler that returns when the test says so. */
function held() {
  let finish = () => {};
  let tries = 0;
  const handle: Handler = () => {
    tries += 1;
    return new Promise((resolve) => {
      finish = () => resolve(resolved());
    });
  };
  return { handle, finish: () => finish(), tries: () => tries };
}
/** A handler that succeeds, and counts how often it was asked to. */
function counting() {
  let tries = 0;
  const handle: Handler = async () => {
    tries += 1;
    return resolved();
  };
  return { handle, tries: () => tries };
}

describe.each([
  ['a quick stage', false],
  ['a long stage', true],
])('%s', (_, long) => {
  test('that returns an event moves the build, and its event goes out', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    await start(
      world.process('worker-1'),
      async ({ log }) => {
        log('resolver', 'found all');
        return resolved();
      },
      { long },
    );
    await becomes(world, id, 'preparing-side-repo', 0);
    const build = await world.build(id);
    expect(build).toMatchObject({ claim: null, stage: { name: 'side-repo', attempt: 1 }, resolution: resolved().data.resolution });
    expect(build.outbox.map(({ event }) => event.type)).toEqual(['build.resolved']);
    await world.until('the event', () => world.depthOf('side-repo.build.resolved') === 1 && world.depthOf(queue) === 0, 0);
    expect(await world.log(id)).toContain('found all');
  });

  test('that says no fails the build without a dead letter and without another try', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    let tries = 0;
    await start(
      world.process('worker-1'),
      async () => {
        tries += 1;
        return BuildFailed({ failure: unknownPackage, artifacts: [] });
      },
      { long },
    );
    await becomes(world, id, 'failed', 0);
    await world.clock.advance(120_000);
    expect(await world.build(id)).toMatchObject({ failure: unknownPackage, outbox: [], wakeAt: null });
    expect(await world.bus.deadLetters(10)).toEqual([]);
    expect(tries).toBe(1);
  });

  test('that meets trouble for a while is tried again after a growing wait, and then goes on', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const at: number[] = [];
    await start(
      world.process('worker-1'),
      async ({ attempt }) => {
        at.push(world.clock.now());
        expect(attempt).toBe(at.length);
        if (attempt < 4) throw new SpindleError('KOJI_UNREACHABLE', 'koji did not answer');
        return resolved();
      },
      { long },
    );
    world.startReconciler();
    await world.until('the fourth try', async () => (await world.build(id)).state === 'preparing-side-repo', 60_000);
    const waits = at.slice(1).map((time, index) => time - (at[index] ?? 0));
    expect(waits).toHaveLength(3);
    for (const [index, mean] of [2_000, 5_000, 15_000].entries()) {
      expect(waits[index]).toBeGreaterThanOrEqual(mean * 0.75);
      expect(waits[index]).toBeLessThanOrEqual(mean * 1.25 + 1_000);
    }
    expect((await world.build(id)).timeline.filter(({ message }) => message?.includes('koji did not answer'))).toHaveLength(3);
    expect(await world.bus.deadLetters(10)).toEqual([]);
  });

  test('whose tries are used up leaves a failed build and a dead letter', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    let tries = 0;
    await start(
      world.process('worker-1'),
      async () => {
        tries += 1;
        throw new SpindleError('KOJI_UNREACHABLE', 'koji did not answer');
      },
      { long, limits: { attemptsMax: 3 } },
    );
    world.startReconciler();
    await world.until('the end', async () => (await world.build(id)).state === 'failed', 60_000);
    expect(tries).toBe(3);
    expect(await world.build(id)).toMatchObject({ failure: { code: 'KOJI_UNREACHABLE', stage: 'resolver', fault: 'operator', retryable: true } });
    await world.until('the dead letter', async () => (await world.bus.deadLetters(10)).length === 1, 0);
    const [letter] = await world.bus.deadLetters(10);
    expect(letter).toMatchObject({ stage: 'resolver', queue, code: 'KOJI_UNREACHABLE', reason: 'koji did not answer', buildId: id, attempts: 3 });
    expect(BuildRequested.parse(JSON.parse(letter?.body ?? ''))).toMatchObject({ subject: id });
    await world.until('rest', async () => (await world.build(id)).outbox.length === 0, 0);
  });

  test('that cannot ever succeed fails the build at once, with no dead letter, and says why in the log', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    await start(
      world.process('worker-1'),
      async () => {
        throw new SpindleError('ENGINE_FAILED', 'the tool said no', { details: ['the last line'] });
      },
      { long },
    );
    await becomes(world, id, 'failed', 0);
    expect((await world.build(id)).failure).toMatchObject({ code: 'ENGINE_FAILED', message: 'the tool said no', details: ['the last line'] });
    expect(await world.log(id)).toMatch(/ENGINE_FAILED: the tool said no[\s\S]*the last line/);
    expect(await world.bus.deadLetters(10)).toEqual([]);
  });

  test('that breaks shows no inner text to the requester', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    await start(
      world.process('worker-1'),
      async () => {
        throw new TypeError('secret inner detail');
      },
      { long, limits: { attemptsMax: 1 } },
    );
    await becomes(world, id, 'failed', 0);
    expect(JSON.stringify(await world.build(id))).not.toContain('secret inner detail');
    expect(await world.log(id)).not.toContain('secret inner detail');
    expect((await world.build(id)).failure).toMatchObject({ code: 'INTERNAL', fault: 'operator' });
  });

  test('that returns what it does not declare, or what its reader could not read, counts as broken', async () => {
    for (const odd of [
      ImageBuilt({ arch: 'x86_64', imageType: 'live', image: 'a', requested: [], artifacts: [] }),
      { type: 'build.resolved', data: { arch: '../..' } },
    ]) {
      const world = await stageWorld();
      const id = await world.admit();
      await start(world.process('worker-1'), async () => odd as never, { long, limits: { attemptsMax: 1 } });
      await becomes(world, id, 'failed', 0);
      expect((await world.build(id)).failure?.code).toBe('INTERNAL');
    }
  });

  test('that is canceled while it runs gets its signal, and the build ends canceled', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const { handle, reasons, tries } = patient();
    const stage = await start(world.process('worker-1'), handle, { long });
    await world.until('the start', () => tries() === 1, 0);
    await world.clock.advance(1_000);
    expect(await cancelBuild({ ...world, bus: world.process('intake').bus }, id)).toMatchObject({ accepted: true });
    await becomes(world, id, 'canceled', 0);
    await world.until('the end of the run', () => stage.running().length === 0, 0);
    expect(reasons).toEqual(['the build was canceled']);
    expect(await world.build(id)).toMatchObject({ claim: null, failure: null, stage: null });
  });

  test('that runs into its deadline is aborted and fails', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const { handle, reasons } = patient();
    await start(world.process('worker-1'), handle, { long, limits: { deadlineMs: 90_000 } });
    await becomes(world, id, 'failed', 91_000);
    expect(reasons).toEqual(['resolver did not end within 90 s']);
    expect((await world.build(id)).failure).toMatchObject({ code: 'STAGE_TIMED_OUT', fault: 'operator' });
  });

  test('that ignores its signal is left to itself after a minute; until then nobody else takes it for lost', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const { handle, tries } = held();
    world.startReconciler();
    await start(world.process('worker-1'), handle, { long, limits: { deadlineMs: 10_000 } });
    await world.until('the start', () => tries() === 1, 0);
    await start(world.process('worker-2'), handle, { long, limits: { deadlineMs: 10_000 } });
    await becomes(world, id, 'failed', 75_000);
    expect((await world.build(id)).failure?.code).toBe('STAGE_TIMED_OUT');
    expect(tries()).toBe(1);
  });

  test('that is stopped gives its build back unharmed, for another process', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const { handle, reasons, tries } = patient();
    const stage = await start(world.process('worker-1'), handle, { long });
    await world.until('the start', () => tries() === 1, 0);
    await stage.stop();
    expect(reasons).toEqual(['the service stops']);
    expect(await world.build(id)).toMatchObject({ state: 'resolving', claim: null, stage: { attempt: 1, worker: null } });
    await start(world.process('worker-2'), async () => resolved(), { long });
    world.startReconciler();
    await becomes(world, id, 'preparing-side-repo', 0);
  });

  test('leaves no workspace, whatever way it ends', async () => {
    const world = await stageWorld();
    const ids = [await world.admit(), await world.admit(), await world.admit()];
    let turn = 0;
    await start(
      world.process('worker-1'),
      async ({ workspace, signal }) => {
        const own = await workspace();
        await own.write('a/b', 'text');
        turn += 1;
        if (turn === 1) return resolved();
        if (turn === 2) throw new SpindleError('ENGINE_FAILED', 'no');
        return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      },
      { long, limits: { deadlineMs: 10_000 } },
    );
    for (const id of ids) await world.until('the end', async () => (await world.build(id)).state !== 'resolving', 11_000);
    expect(world.workspaces.living()).toEqual([]);
  });

  test('runs at most as many builds as it has slots', async () => {
    const world = await stageWorld();
    const ids = await Promise.all(Array.from({ length: 5 }, () => world.admit()));
    let now = 0;
    let most = 0;
    await start(
      world.process('worker-1'),
      async () => {
        now += 1;
        most = Math.max(most, now);
        await world.clock.sleep(2_000);
        now -= 1;
        return resolved();
      },
      { long },
    );
    for (const id of ids) await becomes(world, id, 'preparing-side-repo', 20_000);
    expect(most).toBe(2);
  });
});

describe('the lease', () => {
  test('of a long stage stands before its message is acknowledged, and is kept alive by heartbeats', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const { handle, tries } = patient();
    await start(world.process('worker-1'), handle);
    await world.until('the start', () => tries() === 1 && world.depthOf(queue) === 0, 0);
    expect(await world.build(id)).toMatchObject({ claim: { worker: 'worker-1' }, stage: { worker: 'worker-1' } });
    await world.clock.advance(120_000);
    const build = await world.build(id);
    expect(hasLiveClaim(build, world.clock.now())).toBe(true);
    expect(build.stage?.attempt).toBe(1);
  });

  test('of a quick stage is taken only when it takes longer than five seconds', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const { handle, tries } = patient();
    await start(world.process('worker-1'), handle, { long: false });
    await world.until('the start', () => tries() === 1, 0);
    await world.clock.advance(4_900);
    expect((await world.build(id)).claim).toBeNull();
    expect(world.depthOf(queue), 'the message is still in hand').toBe(1);
    await world.until('the claim', async () => (await world.build(id)).claim !== null, 500);
  });

  test('that is live makes a redelivery be acknowledged and dropped', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const { handle, tries } = patient();
    await start(world.process('worker-1'), handle);
    await world.until('the start', () => tries() === 1, 0);
    await start(world.process('worker-2'), handle);
    const driving = drivingEvent(await world.build(id));
    for (let copy = 0; copy < 3; copy += 1)
      await world.bus.publish({ id: driving?.event.id ?? '', routingKey: 'build.requested', body: JSON.stringify(driving?.event) });
    await world.until('their end', () => world.depthOf(queue) === 0, 2_000);
    expect(tries()).toBe(1);
    expect(await world.bus.deadLetters(10)).toEqual([]);
    expect(await world.build(id)).toMatchObject({ state: 'resolving', claim: { worker: 'worker-1' } });
  });

  test('outlives the channel: a cut connection neither aborts the handler nor starts a second one', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const first = held();
    const second = counting();
    const process = world.process('worker-1');
    await start(process, first.handle);
    await world.until('the start', () => first.tries() === 1, 0);
    process.bus.cut();
    await start(world.process('worker-2'), second.handle);
    world.startReconciler();
    await world.clock.advance(60_000);
    expect([first.tries(), second.tries()]).toEqual([1, 0]);
    first.finish();
    await becomes(world, id, 'preparing-side-repo', 0);
    expect(
      (await world.build(id)).outbox.map(({ event }) => event.type),
      'the relay could not reach the bus; the event waits',
    ).toEqual(['build.resolved']);
  });

  test('that somebody else took aborts the handler, whose outcome then counts for nothing', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const { handle, reasons, tries } = patient();
    const stage = await start(world.process('worker-1'), handle);
    await world.until('the start', () => tries() === 1, 0);
    const now = world.clock.now();
    await world.put(claimed({ ...(await world.build(id)), claim: null }, { token: 'another', worker: 'worker-2', expiresAt: now + 20_000 }, now));
    await world.until('the abort', () => reasons.length === 1, 6_000);
    await world.until('the end of the run', () => stage.running().length === 0, 0);
    expect(reasons).toEqual(['another process took this stage over']);
    expect(await world.build(id)).toMatchObject({ state: 'resolving', claim: { token: 'another' }, stage: { attempt: 1 } });
  });

  test('that was lost cannot commit, not even where the handler noticed nothing', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const { handle, finish, tries } = held();
    const stage = await start(world.process('worker-1'), handle);
    await world.until('the start', () => tries() === 1, 0);
    const now = world.clock.now();
    await world.put(claimed({ ...(await world.build(id)), claim: null }, { token: 'another', worker: 'worker-2', expiresAt: now + 20_000 }, now));
    finish();
    await world.until('the end of the run', () => stage.running().length === 0, 0);
    expect(await world.build(id)).toMatchObject({ state: 'resolving', claim: { token: 'another' } });
    expect(world.depthOf('side-repo.build.resolved')).toBe(0);
  });

  test('of a process that vanished ends, and the stage runs again with one more attempt', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const now = world.clock.now();
    await world.put(claimed(await world.build(id), { token: 'dead', worker: 'worker-0', expiresAt: now + 20_000 }, now));
    const attempts: number[] = [];
    await start(world.process('worker-1'), async ({ attempt }) => {
      attempts.push(attempt);
      return resolved();
    });
    await world.clock.advance(19_000);
    world.startReconciler();
    expect(attempts).toEqual([]);
    world.startReconciler();
    await world.until('the second try', async () => (await world.build(id)).state === 'preparing-side-repo', 3_000);
    expect(attempts).toEqual([2]);
  });
});

describe('a message', () => {
  test.each([
    ['is no JSON', 'not json'],
    ['is no event', '{"hello":1}'],
    ['is another event', JSON.stringify({ specversion: '1.0', type: 'build.canceled' })],
    ['is empty', ''],
  ])('that %s is kept as a dead letter, and the next one is handled', async (_, body) => {
    const world = await stageWorld();
    await start(world.process('worker-1'), async () => resolved());
    await world.bus.publish({ id: 'odd-1', routingKey: 'build.requested', body });
    const id = await world.admit();
    await becomes(world, id, 'preparing-side-repo', 0);
    await world.until('the dead letter', async () => (await world.bus.deadLetters(10)).length === 1, 0);
    expect(await world.bus.deadLetters(10)).toMatchObject([
      { id: 'odd-1', queue, code: 'MESSAGE_UNREADABLE', body, reason: expect.stringContaining('unreadable build.requested') },
    ]);
  });

  test('about a build that nobody knows, or that waits for another event, is kept as a dead letter', async () => {
    const world = await stageWorld();
    await start(world.process('worker-1'), async () => resolved());
    const id = await world.queue();
    const event = {
      specversion: '1.0',
      id: world.clock.id(),
      source: 'spindle/scheduler',
      type: 'build.requested',
      time: '2026-11-22T00:00:00.000Z',
      datacontenttype: 'application/json',
      correlationid: world.clock.id(),
      data: { release: 'sample', arch: 'x86_64', imageType: 'live' },
    };
    for (const subject of [world.clock.id(), id])
      await world.bus.publish({ id: event.id + subject, routingKey: 'build.requested', body: JSON.stringify({ ...event, subject }) });
    await world.until('both', async () => (await world.bus.deadLetters(10)).length === 2, 0);
    expect((await world.bus.deadLetters(10)).map(({ reason }) => reason)).toEqual(
      expect.arrayContaining([expect.stringContaining('no build'), expect.stringContaining('waits for another event')]),
    );
    expect((await world.build(id)).state).toBe('queued');
  });

  test('whose stage is past goes, and what its commit left in the outbox goes out again', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const driving = drivingEvent(await world.build(id));
    const { handle, tries } = counting();
    await start(world.process('worker-1'), handle);
    await becomes(world, id, 'preparing-side-repo', 0);
    await world.until('the first copy', () => world.depthOf('side-repo.build.resolved') === 1, 0);
    await world.bus.publish({ id: driving?.event.id ?? '', routingKey: 'build.requested', body: JSON.stringify(driving?.event) });
    await world.until('the second copy', () => world.depthOf('side-repo.build.resolved') === 2 && world.depthOf(queue) === 0, 0);
    expect(tries()).toBe(1);
  });

  test('before the time of the next try is dropped: the reconciler sends it again then', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    let tries = 0;
    await start(world.process('worker-1'), async () => {
      tries += 1;
      if (tries === 1) throw new SpindleError('KOJI_UNREACHABLE', 'koji did not answer');
      return resolved();
    });
    await world.until('the plan', async () => (await world.build(id)).retryAt !== null, 0);
    const driving = drivingEvent(await world.build(id));
    await world.bus.publish({ id: driving?.event.id ?? '', routingKey: 'build.requested', body: JSON.stringify(driving?.event) });
    await world.until('its end', () => world.depthOf(queue) === 0, 0);
    expect(tries).toBe(1);
  });
});

test('a retry of the same packages gives the handler the recorded resolution', async () => {
  const world = await stageWorld();
  const id = await world.admit();
  const resolution = { sha256: 'e'.repeat(64), size: 5 };
  await world.put({ ...(await world.build(id)), resolution, pinned: true });
  const seen: unknown[] = [];
  await start(world.process('worker-1'), async ({ pinnedResolution }) => {
    seen.push(pinnedResolution);
    return resolved();
  });
  await becomes(world, id, 'preparing-side-repo', 0);
  expect(seen).toEqual([resolution]);
});
