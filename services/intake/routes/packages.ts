/** The search for packages of a release: names and summaries, as somebody types them into a box. */
import { z } from 'zod';
import { Problem, quoted } from '../../../shared/http/problem.ts';
import { apiPrefix } from '../../../shared/http/section.ts';
import { slots } from '../../../shared/parallel/slots.ts';
import type { App, IntakePorts } from '../ports.ts';

const limitDefault = 20;
const limitMax = 100;
const searchesMax = 8;
/** The first search in a release reads its metadata, and may have to fetch them. */
const deadlineMs = 120_000;

const FoundPackage = z.object({ name: z.string(), evr: z.string(), arch: z.string(), repository: z.string(), summary: z.string() });

const Query = z.object({
  release: z.string().min(1).max(64),
  arch: z
    .string()
    .regex(/^[a-z0-9_]{1,16}$/, 'is not an architecture')
    .optional(),
  q: z
    .string()
    .max(200)
    .refine((text) => text.trim() !== '', 'holds no word to look for'),
  limit: z
    .string()
    .regex(/^\d{1,4}$/, 'is not a whole number')
    .transform(Number)
    .pipe(z.number().min(1).max(limitMax))
    .default(limitDefault),
});

export function packageRoutes(app: App, { releases, packages, clock }: IntakePorts): void {
  const searches = slots(searchesMax);

  app.route({
    method: 'GET',
    url: `${apiPrefix}/packages`,
    schema: {
      tags: ['catalog'],
      summary: 'Packages of a release whose name or summary holds every word of `q`, the best first',
      querystring: Query,
      response: { 200: z.object({ items: z.array(FoundPackage) }) },
    },
    handler: async (request, reply) => {
      const { release: id, q, limit, arch: wanted } = request.query;
      const release = releases.releases.find((each) => each.id === id);
      if (!release) {
        throw new Problem('REQUEST_INVALID', `release: there is no release ${quoted(id)}; there are ${releases.releases.map((each) => each.id).join(', ')}`);
      }
      const arch = wanted ?? (release.arches.includes('x86_64') ? 'x86_64' : (release.arches[0] ?? 'x86_64'));
      if (!release.arches.includes(arch)) {
        throw new Problem('REQUEST_INVALID', `arch: ${release.name} is not built for ${quoted(arch)} here; it is for ${release.arches.join(', ')}`);
      }
      const ending = new AbortController();
      const forget = clock.after(deadlineMs, () => ending.abort(new Problem('RESOLVE_TIMED_OUT', `the search did not end within ${deadlineMs / 1000} s`)));
      const gone = () => ending.abort(new Problem('RESOLVE_TIMED_OUT', 'the client is gone'));
      reply.raw.once('close', gone);
      try {
        return await searches.use(ending.signal, async () => {
          const index = await packages(release, arch, ending.signal);
          return { items: [...index.search(q, limit)] };
        });
      } finally {
        forget();
        reply.raw.off('close', gone);
      }
    },
  });
}
