/** Which package goes to which repository, and to which path in it. Pure. */
import { SpindleError } from '../../shared/build/failure.ts';
import { rpmFileName } from '../../shared/fedora/nvr.ts';
import type { RepositorySet, ResolvedPackage } from '../../shared/resolution/resolution.ts';

type RepositoryId = RepositorySet['repositories'][number]['id'];

export interface PlacedPackage {
  /** Below the repository. */
  readonly path: string;
  readonly package: ResolvedPackage;
}

/** `Packages/<first character>/<file name>`, as Fedora's own trees have it. Made of the NEVRA: what a remote host calls the file does not matter. */
function packagePath(rpm: ResolvedPackage): string {
  // It comes from metadata, which may have been written to lead elsewhere.
  if (!/^[A-Za-z0-9][A-Za-z0-9._+~^-]*$/.test(rpmFileName(rpm))) {
    throw new SpindleError('PACKAGE_MISMATCH', `the resolution names a package ${JSON.stringify(rpm.nevra.slice(0, 200))}, which no RPM is called`);
  }
  return `Packages/${rpm.name.charAt(0).toLowerCase()}/${rpmFileName(rpm)}`;
}

/** Throws PACKAGE_MISMATCH where a name could be no RPM's. Both repositories, be one of them empty: who builds an image names the two. Each sorted by path: the order of the metadata. */
export function layOut(packages: readonly ResolvedPackage[]): readonly { readonly id: RepositoryId; readonly packages: readonly PlacedPackage[] }[] {
  const ids: readonly RepositoryId[] = ['stable', 'side'];
  return ids.map((id) => ({
    id,
    packages: packages
      .filter(({ from }) => from === id)
      .map((rpm) => ({ path: packagePath(rpm), package: rpm }))
      .sort((a, b) => (a.path < b.path ? -1 : 1)),
  }));
}
