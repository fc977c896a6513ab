/** Where a build's artifacts stand for its readers. Pure. */
import type { FileKey } from './files.ts';

function publicPrefix(buildId: string): FileKey {
  return `public/${buildId}`;
}

/**
 * The digest is part of the name: a slow uploader that lost its lease, and whose log has other lines, must not replace what its successor announced.
 */
export function publicKey(buildId: string, artifact: { readonly name: string; readonly sha256: string }): FileKey {
  return `${publicPrefix(buildId)}/${artifact.sha256.slice(0, 16)}/${artifact.name}`;
}
