/** The scheduler: first in, first out, as many as there are slots, one leader, and nothing admitted that was canceled meanwhile. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toAdmit } from '../../services/intake/admission.ts';
import { startScheduler } from '../../services/intake/scheduler.ts';
import { newBuild } from '../../shared/build/build.ts';
import { cancelBuild } from '../../shared/stage/cancel.ts';
import { leadership, leaseCollection } from '../../shared/stage/leadership.ts';
import { sampleRequest } from '../support/build-records.ts';
import { type StageWorld, silentLog, stageWorld } from '../support/stage-world.ts';

describe('the policy of the queue', () => {
  const queued = (count: number) =>
    Array.from({ length: count }, (_, index) =>
      newBuild({ id: `01936f00-0000-7000-8000-${String(index).padStart(12, '0')}`, request: sampleRequest(), now: index }),
    );

  test('lets the oldest in, never more than there are free slots', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 20 }), (waiting, active, slots) => {
        const all = queued(waiting);
        const chosen = toAdmit(all, active, slots);
        expect(chosen).toEqual(all.slice(0, chosen.length));
        expect(chosen.length).toBe(Math.min(waiting, Math.max(0, slots - active)));
      }),
    );
  });
});

describe('the scheduler', () => {
  const start = async (world: StageWorld, holder: string, inFlightMax: number) =>
    startScheduler({
      bus: world.bus,
      builds: world.builds,
      clock: world.clock,
      logger: silentLog,
      leadership: leadership({ name: 'scheduler', holder, leases: await world.store.collection(leaseCollection), clock: world.clock }),
      inFlightMax,
    });
  const states = async (world: StageWorld, ids: readonly string[]) => (await Promise.all(ids.map((id) => world.build(id)))).map(({ state }) => state);
  const become = (world: StageWorld, ids: readonly string[], expected: readonly string[], withinMs: number) =>
    world.until(expected.join(), async () => (await states(world, ids)).join() === expected.join(), withinMs);
  const queue = async (world: StageWorld, count: number) => {
    const ids: string[] = [];
    for (let index = 0; index < count; index += 1) ids.push(await world.queue());
    return ids;
  };

  test('fills the slots in the order of arrival, and again when one comes free and it is told', async () => {
    const world = await stageWorld();
    const ids = await queue(world, 4);
    const scheduler = await start(world, 'a', 2);
    await become(world, ids, ['resolving', 'resolving', 'queued', 'queued'], 0);
    await cancelBuild(world, ids[0] ?? '');
    scheduler.poke();
    await become(world, ids, ['canceled', 'resolving', 'resolving', 'queued'], 0);
    expect(world.depthOf('resolver.build.requested')).toBe(3);
    await scheduler.stop();
    await world.close();
  });

  test('finds out by itself within half a second where nobody told it', async () => {
    const world = await stageWorld();
    const scheduler = await start(world, 'a', 2);
    await world.clock.advance(5_000);
    const ids = await queue(world, 1);
    await become(world, ids, ['resolving'], 500);
    await scheduler.stop();
    await world.close();
  });

  test('of two processes only one admits; when it resigns the other goes on at once', async () => {
    const world = await stageWorld();
    const [first, second] = [await start(world, 'a', 1), await start(world, 'b', 2)];
    const ids = await queue(world, 2);
    await become(world, ids, ['resolving', 'queued'], 1_000);
    await world.clock.advance(20_000);
    expect(await states(world, ids), 'the second one has a slot to give, and does not lead').toEqual(['resolving', 'queued']);
    await first.stop();
    await become(world, ids, ['resolving', 'resolving'], 1_000);
    await second.stop();
    await world.close();
  });

  test('takes over from a leader that vanished, once its lease ends', async () => {
    const world = await stageWorld();
    const leases = await world.store.collection(leaseCollection);
    expect(await leadership({ name: 'scheduler', holder: 'dead', leases, clock: world.clock }).leads()).toBe(true);
    const scheduler = await start(world, 'a', 1);
    const ids = await queue(world, 1);
    await world.clock.advance(14_000);
    expect(await states(world, ids)).toEqual(['queued']);
    await become(world, ids, ['resolving'], 2_000);
    await scheduler.stop();
    await world.close();
  });

  test('admits nothing after it was stopped', async () => {
    const world = await stageWorld();
    const scheduler = await start(world, 'a', 1);
    await scheduler.stop();
    const ids = await queue(world, 1);
    scheduler.poke();
    await world.clock.advance(60_000);
    expect(await states(world, ids)).toEqual(['queued']);
    await world.close();
  });
});
