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
  /** What it sees of the host, for tools that work on what strangers wrote. Not with isolation `host`. */
  readonly sandbox?: Sandbox;
  /** Bounds, each in the place of the adapter's own for sandboxed runs. Not with isolation `host`. */
  readonly bounds?: Bounds;
}

/**
 * A view of the host: all of it read-only, the service's own directories and people's homes empty, temporary directories, caches and devices of its own, a documented few of root's
 * capabilities (docs/isolation.md). A throw-away virtual machine around the tool would be another adapter of the same request.
 */
export interface Sandbox {
  /** Absolute. Stands at its own place and is all that it can write to; temporary directories lie in it, in `.private/`. */
  readonly directory: string;
  /** Further files and trees, shown read-only at their own places, also where those are hidden. Absolute. */
  readonly readOnly?: readonly string[];
  /** The host's loop devices, for tools that mount images. */
  readonly loopDevices?: boolean;
  /** Root's rights over its own network namespace, for tools that make namespaces of their own. */
  readonly networkAdmin?: boolean;
}

/** What one run may use at most. Each is enforced by what the host has: control groups, else by looking at its processes and files several times a second. */
export interface Bounds {
  readonly memoryBytesMax?: number;
  /** Processes and threads together. */
  readonly processesMax?: number;
  /** All of the sandbox's directory, and each single file. */
  readonly diskBytesMax?: number;
  /** The run is ended where the file system of the sandbox's directory has less room left. */
  readonly diskFreeBytesMin?: number;
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
   * signal's reason (after the whole group is gone). Isolation or a user where the service is not root is TOOL_MISSING too. Beyond a bound: RESOURCE_LIMIT, or DISK_FULL where the
   * disk is short of `diskFreeBytesMin`; a sandbox that cannot be made: ISOLATION_FAILED.
   */
  run(request: ProgramRequest): Promise<ProgramResult>;
  /** Starts a program that the caller ends, such as a virtual machine. The deadline and the signal hold here too. `ended` rejects as `run` does. */
  start(request: ProgramRequest): Promise<RunningProgram>;
}

/** Throws on what no adapter can mean: a bug of the caller. */
export function checkRequest({ user, isolation = 'host', sandbox, bounds }: ProgramRequest): void {
  if (user) {
    for (const number of [user.uid, user.gid, ...(user.groups ?? [])]) {
      if (!Number.isInteger(number) || number < 1 || number > 0xffff_fffe) throw new TypeError(`${number} is not the number of a user or group of its own`);
    }
  }
  if (isolation === 'host' && (sandbox || bounds)) throw new TypeError('a sandbox and bounds need isolation');
  if (sandbox) {
    for (const path of [sandbox.directory, ...(sandbox.readOnly ?? [])]) {
      if (!isPlainPath(path)) throw new TypeError(`${JSON.stringify(path)} is not an absolute path without "." and ".."`);
    }
  }
  for (const [name, value] of Object.entries(bounds ?? {})) {
    if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`${name} is ${value}, which bounds nothing`);
  }
}

function isPlainPath(path: string): boolean {
  return /^(?:\/[^/\0]+)+$/.test(path) && !path.split('/').some((segment) => segment === '.' || segment === '..');
}
