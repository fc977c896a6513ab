/** Reads the text of files in /proc and of control groups. Pure. */

/** One process by its `stat`. */
export interface ProcessStat {
  readonly pid: number;
  /** R, S, D, Z, …; a zombie (Z) or dead one (X) has let go of everything. */
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  /** 0 where it has no terminal. */
  readonly terminal: number;
  /** With the pid it names the process for good: pids are used again. */
  readonly startedAt: string;
}

export function parseStat(text: string): ProcessStat | undefined {
  const pid = Number.parseInt(text, 10);
  // The command, in brackets, may hold anything; the other fields follow the last bracket.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parent, group, , terminal] = fields;
  const startedAt = fields[19];
  if (!Number.isInteger(pid) || !state || startedAt === undefined) return undefined;
  return { pid, state, parent: Number(parent), group: Number(group), terminal: Number(terminal), startedAt };
}

export const isDead = ({ state }: Pick<ProcessStat, 'state'>): boolean => state === 'Z' || state === 'X';

/** The process and all that descend from it. Zombies are left out. */
export function descendants(all: readonly ProcessStat[], root: number): readonly ProcessStat[] {
  const children = new Map<number, ProcessStat[]>();
  for (const process of all) children.set(process.parent, [...(children.get(process.parent) ?? []), process]);
  const found = all.filter(({ pid }) => pid === root);
  for (let index = 0; index < found.length; index += 1) found.push(...(children.get((found[index] as ProcessStat).pid) ?? []));
  return found.filter((process) => !isDead(process));
}

/** A number behind a name, as in `status` (`VmRSS:  12 kB`), `memory.events` (`oom_kill 3`) and `memory.oom_control`. */
export function numberNamed(text: string, name: string): number | undefined {
  const found = new RegExp(`^${name}:?\\s+(\\d+)`, 'm').exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

const capabilityNames = [
  ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'KILL', 'SETGID', 'SETUID', 'SETPCAP', 'LINUX_IMMUTABLE', 'NET_BIND_SERVICE'],
  ...['NET_BROADCAST', 'NET_ADMIN', 'NET_RAW', 'IPC_LOCK', 'IPC_OWNER', 'SYS_MODULE', 'SYS_RAWIO', 'SYS_CHROOT', 'SYS_PTRACE', 'SYS_PACCT', 'SYS_ADMIN'],
  ...['SYS_BOOT', 'SYS_NICE', 'SYS_RESOURCE', 'SYS_TIME', 'SYS_TTY_CONFIG', 'MKNOD', 'LEASE', 'AUDIT_WRITE', 'AUDIT_CONTROL', 'SETFCAP', 'MAC_OVERRIDE'],
  ...['MAC_ADMIN', 'SYSLOG', 'WAKE_ALARM', 'BLOCK_SUSPEND', 'AUDIT_READ', 'PERFMON', 'BPF', 'CHECKPOINT_RESTORE'],
];

/** The effective capabilities of a `status`, without `CAP_`. */
export function effectiveCapabilities(status: string): ReadonlySet<string> {
  const bits = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  return new Set(capabilityNames.filter((_, index) => (bits >> BigInt(index)) & 1n));
}

/** The hard limit of a row of `limits`; undefined where there is none. */
export function hardLimit(limits: string, row: string): number | undefined {
  const found = new RegExp(`^${row}\\s+\\S+\\s+(\\d+)`, 'm').exec(limits)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** The mount points of `mountinfo`, in its order, the escapes of blanks and the like undone. */
export function mountPoints(mountinfo: string): readonly string[] {
  return mountinfo
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => unescaped(line.split(' ')[4] ?? ''));
}

export const unescaped = (text: string): string => text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
