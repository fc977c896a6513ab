/** One small world for tests of the runtime: memory adapters, the embedded broker, and a clock that moves when told to. */

import { admitted, type Build, buildCollection, newBuild } from '../../shared/build/build.ts';
import { buildStates } from '../../shared/build/states.ts';
import { buildLogs } from '../../shared/build-log/build-log.ts';
import { readBuildLog } from '../../shared/build-log/read-build-log.ts';
import { deadLetterCollection } from '../../shared/bus/dead-letter-collection.ts';
import { type EmbeddedConnection, embeddedBroker } from '../../shared/bus/embedded.ts';
import { pipelineTopology } from '../../shared/bus/topology.ts';
import { type VirtualClock, virtualClock } from '../../shared/clock/virtual.ts';
import { memoryDisk } from '../../shared/downloads/memory.ts';
import { simulatedEgress } from '../../shared/egress/simulated.ts';
import { type MemoryFiles, memoryFiles } from '../../shared/files/memory.ts';
import type { Log } from '../../shared/log/log.ts';
import { simulatedPrograms } from '../../shared/programs/simulated.ts';
import { ReleasesFile } from '../../shared/releases/releases.ts';
import { rpmDownloads } from '../../shared/rpm/rpm-downloads.ts';
import { contentTarget } from '../../shared/rpm/stored-rpm.ts';
import { memoryRpmStore } from '../../shared/rpm-store/memory.ts';
import { relayOutbox } from '../../shared/stage/outbox.ts';
import { type Reconciler, startReconciler } from '../../shared/stage/reconcile.ts';
import type { StageRuntime } from '../../shared/stage/run.ts';
import { type MemoryStore, memoryStore } from '../../shared/store/memory.ts';
import type { Collection } from '../../shared/store/store.ts';
import { type MemoryWorkspaces, memoryWorkspaces } from '../../shared/workspace/memory.ts';
import { sampleRequest, startMs } from './build-records.ts';

export const silentLog = (() => {
  const nothing = () => undefined;
  const log = { info: nothing, warn: nothing, error: nothing, debug: nothing, trace: nothing, fatal: nothing, child: () => log };
  return log as unknown as Log;
})();

const releases = ReleasesFile.parse({
  releases: [
    {
      id: 'sample',
      name: 'Sample',
      arches: ['x86_64'],
      repositories: [{ id: 'sample', role: 'stable', baseurl: 'http://sample.example/' }],
      engines: { live: 'kiwi' },
    },
  ],
});

export interface StageWorld {
  readonly clock: VirtualClock;
  readonly store: MemoryStore;
  readonly builds: Collection<Build>;
  readonly bus: EmbeddedConnection;
  readonly files: MemoryFiles;
  readonly workspaces: MemoryWorkspaces;
  /** What `runStage` takes, for one process on a connection of its own. */
  process(worker: string): StageRuntime & { readonly bus: EmbeddedConnection; readonly clock: VirtualClock };
  /** Stores a queued build; resolves with its id. */
  queue(request?: Record<string, unknown>): Promise<string>;
  /** Stores a build that waits for the resolver, its event on the bus. */
  admit(request?: Record<string, unknown>): Promise<string>;
  build(id: string): Promise<Build>;
  /** Stores the record of a build as it is given, whatever it was. */
  put(build: Build): Promise<void>;
  log(id: string): Promise<string>;
  /** Messages in a queue, those in hand included. */
  depthOf(queue: string): number;
  /** Moves the clock on until the condition holds, at most so far; throws where it never does. */
  until(what: string, condition: () => boolean | Promise<boolean>, withinMs: number): Promise<void>;
  /** From now on the reconciler looks at all builds once a second. */
  startReconciler(): void;
  close(): Promise<void>;
}

export async function stageWorld(seed = 1): Promise<StageWorld> {
  const clock = virtualClock({ seed, startMs });
  const store = memoryStore();
  const builds = await store.collection(buildCollection);
  const files = memoryFiles({ clock });
  const workspaces = memoryWorkspaces({ files });
  const broker = embeddedBroker({ deadLetters: await store.collection(deadLetterCollection), clock });
  const bus = broker.connect();
  await bus.assert(pipelineTopology(releases));

  let reconciler: Reconciler | undefined;
  const world: StageWorld = {
    clock,
    store,
    builds,
    bus,
    files,
    workspaces,
    process: (worker) => {
      const own = broker.connect();
      const programs = simulatedPrograms({}, clock);
      const egress = simulatedEgress({ routes: () => undefined, clock });
      const partials = memoryDisk(workspaces).partialFiles(`/downloads-${worker}`, clock);
      return {
        clock,
        files,
        programs,
        egress,
        rpms: memoryRpmStore({ files, clock }),
        downloads: rpmDownloads({ egress, clock, partials, target: contentTarget(files) }),
        releases,
        untrustedCode: { kickstartScripts: false, rpms: false },
        bus: own,
        builds,
        workspaces,
        openBuildLog: buildLogs({ files, bus: own, clock }),
        logger: silentLog,
        worker,
      };
    },
    queue: async (request) => {
      const build = newBuild({ id: clock.id(), request: sampleRequest(request), now: clock.now() });
      await builds.insert(build);
      return build.id;
    },
    admit: async (request) => {
      const id = await world.queue(request);
      const document = admitted(await world.build(id), clock.now());
      await builds.replace(document, 1);
      await relayOutbox({ bus, builds }, { document, version: 2 });
      return id;
    },
    build: async (id) => {
      const found = await builds.get(id);
      if (!found) throw new Error(`there is no build ${id}`);
      return found.document;
    },
    put: async (build) => {
      const found = await builds.get(build.id);
      if (!(await builds.replace(build, found?.version ?? 0))) throw new Error(`build ${build.id} could not be replaced`);
    },
    log: async (id) => {
      let text = '';
      for await (const part of readBuildLog(files, id)) text += new TextDecoder().decode(part);
      return text;
    },
    depthOf: (queue) => {
      const found = broker.depths().find(({ name }) => name === queue);
      return (found?.ready ?? 0) + (found?.unacknowledged ?? 0);
    },
    until: async (what, condition, withinMs) => {
      const end = clock.now() + withinMs;
      for (;;) {
        // Several turns of the event loop at each moment: a delivery takes more than one.
        for (let turn = 0; turn < 10; turn += 1) {
          if (await condition()) return;
          await clock.advance(0);
        }
        if (clock.now() >= end) throw new Error(`${what} did not come about within ${withinMs} virtual ms`);
        await clock.advance(Math.min(clock.nextAt() ?? end, end) - clock.now());
      }
    },
    startReconciler: () => {
      reconciler ??= startReconciler({ bus, builds, clock, logger: silentLog, states: buildStates });
    },
    close: async () => {
      await reconciler?.stop();
      await bus.close();
      await store.close();
    },
  };
  return world;
}
