/** The programs port: runs a host tool to its end. Always an argument array, never a shell. */
export interface ProgramRequest {
  /** Name on the PATH of the service, or an absolute path. */
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  /** The whole environment of the tool, besides PATH and LC_ALL=C.UTF-8: nothing of the service's own leaks in. */
  readonly env?: Readonly<Record<string, string>>;
  /** Written to standard input, which is then closed. */
  readonly stdin?: string;
  /** Standard input stays open for `RunningProgram.write` until the program ends; then `stdin` is left out. */
  readonly keepsInput?: boolean;
  /** After this the whole process group is ended. */
  readonly deadlineMs: number;
  /** Fires on cancel and stop: the whole group gets SIGTERM, then SIGKILL after the adapter's bound. */
  readonly signal?: AbortSignal;
  /** Each line of output as it comes, without its end, cut at 8 KiB, control characters replaced. */
  readonly onLine?: (line: string, stream: 'stdout' | 'stderr') => void;
  /** How much of each stream is kept for the result: the last so many bytes for stderr, the first for stdout (default 1 MiB). More stdout than that sets `truncated`. */
  readonly outputBytesMax?: number;
  /**
   * `host`: as the service. `private`: mount, PID and IPC namespaces of its own: when it ends, however it ends, nothing that it started or mounted is left.
   * `private-no-network`: that, and no network at all.
   */
  readonly isolation?: 'host' | 'private' | 'private-no-network';
  /**
   * Runs as this user, with no other groups than these, without any capability, and unable to gain one (no_new_privs). It keeps `cwd` as its working directory whoever owns the
   * folders above, so names relative to it are the ones that it can reach; what it writes to must belong to it. Needs a service that runs as root.
   */
  readonly user?: ProgramUser;
}

/** Numbers of the host. Neither is 0. */
export interface ProgramUser {
  readonly uid: number;
  readonly gid: number;
  /** Besides `gid`: that of a device, for example. */
  readonly groups?: readonly number[];
}

export interface ProgramResult {
  /** The exit status, or null where a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly truncated: boolean;
  /** Wall time, milliseconds. */
  readonly durationMs: number;
}

export interface RunningProgram {
  readonly pid: number | undefined;
  /** Sends to standard input, where it was kept open. Nothing happens where the program has gone, or does not read: its end says so. */
  write(text: string): void;
  /** Ends the whole group and resolves with the result. */
  stop(): Promise<ProgramResult>;
  readonly ended: Promise<ProgramResult>;
}

export interface Programs {
  /** Whether a program of this name can be started here, as `run` would look for it. Never rejects. */
  has(command: string): Promise<boolean>;
  /**
   * Runs to the end. A non-zero exit is a result, not an error. Rejects with TOOL_MISSING (not installed), TOOL_TIMED_OUT (deadline, after the whole group is gone), or the
   * signal's reason (after the whole group is gone). Isolation or a user where the service is not root is TOOL_MISSING too.
   */
  run(request: ProgramRequest): Promise<ProgramResult>;
  /** Starts a program that the caller ends, such as a virtual machine. The deadline and the signal hold here too. `ended` rejects as `run` does. */
  start(request: ProgramRequest): Promise<RunningProgram>;
}

/** Throws on what is no user of its own: a bug of the caller. */
export function checkUser({ uid, gid, groups = [] }: ProgramUser): void {
  for (const number of [uid, gid, ...groups]) {
    if (!Number.isInteger(number) || number < 1 || number > 0xffff_fffe) throw new TypeError(`${number} is not the number of a user or group of its own`);
  }
}
