/** Stages run for real on one request: dnf, createrepo_c and the egress of this machine against the sample distribution's site. */

import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { resolver } from '../../services/resolver/service.ts';
import { type Failure, failureOf } from '../../shared/build/failure.ts';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { localPartialFiles } from '../../shared/downloads/local.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import type { Emitted, Event } from '../../shared/events/define.ts';
import { readContentText } from '../../shared/files/content.ts';
import { localFiles } from '../../shared/files/local.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { cachedRepositories } from '../../shared/repositories/cached.ts';
import { Resolution } from '../../shared/resolution/resolution.ts';
import { rpmDownloads } from '../../shared/rpm/rpm-downloads.ts';
import { contentTarget } from '../../shared/rpm/stored-rpm.ts';
import { localRpmStore } from '../../shared/rpm-store/local.ts';
import { dnfSolver } from '../../shared/solver/dnf.ts';
import type { Stage, StageContext } from '../../shared/stage/stage.ts';
import { memoryStore } from '../../shared/store/memory.ts';
import type { Collection } from '../../shared/store/store.ts';
import { type UploadedRpm, uploadedRpmCollection } from '../../shared/uploads/uploaded-rpm.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';
import { type SampleForTests, startSample } from '../support/sample-site.ts';
import { stageContext } from '../support/stage-context.ts';
import { tempDirectory } from '../support/temp-directory.ts';

type StoredRef = { readonly sha256: string; readonly size: number };

interface Trial {
  readonly lines: readonly string[];
  readonly files: StageContext['files'];
  run<D>(stage: Stage, data: unknown): Promise<Emitted<string, D>>;
  /** Runs the resolver; what it announces. */
  announce(): Promise<{ readonly resolution: StoredRef }>;
  resolve(): Promise<Resolution>;
}

export interface SampleWorld {
  readonly sample: SampleForTests;
  /** What has been uploaded; the bytes are for the trial to store. */
  readonly uploads: Collection<UploadedRpm>;
  /** A build of this request, on files of its own, with the release changed as said. */
  trial(request: object, changes?: Partial<Release>): Promise<Trial>;
  resolve(request: object, changes?: Partial<Release>): Promise<Resolution>;
  /** Why the request is refused. */
  refusal(request: object, changes?: Partial<Release>): Promise<Failure>;
  close(): Promise<void>;
}

/** One metadata cache and one warm solver for all trials, as a service has them. The caller closes it. */
export async function sampleWorld(): Promise<SampleWorld> {
  const directory = await tempDirectory();
  const sample = await startSample();
  const clock = systemClock();
  const programs = spawnedPrograms();
  const egress = httpEgress({ userAgent: 'spindle-test/1 (+https://example.org)', allow: [sample.destination] });
  const repositories = cachedRepositories({ directory: join(directory.path, 'metadata'), egress, programs, clock });
  const isolation = process.getuid?.() === 0 ? { isolation: 'private-no-network' as const } : {};
  const solver = dnfSolver({ directory: join(directory.path, 'solver'), repositories, programs, clock, atOnceMax: 2, ...isolation });
  const uploads = await memoryStore().collection(uploadedRpmCollection);
  const stage = resolver({ solver, uploads });

  const trial = async (request: object, changes: Partial<Release> = {}): Promise<Trial> => {
    const release = { ...sample.release, ...changes };
    const single = splitRequest(BuildRequest.parse({ release: 'sample', imageType: 'live', ...request }))[0] as SingleBuildRequest;
    const name = createHash('sha256').update(JSON.stringify([request, changes]));
    const place = join(directory.path, name.digest('hex').slice(0, 16));
    await mkdir(place, { recursive: true });
    const files = await localFiles({ directory: join(place, 'files') });
    const workspaces = localWorkspaces({ directory: join(place, 'work'), files, owner: 'test', programs });
    const lines: string[] = [];
    const partials = localPartialFiles({ directory: join(place, 'downloads'), clock });
    const rpms = await localRpmStore({ directory: join(place, 'rpms'), files, clock, bytesMax: 1e12, onTrouble: () => {} });
    const downloads = rpmDownloads({ egress, clock, partials, target: contentTarget(files) });

    const run = async <D>(ran: Stage, data: unknown): Promise<Emitted<string, D>> => {
      const workspace = await workspaces.create(ran.name);
      const context = stageContext({
        request: single,
        workspace,
        log: (tool, line) => lines.push(`${tool}: ${line}`),
        clock,
        files,
        programs,
        egress,
        downloads,
        rpms,
        releases: { releases: [release] },
        untrustedCode: { kickstartScripts: false, rpms: true },
      });
      try {
        return (await ran.handle({ type: ran.consumes.type, data } as Event<string, never>, context)) as Emitted<string, D>;
      } finally {
        await workspace.dispose();
      }
    };
    const announce = async () => (await run<{ resolution: StoredRef }>(stage as unknown as Stage, {})).data;
    return {
      lines,
      files,
      run,
      announce,
      resolve: async () => Resolution.parse(JSON.parse(await readContentText(files, (await announce()).resolution))),
    };
  };
  const resolve = async (request: object, changes?: Partial<Release>) => (await trial(request, changes)).resolve();
  return {
    sample,
    uploads,
    trial,
    resolve,
    refusal: async (request, changes) => {
      const error = await resolve(request, changes).then(
        () => new Error('it was not refused'),
        (reason: unknown) => reason,
      );
      return failureOf(error, 'resolver');
    },
    close: async () => {
      await solver.close();
      await repositories.close();
      await egress.close();
      await sample.site.close();
      await directory.remove();
    },
  };
}
