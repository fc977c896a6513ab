/** Fetches every resolved RPM, checks it, and makes the local repositories that the image is built from. */
import { SpindleError } from '../../shared/build/failure.ts';
import { BuildFailed, BuildResolved, SideRepoReady } from '../../shared/events/catalog.ts';
import { readContentText, storeContent } from '../../shared/files/content.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import { forEachParallel } from '../../shared/parallel/for-each.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { type RepositorySet, Resolution, type ResolvedPackage } from '../../shared/resolution/resolution.ts';
import { createRepository } from '../../shared/rpm/create-repository.ts';
import { checkStored, readStoredHeader } from '../../shared/rpm/stored-rpm.ts';
import { defineStage, type StageContext } from '../../shared/stage/stage.ts';
import type { Workspace } from '../../shared/workspace/workspace.ts';
import { downloadProgress } from './download-progress.ts';
import { type RepositoryMetadata, recallRepository, rememberRepository } from './finished-repository.ts';
import { layOut } from './layout.ts';
import { checkSignatures } from './signatures.ts';

/** How many really come at once, all builds together, is the downloads' matter. */
const askedAtOnceMax = 32;
const checkedAtOnceMax = 16;
/** Each is a few system calls. */
const placedAtOnceMax = 16;
const resolutionBytesMax = 64 * 1024 * 1024;

export const sideRepo = defineStage({
  name: 'side-repo',
  state: 'preparing-side-repo',
  consumes: BuildResolved,
  emits: [SideRepoReady, BuildFailed],
  long: true,
  limits: { concurrency: 4, attemptsMax: 6, deadlineMs: 2 * 60 * 60_000 },

  async handle({ data }, context) {
    const resolution = Resolution.parse(JSON.parse(await readContentText(context.files, data.resolution, resolutionBytesMax)));
    const workspace = await context.workspace();
    await storePackages(resolution.packages, context);
    const signers = await checkSignatures(resolution, releaseOf(resolution, context), workspace, context);
    const repositories = await makeRepositories(resolution, signers, workspace, context);
    const stored = await storeContent(context.files, JSON.stringify({ version: 1, repositories } satisfies RepositorySet));
    return SideRepoReady({ ...data, repositories: stored });
  },
});

function releaseOf({ release: id }: Resolution, { releases }: StageContext): Release {
  const release = releases.releases.find((each) => each.id === id);
  if (release) return release;
  throw new SpindleError('RELEASE_UNKNOWN', `there is no release ${id} here any more, so nothing is known of its signatures`);
}

/** Afterwards the content store has every package, and each was seen to be the one that was resolved. */
async function storePackages(packages: readonly ResolvedPackage[], context: StageContext): Promise<void> {
  const { files, downloads, clock, log, progress, signal } = context;
  const bytesTotal = sizeOf(packages);
  const seen = downloadProgress({ packages: packages.length, bytesTotal, now: clock.now, progress, say: (line) => log('side-repo', line) });
  const missing: ResolvedPackage[] = [];
  await forEachParallel(packages, { atOnceMax: checkedAtOnceMax, signal }, async (rpm, taskSignal) => {
    const ref = { sha256: rpm.sha256, size: rpm.size };
    const stored = await files.stat(contentKey(rpm.sha256));
    if (stored?.size === rpm.size) {
      await checkStored({ nevra: rpm }, ref, `stored file sha256:${rpm.sha256}`, files, taskSignal);
      seen.stored(rpm.size);
    } else if (rpm.urls.length === 0) {
      throw new SpindleError('FILE_MISSING', `the stored file of ${rpm.nevra} is gone, and no address of it is known; submit the build again`);
    } else {
      missing.push(rpm);
    }
  });
  const room = await downloads.reserve(sizeOf(missing));
  try {
    // The largest first: one that begins last would be waited for alone.
    const ordered = missing.toSorted((one, other) => other.size - one.size);
    await forEachParallel(ordered, { atOnceMax: askedAtOnceMax, signal }, async (rpm, taskSignal) => {
      const sources = rpm.urls.map((url) => ({ url, size: rpm.size, isSizeExact: true }));
      const onBytes = (bytes: number) => seen.arrived(rpm.nevra, bytes);
      const fetched = await downloads.fetch({ nevra: rpm, sources, sha256: rpm.sha256 }, { signal: taskSignal, onBytes });
      room.filled(rpm.size);
      seen.ended(rpm.nevra, { bytes: rpm.size, ...fetched });
    });
  } finally {
    room.release();
  }
  log('side-repo', seen.summary());
}

const sizeOf = (packages: readonly ResolvedPackage[]) => packages.reduce((sum, { size }) => sum + size, 0);

async function makeRepositories(
  resolution: Resolution,
  signers: ReadonlyMap<string, string | null>,
  workspace: Workspace,
  { files, programs, log, progress, signal }: StageContext,
): Promise<RepositorySet['repositories']> {
  progress(0, 0, 'making repository metadata');
  const layout = layOut(resolution.packages);
  const made: RepositorySet['repositories'] = [];
  await forEachParallel(layout, { atOnceMax: layout.length, signal }, async ({ id, packages }, taskSignal, index) => {
    const rpms = packages.map(({ path, package: rpm }) => ({ path, sha256: rpm.sha256, size: rpm.size, signedBy: signers.get(rpm.sha256) ?? null }));
    const finish = (metadata: RepositoryMetadata) => {
      made[index] = { id, files: [...rpms, ...metadata].sort((a, b) => (a.path < b.path ? -1 : 1)) };
      log('side-repo', `the ${id} repository has ${packages.length} packages`);
    };
    const known = await recallRepository(files, packages);
    if (known) return finish(known);
    const folders = new Set(packages.map(({ path }) => `${id}/${path.slice(0, path.lastIndexOf('/'))}`));
    await Promise.all([...folders].map((folder) => workspace.makeDirectory(folder)));
    await forEachParallel(packages, { atOnceMax: placedAtOnceMax, signal: taskSignal }, async ({ path, package: rpm }) => {
      const ref = { sha256: rpm.sha256, size: rpm.size };
      await workspace.place(ref, `${id}/${path}`);
      // The metadata names it, and must not depend on when a machine fetched the file.
      await workspace.setModified(`${id}/${path}`, (await readStoredHeader(files, ref, rpm.nevra)).buildTimeS);
    });
    await createRepository({ programs, workspace, directory: id, revision: '0', packages: packages.map(({ path }) => path), log, signal: taskSignal });
    const metadata = await Promise.all(
      (await workspace.list(`${id}/repodata`)).map(async (name) => ({
        path: `repodata/${name}`,
        ...(await workspace.store(`${id}/repodata/${name}`, taskSignal)),
      })),
    );
    if (!metadata.some(({ path }) => path === 'repodata/repomd.xml')) {
      throw new SpindleError('REPOSITORY_METADATA_FAILED', 'createrepo_c said it succeeded, but left no repodata/repomd.xml');
    }
    await rememberRepository(files, packages, metadata);
    finish(metadata);
  });
  return made;
}
