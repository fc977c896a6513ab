/** How a tool is ended: with its whole process group and, where it has one, its whole PID namespace; asked first, and seen to be gone. */
import type { ChildProcess } from 'node:child_process';
import { constants as osConstants, setPriority } from 'node:os';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import { isDead, type ProcessStat } from './proc-files.ts';
import { allProcesses, isGone } from './processes.ts';

/** A process that is in the kernel's hands may take a while to go after SIGKILL; after this we say so instead of waiting for ever. */
const goneWithinMs = 30_000;
/** Between two SIGTERMs to a tool in namespaces. */
const askAgainMs = 250;

export interface GroupEnding {
  readonly clock: Clock;
  /** From SIGTERM to SIGKILL. */
  readonly killAfterMs: number;
  readonly command: string;
  /** The first process of its PID namespace; resolves with undefined where none was made. */
  readonly first: Promise<ProcessStat | undefined> | undefined;
  /** Without SIGTERM: what it does must stop now. */
  readonly isUrgent: boolean;
}

/** Resolves once no process of the group or the namespace lives: at once after an orderly end, otherwise by SIGTERM and, where that does not help in time, SIGKILL. */
export async function endGroup(child: ChildProcess, pgid: number, { clock, killAfterMs, command, first, isUrgent }: GroupEnding): Promise<void> {
  let init: ProcessStat | undefined;
  void first?.then((stat) => {
    init = stat;
  });
  const childLives = () => child.exitCode === null && child.signalCode === null;
  const hasEnded = async () => {
    if (childLives() || groupLives(pgid)) return false;
    await first;
    // The kernel lets the first process of a namespace go when all others have gone.
    return init === undefined || (await isGone(init));
  };
  const endedBy = async (deadlineAt: number, ask?: () => void): Promise<boolean> => {
    let askAt = clock.now() + askAgainMs;
    for (let pauseMs = 2; ; pauseMs = Math.min(50, pauseMs * 2)) {
      if (await hasEnded()) return true;
      const left = deadlineAt - clock.now();
      if (left <= 0) return false;
      if (ask && clock.now() >= askAt) {
        ask();
        askAt = clock.now() + askAgainMs;
      }
      await clock.sleep(Math.min(pauseMs, left));
    }
  };
  if (await hasEnded()) return;
  if (!isUrgent) {
    const ask = () => {
      signalProcess(-pgid, 'SIGTERM');
      // A stopped process acts on SIGTERM only once it goes on.
      signalProcess(-pgid, 'SIGCONT');
    };
    ask();
    // Asked again where namespaces are: their guards ignore SIGTERM, and one that came before the tool began would be lost.
    if (await endedBy(clock.now() + killAfterMs, first && ask)) return;
  }
  // All of a namespace ends with its first process, as soon as that gets a turn: among thousands that start others it would wait for long, while they go on.
  if (init && !(await isGone(init))) {
    tryRaisePriority(init.pid);
    signalProcess(init.pid, 'SIGKILL');
  }
  signalProcess(-pgid, 'SIGKILL');
  if (await endedBy(clock.now() + goneWithinMs)) return;
  throw new SpindleError(
    'TOOL_TIMED_OUT',
    `processes of ${command} (group ${pgid}) are still there ${goneWithinMs / 1000} s after SIGKILL: look at this worker's disks`,
  );
}

function tryRaisePriority(pid: number): void {
  try {
    setPriority(pid, osConstants.priority.PRIORITY_HIGHEST);
  } catch {
    // It has gone, or this service may not: then it takes its turn.
  }
}

/** False where there is no such process or group. */
function signalProcess(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    // EPERM: there is one, though not ours to signal.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Whether a process of the group still runs. Zombies do not count: they have let go of everything, and it is not for us to reap them. */
function groupLives(pgid: number): boolean {
  return signalProcess(-pgid, 0) && allProcesses().some(({ group, state }) => group === pgid && !isDead({ state }));
}
