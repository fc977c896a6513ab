/** What the monitor's routes work with. */
import type { Build } from '../../shared/build/build.ts';
import type { Bus, Topology } from '../../shared/bus/bus.ts';
import type { QueueReport } from '../../shared/bus/queue-report.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import type { Log } from '../../shared/log/log.ts';
import type { Collection } from '../../shared/store/store.ts';
import type { Worker } from '../../shared/workers/worker.ts';

export interface MonitorPorts {
  readonly builds: Collection<Build>;
  readonly workers: Collection<Worker>;
  readonly bus: Pick<Bus, 'publish' | 'deadLetters' | 'takeDeadLetter' | 'broadcast'>;
  readonly queues: QueueReport;
  /** The queues that there should be. */
  readonly topology: Topology;
  readonly clock: Clock;
  readonly logger: Log;
}
