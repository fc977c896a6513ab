/** Fetches every resolved RPM, checks it, and makes the local repositories that the image is built from. */
import { SpindleError } from '../../shared/build/failure.ts';
import { BuildFailed, BuildResolved, SideRepoReady } from '../../shared/events/catalog.ts';
import { formatNevra } from '../../shared/fedora/nvr.ts';
import { readContentText, storeContent } from '../../shared/files/content.ts';
import { forEachParallel } from '../../shared/parallel/for-each.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { sideComps } from '../../shared/resolution/comps.ts';
import { type RepositorySet, Resolution, type ResolvedPackage } from '../../shared/resolution/resolution.ts';
import type { KnownRpm } from '../../shared/rpm-store/rpm-store.ts';
import { defineStage, type StageContext } from '../../shared/stage/stage.ts';
import type { Workspace } from '../../shared/workspace/workspace.ts';
import { type DownloadProgress, downloadProgress } from './download-progress.ts';
import { layOut } from './layout.ts';
import { checkSignatures } from './signatures.ts';

/** How many really come at once, all builds together, is the downloads' matter. */
const askedAtOnceMax = 32;
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
    // None of them goes before the build's record names them.
    const pin = context.rpms.pin(resolution.packages.map(({ sha256 }) => sha256));
    let repositories: RepositorySet['repositories'];
    try {
      const layout = layOut(resolution.packages);
      await storePackages(resolution, context);
      context.phase('checking signatures');
      const signers = await checkSignatures(resolution, releaseOf(resolution, context), workspace, context);
      context.phase('making repository metadata');
      repositories = await makeRepositories(layout, sideComps(resolution), signers, workspace, context);
    } finally {
      pin.release();
    }
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
async function storePackages({ packages, arch }: Resolution, context: StageContext): Promise<void> {
  for (const rpm of packages) refuseOtherArch(rpm, arch);
  const { rpms, clock, log, progress, signal } = context;
  const bytesTotal = sizeOf(packages);
  const seen = downloadProgress({ packages: packages.length, bytesTotal, now: clock.now, progress, say: (line) => log('side-repo', line) });
  const refs = packages.map((rpm) => ({ ...refOf(rpm), isLasting: rpm.urls.length === 0 }));
  context.phase('looking for stored packages');
  const known = await rpms.check(refs, signal);
  const missing: ResolvedPackage[] = [];
  for (const rpm of packages) {
    const found = known.get(rpm.sha256);
    if (found) {
      refuseOther(rpm, found);
      seen.stored(rpm.size);
    } else if (rpm.urls.length === 0) {
      throw new SpindleError('FILE_MISSING', `the stored file of ${rpm.nevra} is gone, and no address of it is known; submit the build again`);
    } else {
      missing.push(rpm);
    }
  }
  if (missing.length > 0) await fetchMissing(missing, seen, context);
  log('side-repo', seen.summary());
}

async function fetchMissing(
  missing: readonly ResolvedPackage[],
  seen: DownloadProgress,
  { rpms, files, downloads, phase, signal }: StageContext,
): Promise<void> {
  phase('downloading packages');
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
  phase('checking packages');
  // Once for all of them, and before anything is remembered of them: what a crash tears before this is not taken for whole after it.
  await files.sync();
  const known = await rpms.check(missing.map(refOf), signal);
  for (const rpm of missing) {
    const found = known.get(rpm.sha256);
    if (!found)
      throw new SpindleError('FILE_CORRUPT', `the file of ${rpm.nevra} was stored, and is not what was stored any more: look at this machine's disks`);
    refuseOther(rpm, found);
  }
}

const refOf = ({ sha256, size }: ResolvedPackage) => ({ sha256, size });

/** What an image takes besides packages of its own architecture and `noarch`. */
const alsoFor: Readonly<Record<string, readonly string[]>> = { x86_64: ['i386', 'i486', 'i586', 'i686'] };

function refuseOtherArch(rpm: ResolvedPackage, arch: string): void {
  if (rpm.arch === arch || rpm.arch === 'noarch' || alsoFor[arch]?.includes(rpm.arch)) return;
  throw new SpindleError(
    'PACKAGE_REFUSED',
    `${rpm.nevra.slice(0, 300)} is for another architecture than the image, which is for ${arch}; leave the package out`,
  );
}

/** The header has the last word on what a file is: it must be the resolved package, and must not reach out of the system that it is installed into. */
function refuseOther(rpm: ResolvedPackage, { nevra, isSource, climbingPath }: KnownRpm): void {
  if (isSource || nevra !== formatNevra(rpm)) {
    throw new SpindleError(
      'PACKAGE_MISMATCH',
      `the file of ${rpm.nevra} holds ${isSource ? 'the source package ' : ''}${nevra.slice(0, 300)}; tell those who publish it`,
    );
  }
  if (climbingPath !== null) {
    throw new SpindleError(
      'PACKAGE_REFUSED',
      `${rpm.nevra} has a file ${JSON.stringify(climbingPath)}, a path that leaves its place; leave the package out, or tell those who made it`,
    );
  }
}

const sizeOf = (packages: readonly ResolvedPackage[]) => packages.reduce((sum, { size }) => sum + size, 0);

async function makeRepositories(
  layout: ReturnType<typeof layOut>,
  comps: string | undefined,
  signers: ReadonlyMap<string, string | null>,
  workspace: Workspace,
  { rpms, programs, log, signal }: StageContext,
): Promise<RepositorySet['repositories']> {
  const made: RepositorySet['repositories'] = [];
  await forEachParallel(layout, { atOnceMax: layout.length, signal }, async ({ id, packages }, taskSignal, index) => {
    const placed = packages.map(({ path, package: { sha256, size } }) => ({ path, sha256, size }));
    const metadata = await rpms.makeRepository(placed, { programs, workspace, comps: id === 'side' ? comps : undefined, log, signal: taskSignal });
    const signed = placed.map((file) => ({ ...file, signedBy: signers.get(file.sha256) ?? null }));
    made[index] = { id, files: [...signed, ...metadata].sort((a, b) => (a.path < b.path ? -1 : 1)) };
    log('side-repo', `the ${id} repository has ${packages.length} packages`);
  });
  return made;
}
