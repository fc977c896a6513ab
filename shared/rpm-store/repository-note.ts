/** Remembers the metadata of finished repositories: the same packages at the same paths are the same repository, whoever asks for it. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { contentKey } from '../files/content-ref.ts';
import type { Files } from '../files/files.ts';
import type { RepositoryFile } from './rpm-store.ts';

const Metadata = z
  .array(
    z.object({
      path: z.string().regex(/^repodata\/[A-Za-z0-9][A-Za-z0-9._-]*$/),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
      size: z.number().int().positive(),
    }),
  )
  .min(1)
  .max(50);

/** The number changes where the same packages would give other metadata: another way of calling createrepo_c, other file times. */
const recipe = 1;

/** Of the packages and groups alone: known before their metadata are. */
export function repositoryIdentity(rpms: readonly RepositoryFile[], comps: string | undefined): string {
  return createHash('sha256')
    .update(JSON.stringify([recipe, rpms.map(({ path, sha256 }) => [path, sha256]), ...(comps === undefined ? [] : [comps])]))
    .digest('hex');
}

const keyOf = (identity: string) => `repositories/${identity.slice(0, 2)}/${identity}`;

/** Undefined where no such repository was made yet, or a file of it is gone. */
export async function recallRepository(files: Files, identity: string): Promise<readonly RepositoryFile[] | undefined> {
  const found = await files.get(keyOf(identity));
  if (!found) return undefined;
  const chunks: Uint8Array[] = [];
  for await (const chunk of found.body) chunks.push(chunk);
  const metadata = readMetadata(Buffer.concat(chunks).toString('utf8'));
  const statuses = await files.stats((metadata ?? []).map(({ sha256 }) => contentKey(sha256)));
  return metadata?.every(({ size }, place) => statuses[place]?.size === size) ? metadata : undefined;
}

/** Harmless to repeat. */
export async function rememberRepository(files: Files, identity: string, metadata: readonly RepositoryFile[]): Promise<void> {
  await files.put(keyOf(identity), JSON.stringify(metadata));
}

function readMetadata(text: string): readonly RepositoryFile[] | undefined {
  try {
    return Metadata.parse(JSON.parse(text));
  } catch {
    // Not ours, or of another version: then it is made anew.
    return undefined;
  }
}
