/** Intake's app with the monitor's routes on memory adapters, for the tests of the REST interface and of its client. */
import { readFileSync } from 'node:fs';
import { pino } from 'pino';
import { idempotencyKeyCollection } from '../../services/intake/accept.ts';
import { type IntakePorts, intakeApp } from '../../services/intake/http.ts';
import { type RpmUploads, rpmUploads, type UploadLimits } from '../../services/intake/uploads.ts';
import { type MonitorPorts, monitorSection } from '../../services/monitor/service.ts';
import { type Build, buildCollection } from '../../shared/build/build.ts';
import type { Topology } from '../../shared/bus/bus.ts';
import { deadLetterCollection } from '../../shared/bus/dead-letter-collection.ts';
import { type EmbeddedConnection, embeddedBroker } from '../../shared/bus/embedded.ts';
import { pipelineTopology } from '../../shared/bus/topology.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { type MemoryFiles, memoryFiles } from '../../shared/files/memory.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { loadReleases } from '../../shared/releases/load.ts';
import { readPackageIndex } from '../../shared/solver/package-index.ts';
import { memoryStore } from '../../shared/store/memory.ts';
import type { Collection, Versioned } from '../../shared/store/store.ts';
import { type UploadedRpm, uploadedRpmCollection } from '../../shared/uploads/uploaded-rpm.ts';
import { type Worker, workerCollection } from '../../shared/workers/worker.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';
import { tempDirectory } from '../support/temp-directory.ts';

export interface Fixture {
  readonly app: Awaited<ReturnType<typeof intakeApp>>;
  readonly builds: Collection<Build>;
  readonly workers: Collection<Worker>;
  readonly files: MemoryFiles;
  readonly uploads: RpmUploads;
  readonly uploadRecords: Collection<UploadedRpm>;
  /** Where uploads are written while they come. */
  readonly workDirectory: string;
  readonly bus: EmbeddedConnection;
  /** What embedded asserts at its start; not asserted here. */
  readonly topology: Topology;
  readonly clock: Clock;
  /** Lines of the service's log at level error. */
  readonly errors: string[];
  queuedCalls(): number;
  /** Applies one of the record's moves. */
  move(id: string, change: (build: Build, now: number) => Build): Promise<Build>;
  close(): Promise<void>;
}

export const liveRequest = { release: 'sample', imageType: 'live', packages: ['@core', 'hello'] };

export async function fixture(
  overrides: Partial<IntakePorts> = {},
  wrapBuilds = (builds: Collection<Build>) => builds,
  uploadLimits: Partial<UploadLimits> = {},
  monitorOverrides: Partial<MonitorPorts> = {},
): Promise<Fixture> {
  const clock = overrides.clock ?? systemClock();
  const directory = await tempDirectory();
  const store = memoryStore();
  const [builds, idempotencyKeys, deadLetters, uploadRecords, workers] = await Promise.all([
    store.collection(buildCollection),
    store.collection(idempotencyKeyCollection),
    store.collection(deadLetterCollection),
    store.collection(uploadedRpmCollection),
    store.collection(workerCollection),
  ]);
  const files = memoryFiles({ clock, readPath: (path) => readFileSync(path) });
  const broker = embeddedBroker({ deadLetters, clock });
  const bus = broker.connect();
  const releases = (await loadReleases()).fill({ SAMPLE_SITE: 'http://127.0.0.1:1' });
  const workspaces = localWorkspaces({ directory: directory.path, files, owner: 'test' });
  const uploads = rpmUploads(
    { uploads: uploadRecords, builds, files, workspaces, programs: spawnedPrograms(), clock, releases },
    { fileBytesMax: 1024 * 1024, countMax: 10, bytesMax: 4 * 1024 * 1024, keepDays: 14, ...uploadLimits },
  );
  const errors: string[] = [];
  let queuedCalls = 0;
  const logger = pino({ level: 'error' }, { write: (line) => void errors.push(line) });
  const topology = pipelineTopology(releases);
  const intake: IntakePorts = {
    builds: wrapBuilds(builds),
    idempotencyKeys,
    workers,
    store,
    files,
    bus,
    clock,
    logger,
    publicUrl: 'http://127.0.0.1:8080',
    listenHost: '127.0.0.1',
    releases,
    uploads,
    engines: { kiwi: ['live'] },
    untrustedCode: { kickstartScripts: false, rpms: false },
    resolve: async () => {
      throw new Error('this test resolves nothing');
    },
    packages: async () => readPackageIndex('bash\t5.2-1\tx86_64\tsample\tThe shell\nhello\t1.0-1\tnoarch\tsample\tSays hello\n'),
    onQueued: () => {
      queuedCalls += 1;
    },
    ...overrides,
  };
  const app = await intakeApp(intake, [monitorSection({ builds, workers, bus, queues: broker, topology, clock, logger, ...monitorOverrides })]);
  await app.ready();
  return {
    app,
    builds,
    workers,
    files,
    uploads,
    uploadRecords,
    workDirectory: directory.path,
    bus,
    topology,
    clock,
    errors,
    queuedCalls: () => queuedCalls,
    move: async (id, change) => {
      for (;;) {
        const found = (await builds.get(id)) as Versioned<Build>;
        const next = change(found.document, clock.now());
        if (await builds.replace(next, found.version)) return next;
      }
    },
    close: async () => {
      await app.close();
      await bus.close();
      await store.close();
      await directory.remove();
    },
  };
}
