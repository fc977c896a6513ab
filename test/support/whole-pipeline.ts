/**
 * All stages in one process on a store and a bus of the caller's choice, with simulated tools that take no time; workspaces are in memory, and so are files unless the caller has others. With `instantaneous` stages only
 * Spindle's runtime is left; with `real` ones the real handlers work.
 */
import type { VirtualMachines } from '../../services/boot-test/virtual-machine.ts';
import { startScheduler } from '../../services/intake/scheduler.ts';
import { deliveryCollection } from '../../services/notifier/delivery.ts';
import { runNotifier } from '../../services/notifier/service.ts';
import { pipelineStages } from '../../services/pipeline.ts';
import { type Build, buildCollection, newBuild } from '../../shared/build/build.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import { SingleBuildRequest } from '../../shared/build/request.ts';
import { buildStates, isEnded } from '../../shared/build/states.ts';
import { buildLogs } from '../../shared/build-log/build-log.ts';
import type { Bus } from '../../shared/bus/bus.ts';
import { imageBuilderQueue, stageQueue } from '../../shared/bus/topology.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import { type MemoryDisk, memoryDisk } from '../../shared/downloads/memory.ts';
import { simulatedEgress } from '../../shared/egress/simulated.ts';
import { type AnyEmitted, BuildFinished, BuildResolved, ImageBootTested, ImageBuilt, ImageUploaded, SideRepoReady } from '../../shared/events/catalog.ts';
import type { Files } from '../../shared/files/files.ts';
import { memoryFiles } from '../../shared/files/memory.ts';
import type { Log } from '../../shared/log/log.ts';
import { type MemoryMail, memoryMail } from '../../shared/mail/memory.ts';
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
import type { Stage, StageContext } from '../../shared/stage/stage.ts';
import type { Collection, Store } from '../../shared/store/store.ts';
import { type MemoryWorkspaces, memoryWorkspaces } from '../../shared/workspace/memory.ts';
import { simulatedRelease, simulatedRoutes, simulatedRpmTools, simulatedSolver } from './simulated-fedora.ts';
import { simulatedImageReport, simulatedImageTools } from './simulated-image-tools.ts';

export type Handlers = 'instantaneous' | 'real';

export const pipelineReleases = { releases: [simulatedRelease] };

export const pipelineRequest = SingleBuildRequest.parse({
  release: simulatedRelease.id,
  arch: 'x86_64',
  imageType: 'live',
  label: 'BENCH',
  packages: ['bash', 'hello'],
  firmware: ['bios'],
});

export interface WholePipelineOptions {
  readonly store: Store;
  /** Already asserted with the topology of `pipelineReleases`. */
  readonly bus: Bus;
  readonly clock: Clock;
  /** In memory where left out. What stages name by its path is read from, and put into, the workspaces in memory all the same. */
  readonly files?: Files;
  readonly logger: Log;
  readonly handlers: Handlers;
  readonly slots: number;
  readonly inFlightMax: number;
  /** Told of each program as it starts. */
  readonly onProgram?: (command: string) => void;
  /** Runs before a stage answers. */
  readonly before?: (stage: string, context: StageContext) => Promise<void>;
}

export interface WholePipeline {
  readonly builds: Collection<Build>;
  readonly mail: MemoryMail;
  /** Stores a build, and lets the scheduler know; resolves with its id. */
  submit(): Promise<string>;
  /** Submits so many and resolves when all have ended; rejects after `timeoutMs`. */
  run(count: number, timeoutMs: number): Promise<void>;
  stop(): Promise<void>;
}

export async function startWholePipeline(options: WholePipelineOptions): Promise<WholePipeline> {
  const { store, bus, clock, logger, slots, inFlightMax } = options;
  const life = lifecycle({ clock, logger });
  const fileSystem: { disk?: MemoryDisk } = {};
  const readPath = (path: string) => fileSystem.disk?.read(path);
  const writePath = (path: string, bytes: Uint8Array) => fileSystem.disk?.write(path, bytes);
  const files = options.files ? onPathsInMemory(options.files, readPath, writePath) : memoryFiles({ clock, readPath, writePath });
  const workspaces = memoryWorkspaces({ files });
  const disk = memoryDisk(workspaces);
  fileSystem.disk = disk;
  const builds = await store.collection(buildCollection);
  const programs = instantPrograms({ ...simulatedRpmTools(workspaces), ...simulatedImageTools(workspaces) }, options.onProgram);
  const egress = simulatedEgress({ routes: simulatedRoutes, clock, write: disk.write, read: disk.read, remove: disk.remove });
  const downloads = rpmDownloads({ egress, clock, partials: disk.partialFiles('/downloads', clock), target: contentTarget(files) });
  const runtime = {
    clock,
    files,
    programs,
    egress,
    downloads,
    rpms: memoryRpmStore({ files, clock }),
    releases: pipelineReleases,
    untrustedCode: { kickstartScripts: false, rpms: false },
    bus,
    builds,
    workspaces,
    logger,
    worker: 'whole-pipeline',
    openBuildLog: buildLogs({ files, bus, clock }),
  };
  const made = pipelineStages({ virtualMachines: instantMachines(workspaces), solver: simulatedSolver() }) as readonly unknown[] as readonly Stage[];
  for (const stage of made.map((one) => shaped(one, options))) {
    const queues = stage.name === 'image-builder' ? [imageBuilderQueue('x86_64', 'live', 'kiwi')] : [stageQueue(stage.name, stage.consumes.type)];
    const running = await runStage(stage, runtime, { queues, slots });
    life.add(stage.name, () => running.stop());
  }
  const deliveries = await store.collection(deliveryCollection);
  const mail = memoryMail();
  const notifier = await runNotifier(
    { bus, builds, deliveries, files, mail, clock, logger, publicUrl: 'http://spindle.example' },
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
    leadership: leadership({ name: 'scheduler', holder: 'whole-pipeline', leases, clock }),
    inFlightMax,
  });
  life.add('scheduler', () => scheduler.stop());
  bus.listen(endedTopic, () => scheduler.poke());

  const submit = async (): Promise<string> => {
    const id = clock.id();
    await builds.insert(newBuild({ id, request: pipelineRequest, now: clock.now() }));
    scheduler.poke();
    return id;
  };
  return {
    builds,
    mail,
    submit,
    run: async (count, timeoutMs) => {
      const ids = new Set<string>();
      let ended = 0;
      let forget = () => {};
      let hear = (_id: unknown) => {};
      const allEnded = new Promise<void>((resolve, reject) => {
        forget = clock.after(timeoutMs, () => reject(new Error(`only ${ended} of ${count} builds ended within ${timeoutMs / 1000} s`)));
        hear = (id) => {
          if (!ids.delete(String(id))) return;
          ended += 1;
          if (ended === count) resolve();
        };
      });
      const unlisten = bus.listen(endedTopic, hear);
      // A broadcast may be lost: where nothing more is heard, the store is asked.
      const look = (endedBefore: number): (() => void) =>
        clock.after(1_000, () => {
          const asked = ended === endedBefore ? [...ids] : [];
          void Promise.all(asked.map((id) => builds.get(id))).then((found) => {
            for (const one of found) if (one && isEnded(one.document.state)) hear(one.document.id);
            if (ended < count) forgetLook = look(ended);
          });
        });
      let forgetLook = look(-1);
      const submitAll = async (from: number) => {
        for (let index = from; index < count; index += inFlightMax) {
          const id = clock.id();
          ids.add(id);
          await builds.insert(newBuild({ id, request: pipelineRequest, now: clock.now() }));
          scheduler.poke();
        }
      };
      try {
        await Promise.all([allEnded, ...Array.from({ length: inFlightMax }, (_, index) => submitAll(index))]);
      } finally {
        unlisten();
        forget();
        forgetLook();
      }
    },
    stop: () => life.stop(),
  };
}

function onPathsInMemory(files: Files, readPath: (path: string) => Uint8Array | undefined, writePath: (path: string, bytes: Uint8Array) => void): Files {
  return {
    ...files,
    put: async (key, source, options) => {
      if (typeof source === 'string' || !('path' in source)) return files.put(key, source, options);
      const bytes = readPath(source.path);
      if (!bytes) throw new SpindleError('FILE_MISSING', `${source.path} is not there, so it could not be stored`);
      return files.put(key, bytes, options);
    },
    place: async (key, path) => {
      const fingerprint = (await files.stat(key))?.fingerprint;
      const found = await files.get(key);
      if (!found || fingerprint === undefined) throw new SpindleError('FILE_MISSING', `stored file ${key} is gone`);
      const chunks: Uint8Array[] = [];
      for await (const chunk of found.body) chunks.push(chunk);
      writePath(path, Buffer.concat(chunks));
      return { before: fingerprint, after: fingerprint, isLinked: false };
    },
  };
}

/** The stages as they are, or with what they would answer for this request ready at once. */
function shaped(stage: Stage, { handlers, before }: WholePipelineOptions): Stage {
  const handle: Stage['handle'] =
    handlers === 'real' ? (event, context) => stage.handle(event, context) : async () => (answers[stage.name] ?? []) as Awaited<ReturnType<Stage['handle']>>;
  if (!before) return { ...stage, handle };
  return {
    ...stage,
    handle: async (event, context) => {
      await before(stage.name, context);
      return handle(event, context);
    },
  };
}

const ref = { sha256: 'a'.repeat(64), size: 1 };
const image = 'BENCH-simulated-x86_64.iso';
const artifacts = [image, 'manifest.json', 'config.xml'].map((name) => ({ name, mediaType: 'application/octet-stream', ...ref }));
const target = { arch: 'x86_64', imageType: 'live' as const, engine: 'kiwi' as const };
const answers: Readonly<Record<string, readonly AnyEmitted[]>> = {
  resolver: [BuildResolved({ ...target, resolution: ref })],
  'side-repo': [SideRepoReady({ ...target, resolution: ref, repositories: ref })],
  'image-builder': [ImageBuilt({ arch: 'x86_64', imageType: 'live', image, requested: [], artifacts })],
  'boot-test': [ImageBootTested({ image, verdict: 'booted', reason: 'simulated', artifacts })],
  uploader: [ImageUploaded({ image, artifacts }), BuildFinished({ verdict: 'booted', reason: 'simulated' })],
};

/** Tools that take no time at all: not even a timer or a signal of their own. */
function instantPrograms(tools: Readonly<Record<string, SimulatedProgram>>, onProgram: (command: string) => void = () => {}): Programs {
  const run: Programs['run'] = async (request) => {
    onProgram(request.command);
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
