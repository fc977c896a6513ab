/** The simulated world: several processes of every service on shared, faulty ports, a stream of builds, and a tormentor; all decided by one seed. */

import { imageEngines } from '../../services/image-builder/engines/all.ts';
import { startBuildNode } from '../../services/image-builder/node.ts';
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
import { pipelineTopology } from '../../shared/bus/topology.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import { seededRandom, type VirtualClock, virtualClock } from '../../shared/clock/virtual.ts';
import { type MemoryDisk, memoryDisk } from '../../shared/downloads/memory.ts';
import { memoryFiles } from '../../shared/files/memory.ts';
import type { Log } from '../../shared/log/log.ts';
import type { Letter, Mail } from '../../shared/mail/mail.ts';
import { rpmDownloads } from '../../shared/rpm/rpm-downloads.ts';
import { contentTarget } from '../../shared/rpm/stored-rpm.ts';
import { memoryRpmStore } from '../../shared/rpm-store/memory.ts';
import { cancelBuild } from '../../shared/stage/cancel.ts';
import { leadership, leaseCollection } from '../../shared/stage/leadership.ts';
import { startReconciler } from '../../shared/stage/reconcile.ts';
import { runStage } from '../../shared/stage/run.ts';
import type { Probe } from '../../shared/stage/steps.ts';
import { memoryStore } from '../../shared/store/memory.ts';
import type { Collection } from '../../shared/store/store.ts';
import { drainWorker } from '../../shared/workers/drain.ts';
import { startWorkerWatch } from '../../shared/workers/watch.ts';
import { workerCollection } from '../../shared/workers/worker.ts';
import { memoryWorkspaces } from '../../shared/workspace/memory.ts';
import type { Workspaces } from '../../shared/workspace/workspace.ts';
import { simulatedRelease } from '../support/simulated-fedora.ts';
import { simulatedBus } from './bus.ts';
import { drawFaults, type Faults, type PlannedCrash } from './faults.ts';
import { watchInvariants } from './invariants.ts';
import { mortal, mortalClock, type SimulatedProcess, simulatedProcess } from './process.ts';
import { faultyCollection } from './store.ts';
import { simulatedTools } from './tools.ts';

const releases = { releases: [simulatedRelease] };
const instancesPerService = 3;
const buildsMin = 20;
const inFlightMax = 8;
/** Slower than in real service: an empty look costs as much of the simulation's time as a full one. */
const lookEveryMs = 6_000;
const tormentMs = 120_000;
const virtualMsMax = 3 * 3_600_000;
/** Far more than any seed needs: only a livelock gets there. */
const timersMax = 2_000_000;

export interface SimulationResult {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly faults: Faults['counts'];
  readonly builds: number;
  readonly endStates: Readonly<Record<string, number>>;
  readonly checks: number;
  /** Commits and faults in their order, for the reader of a failure. */
  readonly trace: readonly string[];
}

const silentLog = (() => {
  const nothing = () => undefined;
  const log = { info: nothing, warn: nothing, error: nothing, debug: nothing, trace: nothing, fatal: nothing, child: () => log };
  return log as unknown as Log;
})();

export async function simulate(seed: number, plan?: PlannedCrash): Promise<SimulationResult> {
  const clock = virtualClock({ seed, startMs: Date.UTC(2026, 10, 22) });
  const random = seededRandom(seed, 'world');
  const faults = drawFaults(seededRandom(seed, 'faults'), plan);
  const trace: string[] = [];
  const note = (text: string) => void trace.push(`${((clock.now() - Date.UTC(2026, 10, 22)) / 1000).toFixed(3)} ${text}`);
  const invariants = watchInvariants(() => clock.now());

  const store = memoryStore();
  const builds = await store.collection(buildCollection);
  const deliveries = await store.collection(deliveryCollection);
  const leases = await store.collection(leaseCollection);
  const workers = await store.collection(workerCollection);
  // Files and workspaces hold each other's bytes by path: one file system.
  const fileSystem: { disk?: MemoryDisk } = {};
  const files = memoryFiles({
    clock,
    readPath: (path) => fileSystem.disk?.read(path),
    writePath: (path, content) => fileSystem.disk?.write(path, content),
  });
  const workspaces = memoryWorkspaces({ files });
  const disk = memoryDisk(workspaces);
  fileSystem.disk = disk;
  const tools = simulatedTools({ clock, random, faults, workspaces, disk });
  const letters: Letter[] = [];
  let notifierInterruptions = 0;

  /** Each build as it was last written, by whomever. */
  const latest = new Map<string, Build>();
  const latestWorkers = new Map<string, string>();

  const subjectOf = ({ body }: { readonly body: string }) => (JSON.parse(body) as { subject: string }).subject;
  const broker = simulatedBus({
    clock,
    random: seededRandom(seed, 'bus'),
    faults,
    watcher: {
      published: (message, process) => {
        note(`${process.name} publishes ${message.routingKey} ${message.id.slice(0, 8)}`);
        invariants.published(message);
      },
      handedOut: (delivery) => invariants.handedOut(delivery, subjectOf(delivery)),
      acknowledged: async (delivery, process, othersInHand) => {
        const subject = subjectOf(delivery);
        note(`${process.name} acknowledges ${delivery.routingKey} of ${subject.slice(-6)}`);
        invariants.acknowledged(delivery, process, latest.get(subject), othersInHand, clock.now());
      },
    },
  });

  const processes: {
    readonly service: string;
    process: SimulatedProcess;
    readonly start: (process: SimulatedProcess) => Promise<() => Promise<void>>;
    stop?: () => Promise<void>;
  }[] = [];

  const interrupted = (service: string) => {
    if (service === 'notifier') notifierInterruptions += 1;
  };

  /** Everything that a process sees of the world. */
  const portsOf = (process: SimulatedProcess, service: string) => {
    const probe: Probe = (step, buildId) => {
      if (faults.isPlannedCrash(service, step) || faults.crashesAfter(step)) {
        note(`CRASH ${process.name} after ${step} of ${buildId.slice(-6)}`);
        interrupted(service);
        process.kill();
      } else if (faults.strikes('stall')) {
        const forMs = 5_000 + Math.floor(random() * 60_000);
        note(`STALL ${process.name} after ${step} for ${forMs} ms`);
        interrupted(service);
        process.stall(clock.now() + forMs);
      } else return undefined;
      return process.gate();
    };
    const ownClock: Clock = mortalClock(clock, process);
    const bus: Bus = broker.connect(process);
    const watchedBuilds: Collection<Build> = faultyCollection(builds, process, faults, (after) => {
      const before = latest.get(after.id);
      latest.set(after.id, after);
      note(
        `${process.name} commits ${after.id.slice(-6)} ${before?.state ?? 'new'} → ${after.state}${after.claim ? ` held by ${after.claim.worker}` : ''} attempt ${after.stage?.attempt ?? '-'}`,
      );
      invariants.committed(process, before, after);
    });
    const ownFiles = mortal(files, process);
    const ownWorkspaces: Workspaces = {
      // A killed process leaves its directories; its successor sweeps them, as the adapter on disk does by owner.
      create: async (label) => {
        await process.gate();
        const workspace = await workspaces.create(label);
        process.onDeath(() => void clock.after(10_000, () => void workspace.dispose()));
        return mortal(workspace, process);
      },
      sweep: async () => 0,
    };
    const egress = tools.egressOf(process);
    return {
      clock: ownClock,
      bus,
      builds: watchedBuilds,
      deliveries: faultyCollection(deliveries, process, faults, () => undefined),
      leases: faultyCollection(leases, process, faults, () => undefined),
      workers: faultyCollection(workers, process, faults, (after) => {
        const { id, draining, isTaking } = after;
        invariants.announced(process, after);
        if (latestWorkers.get(id) === `${draining} ${isTaking}`) return;
        latestWorkers.set(id, `${draining} ${isTaking}`);
        note(`${process.name} writes worker ${id}: ${draining ? 'draining' : 'not draining'}, ${isTaking ? 'taking' : 'not taking'}`);
      }),
      files: ownFiles,
      workspaces: ownWorkspaces,
      programs: tools.programsOf(process),
      egress,
      rpms: memoryRpmStore({ files: ownFiles, clock: ownClock }),
      downloads: rpmDownloads({
        egress,
        clock: ownClock,
        partials: disk.partialFiles(`/downloads-${process.name}`, ownClock),
        target: contentTarget(ownFiles),
      }),
      releases,
      untrustedCode: { kickstartScripts: true, rpms: true },
      logger: silentLog,
      worker: process.name,
      openBuildLog: buildLogs({ files: ownFiles, bus, clock: ownClock }),
      probe,
      process,
    };
  };

  const withRetries = async (start: () => Promise<void>): Promise<void> => {
    for (;;) {
      try {
        await start();
        return;
      } catch (error) {
        if (!(error instanceof SpindleError)) throw error;
        await clock.sleep(500);
      }
    }
  };

  const launch = async (entry: (typeof processes)[number]): Promise<void> => {
    const { process } = entry;
    process.onDeath(() => {
      // Whoever watches over processes starts a new one.
      clock.after(1_000 + Math.floor(random() * 20_000), () => {
        entry.process = simulatedProcess(entry.process.name.replace(/(\.\d+)?$/, `.${processes.length}${Math.floor(random() * 1e6)}`), clock);
        void launch(entry);
      });
    });
    delete entry.stop;
    const stop = await entry.start(process);
    if (!process.isDead()) entry.stop = stop;
  };

  const addService = (service: string, start: (ports: ReturnType<typeof portsOf>) => Promise<() => Promise<void>>) => {
    for (let index = 0; index < instancesPerService; index += 1) {
      processes.push({ service, process: simulatedProcess(`${service}-${index}`, clock), start: (process) => start(portsOf(process, service)) });
    }
  };

  for (const service of ['resolver', 'side-repo', 'image-builder', 'boot-test', 'uploader'] as const) {
    addService(service, async (ports) => {
      const stage = pipelineStages({ virtualMachines: tools.virtualMachinesOf(ports.process), solver: tools.solverOf(ports.process) }).find(
        ({ name }) => name === service,
      );
      if (!stage) throw new Error(`the pipeline has no stage ${service}`);
      const running =
        service === 'image-builder'
          ? await startBuildNode({
              stage,
              engines: imageEngines,
              runtime: ports,
              workers: ports.workers,
              facts: { host: 'simulated', version: '0', arch: 'x86_64', slots: 2, memoryBytes: 8e9, kvm: false },
              freeBytes: async () => 1e11,
              heartbeatMs: lookEveryMs,
              probeEveryMs: 10 * lookEveryMs,
            })
          : await runStage(stage, ports, { queues: [`${service}.${stage.consumes.type}`] });
      const reconciler = startReconciler({ ...ports, states: [stage.state], intervalMs: lookEveryMs });
      return async () => {
        await running.stop();
        await reconciler.stop();
      };
    });
  }
  addService('notifier', async (ports) => {
    const mail: Mail = {
      send: async (letter) => {
        await ports.process.gate();
        if (faults.strikes('letter refused for a while')) throw new SpindleError('MAIL_UNAVAILABLE', 'the simulated mail server is busy');
        letters.push(letter);
        await ports.process.gate();
      },
      close: async () => undefined,
    };
    const running = await runNotifier({ ...ports, mail, publicUrl: 'http://spindle.example' }, { queues: ['notifier.build.ended'], intervalMs: lookEveryMs });
    const reconciler = startReconciler({ ...ports, states: ['finished', 'failed', 'canceled'], intervalMs: lookEveryMs });
    return async () => {
      await running.stop();
      await reconciler.stop();
    };
  });
  addService('intake', async (ports) => {
    const leader = leadership({ name: 'scheduler', holder: ports.process.name, leases: ports.leases, clock: ports.clock });
    const scheduler = startScheduler({ ...ports, leadership: leader, inFlightMax, intervalMs: lookEveryMs });
    const watch = startWorkerWatch({ ...ports, intervalMs: lookEveryMs });
    return async () => {
      await watch.stop();
      await scheduler.stop();
    };
  });

  const client = simulatedProcess('client', clock);
  const clientPorts = portsOf(client, 'client');
  const { probe: _ignored, ...quietPorts } = clientPorts;
  await clientPorts.bus.assert(pipelineTopology(releases));
  await Promise.all(processes.map((entry) => launch(entry)));

  // The stream of builds.
  const accepted: string[] = [];
  const buildCount = buildsMin + Math.floor(random() * 2);
  let submitted = 0;
  for (let index = 0; index < buildCount; index += 1) {
    clock.after(Math.floor(random() * tormentMs * 0.5), () => {
      const request = drawRequest(index, random);
      const build = newBuild({ id: clock.id(), request, now: clock.now() });
      void withRetries(async () => {
        await quietPorts.builds.insert(build);
      }).then(() => {
        accepted.push(build.id);
        submitted += 1;
        if (!faults.isOn('cancel') || random() > 0.25) return;
        clock.after(Math.floor(random() * 60_000), () => {
          faults.count('cancel');
          note(`client cancels ${build.id.slice(-6)}`);
          void withRetries(() => cancelBuild(quietPorts, build.id).then(() => undefined));
        });
      });
    });
  }

  // An operator drains a build node now and then, and always takes it back.
  const drainSomething = () => {
    if (!faults.isOn('worker drained') || clock.now() > startedAt + tormentMs) return;
    const nodes = processes.filter(({ service }) => service === 'image-builder');
    const id = nodes[Math.floor(random() * nodes.length)]?.process.name ?? '';
    const backAfterMs = 5_000 + Math.floor(random() * 30_000);
    void withRetries(async () => {
      const drained = await drainWorker(clientPorts, id, true);
      if (!drained) return;
      faults.count('worker drained');
      note(`client drains ${id}`);
      await clock.sleep(backAfterMs);
      for (let isBack = false; !isBack; ) {
        isBack = await drainWorker(clientPorts, id, false).then(
          () => true,
          () => clock.sleep(500).then(() => false),
        );
      }
      note(`client takes ${id} back`);
    });
    clock.after(5_000 + Math.floor(random() * 20_000), drainSomething);
  };

  // The tormentor.
  const torment = () => {
    if (clock.now() > startedAt + tormentMs) return;
    const entry = processes[Math.floor(random() * processes.length)];
    const dice = random();
    if (entry && faults.isOn('crash at random') && dice < 0.3) {
      faults.count('crash at random');
      note(`CRASH ${entry.process.name}`);
      interrupted(entry.service);
      entry.process.kill();
    } else if (faults.isOn('bus emptied') && dice < 0.35) {
      faults.count('bus emptied');
      note('BUS EMPTIED');
      broker.empty();
    } else if (entry?.stop && faults.isOn('orderly stop') && dice < 0.5) {
      faults.count('orderly stop');
      note(`STOP ${entry.process.name}`);
      interrupted(entry.service);
      const { process, stop } = entry;
      delete entry.stop;
      void stop().then(() => process.kill());
    }
    clock.after(2_000 + Math.floor(random() * 10_000), torment);
  };
  const startedAt = clock.now();
  clock.after(1_000, torment);
  clock.after(3_000, drainSomething);
  clock.after(tormentMs, () => {
    note('CALM');
    faults.calm();
  });

  const isAllDone = await endOfWorld(
    clock,
    startedAt,
    () => submitted === buildCount,
    builds,
    deliveries,
    broker.depth,
    () => tools.running() + workspaces.living().length,
  );
  const all = new Map<string, Build>();
  for (const id of accepted) {
    const found = await builds.get(id);
    if (found) all.set(id, found.document);
  }
  if (!isAllDone) note('the world did not come to rest');
  invariants.atEnd({
    accepted,
    builds: all,
    files,
    letters,
    notifierInterruptions: notifierInterruptions + (faults.counts.get('commit answer lost') ?? 0) + (faults.counts.get('store refused') ?? 0),
    busDepth: broker.depth(),
    workspaces: workspaces.living(),
    unsentDeliveries: await deliveries.count({ index: 'byWake', prefix: ['due'] }),
    runningTools: tools.running(),
  });
  const endStates: Record<string, number> = {};
  for (const build of all.values()) {
    const key = build.failure ? `${build.state} ${build.failure.code}` : build.state;
    endStates[key] = (endStates[key] ?? 0) + 1;
  }
  return { seed, violations: invariants.violations, faults: faults.counts, builds: accepted.length, endStates, checks: invariants.checks(), trace };
}

/** Runs until nothing is left to do, asked every few virtual seconds; false where that never came. */
async function endOfWorld(
  clock: VirtualClock,
  startedAt: number,
  isSubmitted: () => boolean,
  builds: Collection<Build>,
  deliveries: Collection<{ readonly id: string }>,
  depth: () => number,
  leftovers: () => number,
): Promise<boolean> {
  let isAtRest = false;
  const look = () => {
    void (async () => {
      const open = await Promise.all([
        ...buildStates.filter((state) => !isEnded(state)).map((state) => builds.count({ index: 'byState', prefix: [state] })),
        ...buildStates.filter(isEnded).map((state) => builds.count({ index: 'byWake', prefix: [state] })),
        deliveries.count({ index: 'byWake', prefix: ['due'] }),
      ]);
      isAtRest = isSubmitted() && clock.now() > startedAt + tormentMs && open.every((count) => count === 0) && depth() === 0 && leftovers() === 0;
      if (!isAtRest) clock.after(5_000, look);
    })();
  };
  clock.after(5_000, look);
  return (await clock.run(() => isAtRest, { timersMax, elapsedMsMax: virtualMsMax })) === 'done';
}

function drawRequest(index: number, random: () => number): SingleBuildRequest {
  const recipients = Math.floor(random() * 3);
  const dice = random();
  return SingleBuildRequest.parse({
    release: simulatedRelease.id,
    arch: 'x86_64',
    imageType: 'live',
    label: `IMAGE-${index}`,
    packages: ['bash', dice < 0.1 ? 'no-such-package' : 'hello'],
    sources: dice < 0.2 ? {} : { kojiBuilds: [dice > 0.95 ? 'hello-9.9-1' : 'hello-1.1-1'] },
    bootTest: random() < 0.9,
    firmware: random() < 0.5 ? ['bios'] : ['bios', 'uefi'],
    notify: { email: Array.from({ length: recipients }, (_, nth) => `build-${index}-reader-${nth}@example.org`) },
  });
}
