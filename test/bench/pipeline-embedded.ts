/**
 * Builds a second through all stages on the embedded store and bus; every step of every build is a durable commit. Two figures: `pipeline-embedded`, where a stage's work takes no time, so
 * that what is left is Spindle's runtime; and `pipeline-embedded-handlers`, where the real handlers run on simulated tools, and their own work counts. Files and workspaces are in
 * memory. The reference does as many durable commits of the same records on the same store, and nothing else.
 */

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { VirtualMachines } from '../../services/boot-test/virtual-machine.ts';
import { startScheduler } from '../../services/intake/scheduler.ts';
import { deliveryCollection } from '../../services/notifier/delivery.ts';
import { runNotifier } from '../../services/notifier/service.ts';
import { pipelineStages } from '../../services/pipeline.ts';
import { type Build, buildCollection, newBuild } from '../../shared/build/build.ts';
import { SingleBuildRequest } from '../../shared/build/request.ts';
import { buildStates } from '../../shared/build/states.ts';
import { buildLogs } from '../../shared/build-log/build-log.ts';
import { deadLetterCollection } from '../../shared/bus/dead-letter-collection.ts';
import { embeddedBus } from '../../shared/bus/embedded.ts';
import { imageBuilderQueue, pipelineTopology, stageQueue } from '../../shared/bus/topology.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { type MemoryDisk, memoryDisk } from '../../shared/downloads/memory.ts';
import { simulatedEgress } from '../../shared/egress/simulated.ts';
import { type AnyEmitted, BuildFinished, BuildResolved, ImageBootTested, ImageBuilt, ImageUploaded, SideRepoReady } from '../../shared/events/catalog.ts';
import { memoryFiles } from '../../shared/files/memory.ts';
import { createLog } from '../../shared/log/log.ts';
import { memoryMail } from '../../shared/mail/memory.ts';
import type { Programs } from '../../shared/programs/programs.ts';
import type { SimulatedProgram } from '../../shared/programs/simulated.ts';
import { rpmDownloads } from '../../shared/rpm/rpm-downloads.ts';
import { contentTarget } from '../../shared/rpm/stored-rpm.ts';
import { memoryRpmStore } from '../../shared/rpm-store/memory.ts';
import { leadership, leaseCollection } from '../../shared/stage/leadership.ts';
import { lifecycle } from '../../shared/stage/lifecycle.ts';
import { endedTopic } from '../../shared/stage/outbox.ts';
import { startReconciler } from '../../shared/stage/reconcile.ts';
import { runStage } from '../../shared/stage/run.ts';
import type { Stage } from '../../shared/stage/stage.ts';
import { type EmbeddedStore, openEmbeddedStore } from '../../shared/store/embedded.ts';
import { type MemoryWorkspaces, memoryWorkspaces } from '../../shared/workspace/memory.ts';
import { simulatedRelease, simulatedRoutes, simulatedRpmTools, simulatedSolver } from '../support/simulated-fedora.ts';
import { simulatedImageReport, simulatedImageTools } from '../support/simulated-image-tools.ts';
import { compare, print } from './figure.ts';

const inFlightMax = 64;
/** As many as need no more than the embedded service has at once. */
const slots = 32;
const rounds = 5;
const roundMs = 120_000;

type AnyStage = Stage;

const clock = systemClock();

interface Round {
  readonly buildsPerSecond: number;
  readonly commits: number;
  readonly transactions: number;
}

const request = SingleBuildRequest.parse({
  release: simulatedRelease.id,
  arch: 'x86_64',
  imageType: 'live',
  label: 'BENCH',
  packages: ['bash', 'hello'],
  firmware: ['bios'],
});

/** Tools that take no time at all: not even a timer or a signal of their own. */
function instantPrograms(tools: Readonly<Record<string, SimulatedProgram>>): Programs {
  const run: Programs['run'] = async (request) => {
    const result = { exitCode: 0, signal: null, stdout: '', stderr: '', truncated: false, durationMs: 0, ...(await tools[request.command]?.(request)) };
    for (const line of result.stdout.split('\n')) if (line !== '') request.onLine?.(line, 'stdout');
    return result;
  };
  return {
    has: async (command) => Object.hasOwn(tools, command),
    run,
    start: async (request) => {
      const ended = run(request);
      return { pid: undefined, ended, stop: () => ended, write: () => {} };
    },
  };
}

function instantMachines(workspaces: MemoryWorkspaces): VirtualMachines {
  const screenshot = new Uint8Array([0x89]);
  const encoder = new TextEncoder();
  return {
    start: async ({ medium = '', onSerial }) => {
      for (const { text } of simulatedImageReport(workspaces, medium, 0)) onSerial(encoder.encode(text));
      return {
        acceleration: 'simulated',
        ended: new Promise(() => undefined),
        screenshot: async () => screenshot,
        screenText: async () => undefined,
        stop: async () => undefined,
      };
    },
  };
}

async function withStore<T>(act: (store: EmbeddedStore) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'spindle-bench-'));
  const store = await openEmbeddedStore({ path: join(directory, 'spindle.sqlite') });
  try {
    return await act(store);
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** The stages as they are, with what they would answer for this request ready at once. */
function instantStages(stages: ReturnType<typeof pipelineStages>): readonly AnyStage[] {
  const ref = { sha256: 'a'.repeat(64), size: 1 };
  const artifacts = ['BENCH-simulated-x86_64.iso', 'manifest.json', 'config.xml'].map((name) => ({ name, mediaType: 'application/octet-stream', ...ref }));
  const target = { arch: 'x86_64', imageType: 'live' as const, engine: 'kiwi' as const };
  const image = 'BENCH-simulated-x86_64.iso';
  const answers: Readonly<Record<string, readonly AnyEmitted[]>> = {
    resolver: [BuildResolved({ ...target, resolution: ref })],
    'side-repo': [SideRepoReady({ ...target, resolution: ref, repositories: ref })],
    'image-builder': [ImageBuilt({ arch: 'x86_64', imageType: 'live', image, requested: [], artifacts })],
    'boot-test': [ImageBootTested({ image, verdict: 'booted', reason: 'simulated', artifacts })],
    uploader: [ImageUploaded({ image, artifacts }), BuildFinished({ verdict: 'booted', reason: 'simulated' })],
  };
  return stages.map((stage) => ({ ...stage, handle: async () => answers[stage.name] ?? [] }) as unknown as AnyStage);
}

type Handlers = 'instantaneous' | 'real';

async function pipelineRound(count: number, handlers: Handlers): Promise<Round> {
  return withStore(async (store) => {
    const logger = createLog({ level: 'silent' });
    const life = lifecycle({ clock, logger });
    const fileSystem: { disk?: MemoryDisk } = {};
    const files = memoryFiles({
      clock,
      readPath: (path) => fileSystem.disk?.read(path),
      writePath: (path, bytes) => fileSystem.disk?.write(path, bytes),
    });
    const workspaces = memoryWorkspaces({ files });
    const disk = memoryDisk(workspaces);
    fileSystem.disk = disk;
    const builds = await store.collection(buildCollection);
    const bus = embeddedBus({ deadLetters: await store.collection(deadLetterCollection), clock });
    const releases = { releases: [simulatedRelease] };
    await bus.assert(pipelineTopology(releases));
    const programs = instantPrograms({ ...simulatedRpmTools(workspaces), ...simulatedImageTools(workspaces) });
    const egress = simulatedEgress({ routes: simulatedRoutes, clock, write: disk.write, read: disk.read, remove: disk.remove });
    const downloads = rpmDownloads({ egress, clock, partials: disk.partialFiles('/downloads', clock), target: contentTarget(files) });
    const runtime = {
      clock,
      files,
      programs,
      egress,
      downloads,
      rpms: memoryRpmStore({ files, clock }),
      releases,
      untrustedCode: { kickstartScripts: false, rpms: false },
      bus,
      builds,
      workspaces,
      logger,
      worker: 'bench',
      openBuildLog: buildLogs({ files, bus, clock }),
    };
    const virtualMachines = instantMachines(workspaces);
    const solver = simulatedSolver();

    const stages: readonly AnyStage[] =
      handlers === 'real'
        ? (pipelineStages({ virtualMachines, solver }) as readonly unknown[] as readonly AnyStage[])
        : instantStages(pipelineStages({ virtualMachines, solver }));
    for (const stage of stages) {
      const queues = stage.name === 'image-builder' ? [imageBuilderQueue('x86_64', 'live', 'kiwi')] : [stageQueue(stage.name, stage.consumes.type)];
      const running = await runStage(stage, runtime, { queues, slots });
      life.add(stage.name, () => running.stop());
    }
    const deliveries = await store.collection(deliveryCollection);
    const notifier = await runNotifier(
      { bus, builds, deliveries, files, mail: memoryMail(), clock, logger, publicUrl: 'http://spindle.example' },
      { queues: [stageQueue('notifier', 'build.ended')] },
    );
    life.add('notifier', () => notifier.stop());
    const reconciler = startReconciler({ bus, builds, clock, logger, states: buildStates });
    life.add('reconciler', () => reconciler.stop());
    const leases = await store.collection(leaseCollection);
    const scheduler = startScheduler({
      bus,
      builds,
      clock,
      logger,
      leadership: leadership({ name: 'scheduler', holder: 'bench', leases, clock }),
      inFlightMax,
    });
    life.add('scheduler', () => scheduler.stop());

    let ended = 0;
    const allEnded = new Promise<void>((resolve, reject) => {
      clock.after(roundMs, () => reject(new Error(`only ${ended} of ${count} builds ended within ${roundMs / 1000} s`)));
      bus.listen(endedTopic, () => {
        ended += 1;
        scheduler.poke();
        if (ended === count) resolve();
      });
    });
    const commitsBefore = store.commits;
    const transactionsBefore = store.transactions;
    const startedAt = performance.now();
    const submit = async (from: number) => {
      for (let index = from; index < count; index += inFlightMax) {
        await builds.insert(newBuild({ id: clock.id(), request, now: clock.now() }));
        scheduler.poke();
      }
    };
    await Promise.all([allEnded, ...Array.from({ length: inFlightMax }, (_, index) => submit(index))]);
    const seconds = (performance.now() - startedAt) / 1000;
    const finished = await builds.count({ index: 'byState', prefix: ['finished'] });
    if (finished !== count) throw new Error(`only ${finished} of ${count} builds finished`);
    const round = { buildsPerSecond: count / seconds, commits: store.commits - commitsBefore, transactions: store.transactions - transactionsBefore };
    await life.stop();
    return round;
  });
}

/** As many conditional writes of a finished build's record, from as many writers. */
async function referenceRound(count: number, commitsPerBuild: number, record: Build): Promise<number> {
  return withStore(async (store) => {
    const builds = await store.collection(buildCollection);
    const startedAt = performance.now();
    const write = async (from: number) => {
      for (let index = from; index < count; index += inFlightMax) {
        const document = { ...record, id: clock.id() };
        await builds.insert(document);
        for (let version = 1; version < commitsPerBuild; version += 1) await builds.replace(document, version);
      }
    };
    await Promise.all(Array.from({ length: inFlightMax }, (_, index) => write(index)));
    return count / ((performance.now() - startedAt) / 1000);
  });
}

/** One round in a child under strace, which counts what reaches the disk. Slower, so it is not timed. */
async function countSyncs(count: number, handlers: Handlers): Promise<{ readonly fdatasyncs: number; readonly commits: number }> {
  const script = fileURLToPath(import.meta.url);
  const args = [
    '-f',
    '-c',
    '-U',
    'calls,name',
    '-e',
    'trace=fdatasync,fsync',
    process.execPath,
    ...process.execArgv,
    script,
    '--child',
    String(count),
    handlers,
  ];
  const child = spawn('strace', args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: roundMs, killSignal: 'SIGKILL' });
  let output = '';
  let table = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    table += chunk.toString();
  });
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code !== 0) throw new Error(`the counted round failed: ${table.slice(-500)}`);
  const calls = [...table.matchAll(/^\s*(\d+)\s+(?:fdatasync|fsync)\s*$/gm)].reduce((sum, match) => sum + Number(match[1]), 0);
  return { fdatasyncs: calls, commits: (JSON.parse(output) as Round).commits };
}

async function measure(name: string, handlers: Handlers, buildsPerRound: number): Promise<void> {
  const warm = await pipelineRound(300, handlers);
  const commitsPerBuild = Math.round(warm.commits / 300);
  const record = newBuild({ id: clock.id(), request, now: clock.now() });
  let last: Round | undefined;
  const figure = await compare(rounds, {
    ours: async () => {
      last = await pipelineRound(buildsPerRound, handlers);
      return last.buildsPerSecond;
    },
    reference: () => referenceRound(buildsPerRound, commitsPerBuild, record),
  });
  const counted = await countSyncs(500, handlers);
  if (counted.fdatasyncs === 0) throw new Error('not one fdatasync: the commits are not durable');
  print(name, 'builds/s', figure, {
    handlers,
    commitsPerRound: last?.commits,
    transactionsPerRound: last?.transactions,
    countedCommits: counted.commits,
    countedFdatasyncs: counted.fdatasyncs,
  });
}

export async function pipelineEmbedded(): Promise<void> {
  await measure('pipeline-embedded', 'instantaneous', 3_000);
  await measure('pipeline-embedded-handlers', 'real', 1_500);
}

const childAt = process.argv.indexOf('--child');
if (childAt > 0 && process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(JSON.stringify(await pipelineRound(Number(process.argv[childAt + 1]), process.argv[childAt + 2] === 'real' ? 'real' : 'instantaneous')));
}
