/** Everything a stage handler gets, on memory adapters and the simulated distribution or on adapters of the test's: a handler is then an ordinary function to test. */
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { type MemoryDisk, memoryDisk } from '../../shared/downloads/memory.ts';
import { type SimulatedRoutes, simulatedEgress } from '../../shared/egress/simulated.ts';
import { type MemoryFiles, memoryFiles } from '../../shared/files/memory.ts';
import { type SimulatedProgram, simulatedPrograms } from '../../shared/programs/simulated.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { rpmDownloads } from '../../shared/rpm/rpm-downloads.ts';
import { contentTarget } from '../../shared/rpm/stored-rpm.ts';
import { memoryRpmStore } from '../../shared/rpm-store/memory.ts';
import type { Solver } from '../../shared/solver/solver.ts';
import type { StageContext, StagePorts } from '../../shared/stage/stage.ts';
import { type MemoryWorkspaces, memoryWorkspaces } from '../../shared/workspace/memory.ts';
import type { Workspace } from '../../shared/workspace/workspace.ts';
import { simulatedRelease, simulatedRoutes, simulatedRpmTools, simulatedSolver } from './simulated-fedora.ts';

export interface StageWorld {
  readonly context: StageContext;
  readonly solver: Solver;
  readonly files: MemoryFiles;
  readonly workspaces: MemoryWorkspaces;
  readonly lines: readonly string[];
  /** As they began. */
  readonly phases: readonly string[];
  /** Every URL that was asked for, in order. */
  readonly urls: readonly string[];
}

export interface StageWorldOptions {
  /** Over a live image of the simulated release with `hello`. */
  readonly request?: object;
  readonly release?: Partial<Release>;
  /** Asked first; what it does not answer, the simulated distribution does. */
  readonly routes?: SimulatedRoutes;
  readonly programs?: Readonly<Record<string, SimulatedProgram>>;
  /** In the place of the simulated solver's answer. */
  readonly solve?: Parameters<typeof simulatedSolver>[0];
  readonly signal?: AbortSignal;
  /** Nothing is allowed where left out. */
  readonly untrustedCode?: StageContext['untrustedCode'];
  /** Whose `sleep` waits for nothing unless told otherwise. */
  readonly clock?: Clock;
}

/** The first try of a build of nobody's, which nobody watches or ends, on these adapters. Nothing untrusted is allowed where left out. */
export function stageContext(
  given: Omit<StagePorts, 'untrustedCode'> &
    Pick<StageContext, 'request'> & { readonly workspace: Workspace } & Partial<Pick<StageContext, 'signal' | 'log' | 'phase' | 'untrustedCode'>>,
): StageContext {
  return {
    buildId: 'b',
    owner: null,
    pinnedResolution: null,
    attempt: 1,
    signal: new AbortController().signal,
    log: () => {},
    phase: () => () => undefined,
    progress: () => {},
    untrustedCode: { kickstartScripts: false, rpms: false },
    ...given,
    workspace: async () => given.workspace,
  };
}

export async function stageWorld(options: StageWorldOptions = {}): Promise<StageWorld> {
  const release: Release = { ...simulatedRelease, ...options.release };
  const request = splitRequest(
    BuildRequest.parse({ release: release.id, imageType: 'live', packages: ['hello'], ...options.request }),
  )[0] as SingleBuildRequest;
  const clock = options.clock ?? { ...systemClock(), sleep: async () => {} };
  // One file system: what is downloaded becomes a stored file by its path.
  const fileSystem: { disk?: MemoryDisk } = {};
  const files = memoryFiles({ readPath: (path) => fileSystem.disk?.read(path) });
  const workspaces = memoryWorkspaces({ files });
  const disk = memoryDisk(workspaces);
  fileSystem.disk = disk;
  const workspace = await workspaces.create('test');
  const lines: string[] = [];
  const phases: string[] = [];
  const urls: string[] = [];
  const egress = simulatedEgress({
    clock,
    write: disk.write,
    read: disk.read,
    remove: disk.remove,
    routes: async (hop, signal) => {
      urls.push(hop.url.href);
      return (await options.routes?.(hop, signal)) ?? simulatedRoutes(hop, signal);
    },
  });
  const context = stageContext({
    request,
    workspace,
    log: (tool, line) => lines.push(`${tool}: ${line}`),
    phase: (name) => {
      phases.push(name);
      return () => undefined;
    },
    clock,
    files,
    programs: simulatedPrograms({ ...simulatedRpmTools(workspaces), ...options.programs }, clock),
    egress,
    rpms: memoryRpmStore({ files, clock }),
    downloads: rpmDownloads({ egress, clock, partials: disk.partialFiles('/downloads', clock), target: contentTarget(files) }),
    releases: { releases: [release] },
    ...(options.signal ? { signal: options.signal } : {}),
    ...(options.untrustedCode ? { untrustedCode: options.untrustedCode } : {}),
  });
  return { context, solver: simulatedSolver(options.solve), files, workspaces, lines, phases, urls };
}
