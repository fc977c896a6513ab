/** The process of the command-line client: its streams, its exit status. */
import { systemClock } from '../../shared/clock/system.ts';
import { runCli } from './cli.ts';
import { environment } from './settings.ts';

// Who reads only the first lines (`| head`) closes the pipe: that is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

process.exitCode = await runCli(process.argv.slice(2), {
  stdout: (text) => process.stdout.write(text),
  stderr: (text) => process.stderr.write(text),
  ...(process.stderr.isTTY ? { columns: process.stderr.columns ?? 80 } : {}),
  stdin: process.stdin,
  clock: systemClock(),
  environment: environment(),
});
