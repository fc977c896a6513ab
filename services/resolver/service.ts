/** Turns a request into the exact packages of its image, or says in words why that cannot be. */
import { SpindleError } from '../../shared/build/failure.ts';
import { refuseUntrustedCode } from '../../shared/build/untrusted-code.ts';
import { BuildFailed, BuildRequested, BuildResolved } from '../../shared/events/catalog.ts';
import { readContentText, storeContent } from '../../shared/files/content.ts';
import { remoteClients } from '../../shared/resolution/remote-clients.ts';
import { Resolution } from '../../shared/resolution/resolution.ts';
import { chooseEngine, resolveRequest } from '../../shared/resolution/resolve.ts';
import type { Solver } from '../../shared/solver/solver.ts';
import { defineStage } from '../../shared/stage/stage.ts';
import type { Collection } from '../../shared/store/store.ts';
import { acceptedUploads, type UploadedRpm } from '../../shared/uploads/uploaded-rpm.ts';

const resolutionBytesMax = 64 * 1024 * 1024;

export interface ResolverOptions {
  readonly solver: Solver;
  /** Left out where nobody can upload RPMs. */
  readonly uploads?: Pick<Collection<UploadedRpm>, 'get'> | undefined;
}

export const resolver = ({ solver, uploads }: ResolverOptions) =>
  defineStage({
    name: 'resolver',
    state: 'resolving',
    consumes: BuildRequested,
    emits: [BuildResolved, BuildFailed],
    long: false,
    limits: { concurrency: 8, attemptsMax: 6, deadlineMs: 10 * 60_000 },

    async handle(_event, context) {
      const { request, releases, clock, files, egress, downloads, log, phase, progress, signal } = context;
      const release = releases.releases.find(({ id }) => id === request.release);
      if (!release) {
        throw new SpindleError(
          'RELEASE_UNKNOWN',
          `release: there is no release ${request.release} here any more; the releases are ${releases.releases.map(({ id }) => id).join(', ')}`,
        );
      }
      refuseUntrustedCode(request, context.untrustedCode);
      const engine = chooseEngine(request, release);
      if (context.pinnedResolution) {
        const pinned = Resolution.parse(JSON.parse(await readContentText(files, context.pinnedResolution, resolutionBytesMax)));
        log('resolver', `the same ${pinned.packages.length} packages as in the build that this one repeats`);
        return BuildResolved({ arch: request.arch, imageType: request.imageType, engine, resolution: context.pinnedResolution });
      }
      const findUploads = uploads && ((ids: readonly string[]) => acceptedUploads(uploads, ids, context.owner));
      const ports = { clock, files, egress, downloads, solver, findUploads, ...remoteClients({ egress, clock }) };
      const resolution = await resolveRequest({
        request,
        release,
        engine,
        untrustedCode: context.untrustedCode,
        ports,
        workspace: await context.workspace(),
        log,
        phase,
        progress,
        signal,
      });
      const stored = await storeContent(files, JSON.stringify(resolution));
      return BuildResolved({ arch: request.arch, imageType: request.imageType, engine, resolution: stored });
    },
  });
