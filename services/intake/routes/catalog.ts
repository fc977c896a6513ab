/** Routes for what can be built: releases and kinds of images. */
import { z } from 'zod';
import { apiPrefix } from '../../../shared/http/section.ts';
import type { App, IntakePorts } from '../ports.ts';
import { PublicImageType, PublicRelease, publicImageTypes, publicRelease } from '../view.ts';

export function catalogRoutes(app: App, { releases, engines }: IntakePorts): void {
  app.route({
    method: 'GET',
    url: `${apiPrefix}/releases`,
    schema: { tags: ['catalog'], summary: 'Releases that can be asked for', response: { 200: z.object({ items: z.array(PublicRelease) }) } },
    handler: async () => ({ items: releases.releases.map((release) => publicRelease(release, engines)) }),
  });

  app.route({
    method: 'GET',
    url: `${apiPrefix}/image-types`,
    schema: { tags: ['catalog'], summary: 'Kinds of images, and who makes them', response: { 200: z.object({ items: z.array(PublicImageType) }) } },
    handler: async () => ({ items: [...publicImageTypes(releases, engines)] }),
  });
}
