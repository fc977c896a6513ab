/** Keeps the RPM store within its cap and reads its files again in the course of time, beside the builds. */
import type { Clock } from '../clock/clock.ts';
import type { Log } from '../log/log.ts';
import type { RpmStore } from './rpm-store.ts';
import type { UsedByBuilds } from './used-by-builds.ts';

export interface Upkeep {
  stop(): Promise<void>;
}

const everyMs = 5 * 60_000;
/** In one round: at most some seconds of reading. */
const recheckBytes = 1e9;

export function startUpkeep({
  rpms,
  inUse,
  clock,
  logger,
}: {
  readonly rpms: RpmStore;
  readonly inUse: UsedByBuilds;
  readonly clock: Clock;
  readonly logger: Log;
}): Upkeep {
  const ending = new AbortController();
  const round = async () => {
    const { files, bytes, bytesOver } = await rpms.evict(await inUse());
    if (files > 0) logger.info({ files, bytes }, 'stored packages that nobody needed for longest were removed');
    if (bytesOver > 0)
      logger.warn({ bytesOver }, 'the stored packages are over their bound, and builds need all that is left; raise SPINDLE_RPM_STORE_MIB_MAX');
    const harmed = await rpms.recheck(recheckBytes, ending.signal);
    if (harmed > 0) logger.error({ files: harmed }, "stored packages had other content than their digests say and were removed: look at this machine's disks");
  };
  const running = (async () => {
    while (!ending.signal.aborted) {
      try {
        await clock.sleep(everyMs, ending.signal);
        await round();
      } catch (error) {
        if (!ending.signal.aborted) logger.warn({ err: error }, 'the stored packages could not be looked after; tried again later');
      }
    }
  })();
  return {
    stop: async () => {
      ending.abort();
      await running;
    },
  };
}
