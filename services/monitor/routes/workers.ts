/** Routes for build nodes: who they are, what they do, and asking one to take nothing new. */
import { z } from 'zod';
import { bodyTypes } from '../../../shared/http/body.ts';
import { checkedBody } from '../../../shared/http/checked-body.ts';
import { Problem } from '../../../shared/http/problem.ts';
import { type App, apiPrefix } from '../../../shared/http/section.ts';
import { drainWorker } from '../../../shared/workers/drain.ts';
import { workersMax } from '../../../shared/workers/watch.ts';
import type { Worker } from '../../../shared/workers/worker.ts';
import type { MonitorPorts } from '../ports.ts';
import { PublicWorker, publicWorker } from '../view.ts';

const idParameter = z.object({ id: z.string() });
const DrainBody = z.strictObject({ drain: z.boolean().default(true) });

export function workerRoutes(app: App, ports: MonitorPorts): void {
  const { workers, clock } = ports;
  const known = (worker: Worker | undefined): PublicWorker => {
    if (!worker) throw new Problem('WORKER_UNKNOWN', 'there is no worker of this id; the list of workers names those that there are');
    return publicWorker(worker, clock.now());
  };

  app.route({
    method: 'GET',
    url: `${apiPrefix}/workers`,
    schema: {
      tags: ['workers'],
      summary: 'Build nodes: what each can make, and what it does',
      description:
        'An engine is `present`, or `absent` with the programs it lacks and the packages to install. A worker that stopped, or has not been heard of (`lost`), stays listed for a day.',
      response: { 200: z.object({ items: z.array(PublicWorker) }) },
    },
    handler: async () => {
      const found = await workers.find({ index: 'byId', prefix: ['all'], limit: workersMax });
      return { items: found.map(({ document }) => publicWorker(document, clock.now())) };
    },
  });

  app.route({
    method: 'GET',
    url: `${apiPrefix}/workers/:id`,
    schema: { tags: ['workers'], summary: 'One build node', params: idParameter, response: { 200: PublicWorker } },
    handler: async ({ params }) => known((await workers.get(params.id))?.document),
  });

  app.route({
    method: 'POST',
    url: `${apiPrefix}/workers/:id/drain`,
    schema: {
      tags: ['workers'],
      summary: 'Let a build node take nothing new',
      description:
        'What it builds goes on to its end; then it is `drained`. That outlives a restart of the worker. `{"drain": false}` takes it back, and so does DELETE. Asking twice is asking once.',
      consumes: [...bodyTypes.slice(0, 2)],
      params: idParameter,
      body: DrainBody.optional(),
      response: { 200: PublicWorker },
    },
    handler: async ({ params, body }) => known(await drainWorker(ports, params.id, checkedBody(DrainBody, body).drain)),
  });

  app.route({
    method: 'DELETE',
    url: `${apiPrefix}/workers/:id/drain`,
    schema: { tags: ['workers'], summary: 'Let a build node take builds again', params: idParameter, response: { 200: PublicWorker } },
    handler: async ({ params }) => known(await drainWorker(ports, params.id, false)),
  });
}
