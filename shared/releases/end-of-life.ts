/** Whether a release is still alive. Pure. */
import { SpindleError } from '../build/failure.ts';
import type { Release } from './releases.ts';

/** RELEASE_ENDED from the end of the day (UTC) on which the release ends; undefined before that, and where no end is known. */
export function endOfLife({ name, eol }: Pick<Release, 'name' | 'eol'>, nowMs: number): SpindleError | undefined {
  if (eol === undefined || nowMs < Date.parse(`${eol}T00:00:00Z`) + 24 * 3600_000) return undefined;
  return new SpindleError('RELEASE_ENDED', `${name} reached its end of life on ${eol}: nothing of it is updated any more; choose a newer release`);
}
