/** Intake's HTTP side: the assembly of its routes. What holds for all of them is shared/http/app.ts. */
import type { ZodTypeProvider } from '@fastify/type-provider-zod';
import type { FastifyInstance } from 'fastify';
import { BuildRequest } from '../../shared/build/request.ts';
import { restApp } from '../../shared/http/app.ts';
import type { RestSection } from '../../shared/http/section.ts';
import { Resolution } from '../../shared/resolution/resolution.ts';
import type { IntakePorts } from './ports.ts';
import { artifactRoutes } from './routes/artifacts.ts';
import { buildRoutes } from './routes/builds.ts';
import { catalogRoutes } from './routes/catalog.ts';
import { followRoutes } from './routes/follow.ts';
import { packageRoutes } from './routes/packages.ts';
import { resolveRoutes } from './routes/resolve.ts';
import { rpmRoutes } from './routes/rpms.ts';
import { sideRepoRoutes } from './routes/side-repo.ts';
import { uploadDeadlineMs } from './uploads.ts';
import { BuildPage, PublicBuild, PublicGroup, PublicRelease, PublicRpm, rpmsPath } from './view.ts';

export type { IntakePorts } from './ports.ts';

/** The app, not listening yet. `others`: what else the same address serves. */
export function intakeApp(ports: IntakePorts, others: readonly RestSection[] = []): Promise<FastifyInstance> {
  return restApp(ports, [intakeSection(ports), ...others]);
}

function intakeSection(ports: IntakePorts): RestSection {
  return {
    tags: [
      { name: 'builds', description: 'Ask for images and see how they stand' },
      { name: 'artifacts', description: 'What a build left' },
      { name: 'rpms', description: 'RPMs of your own, for sources.rpms' },
      { name: 'catalog', description: 'What can be built' },
    ],
    schemas: { BuildRequest, Build: PublicBuild, BuildPage, Group: PublicGroup, Release: PublicRelease, UploadedRpm: PublicRpm, Resolution },
    longBodies: [{ path: rpmsPath, deadlineMs: uploadDeadlineMs }],
    routes: async (app) => {
      buildRoutes(app, ports);
      followRoutes(app, ports);
      artifactRoutes(app, ports);
      sideRepoRoutes(app, ports);
      packageRoutes(app, ports);
      resolveRoutes(app, ports);
      catalogRoutes(app, ports);
      await app.register(async (inner) => rpmRoutes(inner.withTypeProvider<ZodTypeProvider>(), ports));
    },
  };
}
