/** What a release calls its product, for tools that want that and the version apart. Pure. */
import type { Release } from '../../../shared/releases/releases.ts';

/** `Fedora` of `Fedora Linux 44`. */
export function productName(release: Release | undefined): string {
  return /^[A-Za-z][A-Za-z0-9-]*/.exec(release?.name ?? '')?.[0] ?? 'Fedora';
}
