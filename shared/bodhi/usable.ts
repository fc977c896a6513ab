/** Whether the builds of an advisory can be taken for a release now, and if not, why. Pure. */
import { SpindleError } from '../build/failure.ts';
import type { Release } from '../releases/releases.ts';
import type { BodhiUpdate } from './bodhi.ts';

/** All builds of the update: they were tested together. Throws ADVISORY_UNKNOWN or ADVISORY_UNUSABLE with the reason and what to do. */
export function usableUpdate(alias: string, update: BodhiUpdate | undefined, release: Pick<Release, 'name' | 'bodhi'>): BodhiUpdate['builds'] {
  if (!update) throw new SpindleError('ADVISORY_UNKNOWN', `Bodhi has no advisory ${alias}; check it under sources.advisories`);
  const refuse = (why: string) => new SpindleError('ADVISORY_UNUSABLE', `the advisory ${alias} ${why}`);
  const { status, isLocked, releaseName, builds } = update;
  if (release.bodhi && releaseName !== release.bodhi.name) {
    throw refuse(`is for ${releaseName}, and the request is for ${release.name} (${release.bodhi.name} in Bodhi); name the advisory of that release`);
  }
  if (status === 'obsolete') throw refuse('is obsolete: a newer update has taken its place; name that one, or the builds themselves under sources.kojiBuilds');
  if (status === 'unpushed') throw refuse('was unpushed by its owner; name another one, or the builds themselves under sources.kojiBuilds');
  if (isLocked) throw refuse('is locked, which means inside a running push of the repositories; ask again in some minutes');
  if (builds.length === 0) throw refuse('has no builds; ask again when its owner has added some');
  return builds;
}
