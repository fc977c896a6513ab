/** A release's repositories for one architecture, as the solver is told of them. Pure. */
import type { RepositoryCollection } from '../solver/solver.ts';
import { expandUrl, type Release, type RepositoryDefinition } from './releases.ts';

export function repositoryCollection(release: Release, arch: string): RepositoryCollection {
  return {
    arch,
    releasever: release.releasever ?? release.id,
    repositories: release.repositories.map((repository) => ({ id: repository.id, role: repository.role, ...addressOf(repository, release, arch) })),
  };
}

function addressOf({ metalink, mirrorlist, baseurl }: RepositoryDefinition, release: Release, arch: string) {
  const expanded = (template: string) => expandUrl(template, release, arch);
  if (metalink !== undefined) return { metalink: expanded(metalink) };
  if (mirrorlist !== undefined) return { mirrorlist: expanded(mirrorlist) };
  return { baseurl: expanded(baseurl ?? '') };
}
