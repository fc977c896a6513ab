/** A request together with its kickstart: what is resolved and built. Pure. */
import { SpindleError } from '../build/failure.ts';
import type { SingleBuildRequest } from '../build/request.ts';
import { expandUrl, type Release } from '../releases/releases.ts';
import type { KickstartContent } from './content.ts';

const repositoriesMax = 20;
const packagesMax = 5000;

/**
 * The kickstart's packages, groups, excludes and repositories join the request's; its language, keyboard and time zone stand in the place of the request's. Throws KICKSTART_INVALID
 * where the two do not go together.
 */
export function withKickstart(request: SingleBuildRequest, content: KickstartContent, release: Release): SingleBuildRequest {
  const { packages, locale, keyboard, timezone } = content;
  const repositories = new Map(request.sources.repositories.map((repository) => [repository.name, repository]));
  for (const { name, baseurl } of content.repositories) {
    const url = expandUrl(baseurl, release, request.arch);
    const known = repositories.get(name);
    if (release.repositories.some(({ id }) => id === name)) {
      throw new SpindleError(
        'KICKSTART_INVALID',
        `kickstart: the repository ${name} of a repo line is one of ${release.name} itself; leave the line out, or give yours another name`,
      );
    }
    if (known && known.baseurl !== url) {
      throw new SpindleError(
        'KICKSTART_INVALID',
        `kickstart: a repo line and another one, or sources.repositories, name two repositories ${name}; give one of them another name`,
      );
    }
    repositories.set(name, known ?? { name, baseurl: url });
  }
  if (repositories.size > repositoriesMax)
    throw new SpindleError(
      'KICKSTART_INVALID',
      `kickstart: with its repo lines the request names ${repositories.size} repositories; at most ${repositoriesMax} are taken`,
    );
  const install = [...new Set([...request.packages, ...packages.install])];
  if (install.length > packagesMax)
    throw new SpindleError('KICKSTART_INVALID', `kickstart: with its %packages the request names ${install.length} packages; at most ${packagesMax} are taken`);
  return {
    ...request,
    packages: install,
    excludePackages: [...new Set([...request.excludePackages, ...packages.exclude])],
    sources: { ...request.sources, repositories: [...repositories.values()] },
    ...(locale === undefined ? {} : { locale }),
    ...(keyboard === undefined ? {} : { keyboard }),
    ...(timezone === undefined ? {} : { timezone }),
  };
}
