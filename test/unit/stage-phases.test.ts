/** What the record keeps of each run of a stage: its phases with their times, how it ended, and in which phase it failed. */
import { afterEach, describe, expect, test } from 'vitest';
import { Build } from '../../shared/build/build.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import { phasesMax, runsMax, type StageRun, withRun } from '../../shared/build/stage-run.ts';
import { progressTopic } from '../../shared/build/topics.ts';
import { virtualClock } from '../../shared/clock/virtual.ts';
import { BuildFailed, BuildRequested, BuildResolved } from '../../shared/events/catalog.ts';
import { trackPhases } from '../../shared/stage/phases.ts';
import { type RunningStage, runStage } from '../../shared/stage/run.ts';
import { defineStage, type StageContext } from '../../shared/stage/stage.ts';
import { wellEnded } from '../support/build-records.ts';
import { type StageWorld, stageWorld } from '../support/stage-world.ts';

const resolved = () => wellEnded('resolving')[0] as ReturnType<typeof BuildResolved>;
type Handler = (context: StageContext) => Promise<ReturnType<typeof BuildResolved> | ReturnType<typeof BuildFailed>>;

const stages: RunningStage[] = [];
afterEach(async () => {
  for (const stage of stages.splice(0)) await stage.stop();
});

async function start(world: StageWorld, handle: Handler, long = true): Promise<RunningStage> {
  const stage = defineStage({
    name: 'resolver',
    state: 'resolving',
    consumes: BuildRequested,
    emits: [BuildResolved, BuildFailed],
    long,
    limits: { concurrency: 2, attemptsMax: 2, deadlineMs: 600_000 },
    handle: (_event, context) => handle(context),
  });
  const running = await runStage(stage, world.process('worker-1'), { queues: ['resolver.build.requested'] });
  stages.push(running);
  return running;
}

const becomes = (world: StageWorld, id: string, state: Build['state'], withinMs: number) =>
  world.until(`build ${state}`, async () => (await world.build(id)).state === state, withinMs);

describe.each([
  ['a quick stage', false],
  ['a long stage', true],
])('%s', (_, long) => {
  test('leaves its phases with their times in the record and in the log', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    await start(
      world,
      async ({ phase, clock }) => {
        phase('asking');
        await clock.sleep(1500);
        phase('solving');
        await clock.sleep(250);
        return resolved();
      },
      long,
    );
    await becomes(world, id, 'preparing-side-repo', 2000);
    const build = await world.build(id);
    expect(build.runs).toMatchObject([
      {
        stage: 'resolver',
        attempt: 1,
        worker: 'worker-1',
        outcome: 'done',
        durationMs: 1750,
        phases: [
          { name: 'asking', durationMs: 1500 },
          { name: 'solving', durationMs: 250 },
        ],
      },
    ]);
    const [run] = build.runs;
    expect(Date.parse(run?.phases[1]?.startedAt ?? '') - Date.parse(run?.startedAt ?? '')).toBe(1500);
    expect(Build.parse(build).runs).toEqual(build.runs);
    const log = await world.log(id);
    expect(log.match(/phase: .*/g)).toEqual(['phase: asking', 'phase: asking: 1.5 s', 'phase: solving', 'phase: solving: 0.3 s']);
  });

  test('that throws says in which phase, and its runs are told apart', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    await start(
      world,
      async ({ phase }) => {
        phase('asking');
        phase('solving');
        throw new SpindleError('KOJI_UNREACHABLE', 'koji does not answer');
      },
      long,
    );
    await world.until('a second try is due', async () => (await world.build(id)).retryAt !== null, 1000);
    const once = await world.build(id);
    expect(once.runs).toMatchObject([{ attempt: 1, outcome: 'failed', phases: [{ name: 'asking' }, { name: 'solving' }] }]);
  });

  test('that says no itself says in which phase', async () => {
    const world = await stageWorld();
    const id = await world.admit();
    const failure = { code: 'PACKAGE_UNKNOWN', stage: 'resolver', message: 'no package helo', fault: 'requester', retryable: false } as const;
    await start(
      world,
      async ({ phase }) => {
        phase('solving');
        return BuildFailed({ failure, artifacts: [] });
      },
      long,
    );
    await becomes(world, id, 'failed', 1000);
    const build = await world.build(id);
    expect(build.failure).toEqual({ ...failure, phase: 'solving' });
    expect(build.runs).toMatchObject([{ outcome: 'failed' }]);
  });
});

test('a run that goes on shows its phases with the next heartbeat, and to those who follow at once', async () => {
  const world = await stageWorld();
  const id = await world.admit();
  const heard: unknown[] = [];
  const runtime = world.process('worker-2');
  runtime.bus.listen(progressTopic(id), (payload) => heard.push(payload));
  let finish = () => {};
  const stage = await start(world, async ({ phase, progress, clock }) => {
    phase('installing packages');
    await clock.sleep(2000);
    progress(3, 17, 'bash');
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
    return resolved();
  });
  await world.until('the phase is in the record', async () => (await world.build(id)).runs.length > 0, 6000);
  expect((await world.build(id)).runs).toMatchObject([{ outcome: null, durationMs: null, phases: [{ name: 'installing packages', durationMs: null }] }]);
  expect(heard).toContainEqual({ stage: 'resolver', phase: 'installing packages', done: 0, total: 0, what: 'installing packages' });
  expect(heard).toContainEqual({ stage: 'resolver', phase: 'installing packages', done: 3, total: 17, what: 'bash' });
  expect(stage.doing()).toMatchObject([{ buildId: id, what: 'bash' }]);
  finish();
  await becomes(world, id, 'preparing-side-repo', 1000);
  expect((await world.build(id)).runs).toMatchObject([{ outcome: 'done', phases: [{ durationMs: expect.any(Number) }] }]);
});

describe('phases', () => {
  test('those of several tracks go on side by side', () => {
    const clock = virtualClock({ seed: 1, startMs: 0 });
    const changes: string[] = [];
    const phases = trackPhases(clock, (name, durationMs) => changes.push(durationMs === undefined ? `+${name}` : `-${name}`));
    const endBios = phases.begin('start by bios', 'bios');
    phases.begin('start by uefi', 'uefi');
    expect(phases.current).toBe('start by bios, start by uefi');
    endBios();
    endBios();
    expect(phases.current).toBe('start by uefi');
    phases.end();
    expect(phases.current).toBeUndefined();
    expect(changes).toEqual(['+start by bios', '+start by uefi', '-start by bios', '-start by uefi']);
    expect(phases.all.every(({ durationMs }) => durationMs !== null)).toBe(true);
  });

  test('the same name again is the same phase, and there are never too many', () => {
    const phases = trackPhases(virtualClock({ seed: 1, startMs: 0 }), () => {});
    phases.begin('one');
    phases.begin('one');
    expect(phases.all).toHaveLength(1);
    for (let count = 0; count < 1000; count += 1) phases.begin(`${count} ${'x'.repeat(1000)}`);
    expect(phases.all).toHaveLength(phasesMax);
    expect(phases.all.every(({ name }) => name.length <= 100)).toBe(true);
    expect(phases.current?.length).toBeLessThanOrEqual(100);
  });

  test('the record keeps the newest runs; one that was never heard of again is lost', () => {
    const run = (attempt: number, outcome: StageRun['outcome']): StageRun => ({
      ...{ stage: 'resolver', attempt, worker: 'w', durationMs: null, outcome, phases: [] },
      startedAt: new Date(attempt * 1000).toISOString(),
    });
    let runs: StageRun[] = [];
    for (let attempt = 1; attempt <= runsMax + 5; attempt += 1) runs = withRun(runs, run(attempt, null));
    expect(runs).toHaveLength(runsMax);
    expect(runs.map(({ outcome }) => outcome)).toEqual([...Array(runsMax - 1).fill('lost'), null]);
    expect(withRun(runs, run(runsMax + 5, 'done')).at(-1)).toMatchObject({ attempt: runsMax + 5, outcome: 'done' });
    expect(withRun(runs, run(runsMax + 5, 'done'))).toHaveLength(runsMax);
  });
});
