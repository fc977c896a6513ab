/** Starts intake: the REST interface, the scheduler, and the sweep of uploads. Of several intakes one schedules and one sweeps. */
import { SpindleError } from '../../shared/build/failure.ts';
import type { SingleBuildRequest } from '../../shared/build/request.ts';
import { servedEngines } from '../../shared/build/served-engines.ts';
import type { RestSection } from '../../shared/http/section.ts';
import type { ReleasesFile } from '../../shared/releases/releases.ts';
import { repositoryCollection } from '../../shared/releases/repository-collection.ts';
import { remoteClients } from '../../shared/resolution/remote-clients.ts';
import type { Resolution } from '../../shared/resolution/resolution.ts';
import { chooseEngine, resolveRequest } from '../../shared/resolution/resolve.ts';
import type { FindUploads } from '../../shared/resolution/uploaded-packages.ts';
import { endedTopic } from '../../shared/stage/outbox.ts';
import type { ServiceHost } from '../../shared/stage/service-host.ts';
import type { Adapters } from '../../shared/stage/start.ts';
import { uploadedRpmCollection } from '../../shared/uploads/uploaded-rpm.ts';
import { workerCollection } from '../../shared/workers/worker.ts';
import { idempotencyKeyCollection } from './accept.ts';
import { intakeApp } from './http.ts';
import { type Scheduler, startScheduler } from './scheduler.ts';
import { rpmUploads, startUploadSweep } from './uploads.ts';

export interface IntakeOptions {
  /** What else the same address serves. */
  readonly others?: readonly RestSection[];
  /** While this is not over the service answers already; what it accepts waits in the queue. */
  readonly ready?: Promise<void> | undefined;
}

/** Resolves once it listens, with where. */
export async function startIntake(host: ServiceHost, { others = [], ready = Promise.resolve() }: IntakeOptions = {}): Promise<{ readonly url: string }> {
  const { adapters, builds, config, releases, life, logger, leader } = host;
  const { store, bus, files, workspaces, programs, solver, clock } = adapters;
  const uploadRecords = await store.collection(uploadedRpmCollection);
  const uploads = rpmUploads({ uploads: uploadRecords, builds, files, workspaces, programs, clock, releases }, config.uploads);
  const uploadSweep = startUploadSweep({ uploads, clock, logger, leadership: leader('upload-sweep') });
  life.add('upload sweep', () => uploadSweep.stop());

  let scheduler: Scheduler | undefined;
  const app = await intakeApp(
    {
      releases,
      engines: servedEngines,
      untrustedCode: config.untrustedCode,
      builds,
      workers: await store.collection(workerCollection),
      idempotencyKeys: await store.collection(idempotencyKeyCollection),
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
    },
    others,
  );
  const url = await app.listen({ host: config.listen.host, port: config.listen.port });
  life.add('intake', () => app.close());

  let isStopping = false;
  const opened = ready.then(() => {
    if (isStopping) return;
    // Whoever has a state directory has its name: a successor in it leads at once.
    scheduler = startScheduler({ bus, builds, clock, logger, leadership: leader('scheduler'), inFlightMax: config.buildsInFlightMax });
    bus.listen(endedTopic, () => scheduler?.poke());
  });
  life.add('scheduler', async () => {
    isStopping = true;
    await opened;
    await scheduler?.stop();
  });
  return { url };
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
