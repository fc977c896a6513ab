/** What a service is started in: settings, adapters, the stage runtime, and the lifecycle that ends what it starts. The same for a service alone and for all in one process. */
import { type Build, buildCollection } from '../build/build.ts';
import { buildStates } from '../build/states.ts';
import { buildLogs } from '../build-log/build-log.ts';
import type { Topology } from '../bus/bus.ts';
import { pipelineTopology, stageQueue } from '../bus/topology.ts';
import type { Config } from '../config/config.ts';
import type { Log } from '../log/log.ts';
import type { ReleasesFile } from '../releases/releases.ts';
import { startUpkeep } from '../rpm-store/upkeep.ts';
import { usedByBuilds } from '../rpm-store/used-by-builds.ts';
import type { Collection } from '../store/store.ts';
import { startWorkerWatch } from '../workers/watch.ts';
import { workerCollection } from '../workers/worker.ts';
import { type Leadership, leadership, leaseCollection } from './leadership.ts';
import type { Lifecycle } from './lifecycle.ts';
import { recovered, startReconciler } from './reconcile.ts';
import { type RunningStage, runStage, type StageRuntime } from './run.ts';
import { type AdapterNeed, type Adapters, type HostAdapters, openAdapters } from './start.ts';

export interface ServiceHost {
  readonly config: Config;
  readonly releases: ReleasesFile;
  readonly topology: Topology;
  readonly adapters: Adapters;
  readonly builds: Collection<Build>;
  readonly runtime: StageRuntime;
  readonly life: Lifecycle;
  readonly logger: Log;
  /** What holds the bounds of image builds here; its words where nothing can be isolated. */
  readonly enforcement: { readonly problem?: string | undefined };
  /** Of all processes that ask under this name one leads. */
  leader(name: string): Leadership;
}

export interface OpenHostOptions {
  readonly host: HostAdapters;
  readonly logger: Log;
  /** Names this process in claims: whoever has the state directory has its name, so a successor knows what its predecessor held. */
  readonly worker: string;
  readonly releases: ReleasesFile;
  readonly allow: readonly string[];
  readonly needs?: readonly AdapterNeed[];
  readonly onStageEnded?: StageRuntime['onStageEnded'];
}

/** Opens the adapters, takes over what a dead predecessor in the same state directory left, and makes what services are started in. */
export async function openServiceHost(config: Config, life: Lifecycle, options: OpenHostOptions): Promise<ServiceHost> {
  const { logger, worker, releases } = options;
  const { clock, programs, control } = options.host;
  const adapters = await openAdapters(config, life, { ...options, clock, programs });
  const { store, bus, files, workspaces, egress, downloads, rpms } = adapters;
  const builds = await store.collection(buildCollection);
  const leases = await store.collection(leaseCollection);
  const topology = pipelineTopology(releases);
  await bus.assert(topology);
  const enforcement = (await control?.enforcement()) ?? {};
  life.add('control groups', async () => control?.close());
  // Processes before directories: what still runs may still write.
  const ended = (await control?.sweep()) ?? 0;
  const fetches = options.needs?.includes('packages') ?? true;
  const swept = (await workspaces.sweep()) + (fetches ? await downloads.sweep() : 0);
  // Of builds that another process has in a shared store, its lease tells. What nobody has may have been on a bus that went with our predecessor.
  const isOurs = ({ claim }: Build) => config.store.scheme === 'file' || (claim === null ? config.bus.scheme === 'embedded' : claim.worker === worker);
  const taken = await recoverBuilds(builds, isOurs, clock.now());
  if (ended + swept + taken > 0) logger.info({ programs: ended, leavings: swept, builds: taken }, 'took over what a predecessor left');
  const runtime: StageRuntime = {
    clock,
    files,
    programs,
    egress,
    downloads,
    rpms,
    releases,
    untrustedCode: config.untrustedCode,
    bus,
    builds,
    workspaces,
    logger,
    worker,
    openBuildLog: buildLogs({ files, bus, clock }),
    ...(options.onStageEnded ? { onStageEnded: options.onStageEnded } : {}),
  };
  const leader = (name: string) => leadership({ name, holder: worker, leases, clock });
  return { config, releases, topology, adapters, builds, runtime, life, logger, enforcement, leader };
}

/** A stage that reads the one queue of its event. */
export async function startStage(
  { runtime, life }: ServiceHost,
  stage: { readonly name: string; readonly consumes: { readonly type: string } },
): Promise<RunningStage> {
  const running = await runStage(stage, runtime, { queues: [stageQueue(stage.name, stage.consumes.type)] });
  life.add(stage.name, () => running.stop());
  return running;
}

/** Every process is a candidate for what has to be done whoever is there: bringing builds on that stand still, and saying which ones nobody can make. */
export async function startCaretaking({ adapters, builds, runtime, life, logger, leader }: ServiceHost): Promise<void> {
  const { store, bus, clock } = adapters;
  const reconciler = startReconciler({ bus, builds, clock, logger, states: buildStates, leadership: leader('reconciler') });
  life.add('reconciler', () => reconciler.stop());
  const workers = await store.collection(workerCollection);
  const { openBuildLog } = runtime;
  const watch = startWorkerWatch({ workers, builds, bus, clock, logger, openBuildLog, leadership: leader('worker-watch') });
  life.add('worker watch', () => watch.stop());
}

/** For a process that has an RPM store: it knows of its own files only. */
export function startPackageUpkeep({ adapters, builds, life, logger }: ServiceHost): void {
  const { rpms, files, clock } = adapters;
  const upkeep = startUpkeep({ rpms, inUse: usedByBuilds({ builds, files }), clock, logger });
  life.add('upkeep of stored packages', () => upkeep.stop());
}

/** Every build of ours that a dead predecessor left unfinished is made due; resolves with their number. */
async function recoverBuilds(builds: Collection<Build>, isOurs: (build: Build) => boolean, now: number): Promise<number> {
  const pageSize = 500;
  let count = 0;
  let beyond: string | undefined;
  do {
    const found = await builds.find({ index: 'byPhase', prefix: ['active'], limit: pageSize, ...(beyond === undefined ? {} : { beyond }) });
    await Promise.all(
      found.map(async ({ document, version: from }) => {
        const next = isOurs(document) ? recovered(document, now) : undefined;
        if (!next) return;
        await builds.replace(next, from);
        count += 1;
      }),
    );
    beyond = found.length === pageSize ? found.at(-1)?.document.id : undefined;
  } while (beyond !== undefined);
  // Ended builds whose end is not yet told are still due by themselves.
  return count;
}
