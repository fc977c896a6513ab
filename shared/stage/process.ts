/** A service as a process: settings that are wrong end it with a message, and signals end it in order. */
import { SpindleError } from '../build/failure.ts';
import { ConfigProblem } from '../config/config.ts';
import type { Log } from '../log/log.ts';
import { ReleasesProblem } from '../releases/load.ts';

/** Exit status of sysexits.h: the settings are wrong. */
const exitConfig = 78;

export interface RunningProcess {
  readonly logger: Log;
  /** Bounded by itself: each part has its time. */
  stop(): Promise<void>;
}

/**
 * Starts it, and waits for signals. The first SIGTERM or SIGINT takes nothing new, gives back what runs, and ends the process with 0; a second one ends it at once. A start that fails
 * ends it with 78 where the settings are at fault, else with 1.
 */
export async function runProcess(start: () => Promise<RunningProcess>): Promise<void> {
  let stopping: NodeJS.Signals | undefined;
  let running: RunningProcess | undefined;
  const end = () => {
    running?.logger.info({ signal: stopping }, 'stopping: running builds are given back and go on elsewhere, or at the next start');
    void running?.stop().then(() => process.exit(0));
  };
  const onSignal = (signal: NodeJS.Signals) => {
    if (stopping !== undefined) process.exit(1);
    stopping = signal;
    end();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  try {
    running = await start();
    // One that came meanwhile waited for what there is to stop.
    if (stopping !== undefined) end();
  } catch (error) {
    const isSettings = error instanceof ConfigProblem || error instanceof ReleasesProblem;
    console.error(isSettings || error instanceof SpindleError ? error.message : error);
    process.exit(isSettings ? exitConfig : 1);
  }
}
