/** Makes a repository of stored RPMs in a workspace, with what is known of its packages from repositories that were made before. */
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { SpindleError } from '../build/failure.ts';
import { readContent } from '../files/content.ts';
import { contentKey } from '../files/content-ref.ts';
import type { Files } from '../files/files.ts';
import { forEachParallel } from '../parallel/for-each.ts';
import { createRepository } from '../rpm/create-repository.ts';
import type { KnownFiles } from './known-files.ts';
import { joinMetadata, type MetadataParts, splitMetadata } from './metadata-parts.ts';
import type { PartFiles } from './part-files.ts';
import { recallRepository, rememberRepository, repositoryIdentity } from './repository-note.ts';
import type { MakeOptions, RepositoryFile } from './rpm-store.ts';

const placedAtOnceMax = 16;
/** Of one metadata file, unpacked. */
const openBytesMax = 512 * 1024 * 1024;
const unzip = promisify(gunzip);

/**
 * The stored metadata. `keep`: called with the finished folder of the workspace before anybody is told of the repository.
 * Rejects as createRepository does, with FILE_MISSING or DISK_FULL.
 */
export async function makeRepository(
  rpms: readonly RepositoryFile[],
  {
    files,
    known,
    parts,
    place: placeOwn,
    keep,
  }: {
    readonly files: Files;
    readonly known: KnownFiles;
    /** What createrepo_c said of packages before. Without it all are read. */
    readonly parts?: PartFiles;
    /** Puts a file into a folder of the workspace that is there already, at its path below. As the workspace does where left out. */
    readonly place?: (file: RepositoryFile, folder: string) => Promise<unknown>;
    readonly keep: (folder: string, all: readonly RepositoryFile[]) => Promise<void>;
  },
  { programs, workspace, comps, log, signal }: MakeOptions,
): Promise<readonly RepositoryFile[]> {
  const place = placeOwn ?? (({ path, sha256, size }: RepositoryFile, below: string) => workspace.place({ sha256, size }, `${below}/${path}`));
  const identity = repositoryIdentity(rpms, comps);
  const recalled = await recallRepository(files, identity);
  if (recalled) return recalled;
  const folder = `repository-${identity.slice(0, 16)}`;
  const sha256s = rpms.map(({ sha256 }) => sha256);
  await known.renaming([...new Set(sha256s)], async () => {
    await setTimes(sha256s, files, known, signal);
    const folders = new Set(rpms.map(({ path }) => `${folder}/${path.slice(0, path.lastIndexOf('/'))}`));
    await Promise.all([...folders].map((each) => workspace.makeDirectory(each)));
    await forEachParallel(rpms, { atOnceMax: placedAtOnceMax, signal }, async (file) => {
      await place(file, folder);
    });
  });
  const said = (await parts?.read(sha256s)) ?? new Map<string, MetadataParts>();
  const earlier = await placeEarlier(said, `${folder}-earlier`, { workspace });
  const groups = comps === undefined ? undefined : `${folder}-comps.xml`;
  if (groups !== undefined && comps !== undefined) await workspace.write(groups, comps);
  await createRepository({ programs, workspace, directory: folder, revision: '0', packages: rpms.map(({ path }) => path), earlier, groups, log, signal });
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
  if (parts && said.size < sha256s.length) await parts.write(new Map([...(await partsOf(metadata, files))].filter(([sha256]) => !said.has(sha256))));
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

/**
 * A folder in the workspace with what createrepo_c said before of these very files. It goes by name, size and time, which a copy with another signature may share: it must see nothing of other
 * files than these.
 */
async function placeEarlier(
  said: ReadonlyMap<string, MetadataParts>,
  folder: string,
  { workspace }: Pick<MakeOptions, 'workspace'>,
): Promise<readonly string[]> {
  if (said.size === 0) return [];
  for (const [name, text] of Object.entries(joinMetadata([...said.values()]))) await workspace.write(`${folder}/repodata/${name}`, text);
  return [folder];
}

/** By digest of the package. Nothing where the metadata cannot be read: then createrepo_c reads the packages again the next time. */
async function partsOf(metadata: readonly RepositoryFile[], files: Files): Promise<ReadonlyMap<string, MetadataParts>> {
  const read = async (kind: string): Promise<string> => {
    const file = metadata.find(({ path }) => path.endsWith(`${kind}.xml.gz`));
    if (!file) return '';
    return (await unzip(await readContent(files, file), { maxOutputLength: openBytesMax })).toString('utf8');
  };
  try {
    const [primary, filelists, other] = await Promise.all([read('primary'), read('filelists'), read('other')]);
    return splitMetadata({ primary, filelists, other });
  } catch {
    return new Map();
  }
}
