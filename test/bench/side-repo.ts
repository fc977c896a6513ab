/**
 * From resolved packages to repositories that stand: the side-repo stage itself, on real adapters. All packages are in the store and were in some repository before. The reference is
 * createrepo_c alone, with the flags that the stage uses, over the same files, which somebody has laid out already.
 */
import { link, mkdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { sideRepo } from '../../services/side-repo/service.ts';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { localPartialFiles } from '../../shared/downloads/local.ts';
import { simulatedEgress } from '../../shared/egress/simulated.ts';
import { formatNevra } from '../../shared/fedora/nvr.ts';
import { storeContent } from '../../shared/files/content.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import { localFiles } from '../../shared/files/local.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { Release } from '../../shared/releases/releases.ts';
import type { Resolution, ResolvedPackage } from '../../shared/resolution/resolution.ts';
import { rpmDownloads } from '../../shared/rpm/rpm-downloads.ts';
import { contentTarget } from '../../shared/rpm/stored-rpm.ts';
import { localRpmStore } from '../../shared/rpm-store/local.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';
import { resolutionWith } from '../support/resolutions.ts';
import { stageContext } from '../support/stage-context.ts';
import { tempDirectory } from '../support/temp-directory.ts';
import { figureOf, print } from './figure.ts';
import { type BenchRpm, benchRpms } from './rpm-set.ts';

const packages = 1000;
const rounds = 10;

export async function sideRepoBench(): Promise<void> {
  const directory = await tempDirectory();
  const rpms = await benchRpms(packages + 2 * rounds + 1);
  const clock = systemClock();
  const programs = spawnedPrograms({ clock });
  const files = localFiles({ directory: join(directory.path, 'files') });
  const store = await localRpmStore({ directory: join(directory.path, 'rpms'), files, clock, bytesMax: 1e12, onTrouble: () => {} });
  const workspaces = localWorkspaces({ directory: join(directory.path, 'work'), files, owner: 'bench', programs });
  const egress = simulatedEgress({ routes: () => undefined, clock });
  const partials = localPartialFiles({ directory: join(directory.path, 'downloads'), clock });
  const downloads = rpmDownloads({ egress, clock, partials, target: contentTarget(files) });
  const release = Release.parse({
    id: 'bench',
    name: 'Bench',
    arches: ['x86_64'],
    repositories: [{ id: 'bench', role: 'stable', baseurl: 'http://bench.example/' }],
    unsigned: 'allow',
    engines: { live: 'kiwi' },
  });
  const request = splitRequest(BuildRequest.parse({ release: 'bench', imageType: 'live', packages: ['bench-0000'] }))[0] as SingleBuildRequest;

  /** Milliseconds of the stage. */
  const prepare = async (set: readonly BenchRpm[]): Promise<number> => {
    const resolution = await storeContent(files, JSON.stringify(resolutionOf(set)));
    const workspace = await workspaces.create('bench');
    try {
      const startedAt = performance.now();
      await sideRepo.handle(
        { type: 'build.resolved', data: { arch: 'x86_64', imageType: 'live', engine: 'kiwi', resolution } } as Parameters<typeof sideRepo.handle>[0],
        stageContext({ request, workspace, clock, files, programs, egress, downloads, rpms: store, releases: { releases: [release] } }),
      );
      return performance.now() - startedAt;
    } finally {
      await workspace.dispose();
    }
  };
  const plain = async (set: readonly BenchRpm[]): Promise<number> => {
    const tree = join(directory.path, 'reference');
    await rm(tree, { recursive: true, force: true });
    await mkdir(join(tree, 'Packages/b'), { recursive: true });
    for (const { path } of set) await link(path, join(tree, 'Packages/b', basename(path)));
    const startedAt = performance.now();
    await programs.run({
      command: 'createrepo_c',
      args: ['--no-database', '--revision=0', '--set-timestamp-to-revision', '--workers=2', tree],
      deadlineMs: 600_000,
    });
    return performance.now() - startedAt;
  };

  try {
    // Copies: the reference links and unlinks its own files each round, which changes their ctime.
    for (const { path, sha256 } of rpms) await files.put(contentKey(sha256), await readFile(path), { ifAbsent: true });
    // Every package was in some repository: two, of which no set below is a part.
    await prepare(rpms.slice(0, packages / 2));
    await prepare(rpms.slice(packages / 2));
    const [cached, plusOne, same, reference]: [number[], number[], number[], number[]] = [[], [], [], []];
    for (let round = 0; round < rounds; round += 1) {
      const set = rpms.slice(2 * round, 2 * round + packages);
      reference.push(await plain(set));
      cached.push(await prepare(set));
      same.push(await prepare(set));
      plusOne.push(await prepare(rpms.slice(2 * round, 2 * round + packages + 1)));
    }
    const more = { packages, megabytes: Math.round(rpms.slice(0, packages).reduce((sum, { size }) => sum + size, 0) / 1e6) };
    print('side-repo-1000-cached', 'ms', figureOf(cached, reference), more);
    print('side-repo-plus-one', 'ms', figureOf(plusOne, reference), more);
    print('side-repo-same', 'ms', figureOf(same, reference), more);
  } finally {
    await store.close();
    await downloads.close();
    await files.close();
    await directory.remove();
  }
}

function resolutionOf(set: readonly BenchRpm[]): Resolution {
  const packages = set.map(
    ({ path: _, ...rpm }): ResolvedPackage => ({
      ...rpm,
      nevra: formatNevra(rpm),
      from: 'side',
      repository: 'bench',
      role: 'stable',
      because: 'bench',
      urls: ['http://bench.example/x'],
      installedSize: rpm.size,
      sigkey: null,
      stored: false,
    }),
  );
  return resolutionWith(packages, 'bench');
}
