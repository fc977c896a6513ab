/** The monitor: the operator's view of queues, dead letters and build nodes, and the operator's hand on them. Consumes no events. */
import type { RestSection } from '../../shared/http/section.ts';
import type { MonitorPorts } from './ports.ts';
import { deadLetterRoutes } from './routes/dead-letters.ts';
import { queueRoutes } from './routes/queues.ts';
import { workerRoutes } from './routes/workers.ts';
import { DeadLetterPage, PublicDeadLetter, PublicQueue, PublicWorker } from './view.ts';

export type { MonitorPorts } from './ports.ts';

export function monitorSection(ports: MonitorPorts): RestSection {
  return {
    tags: [
      { name: 'queues', description: 'What waits for which stage, and what was given up' },
      { name: 'workers', description: 'Who builds the images' },
    ],
    schemas: { Queue: PublicQueue, DeadLetter: PublicDeadLetter, DeadLetterPage, Worker: PublicWorker },
    routes: (app) => {
      queueRoutes(app, ports);
      deadLetterRoutes(app, ports);
      workerRoutes(app, ports);
    },
  };
}
