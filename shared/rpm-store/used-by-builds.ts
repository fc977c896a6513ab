/** Which stored RPMs builds need: all of those under way, and the side repositories of finished images. Read from the builds' own records, so that nothing has to be given back. */
import { z } from 'zod';
import type { Build } from '../build/build.ts';
import { readContentText } from '../files/content.ts';
import type { FileRef } from '../files/content-ref.ts';
import type { Files } from '../files/files.ts';
import type { Collection } from '../store/store.ts';

const bytesMax = 64 * 1024 * 1024;
const pageSize = 200;

/** What is read of a resolution and of a set of repositories: digests. */
const Resolved = z.object({ packages: z.array(z.object({ sha256: z.string() })) });
const Repositories = z.object({ repositories: z.array(z.object({ id: z.string(), files: z.array(z.object({ sha256: z.string() })) })) });

export type UsedByBuilds = () => Promise<ReadonlySet<string>>;

/** What was read of one stored list is kept: lists never change. One that is gone names nothing. */
export function usedByBuilds({ builds, files }: { readonly builds: Collection<Build>; readonly files: Files }): UsedByBuilds {
  let known = new Map<string, readonly string[]>();

  return async () => {
    const used = new Set<string>();
    const seen = new Map<string, readonly string[]>();
    const add = async (what: string, ref: FileRef, digestsOf: (json: unknown) => readonly string[]) => {
      const key = `${what} ${ref.sha256}`;
      const digests = seen.get(key) ?? known.get(key) ?? (await read(files, ref, digestsOf));
      seen.set(key, digests);
      for (const sha256 of digests) used.add(sha256);
    };
    for await (const build of all(builds, { index: 'byPhase', prefix: ['active'] })) {
      if (build.resolution) await add('resolution', build.resolution, (json) => Resolved.parse(json).packages.map(({ sha256 }) => sha256));
    }
    for await (const build of all(builds, { index: 'byState', prefix: ['finished'] })) {
      const side = (json: unknown) =>
        Repositories.parse(json).repositories.flatMap(({ id, files: held }) => (id === 'side' ? held.map(({ sha256 }) => sha256) : []));
      if (build.repositories) await add('side', build.repositories, side);
    }
    known = seen;
    return used;
  };
}

async function read(files: Files, ref: FileRef, digestsOf: (json: unknown) => readonly string[]): Promise<readonly string[]> {
  try {
    return digestsOf(JSON.parse(await readContentText(files, ref, bytesMax)));
  } catch {
    return [];
  }
}

async function* all(builds: Collection<Build>, query: { readonly index: string; readonly prefix: readonly string[] }): AsyncGenerator<Build> {
  let beyond: string | undefined;
  do {
    const page = await builds.find({ ...query, limit: pageSize, ...(beyond === undefined ? {} : { beyond }) });
    for (const { document } of page) yield document;
    beyond = page.length === pageSize ? page.at(-1)?.document.id : undefined;
  } while (beyond !== undefined);
}
