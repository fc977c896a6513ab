/** Build nodes: what their record says, which builds they take, and what is told of a build that none of them can make. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ImageEngine } from '../../services/image-builder/engines/engine.ts';
import { kiwi } from '../../services/image-builder/engines/kiwi.ts';
import { type BuildNode, builderQueues, startBuildNode } from '../../services/image-builder/node.ts';
import { probeEngines } from '../../services/image-builder/probe.ts';
import { Build, buildTargetOf, claimed, withProblem } from '../../shared/build/build.ts';
import { ImageBuilt, SideRepoReady } from '../../shared/events/catalog.ts';
import { type SimulatedProgram, simulatedPrograms } from '../../shared/programs/simulated.ts';
import { relayOutbox } from '../../shared/stage/outbox.ts';
import { defineStage, type StageContext } from '../../shared/stage/stage.ts';
import type { Collection } from '../../shared/store/store.ts';
import { drainWorker } from '../../shared/workers/drain.ts';
import { startWorkerWatch, type WorkerWatch } from '../../shared/workers/watch.ts';
import { isForgotten, type Worker, whyNobodyCan, workerCollection, workerState } from '../../shared/workers/worker.ts';
import { buildIn, startMs, wellEnded } from '../support/build-records.ts';
import { type StageWorld, silentLog, stageWorld } from '../support/stage-world.ts';
import { kiwiEngine, workerRecord } from '../support/workers.ts';

const target = { arch: 'x86_64', imageType: 'live', engine: 'kiwi' } as const;

describe('the record', () => {
  test.each([
    ['idle', {}, 0],
    ['busy', { builds: [{ buildId: 'b', stage: 'image-builder', what: null, since: new Date(startMs).toISOString() }] }, 0],
    ['draining', { draining: true }, 0],
    ['drained', { draining: true, isTaking: false }, 0],
    ['lost', {}, 9_000],
    ['stopped', { stoppedAt: new Date(startMs).toISOString() }, 9_000],
  ] as const)('%s', (state, changes, later) => {
    expect(workerState(workerRecord(changes as Partial<Worker>), startMs + later)).toBe(state);
  });

  test('is forgotten after a day; one that is to drain is remembered for as long as a repair may take', () => {
    const day = 24 * 3_600_000;
    expect(isForgotten(workerRecord(), startMs + day)).toBe(false);
    expect(isForgotten(workerRecord(), startMs + day + 1)).toBe(true);
    expect(isForgotten(workerRecord({ draining: true }), startMs + 20 * day)).toBe(false);
  });
});

describe('why nobody can', () => {
  const lacking = { ...kiwiEngine, version: null, missing: ['kiwi-ng'] };
  test.each<readonly [string, readonly Partial<Worker>[], string | undefined]>([
    ['one that can is enough', [{ draining: true }, {}], undefined],
    ['a full one can, later', [{ slots: 1, builds: [{ buildId: 'b', stage: 's', what: null, since: '' }] }], undefined],
    ['none', [], 'none is there'],
    ['draining', [{ draining: true }], 'node-1 is draining'],
    ['lost', [{ heartbeatAt: startMs - 60_000 }], 'node-1 has not been heard of for 60 s'],
    ['stopped', [{ stoppedAt: '' }], 'node-1 is stopped'],
    ['another architecture', [{ arch: 'aarch64' }], 'node-1 builds for aarch64 only'],
    ['another engine', [{ engines: [{ ...kiwiEngine, name: 'native' }] }], 'node-1 does not know kiwi'],
    ['another kind of image', [{ engines: [{ ...kiwiEngine, imageTypes: ['boot'] }] }], 'kiwi of node-1 makes boot images only'],
    [
      'a tool that is missing, and the nearest node first',
      [{ arch: 'aarch64' }, { id: 'node-2', engines: [lacking] }],
      'node-2 lacks kiwi-ng; node-1 builds for aarch64 only (on Debian: apt-get install kiwi; on Fedora: dnf install kiwi-cli)',
    ],
  ])('%s', (_, workers, reason) => {
    const message = whyNobodyCan(
      workers.map((changes) => workerRecord(changes)),
      target,
      startMs,
    );
    expect(message).toBe(reason === undefined ? undefined : `no build node can make a live image with kiwi for x86_64: ${reason}`);
  });

  test('stays short however many there are', () => {
    const message = whyNobodyCan(
      Array.from({ length: 500 }, (_, index) => workerRecord({ id: `node-${index}`, draining: true })),
      target,
      startMs,
    );
    expect(message).toContain('495 more cannot either');
    expect(message?.length).toBeLessThan(300);
  });
});

test('a problem of a waiting build stands in its timeline once, and goes with the claim', () => {
  const build = buildIn('building');
  expect(buildTargetOf(build)).toEqual(target);
  expect(buildTargetOf(buildIn('uploading'))).toBeUndefined();
  const first = withProblem(build, { code: 'NO_WORKER', message: 'none' }, startMs);
  const second = withProblem(first, { code: 'NO_WORKER', message: 'none at all' }, startMs);
  expect(second.stage?.problem?.message).toBe('none at all');
  expect(second.timeline).toHaveLength(build.timeline.length + 1);
  expect(Build.parse(second)).toEqual(second);
  expect(withProblem(second, null, startMs).stage).toEqual(build.stage);
  expect(claimed(second, { token: 't', worker: 'w', expiresAt: startMs + 1 }, startMs).stage).not.toHaveProperty('problem');
});

describe('a node', () => {
  let world: StageWorld;
  let workers: Collection<Worker>;
  let watch: WorkerWatch | undefined;
  const nodes: BuildNode[] = [];
  const tools = new Map<string, SimulatedProgram>();
  /** Contexts of builds under way; each ends when told. */
  const handled: { readonly context: StageContext; readonly end: () => void }[] = [];

  beforeEach(async () => {
    world = await stageWorld();
    workers = await world.store.collection(workerCollection);
    tools.clear();
    handled.length = 0;
    for (const command of kiwi.needs.commands) tools.set(command, async () => ({ stdout: 'KIWI (next generation) version 9.24.43\n' }));
  });
  afterEach(async () => {
    let isDone = false;
    const done = (async () => {
      await watch?.stop();
      for (const node of nodes.splice(0)) await node.stop();
      isDone = true;
    })();
    await world.clock.run(() => isDone, { timersMax: 100_000, elapsedMsMax: 600_000 });
    await done;
    watch = undefined;
    await world.close();
  });

  const stage = defineStage({
    name: 'image-builder',
    state: 'building',
    consumes: SideRepoReady,
    emits: [ImageBuilt],
    long: true,
    limits: { concurrency: 2, attemptsMax: 3, deadlineMs: 3_600_000 },
    handle: (_event, context) =>
      new Promise((resolve, reject) => {
        context.signal.addEventListener('abort', () => reject(context.signal.reason));
        context.progress(3, 17, 'installing packages');
        handled.push({ context, end: () => resolve(wellEnded('building')[0] as ReturnType<typeof ImageBuilt>) });
      }),
  });

  const start = async (id: string, changes: { readonly slots?: number; readonly engines?: readonly ImageEngine[] } = {}) => {
    const runtime = world.process(id);
    const programs = { ...simulatedPrograms({}, world.clock), has: async (command: string) => tools.has(command) };
    programs.run = (request) => simulatedPrograms(Object.fromEntries(tools), world.clock).run(request);
    const node = await startBuildNode({
      stage,
      engines: changes.engines ?? [kiwi],
      runtime: { ...runtime, programs },
      workers,
      facts: { host: 'builder.example', version: '1.0.0', arch: 'x86_64', slots: changes.slots ?? 1, memoryBytes: 8e9, kvm: false },
      freeBytes: async () => 5e9,
    });
    nodes.push(node);
    return node;
  };
  const record = async (id: string) => (await workers.get(id))?.document;
  const stateOf = async (id: string) => {
    const found = await record(id);
    return found && workerState(found, world.clock.now());
  };
  const drain = (id: string, draining: boolean) => drainWorker({ workers, bus: world.bus }, id, draining);
  const submit = async (): Promise<string> => {
    const id = world.clock.id();
    const build = { ...buildIn('building'), id };
    const document = {
      ...build,
      stage: build.stage && { ...build.stage, waitingSince: new Date(world.clock.now()).toISOString() },
      outbox: build.outbox.map((entry) => ({ ...entry, event: { ...entry.event, subject: id, id: world.clock.id() } })),
    };
    await world.builds.insert(document);
    await relayOutbox({ bus: world.bus, builds: world.builds }, { document, version: 1 });
    return id;
  };
  const startWatch = () => {
    watch = startWorkerWatch({ ...world.process('watch'), workers, logger: silentLog });
  };
  const problemOf = async (id: string) => (await world.build(id)).stage?.problem?.message;

  test('says what it can do, with the versions, and what it does', async () => {
    await start('node-1');
    const id = await submit();
    await world.until('the build', () => handled.length === 1, 1_000);
    await world.until('the record', async () => (await record('node-1'))?.engines[0]?.version === '9.24.43' && (await stateOf('node-1')) === 'busy', 5_000);
    expect(await record('node-1')).toMatchObject({
      arch: 'x86_64',
      slots: 1,
      freeBytes: 5e9,
      draining: false,
      engines: [{ name: 'kiwi', imageTypes: ['live'], missing: [], install: { debian: kiwi.needs.install.debian } }],
      builds: [{ buildId: id, stage: 'image-builder', what: 'installing packages' }],
    });
    handled[0]?.end();
    await world.until('the end', async () => (await world.build(id)).state === 'boot-testing' && (await stateOf('node-1')) === 'idle', 5_000);
  });

  test('takes at most as many builds as it has slots', async () => {
    await start('node-1', { slots: 2 });
    for (let index = 0; index < 3; index += 1) await submit();
    await world.until('two builds', () => handled.length === 2, 5_000);
    await world.clock.advance(10_000);
    expect(handled).toHaveLength(2);
    handled[0]?.end();
    await world.until('the third', () => handled.length === 3, 5_000);
  });

  test('that drains finishes what it has and takes nothing new, also after a restart, until it is taken back', async () => {
    const node = await start('node-1');
    const first = await submit();
    await world.until('the first build', () => handled.length === 1, 5_000);
    await drain('node-1', true);
    await world.until('its answer', async () => (await record('node-1'))?.isTaking === false, 1_000);
    expect(await stateOf('node-1')).toBe('draining');
    const second = await submit();
    await world.clock.advance(10_000);
    handled[0]?.end();
    await world.until(
      'the end of the first',
      async () => (await world.build(first)).state === 'boot-testing' && (await stateOf('node-1')) === 'drained',
      10_000,
    );
    let isStopped = false;
    void node.stop().then(() => {
      isStopped = true;
    });
    await world.until('the stop', () => isStopped, 10_000);
    expect(await stateOf('node-1')).toBe('stopped');
    await start('node-1');
    await world.until('the restart', async () => (await stateOf('node-1')) === 'drained', 5_000);
    await world.clock.advance(20_000);
    expect(handled).toHaveLength(1);
    await drain('node-1', false);
    await world.until('the second build', () => handled.length === 2, 1_000);
    expect((await world.build(second)).stage?.worker).toBe('node-1');
  });

  test('that drains leaves its builds to another one', async () => {
    await start('node-1');
    await world.until('its record', async () => (await stateOf('node-1')) === 'idle', 1_000);
    await drain('node-1', true);
    await world.until('its answer', async () => (await stateOf('node-1')) === 'drained', 1_000);
    await start('node-2');
    const id = await submit();
    await world.until('the build', () => handled.length === 1, 5_000);
    expect((await world.build(id)).stage?.worker).toBe('node-2');
  });

  test('whose engine lacks a program gets no build; one that waits says so within 10 s, and goes on when the program is installed', async () => {
    tools.delete('kiwi-ng');
    startWatch();
    await start('node-1');
    const id = await submit();
    await world.until('the problem', async () => (await problemOf(id)) !== undefined, 10_000);
    expect(await problemOf(id)).toMatch(/^no build node can make a live image with kiwi for x86_64: node-1 lacks kiwi-ng \(on Debian: apt-get install kiwi /);
    expect((await world.build(id)).timeline.filter(({ message }) => message?.includes('lacks kiwi-ng'))).toHaveLength(1);
    expect(await world.log(id)).toMatch(/image-builder image-builder\| NO_WORKER: no build node can make/);
    await world.clock.advance(60_000);
    expect(handled).toHaveLength(0);
    expect((await world.build(id)).timeline.filter(({ message }) => message?.includes('lacks'))).toHaveLength(1);
    tools.set('kiwi-ng', async () => ({ stdout: 'version 9.24.44' }));
    await world.until('the build', () => handled.length === 1, 40_000);
    expect(await problemOf(id)).toBeUndefined();
    tools.delete('kiwi-ng');
    await world.until('the loss of the program', async () => (await record('node-1'))?.engines[0]?.missing[0] === 'kiwi-ng', 40_000);
    expect((await record('node-1'))?.engines[0]?.version).toBeNull();
  });

  test('that vanishes: a build says so within 10 s, and the problem goes when a node comes', async () => {
    startWatch();
    const id = await submit();
    await world.until('the problem', async () => (await problemOf(id)) === 'no build node can make a live image with kiwi for x86_64: none is there', 10_000);
    await workers.insert(workerRecord({ heartbeatAt: world.clock.now() }));
    await world.until('a node that is there', async () => (await problemOf(id)) === undefined, 2_000);
    await world.until('its loss', async () => /node-1 has not been heard of for/.test((await problemOf(id)) ?? ''), 10_000);
    const { timeline } = await world.build(id);
    await world.clock.advance(60_000);
    // How long it is silent is no news.
    expect((await world.build(id)).timeline).toEqual(timeline);
  });

  test('the watch leaves builds alone that have just come, that run, and that wait for a slot', async () => {
    startWatch();
    const early = await submit();
    await world.clock.advance(1_500);
    expect(await problemOf(early)).toBeUndefined();
    await start('node-1');
    await submit();
    await world.until('the first build', () => handled.length === 1, 5_000);
    await world.clock.advance(30_000);
    const problems = (await world.builds.find({ index: 'byState', prefix: ['building'], limit: 10 })).map(({ document }) => document.stage?.problem);
    expect(problems).toEqual([undefined, undefined]);
  });

  test('the watch forgets workers that are long gone', async () => {
    await workers.insert(workerRecord({ heartbeatAt: world.clock.now() - 25 * 3_600_000 }));
    await workers.insert(workerRecord({ id: 'node-2', heartbeatAt: world.clock.now() }));
    startWatch();
    await world.until('the first to go', async () => (await record('node-1')) === undefined, 700_000);
    expect(await record('node-2')).toBeDefined();
  });

  test('what a node reads follows from what is installed', async () => {
    const { releases } = world.process('node-1');
    const present = await probeEngines([kiwi], { has: async () => true } as never);
    const absent = await probeEngines([kiwi], { has: async (command: string) => command !== 'xorriso' } as never, [{ ...kiwiEngine, version: '1' }]);
    expect(builderQueues(releases, 'x86_64', present)).toEqual(['image-builder.side-repo.ready.x86_64.live.kiwi']);
    expect(builderQueues(releases, 'aarch64', present)).toEqual([]);
    expect(builderQueues(releases, 'x86_64', absent)).toEqual([]);
    expect(absent[0]).toMatchObject({ missing: ['xorriso'], version: null });
  });
});
