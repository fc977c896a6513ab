/** A build node: the image-builder's stage that reads only the queues of what this machine can make, and a record that says what that is. */
import { imageBuilderQueue, pipelineTopology } from '../../shared/bus/topology.ts';
import type { ReleasesFile } from '../../shared/releases/releases.ts';
import { type RunningStage, runStage, type StageRuntime } from '../../shared/stage/run.ts';
import type { Collection } from '../../shared/store/store.ts';
import { type AnnouncedWorker, announceWorker, type WorkerFacts } from '../../shared/workers/announce.ts';
import type { Worker, WorkerEngine } from '../../shared/workers/worker.ts';
import type { ImageEngine } from './engines/engine.ts';
import { askVersions, probeEngines } from './probe.ts';

/** A tool may be installed, or removed, while the node runs. */
const defaultProbeEveryMs = 30_000;

export interface BuildNodeOptions {
  /** The image-builder with the engines below. */
  readonly stage: unknown;
  readonly engines: readonly ImageEngine[];
  /** Its `worker` is this node's id. */
  readonly runtime: StageRuntime;
  readonly workers: Collection<Worker>;
  readonly facts: Omit<WorkerFacts, 'id' | 'role'>;
  readonly freeBytes: () => Promise<number | null>;
  readonly heartbeatMs?: number;
  readonly probeEveryMs?: number;
}

export interface BuildNode {
  /** No new work; what runs is aborted and given back; says goodbye. Twice is once. */
  stop(): Promise<void>;
}

/** Resolves once the node knows which engines it has. It takes builds as soon as its record is written, unless that says that it is to drain. */
export async function startBuildNode(options: BuildNodeOptions): Promise<BuildNode> {
  const { engines, runtime, workers, facts, freeBytes } = options;
  const { programs, clock, logger, releases, worker } = runtime;
  const stopping = new AbortController();
  let states = await probeEngines(engines, programs);
  const running: RunningStage = await runStage(options.stage, runtime, { queues: [], slots: facts.slots });
  await running.hold();

  let served = '';
  const serve = async (): Promise<void> => {
    const queues = builderQueues(releases, facts.arch, states);
    if (queues.join(' ') === served) return;
    await running.serve(queues);
    served = queues.join(' ');
  };
  await serve();
  const announced: AnnouncedWorker = announceWorker(
    { ...runtime, workers },
    { ...facts, id: worker, role: 'image-builder' },
    {
      engines: () => states,
      builds: () => running.doing(),
      freeBytes,
      hold: () => running.hold(),
      take: () => running.resume(),
    },
    options.heartbeatMs,
  );

  const probe = async (): Promise<void> => {
    const before = JSON.stringify(states);
    states = await probeEngines(engines, programs, states);
    await serve();
    states = await askVersions(states, engines, programs, stopping.signal);
    if (JSON.stringify(states) === before || stopping.signal.aborted) return;
    const told = states.map(({ name, version, missing }) => `${name} ${missing.length > 0 ? `absent: no ${missing.join(', ')}` : (version ?? 'present')}`);
    logger.info({ worker, engines: told }, 'what this build node can do');
    announced.changed();
  };
  const loop = (async () => {
    while (!stopping.signal.aborted) {
      await probe().catch((error: unknown) => logger.warn({ err: error, worker }, 'the engines of this node could not be looked for'));
      await clock.sleep(options.probeEveryMs ?? defaultProbeEveryMs, stopping.signal).catch(() => undefined);
    }
  })();

  let stopped: Promise<void> | undefined;
  return {
    stop: () => {
      stopped ??= (async () => {
        stopping.abort(new Error('the build node stops'));
        await loop;
        await running.stop();
        await announced.stop();
      })();
      return stopped;
    },
  };
}

/** One queue for each kind of image of some release that an engine of this node makes. */
export function builderQueues(releases: ReleasesFile, arch: string, engines: readonly WorkerEngine[]): readonly string[] {
  const known = new Set(pipelineTopology(releases).queues.map(({ name }) => name));
  return engines
    .filter(({ missing }) => missing.length === 0)
    .flatMap(({ name, imageTypes }) => imageTypes.map((imageType) => imageBuilderQueue(arch, imageType, name)))
    .filter((queue) => known.has(queue));
}
