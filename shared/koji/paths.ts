/** Where Koji keeps the files of a build, below its files host (koji/__init__.py, class PathInfo). Pure. */
import { parseNvr } from '../fedora/nvr.ts';
import type { KojiBuild, KojiRpm } from './koji.ts';

type BuildPlace = Pick<KojiBuild, 'name' | 'version' | 'release' | 'volume'>;
type RpmPlace = Pick<KojiRpm, 'name' | 'version' | 'release' | 'arch'>;

/** `sigkey`: the signed copy, else the unsigned file. The folder is named after the source package, the file after the RPM. */
export function rpmPath(build: BuildPlace, rpm: RpmPlace, sigkey: string | null): string {
  const volume = build.volume === null ? [] : ['vol', build.volume];
  const signed = sigkey === null ? [] : ['data', 'signed', sigkey];
  const file = `${rpm.name}-${rpm.version}-${rpm.release}.${rpm.arch}.rpm`;
  return [...volume, 'packages', build.name, build.version, build.release, ...signed, rpm.arch, file].map(encodeURIComponent).join('/');
}

/** True where every part is what Koji allows in a name: such a path cannot climb out. */
export function isPlausible({ name, version, release, arch }: RpmPlace): boolean {
  return parseNvr(`${name}-${version}-${release}`) !== undefined && /^[a-z0-9_]{1,16}$/.test(arch);
}

/** Where a task leaves its files: the modulus is not padded (koji/__init__.py, taskrelpath). */
export function taskFilePath(taskId: number, fileName: string, volume: string | null): string {
  const place = volume === null ? [] : ['vol', volume];
  return [...place, 'work', 'tasks', String(taskId % 10_000), String(taskId), fileName].map(encodeURIComponent).join('/');
}
