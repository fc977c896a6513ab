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
  // Only this command needs what the service is made of, and only it has something to undo when it is ended.
  createSideRepository: async (order) => {
    const interrupt = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupt.abort(signal));
    const { createSideRepository } = await import('../../services/side-repo-create.ts');
    return createSideRepository({ ...order, signal: interrupt.signal }).catch((error: unknown) => {
      if (!interrupt.signal.aborted) throw error;
      return { outcome: 'failed' as const, code: 'CANCELED', message: `ended by ${interrupt.signal.reason}; nothing was made`, details: [] };
    });
  },
});
