/** The dry run: what a request would put into its images, without building anything. A few at once, each with a deadline. */
import { z } from 'zod';
import { BuildRequest } from '../../../shared/build/request.ts';
import { bodyTypes } from '../../../shared/http/body.ts';
import { Problem } from '../../../shared/http/problem.ts';
import { apiPrefix } from '../../../shared/http/section.ts';
import { Resolution } from '../../../shared/resolution/resolution.ts';
import type { App, IntakePorts } from '../ports.ts';
import { checkRequest } from '../service.ts';

import { invalid, requiredBody } from './builds.ts';

const runsMax = 4;
const waitingMax = 16;
const deadlineMs = 120_000;

export function resolveRoutes(app: App, { clock, resolve, ...ports }: IntakePorts): void {
  let running = 0;
  const waiting: (() => void)[] = [];

  const withSlot = async <T>(action: () => Promise<T>): Promise<T> => {
    if (running >= runsMax) {
      if (waiting.length >= waitingMax)
        throw new Problem('RESOLVE_BUSY', `${running + waiting.length} dry runs are under way; try again soon`, { headers: { 'retry-after': '5' } });
      // The slot is handed over, so nobody can come in between.
      await new Promise<void>((admit) => waiting.push(admit));
    } else {
      running += 1;
    }
    try {
      return await action();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running -= 1;
    }
  };

  app.route({
    method: 'POST',
    url: `${apiPrefix}/resolve`,
    schema: {
      tags: ['catalog'],
      summary: 'A dry run: every package that the images would hold',
      consumes: [...bodyTypes.slice(0, 2)],
      body: BuildRequest,
      response: { 200: z.object({ items: z.array(z.object({ arch: z.string(), imageType: z.string(), resolution: Resolution })) }) },
    },
    handler: async (request, reply) => {
      const checked = checkRequest(requiredBody(request.body), ports, 'dry-run');
      if (!checked.isValid) throw invalid(checked);
      return withSlot(async () => {
        const ending = new AbortController();
        const forget = clock.after(deadlineMs, () => ending.abort(new Problem('RESOLVE_TIMED_OUT', `the dry run did not end within ${deadlineMs / 1000} s`)));
        const gone = () => ending.abort(new Problem('RESOLVE_TIMED_OUT', 'the client is gone'));
        reply.raw.once('close', gone);
        try {
          const items = [];
          for (const single of checked.requests)
            items.push({ arch: single.arch, imageType: single.imageType, resolution: await resolve(single, ending.signal) });
          return { items };
        } finally {
          forget();
          reply.raw.off('close', gone);
        }
      });
    },
  });
}
