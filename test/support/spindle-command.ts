/** The command-line client in this process: what it prints, and the status that it ends with. */
import { Readable } from 'node:stream';
import { runCli } from '../../clients/cli/cli.ts';
import { systemClock } from '../../shared/clock/system.ts';

export interface SpindleCommand {
  /** Of the service. */
  readonly url: string;
  readonly stdin: string;
  readonly onStderr?: (text: string) => void;
}

export interface EndedCommand {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function spindleCommand(args: readonly string[], { url, stdin, onStderr }: SpindleCommand): Promise<EndedCommand> {
  const out = { stdout: '', stderr: '' };
  const status = await runCli(args, {
    stdout: (text) => {
      out.stdout += text;
    },
    stderr: (text) => {
      out.stderr += text;
      onStderr?.(text);
    },
    stdin: Readable.from([stdin]),
    clock: systemClock(),
    environment: { SPINDLE_URL: url },
  });
  return { status, ...out };
}
