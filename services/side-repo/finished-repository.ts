/** Remembers the metadata of finished repositories: the same packages at the same paths are the same repository, whoever asks for it. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { contentKey } from '../../shared/files/content-ref.ts';
import type { Files } from '../../shared/files/files.ts';
import type { PlacedPackage } from './layout.ts';

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
export type RepositoryMetadata = z.infer<typeof Metadata>;

/** The number changes where the same packages would give other metadata: another way of calling createrepo_c, other file times. */
const recipe = 1;

function keyOf(packages: readonly PlacedPackage[]): string {
  const identity = createHash('sha256')
    .update(JSON.stringify([recipe, packages.map(({ path, package: { sha256 } }) => [path, sha256])]))
    .digest('hex');
  return `repositories/${identity.slice(0, 2)}/${identity}`;
}

/** Undefined where no such repository was made yet, or a file of it is gone. */
export async function recallRepository(files: Files, packages: readonly PlacedPackage[]): Promise<RepositoryMetadata | undefined> {
  const found = await files.get(keyOf(packages));
  if (!found) return undefined;
  const chunks: Uint8Array[] = [];
  for await (const chunk of found.body) chunks.push(chunk);
  const metadata = readMetadata(Buffer.concat(chunks).toString('utf8'));
  const sizes = await Promise.all((metadata ?? []).map(async ({ sha256 }) => (await files.stat(contentKey(sha256)))?.size));
  return metadata?.every(({ size }, place) => sizes[place] === size) ? metadata : undefined;
}

/** Harmless to repeat. */
export async function rememberRepository(files: Files, packages: readonly PlacedPackage[], metadata: RepositoryMetadata): Promise<void> {
  await files.put(keyOf(packages), JSON.stringify(metadata));
}

function readMetadata(text: string): RepositoryMetadata | undefined {
  try {
    return Metadata.parse(JSON.parse(text));
  } catch {
    // Not ours, or of another version: then it is made anew.
    return undefined;
  }
}
