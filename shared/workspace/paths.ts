/** Names inside a workspace: relative, and never out of it. Pure. */
import { SpindleError } from '../build/failure.ts';

/** The segments of a relative path. Rejects with PATH_REFUSED what is absolute, empty, climbs with `..`, or could not be a file name. */
export function segmentsOf(relative: string): readonly string[] {
  const refuse = (why: string) =>
    new SpindleError('PATH_REFUSED', `the path ${JSON.stringify(relative.slice(0, 200))} ${why}; names inside a workspace are relative and stay in it`);
  if (relative.startsWith('/')) throw refuse('is absolute');
  if (relative.includes('\0')) throw refuse('holds a NUL');
  if (relative.length > 4096) throw refuse('is too long');
  const segments = relative.split('/').filter((segment) => segment !== '' && segment !== '.');
  if (segments.includes('..')) throw refuse('climbs out with ".."');
  return segments;
}

/** A label as part of a directory's name. */
export function directoryLabel(label: string): string {
  return (
    label
      .replace(/[^A-Za-z0-9._]+/g, '-')
      .replace(/^[.-]+/, '')
      .slice(0, 64) || 'run'
  );
}
