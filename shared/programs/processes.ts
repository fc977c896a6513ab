/** The processes of this host, by /proc. */
import { readdirSync, readFileSync } from 'node:fs';
import { readFile, readlink } from 'node:fs/promises';
import { isDead, numberNamed, type ProcessStat, parseStat } from './proc-files.ts';

export async function processStat(pid: number): Promise<ProcessStat | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : parseStat(text);
}

/**
 * All of them, zombies too; those that end meanwhile may be missing. Read at once and without waiting: the kernel answers from memory in microseconds, and where something starts
 * processes without end, every wait would be a turn for it.
 */
export function allProcesses(): readonly ProcessStat[] {
  const found: ProcessStat[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = parseStat(readFileSync(`/proc/${name}/stat`, 'utf8'));
      if (stat) found.push(stat);
    } catch {
      // It has ended.
    }
  }
  return found;
}

/** How many threads this host has: one short file. 0 where it does not say. */
export function hostThreads(): number {
  try {
    return Number(/\/(\d+) /.exec(readFileSync('/proc/loadavg', 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Whether this very process has gone, a zombie counted as gone. */
export async function isGone({ pid, startedAt }: Pick<ProcessStat, 'pid' | 'startedAt'>): Promise<boolean> {
  const stat = await processStat(pid);
  return !stat || stat.startedAt !== startedAt || isDead(stat);
}

/** Memory that only giving it up or swapping it out frees, and threads. Of a process that has gone, nothing. */
export async function usage(pid: number): Promise<{ readonly bytes: number; readonly threads: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const kilobytes = (numberNamed(status, 'RssAnon') ?? 0) + (numberNamed(status, 'RssShmem') ?? 0);
  return { bytes: kilobytes * 1024, threads: numberNamed(status, 'Threads') ?? 0 };
}

/**
 * Ends every process whose working or root directory lies in one of these: what a killed service may have left running there. People's shells, which have a terminal,
 * are let be. Resolves with how many those were.
 */
export async function endProcessesIn(directories: readonly string[]): Promise<number> {
  let count = 0;
  for (const { pid, terminal, state } of directories.length > 0 ? allProcesses() : []) {
    if (pid === process.pid || pid === 1 || terminal !== 0 || isDead({ state })) continue;
    const places = await Promise.all(['cwd', 'root'].map((name) => readlink(`/proc/${pid}/${name}`).catch(() => '')));
    if (!places.some((place) => directories.some((directory) => place === directory || place.startsWith(`${directory}/`)))) continue;
    try {
      process.kill(pid, 'SIGKILL');
      count += 1;
    } catch {
      // It went by itself.
    }
  }
  return count;
}
