/** Makes a repository of stored RPMs in a workspace, with what is known of its packages from repositories that were made before. */
import { SpindleError } from '../build/failure.ts';
import { contentKey } from '../files/content-ref.ts';
import type { Files } from '../files/files.ts';
import { forEachParallel } from '../parallel/for-each.ts';
import { createRepository } from '../rpm/create-repository.ts';
import type { KnownFiles } from './known-files.ts';
import { recallRepository, rememberRepository, repositoryIdentity } from './repository-note.ts';
import type { MakeOptions, RepositoryFile } from './rpm-store.ts';

const placedAtOnceMax = 16;
/** Each costs createrepo_c the reading of its metadata: those that know the most packages. */
const earlierMax = 8;

/**
 * The stored metadata. `keep`: called with the finished folder of the workspace before anybody is told of the repository.
 * Rejects as createRepository does, with FILE_MISSING or DISK_FULL.
 */
export async function makeRepository(
  rpms: readonly RepositoryFile[],
  {
    files,
    known,
    keep,
  }: { readonly files: Files; readonly known: KnownFiles; readonly keep: (folder: string, all: readonly RepositoryFile[]) => Promise<void> },
  { programs, workspace, log, signal }: MakeOptions,
): Promise<readonly RepositoryFile[]> {
  const identity = repositoryIdentity(rpms);
  const recalled = await recallRepository(files, identity);
  if (recalled) return recalled;
  const folder = `repository-${identity.slice(0, 16)}`;
  const sha256s = rpms.map(({ sha256 }) => sha256);
  await known.renaming([...new Set(sha256s)], async () => {
    await setTimes(sha256s, files, known, signal);
    const folders = new Set(rpms.map(({ path }) => `${folder}/${path.slice(0, path.lastIndexOf('/'))}`));
    await Promise.all([...folders].map((each) => workspace.makeDirectory(each)));
    await forEachParallel(rpms, { atOnceMax: placedAtOnceMax, signal }, ({ path, sha256, size }) => workspace.place({ sha256, size }, `${folder}/${path}`));
  });
  const earlier = await placeEarlier(sha256s, `${folder}-earlier`, { files, known }, { workspace });
  await createRepository({ programs, workspace, directory: folder, revision: '0', packages: rpms.map(({ path }) => path), earlier, log, signal });
  const metadata = await Promise.all(
    (await workspace.list(`${folder}/repodata`)).map(async (name) => ({
      path: `repodata/${name}`,
      ...(await workspace.store(`${folder}/repodata/${name}`, signal)),
    })),
  );
  if (!metadata.some(({ path }) => path === 'repodata/repomd.xml')) {
    throw new SpindleError('REPOSITORY_METADATA_FAILED', 'createrepo_c said it succeeded, but left no repodata/repomd.xml');
  }
  await keep(folder, [...rpms, ...metadata]);
  await rememberRepository(files, identity, metadata);
  for (const sha256 of sha256s) {
    const record = known.record(sha256);
    if (record && record.repository !== identity) known.note({ ...record, repository: identity });
  }
  return metadata;
}

/** The metadata name the time of each file, and must not depend on when a machine fetched it: it is the time at which the package was built. */
async function setTimes(sha256s: readonly string[], files: Files, known: KnownFiles, signal: AbortSignal): Promise<void> {
  const statuses = await files.stats(sha256s.map((sha256) => contentKey(sha256)));
  const other = sha256s.filter((sha256, place) => {
    const record = known.record(sha256);
    return record !== undefined && statuses[place] !== undefined && statuses[place]?.modifiedAt !== record.buildTimeS * 1000;
  });
  await forEachParallel(other, { atOnceMax: placedAtOnceMax, signal }, (sha256) =>
    files.setModified(contentKey(sha256), (known.record(sha256)?.buildTimeS ?? 0) * 1000),
  );
}

/** Folders in the workspace with the metadata of earlier repositories that know most of these packages. */
async function placeEarlier(
  sha256s: readonly string[],
  folder: string,
  { files, known }: { readonly files: Files; readonly known: KnownFiles },
  { workspace }: Pick<MakeOptions, 'workspace'>,
): Promise<readonly string[]> {
  const counts = new Map<string, number>();
  for (const sha256 of sha256s) {
    const identity = known.record(sha256)?.repository;
    if (identity) counts.set(identity, (counts.get(identity) ?? 0) + 1);
  }
  const best = [...counts].sort(([, one], [, other]) => other - one).slice(0, earlierMax);
  const placed: string[] = [];
  for (const [identity] of best) {
    const metadata = await recallRepository(files, identity);
    if (!metadata) continue;
    const place = `${folder}-${placed.length}`;
    await workspace.makeDirectory(`${place}/repodata`);
    for (const { path, sha256, size } of metadata) await workspace.place({ sha256, size }, `${place}/${path}`);
    placed.push(place);
  }
  return placed;
}
