/** The whole service in one process on the embedded adapters: `npm start`. Importing it starts nothing; running it does. */
import { createHash } from 'node:crypto';
import { type AddressInfo, createServer } from 'node:net';
import { hostname } from 'node:os';
import { pathToFileURL } from 'node:url';
import { type Build, buildCollection } from '../shared/build/build.ts';
import { SpindleError } from '../shared/build/failure.ts';
import type { SingleBuildRequest } from '../shared/build/request.ts';
import { buildStates } from '../shared/build/states.ts';
import { spindleVersion } from '../shared/build/version.ts';
import { buildLogs } from '../shared/build-log/build-log.ts';
import { pipelineTopology, stageQueue } from '../shared/bus/topology.ts';
import { type Config, ConfigProblem, readConfig, withPort } from '../shared/config/config.ts';
import { createLog, type Log } from '../shared/log/log.ts';
import { loadReleases, ReleasesProblem } from '../shared/releases/load.ts';
import type { ReleasesFile } from '../shared/releases/releases.ts';
import { repositoryCollection } from '../shared/releases/repository-collection.ts';
import { remoteClients } from '../shared/resolution/remote-clients.ts';
import type { Resolution } from '../shared/resolution/resolution.ts';
import { chooseEngine, resolveRequest } from '../shared/resolution/resolve.ts';
import type { FindUploads } from '../shared/resolution/uploaded-packages.ts';
import { startUpkeep } from '../shared/rpm-store/upkeep.ts';
import { usedByBuilds } from '../shared/rpm-store/used-by-builds.ts';
import { leadership, leaseCollection } from '../shared/stage/leadership.ts';
import { type Lifecycle, lifecycle } from '../shared/stage/lifecycle.ts';
import { endedTopic } from '../shared/stage/outbox.ts';
import { recovered, startReconciler } from '../shared/stage/reconcile.ts';
import { runStage, type StageRuntime } from '../shared/stage/run.ts';
import { type Adapters, type HostAdapters, hostAdapters, openAdapters } from '../shared/stage/start.ts';
import type { Collection } from '../shared/store/store.ts';
import { uploadedRpmCollection } from '../shared/uploads/uploaded-rpm.ts';
import { freeBytes, hostFacts } from '../shared/workers/host-facts.ts';
import { startWorkerWatch } from '../shared/workers/watch.ts';
import { workerCollection } from '../shared/workers/worker.ts';
import { qemuMachines } from './boot-test/qemu-machine.ts';
import { startBuildNode } from './image-builder/node.ts';
import { idempotencyKeyCollection } from './intake/accept.ts';
import { type IntakePorts, intakeApp } from './intake/http.ts';
import { type Scheduler, startScheduler } from './intake/scheduler.ts';
import { rpmUploads, startUploadSweep } from './intake/uploads.ts';
import { monitorSection } from './monitor/service.ts';
import { deliveryCollection } from './notifier/delivery.ts';
import { runNotifier } from './notifier/service.ts';
import { imageEngines, pipelineStages, servedEngines } from './pipeline.ts';
import { openSampleSite, prepareSample } from './sample-release.ts';

export interface EmbeddedService {
  /** Where it listens. */
  readonly url: string;
  stop(): Promise<void>;
}

/** Names this process in claims: whoever has the state directory has its name, so a successor knows what its predecessor held, also in a store that others use too. */
function workerOf(config: Config): string {
  if (config.store.scheme === 'file') return 'embedded';
  return `${hostname()}-${createHash('sha256').update(config.stateDir).digest('hex').slice(0, 8)}`;
}
const hostArch = process.arch === 'arm64' ? 'aarch64' : 'x86_64';

/**
 * Starts everything in order, and undoes what was started where a part fails. Rejects with STATE_DIR_LOCKED where another process has the state directory.
 * `host`: what stands for this machine's clock and programs.
 */
export async function startEmbedded(config: Config, logger: Log, host: HostAdapters = hostAdapters(config)): Promise<EmbeddedService> {
  const life = lifecycle({ clock: host.clock, logger });
  try {
    return await startParts(config, logger, host, life);
  } catch (error) {
    await life.stop();
    throw error;
  }
}

async function startParts(given: Config, logger: Log, { clock, programs, control }: HostAdapters, life: Lifecycle): Promise<EmbeddedService> {
  // Letters and links name the port, so it has to be known before anything that makes them starts.
  const config = given.listen.port === 0 ? withPort(given, await freePort(given.listen.host)) : given;
  const loaded = await loadReleases(config.releasesFile);
  const site = loaded.needs.includes('SAMPLE_SITE') ? await openSampleSite(config, life) : undefined;
  const releases = loaded.fill(site ? { SAMPLE_SITE: site.url } : {});
  const allow = [...config.egressAllow, ...(site ? [new URL(site.url).host] : [])];
  const worker = workerOf(config);
  const adapters = await openAdapters(config, life, { clock, programs, logger, worker, allow });
  const { store, bus, queues, files, mail, workspaces, egress, downloads, rpms, solver } = adapters;
  // From here on the state directory is ours alone.
  const sampleReady = site ? prepareSample(config, site, programs, life, logger) : undefined;

  const builds = await store.collection(buildCollection);
  const deliveries = await store.collection(deliveryCollection);
  const workers = await store.collection(workerCollection);
  const leases = await store.collection(leaseCollection);
  const idempotencyKeys = await store.collection(idempotencyKeyCollection);
  const uploadRecords = await store.collection(uploadedRpmCollection);
  const topology = pipelineTopology(releases);
  await bus.assert(topology);
  const { problem, ...heldBy } = (await control?.enforcement()) ?? {};
  if (problem !== undefined) logger.warn({ problem }, 'no image can be built here: its tools cannot be isolated');
  life.add('control groups', async () => control?.close());
  // Processes before directories: what still runs may still write.
  const ended = (await control?.sweep()) ?? 0;
  const swept = (await workspaces.sweep()) + (await downloads.sweep());
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
  };
  const notifier = await runNotifier(
    { bus, builds, deliveries, files, mail, clock, logger, publicUrl: config.publicUrl },
    { queues: [stageQueue('notifier', 'build.ended')] },
  );
  life.add('notifier', () => notifier.stop());
  for (const stage of pipelineStages({ virtualMachines: qemuMachines({ programs, clock }), solver, uploads: uploadRecords }).toReversed()) {
    if (stage.name === 'image-builder') {
      const node = await startBuildNode({
        stage,
        engines: imageEngines,
        runtime,
        workers,
        facts: { ...(await hostFacts()), version: spindleVersion, arch: hostArch, slots: config.builderSlots },
        freeBytes: () => freeBytes(config.stateDir),
      });
      life.add(stage.name, () => node.stop());
      continue;
    }
    const running = await runStage(stage, runtime, { queues: [stageQueue(stage.name, stage.consumes.type)] });
    life.add(stage.name, () => running.stop());
  }
  const upkeep = startUpkeep({ rpms, inUse: usedByBuilds({ builds, files }), clock, logger });
  life.add('upkeep of stored packages', () => upkeep.stop());
  const reconciler = startReconciler({ bus, builds, clock, logger, states: buildStates });
  life.add('reconciler', () => reconciler.stop());
  const watch = startWorkerWatch({ workers, builds, bus, clock, logger, openBuildLog: runtime.openBuildLog });
  life.add('worker watch', () => watch.stop());

  const uploads = rpmUploads({ uploads: uploadRecords, builds, files, workspaces, programs, clock, releases }, config.uploads);
  const uploadSweep = startUploadSweep({ uploads, clock, logger });
  life.add('upload sweep', () => uploadSweep.stop());

  let scheduler: Scheduler | undefined;
  const intake: IntakePorts = {
    releases,
    engines: servedEngines,
    untrustedCode: config.untrustedCode,
    builds,
    workers,
    idempotencyKeys,
    store,
    files,
    bus,
    clock,
    logger,
    publicUrl: config.publicUrl,
    listenHost: config.listen.host,
    ...(config.repositorySecret ? { repositorySecret: config.repositorySecret } : {}),
    resolve: (request, signal) => dryRun(request, signal, adapters, releases, (ids) => uploads.usable(ids, null)),
    uploads,
    packages: (release, arch, signal) => solver.index(repositoryCollection(release, arch), { signal }),
    onQueued: () => scheduler?.poke(),
  };
  const app = await intakeApp(intake, [monitorSection({ builds, workers, bus, queues, topology, clock, logger })]);
  const url = await app.listen({ host: config.listen.host, port: config.listen.port });
  life.add('intake', () => app.close());

  let isStopping = false;
  // While the sample distribution is being made the service answers already; what it accepts waits in the queue.
  const opened = (sampleReady ?? Promise.resolve()).then(() => {
    if (isStopping) return;
    scheduler = startScheduler({
      bus,
      builds,
      clock,
      logger,
      // The state directory has one process at a time, and that has its name: a successor leads at once.
      leadership: leadership({ name: 'scheduler', holder: worker, leases, clock }),
      inFlightMax: config.buildsInFlightMax,
    });
    bus.listen(endedTopic, () => scheduler?.poke());
  });
  life.add('scheduler', async () => {
    isStopping = true;
    await opened;
    await scheduler?.stop();
  });
  logger.info({ url, version: spindleVersion, bounds: { ...config.buildBounds, heldBy } }, 'spindle is ready');
  return { url, stop: () => life.stop() };
}

async function freePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
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

async function dryRun(
  request: SingleBuildRequest,
  signal: AbortSignal,
  adapters: Adapters,
  releases: ReleasesFile,
  findUploads: FindUploads,
): Promise<Resolution> {
  const release = releases.releases.find(({ id }) => id === request.release);
  if (!release) throw new SpindleError('RELEASE_UNKNOWN', `release: there is no release ${request.release} here`);
  const workspace = await adapters.workspaces.create('dry-run');
  const ports = { ...adapters, findUploads, ...remoteClients(adapters) };
  try {
    return await resolveRequest({
      request,
      release,
      engine: chooseEngine(request, release),
      ports,
      workspace,
      log: () => undefined,
      phase: () => undefined,
      progress: () => undefined,
      signal,
    });
  } finally {
    await workspace.dispose();
  }
}

/** Exit statuses of sysexits.h: the settings are wrong. */
const exitConfig = 78;

async function main(): Promise<void> {
  let config: Config;
  try {
    config = readConfig();
  } catch (error) {
    if (!(error instanceof ConfigProblem)) throw error;
    console.error(error.message);
    process.exitCode = exitConfig;
    return;
  }
  const logger = createLog({ level: config.logLevel });
  for (const warning of config.warnings) logger.warn({}, warning);
  let service: EmbeddedService;
  try {
    service = await startEmbedded(config, logger);
  } catch (error) {
    console.error(error instanceof SpindleError || error instanceof ReleasesProblem ? error.message : error);
    process.exitCode = error instanceof ReleasesProblem ? exitConfig : 1;
    return;
  }
  console.error(`Spindle listens on ${service.url}. Stop it with Ctrl+C.`);
  const stop = (signal: NodeJS.Signals) => {
    logger.info({ signal }, 'stopping: running builds are given back and go on at the next start');
    void service.stop().then(() => process.exit(0));
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
