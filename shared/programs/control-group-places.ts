/** Where a process can make control groups, by what /proc says: version 1, version 2, or both at once. Pure. */
import { unescaped } from './proc-files.ts';

export type Controller = 'memory' | 'pids';

export interface ControlGroupPlace {
  readonly version: 1 | 2;
  /** Those of ours that are here. Of version 2, all that may be: what is really there its files say. */
  readonly controllers: readonly Controller[];
  /** The group that the process is in. */
  readonly own: string;
  /** Where the hierarchy is mounted. */
  readonly mount: string;
}

const ours: readonly Controller[] = ['memory', 'pids'];

/** `mountinfo` and `cgroup` of the process itself. */
export function controlGroupPlaces(mountinfo: string, cgroup: string): readonly ControlGroupPlace[] {
  const groups = new Map<string, string>();
  for (const line of cgroup.split('\n')) {
    const [, id, names, path] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    if (id === '0') groups.set('', path);
    else for (const name of (names ?? '').split(',')) groups.set(name, path);
  }
  const places = new Map<string, ControlGroupPlace>();
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ');
    const [, , , root, mount] = before?.split(' ') ?? [];
    const [type, , options] = after?.split(' ') ?? [];
    if (root === undefined || mount === undefined || (type !== 'cgroup' && type !== 'cgroup2')) continue;
    const mounted = (options ?? '').split(',');
    const controllers = type === 'cgroup2' ? ours : ours.filter((name) => mounted.includes(name));
    const path = groups.get(type === 'cgroup2' ? '' : (controllers[0] ?? 'none of ours'));
    if (path === undefined) continue;
    const point = unescaped(mount);
    places.set(`${type} ${controllers.join()}`, {
      version: type === 'cgroup2' ? 2 : 1,
      controllers,
      own: `${point}${below(path, unescaped(root))}`,
      mount: point,
    });
  }
  return [...places.values()];
}

/** In a container the mount may begin at the container's own group, whose path from the host's root is what `cgroup` shows. */
function below(path: string, root: string): string {
  const rest = root === '/' ? path : path === root ? '' : path.startsWith(`${root}/`) ? path.slice(root.length) : path;
  return rest === '/' || rest.startsWith('/..') ? '' : rest;
}
