/** Looks at a bounded run several times a second: what the kernel refused it, what it uses where no control group counts that, and what it wrote. */
import { statfs } from 'node:fs/promises';
import type { Clock } from '../clock/clock.ts';
import type { ControlGroup } from './control-groups.ts';
import { diskShort, exceeded } from './exceeded.ts';
import { descendants } from './proc-files.ts';
import { allProcesses, hostThreads, usage } from './processes.ts';
import type { Bounds } from './programs.ts';

const everyMs = 200;
/** What starts others without end has thousands within a fifth of a second, and each takes a turn from this process: their number is glanced at more often. */
const glanceMs = 20;
/** Measuring a tree takes its time on a large one: at most one part in so many of the time goes into it, but that it is done at once where the disk has lost so much that it may be over. */
const measureShare = 50;
const measureEveryMs = 2000;

export interface Watched {
  readonly command: string;
  readonly bounds: Bounds;
  /** The first process of its namespace, as this host numbers it. */
  readonly init: number;
  readonly group: ControlGroup | undefined;
  /** What the group counts; the rest is counted here. */
  readonly counts: { readonly memory: boolean; readonly processes: boolean };
  /** The sandbox's directory. */
  readonly directory: string | undefined;
  /** Bytes that a tree takes on the disk; undefined where that could not be told. */
  readonly measure: (directory: string) => Promise<number | undefined>;
  readonly clock: Clock;
}

export interface Watch {
  /** The bound that the run went beyond, as its failure; asks once more. */
  verdict(): Promise<Error | undefined>;
  end(): void;
}

/** `onExceeded` is called once. Nothing throws: a look that fails is a look less. */
export function watchBounds(watched: Watched, onExceeded: (error: Error) => void): Watch {
  const { clock } = watched;
  const disk = diskWatch(watched);
  let isEnded = false;
  let found: Error | undefined;
  const look = async (): Promise<void> => {
    found ??= (await refused(watched).catch(() => undefined)) ?? (await counted(watched).catch(() => undefined)) ?? (await disk().catch(() => undefined));
  };
  const hasGrown = growthWatch(watched);
  let forget = () => {};
  let lookAt = clock.now() + everyMs;
  const later = () => {
    forget = clock.after(hasGrown ? glanceMs : everyMs, () => {
      if (clock.now() < lookAt && !hasGrown?.()) return later();
      void look().then(() => {
        lookAt = clock.now() + everyMs;
        if (isEnded) return;
        if (found) onExceeded(found);
        else later();
      });
    });
  };
  later();
  return {
    verdict: async () => {
      found ??= await refused(watched).catch(() => undefined);
      return found;
    },
    end: () => {
      isEnded = true;
      forget();
    },
  };
}

async function refused({ command, bounds, group }: Watched): Promise<Error | undefined> {
  const refusals = await group?.refusals();
  if (!refusals) return undefined;
  if (refusals.memory > 0 && bounds.memoryBytesMax !== undefined) return exceeded(command, 'memory', bounds.memoryBytesMax);
  if (refusals.processes > 0 && bounds.processesMax !== undefined) return exceeded(command, 'processes', bounds.processesMax);
  return undefined;
}

async function counted({ command, bounds, init, counts }: Watched): Promise<Error | undefined> {
  const memoryMax = counts.memory ? undefined : bounds.memoryBytesMax;
  const processesMax = counts.processes ? undefined : bounds.processesMax;
  if (memoryMax === undefined && processesMax === undefined) return undefined;
  const own = descendants(allProcesses(), init);
  if (processesMax !== undefined && own.length > processesMax) return exceeded(command, 'processes', processesMax);
  const used = { bytes: 0, threads: 0 };
  for (const { pid } of own) {
    const { bytes, threads } = await usage(pid);
    used.bytes += bytes;
    used.threads += threads;
  }
  if (memoryMax !== undefined && used.bytes > memoryMax) return exceeded(command, 'memory', memoryMax);
  if (processesMax !== undefined && used.threads > processesMax) return exceeded(command, 'processes', processesMax);
  return undefined;
}

/** Whether the host has so many threads more than at the last such finding that they may be this run's. Undefined where a group counts. */
function growthWatch({ bounds: { processesMax }, counts }: Watched): (() => boolean) | undefined {
  if (processesMax === undefined || counts.processes) return undefined;
  let before = hostThreads();
  return () => {
    const now = hostThreads();
    if (now - before < processesMax) return false;
    before = now;
    return true;
  };
}

function diskWatch({ command, bounds, directory, measure, clock }: Watched): () => Promise<Error | undefined> {
  const { diskBytesMax, diskFreeBytesMin } = bounds;
  let known = { bytes: 0, free: Number.NaN, nextAt: clock.now() + measureEveryMs };
  return async () => {
    if (directory === undefined || (diskBytesMax === undefined && diskFreeBytesMin === undefined)) return undefined;
    const { bavail, bsize } = await statfs(directory);
    const free = bavail * bsize;
    if (Number.isNaN(known.free)) known = { ...known, free };
    // First whether it is this build's doing: it may be both.
    if (diskBytesMax !== undefined && (known.bytes + (known.free - free) > diskBytesMax || clock.now() > known.nextAt)) {
      const startedAt = clock.now();
      const bytes = (await measure(directory)) ?? known.bytes;
      const endedAt = clock.now();
      known = { bytes, free, nextAt: endedAt + Math.max(measureEveryMs, measureShare * (endedAt - startedAt)) };
      if (bytes > diskBytesMax) return exceeded(command, 'disk', diskBytesMax);
    }
    return diskFreeBytesMin !== undefined && free < diskFreeBytesMin ? diskShort(command, diskFreeBytesMin) : undefined;
  };
}
