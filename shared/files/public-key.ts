/** Where a build's artifacts stand for its readers. Pure. */
import type { FileKey } from './files.ts';

export function publicPrefix(buildId: string): FileKey {
  return `public/${buildId}`;
}

export function publicKey(buildId: string, artifactName: string): FileKey {
  return `${publicPrefix(buildId)}/${artifactName}`;
}
