/** Whether the files that an RPM's header names stay inside the system that it is installed into. Pure. */
import type { RpmFileNames } from './header.ts';

/**
 * The first path that is not absolute or leaves its place by `..`, cut for people; undefined where all are well. Looks at each directory and each name once, whatever
 * their combinations are.
 */
export function climbingPath({ directories, names, directoryOf }: RpmFileNames): string | undefined {
  const isWholePath = (place: number | undefined) => place !== undefined && directories[place] === '';
  const bad = new Set(directories.flatMap((directory, place) => (directory === '' || isPlain(directory) ? [] : [place])));
  for (const [index, name] of names.entries()) {
    const place = directoryOf[index];
    const isWell = isWholePath(place) ? isPlain(name) : !bad.has(place ?? -1) && isName(name);
    if (!isWell) return shown(`${directories[place ?? -1] ?? ''}${name}`);
  }
  // A directory that no file is in does no harm, but nothing honest has it.
  const [unused] = bad;
  return unused === undefined ? undefined : shown(directories[unused] ?? '');
}

const isPlain = (path: string) => path.startsWith('/') && !path.split('/').includes('..');
/** The root directory itself has an empty name. */
const isName = (name: string) => !name.includes('/') && name !== '..' && name !== '.';
const shown = (path: string) => path.slice(0, 200);
