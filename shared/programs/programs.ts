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
  /**
   * Runs to the end. A non-zero exit is a result, not an error. Rejects with TOOL_MISSING (not installed), TOOL_TIMED_OUT (deadline, after the whole group is gone), or the
   * signal's reason (after the whole group is gone).
   */
  run(request: ProgramRequest): Promise<ProgramResult>;
  /** Starts a program that the caller ends, such as a virtual machine. The deadline and the signal hold here too. `ended` rejects as `run` does. */
  start(request: ProgramRequest): Promise<RunningProgram>;
}
