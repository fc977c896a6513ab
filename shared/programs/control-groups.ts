/** Control groups for runs of programs, on hosts with version 1, version 2, both or neither: made, read, emptied and removed as files. */
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock/clock.ts';
import { type ControlGroupPlace, type Controller, controlGroupPlaces } from './control-group-places.ts';
import { numberNamed } from './proc-files.ts';
import type { Bounds } from './programs.ts';

export interface ControlGroups {
  /** What bounds are enforced by, for the log. */
  readonly controllers: ReadonlySet<Controller>;
  create(bounds: Bounds): Promise<ControlGroup>;
  /** Removes what holds the groups of all runs. */
  close(): Promise<void>;
}

/** A directory of a hierarchy, and what its bounds can be. */
interface Made {
  readonly directory: string;
  readonly version: 1 | 2;
  readonly controllers: readonly Controller[];
}

export interface ControlGroup {
  /** Moves a process in; what it starts afterwards is born in it. */
  add(pid: number): Promise<void>;
  /** How often the kernel ended a process for want of memory, and how often it refused to start one. */
  refusals(): Promise<{ readonly memory: number; readonly processes: number }>;
  /** Ends whatever is in it, and removes it. */
  remove(): Promise<void>;
}

const groupPrefix = 'spindle-';
const treeDepthMax = 8;
const emptiedWithinMs = 10_000;

const write = (path: string, text: string) => writeFile(path, text, { flag: 'w' });
/** For files that not every kernel has. */
const tryWrite = (path: string, text: string) =>
  write(path, text).then(
    () => true,
    () => false,
  );
const read = (path: string) => readFile(path, 'utf8').catch(() => '');

/**
 * Finds out what this host lets us make, by making one group. `name`: those of one service, on which no two living ones agree.
 */
export async function openControlGroups({ name, clock }: { readonly name: string; readonly clock: Clock }): Promise<ControlGroups> {
  const places = controlGroupPlaces(await read('/proc/self/mountinfo'), await read('/proc/self/cgroup'));
  const parents: Made[] = [];
  const taken = new Set<Controller>();
  // Where a controller is in version 1 it is in no other.
  for (const place of places.toSorted((a, b) => a.version - b.version)) {
    const controllers = place.controllers.filter((controller) => !taken.has(controller));
    const parent = controllers.length === 0 ? undefined : await openParent(place, controllers, `${groupPrefix}${name}`);
    if (!parent) continue;
    for (const controller of parent.controllers) taken.add(controller);
    parents.push(parent);
  }
  let made = 0;
  return {
    controllers: taken,
    close: async () => {
      await Promise.all(parents.map(({ directory }) => rmdir(directory).catch(() => {})));
    },
    create: async (bounds) => {
      made += 1;
      const run = `${process.pid}-${made}`;
      const groups: Made[] = [];
      try {
        for (const { directory, version, controllers } of parents) {
          const group = join(directory, run);
          await mkdir(group);
          const one = { directory: group, version, controllers };
          groups.push(one);
          await applyBounds(one, bounds);
        }
      } catch (error) {
        await Promise.all(groups.map(({ directory }) => removeGroup(directory, clock)));
        throw error;
      }
      return {
        add: async (pid) => {
          for (const { directory } of groups) await write(join(directory, 'cgroup.procs'), String(pid));
        },
        refusals: async () => {
          let [memory, processes] = [0, 0];
          for (const { directory, version, controllers } of groups) {
            if (controllers.includes('memory')) {
              memory += numberNamed(await read(join(directory, version === 1 ? 'memory.oom_control' : 'memory.events')), 'oom_kill') ?? 0;
            }
            if (controllers.includes('pids')) processes += numberNamed(await read(join(directory, 'pids.events')), 'max') ?? 0;
          }
          return { memory, processes };
        },
        remove: async () => {
          await Promise.all(groups.map(({ directory }) => removeGroup(directory, clock)));
        },
      };
    },
  };
}

/** The group that holds those of all runs; undefined where none can be made with a controller in it. */
async function openParent(place: ControlGroupPlace, controllers: readonly Controller[], name: string): Promise<Made | undefined> {
  if (place.version === 1) {
    const directory = join(place.own, name);
    const isMade = await makeDirectory(directory);
    return isMade ? { directory, version: 1, controllers } : undefined;
  }
  // Version 2 wants no processes in a group that has controllers for its children; only the root of all may have both.
  for (const base of (await standAside(place.own)) ? [place.own, place.mount] : [place.mount]) {
    const offered = (await read(join(base, 'cgroup.controllers'))).trim().split(' ');
    const usable = controllers.filter((controller) => offered.includes(controller));
    if (usable.length === 0) continue;
    const enable = usable.map((controller) => `+${controller}`).join(' ');
    const directory = join(base, name);
    if (!(await tryWrite(join(base, 'cgroup.subtree_control'), enable)) || !(await makeDirectory(directory))) continue;
    if (await tryWrite(join(directory, 'cgroup.subtree_control'), enable)) return { directory, version: 2, controllers: usable };
  }
  return undefined;
}

/** Where our group holds nobody but this process, as a service manager makes it, this process goes into a group below, so that its own may have children with bounds. */
async function standAside(own: string): Promise<boolean> {
  const members = (await read(join(own, 'cgroup.procs'))).trim().split('\n');
  if (members.length !== 1 || members[0] !== String(process.pid)) return members[0] === '';
  const leaf = join(own, `${groupPrefix}service`);
  return (await makeDirectory(leaf)) && (await tryWrite(join(leaf, 'cgroup.procs'), String(process.pid)));
}

async function makeDirectory(path: string): Promise<boolean> {
  return mkdir(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code === 'EEXIST',
  );
}

async function applyBounds({ directory, version, controllers }: Made, { memoryBytesMax, processesMax }: Bounds): Promise<void> {
  const at = (name: string) => join(directory, name);
  if (controllers.includes('memory') && memoryBytesMax !== undefined) {
    await write(at(version === 1 ? 'memory.limit_in_bytes' : 'memory.max'), String(memoryBytesMax));
    // Without it a build goes on in swap, slowly. Kernels without swap accounting lack the file.
    await tryWrite(at(version === 1 ? 'memory.memsw.limit_in_bytes' : 'memory.swap.max'), version === 1 ? String(memoryBytesMax) : '0');
  }
  if (controllers.includes('pids') && processesMax !== undefined) await write(at('pids.max'), String(processesMax));
}

/** Ends all that is in a group. A process that starts others faster than they are ended is in a bounded group, so this comes to an end. */
async function removeGroup(directory: string, clock: Clock): Promise<boolean> {
  const lastAt = clock.now() + emptiedWithinMs;
  for (let pauseMs = 2; ; pauseMs = Math.min(100, pauseMs * 2)) {
    const error = await rmdir(directory).then(
      () => undefined,
      (reason: NodeJS.ErrnoException) => reason,
    );
    if (!error || error.code === 'ENOENT') return true;
    if (clock.now() > lastAt) return false;
    if (!(await tryWrite(join(directory, 'cgroup.kill'), '1'))) {
      for (const pid of (await read(join(directory, 'cgroup.procs'))).split('\n').filter(Boolean)) tryKill(Number(pid));
    }
    await clock.sleep(pauseMs);
  }
}

function tryKill(pid: number): void {
  try {
    // 0 is a process that this PID namespace cannot see; to `kill` it would be our own group.
    if (pid > 1 && pid !== process.pid) process.kill(pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}

/** Ends what dead predecessors of this name left, wherever in the hierarchies they were. Resolves with the number of groups that are gone. */
export async function sweepControlGroups({ name, clock }: { readonly name: string; readonly clock: Clock }): Promise<number> {
  const places = controlGroupPlaces(await read('/proc/self/mountinfo'), await read('/proc/self/cgroup'));
  let count = 0;
  for (const mount of new Set(places.map((place) => place.mount))) {
    for (const directory of await groupsNamed(mount, `${groupPrefix}${name}`, treeDepthMax)) {
      const runs = (await readdir(directory, { withFileTypes: true }).catch(() => [])).filter((entry) => entry.isDirectory());
      // Our own are under our own pid.
      for (const run of runs.filter(({ name: run }) => !run.startsWith(`${process.pid}-`))) {
        if (await removeGroup(join(directory, run.name), clock)) count += 1;
      }
    }
  }
  return count;
}

async function groupsNamed(directory: string, name: string, depth: number): Promise<readonly string[]> {
  if (depth === 0) return [];
  const entries = (await readdir(directory, { withFileTypes: true }).catch(() => [])).filter((entry) => entry.isDirectory());
  const found: string[] = [];
  for (const entry of entries) {
    const path = join(directory, entry.name);
    if (entry.name === name) found.push(path);
    else found.push(...(await groupsNamed(path, name, depth - 1)));
  }
  return found;
}
