/** Side-repo for real on packages of a test's own: a mirror on loopback, createrepo_c and the file system of this machine, and a store that can be opened again as by another process. */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { sideRepo } from '../../services/side-repo/service.ts';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { localPartialFiles } from '../../shared/downloads/local.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import { formatNevra, type Nevra, rpmFileName } from '../../shared/fedora/nvr.ts';
import { readContentText, storeContent } from '../../shared/files/content.ts';
import type { FileRef } from '../../shared/files/content-ref.ts';
import type { Files } from '../../shared/files/files.ts';
import { localFiles } from '../../shared/files/local.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { Release } from '../../shared/releases/releases.ts';
import { RepositorySet, type ResolvedPackage } from '../../shared/resolution/resolution.ts';
import { rpmDownloads } from '../../shared/rpm/rpm-downloads.ts';
import { contentTarget } from '../../shared/rpm/stored-rpm.ts';
import { localRpmStore } from '../../shared/rpm-store/local.ts';
import type { RpmStore } from '../../shared/rpm-store/rpm-store.ts';
import type { EventOf } from '../../shared/stage/stage.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';
import { resolutionWith } from './resolutions.ts';
import { stageContext } from './stage-context.ts';
import { type StaticServer, staticServer } from './static-server.ts';

export interface SideRepoWorld {
  readonly directory: string;
  readonly files: Files;
  readonly server: StaticServer;
  /** As it was opened last. */
  rpms(): RpmStore;
  /** Opens the RPM store anew, as the next process would. */
  reopen(options?: { readonly bytesMax?: number }): Promise<void>;
  /** From now on it is so much later. */
  advance(ms: number): void;
  /** A package as it would be resolved, its file on the mirror. */
  publish(nevra: Nevra, bytes: Uint8Array, change?: Partial<ResolvedPackage>): ResolvedPackage;
  /** Runs the stage for an x86_64 image. */
  run(packages: readonly ResolvedPackage[]): Promise<RepositorySet['repositories']>;
  /** What an image builder sees of the repositories, below the returned folder. */
  show(repositories: RepositorySet['repositories']): Promise<string>;
  close(): Promise<void>;
}

const never = new AbortController().signal;

export async function sideRepoWorld(directory: string, given: { readonly bytesMax?: number } = {}): Promise<SideRepoWorld> {
  let ahead = 0;
  const system = systemClock();
  const clock = { ...system, now: () => system.now() + ahead };
  const server = await staticServer();
  const programs = spawnedPrograms({ clock });
  const egress = httpEgress({ userAgent: 'spindle-test/1 (+https://example.org)', allow: [server.destination] });
  await mkdir(directory, { recursive: true });
  const files = localFiles({ directory: join(directory, 'files') });
  const workspaces = localWorkspaces({ directory: join(directory, 'work'), files, owner: 'test', programs });
  const partials = localPartialFiles({ directory: join(directory, 'downloads'), clock });
  const downloads = rpmDownloads({ egress, clock, partials, target: contentTarget(files), marginBytes: 0 });
  const open = ({ bytesMax = Number.MAX_SAFE_INTEGER }: { readonly bytesMax?: number } = {}) =>
    localRpmStore({ directory: join(directory, 'rpms'), files, clock, bytesMax, onTrouble: () => {} });
  let rpms = await open(given);
  const release = Release.parse({
    id: 'trouble',
    name: 'Trouble Linux',
    arches: ['x86_64'],
    repositories: [{ id: 'mirror', role: 'stable', baseurl: `${server.base}/` }],
    unsigned: 'allow',
    engines: { live: 'kiwi' },
  });
  const request = splitRequest(BuildRequest.parse({ release: 'trouble', imageType: 'live', packages: ['hello'] }))[0] as SingleBuildRequest;

  return {
    directory,
    files,
    server,
    rpms: () => rpms,
    reopen: async (options) => {
      await rpms.close();
      rpms = await open(options);
    },
    advance: (ms) => {
      ahead += ms;
    },
    publish: (nevra, bytes, change = {}) => {
      const path = `/${rpmFileName(nevra)}`;
      server.files.set(path, bytes);
      return {
        ...nevra,
        nevra: formatNevra(nevra),
        from: 'stable',
        repository: 'mirror',
        role: 'stable',
        because: 'The test says so.',
        urls: [`${server.base}${path}`],
        sha256: createHash('sha256').update(bytes).digest('hex'),
        size: bytes.byteLength,
        installedSize: 1000,
        sigkey: null,
        stored: false,
        ...change,
      };
    },
    run: async (packages) => {
      const resolution = resolutionWith(packages, 'trouble');
      const data = { arch: 'x86_64', imageType: 'live', engine: 'kiwi', resolution: await storeContent(files, JSON.stringify(resolution)) };
      const workspace = await workspaces.create('side-repo');
      const context = stageContext({ request, workspace, clock, files, programs, egress, downloads, rpms, releases: { releases: [release] } });
      try {
        const emitted = [await sideRepo.handle({ type: 'build.resolved', data } as unknown as EventOf<typeof sideRepo.consumes>, context)].flat()[0] as {
          readonly data: { readonly repositories: FileRef };
        };
        return RepositorySet.parse(JSON.parse(await readContentText(files, emitted.data.repositories))).repositories;
      } finally {
        await workspace.dispose();
      }
    },
    show: async (repositories) => {
      const workspace = await workspaces.create('shown');
      for (const { id, files: list } of repositories) await rpms.showRepository(list, workspace, `repositories/${id}`, never);
      return join(workspace.path, 'repositories');
    },
    close: async () => {
      await rpms.close();
      await downloads.close();
      await egress.close();
      await server.close();
      await files.close();
    },
  };
}
