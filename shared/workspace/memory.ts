/** The workspace port in memory: the same promises without a disk, and every path the same in every run. For the simulation, benches and tests. */
import { createHash } from 'node:crypto';
import { SpindleError } from '../build/failure.ts';
import { readContent, storeContent } from '../files/content.ts';
import type { Files } from '../files/files.ts';
import { directoryLabel, segmentsOf } from './paths.ts';
import type { Workspace, Workspaces } from './workspace.ts';

/** By absolute path, as simulated programs meet the files on their command lines. */
export interface MemoryWorkspaces extends Workspaces {
  /** Writes a file into a living workspace. Rejects by throwing FILE_MISSING where no workspace holds this path. */
  writeAt(absolutePath: string, content: string | Uint8Array): void;
  readAt(absolutePath: string): Uint8Array | undefined;
  /** Every file below a directory, sorted. */
  listBelow(absoluteDirectory: string): readonly string[];
  /** The directories of workspaces that are not disposed of. */
  living(): readonly string[];
}

export function memoryWorkspaces({ files }: { readonly files: Files }): MemoryWorkspaces {
  const workspaces = new Map<string, Map<string, Uint8Array>>();
  let made = 0;
  const find = (absolutePath: string): readonly [Map<string, Uint8Array>, string] | undefined => {
    const [, , root, ...rest] = absolutePath.split('/');
    const held = workspaces.get(`/workspaces/${root}`);
    return held && absolutePath.startsWith('/workspaces/') ? [held, segmentsOf(rest.join('/')).join('/')] : undefined;
  };
  return {
    create: async (label) => {
      made += 1;
      const path = `/workspaces/${directoryLabel(label)}-${made}`;
      const held = new Map<string, Uint8Array>();
      workspaces.set(path, held);
      return memoryWorkspace(path, held, files, () => workspaces.delete(path));
    },
    sweep: async () => 0,
    writeAt: (absolutePath, content) => {
      const found = find(absolutePath);
      if (!found || found[1] === '') throw new SpindleError('FILE_MISSING', `no workspace holds ${absolutePath}`);
      found[0].set(found[1], toBytes(content));
    },
    readAt: (absolutePath) => {
      const found = find(absolutePath);
      return found?.[0].get(found[1]);
    },
    listBelow: (absoluteDirectory) => {
      const [, , root, ...rest] = absoluteDirectory.split('/');
      const inside = rest.length === 0 ? '' : `${rest.join('/')}/`;
      return [...(workspaces.get(`/workspaces/${root}`)?.keys() ?? [])]
        .filter((name) => name.startsWith(inside))
        .map((name) => `/workspaces/${root}/${name}`)
        .sort();
    },
    living: () => [...workspaces.keys()].sort(),
  };
}

const toBytes = (content: string | Uint8Array) => (typeof content === 'string' ? new TextEncoder().encode(content) : new Uint8Array(content));

function memoryWorkspace(path: string, held: Map<string, Uint8Array>, files: Files, forget: () => void): Workspace {
  let disposed = false;
  const inside = (relative: string) => {
    const name = segmentsOf(relative).join('/');
    if (disposed) throw new SpindleError('FILE_MISSING', `the workspace ${path} is disposed of`);
    return name;
  };
  const get = (relative: string) => {
    const bytes = held.get(inside(relative));
    if (!bytes) throw new SpindleError('FILE_MISSING', `the workspace has no file ${relative.slice(0, 200)}`);
    return bytes;
  };
  const below = (name: string) => [...held.keys()].filter((key) => name === '' || key.startsWith(`${name}/`));
  const read = async (relative: string, bytesMax: number) => {
    const bytes = get(relative);
    if (bytes.length > bytesMax) {
      throw new SpindleError('FILE_TOO_LARGE', `${relative.slice(0, 200)} in the workspace has ${bytes.length} bytes; at most ${bytesMax} are read`);
    }
    return bytes;
  };
  return {
    path,
    write: async (relative, content) => {
      held.set(inside(relative), toBytes(content));
    },
    // Directories exist where files are; an empty one has nothing that the port could show.
    makeDirectory: async (relative) => {
      inside(relative);
    },
    read,
    readText: async (relative, bytesMax) => new TextDecoder().decode(await read(relative, bytesMax)),
    readRange: async (relative, start, length) => get(relative).slice(start, start + length),
    size: async (relative) => held.get(inside(relative))?.length,
    list: async (relative) => {
      const name = inside(relative);
      const start = name === '' ? 0 : name.length + 1;
      return [...new Set(below(name).map((key) => key.slice(start).split('/')[0] as string))].sort();
    },
    move: async (from, to) => {
      const [source, target] = [inside(from), inside(to)];
      const moved = held.has(source) ? [source] : below(source);
      if (moved.length === 0) throw new SpindleError('FILE_MISSING', `the workspace has no file ${from.slice(0, 200)}`);
      for (const key of moved) {
        held.set(target + key.slice(source.length), held.get(key) as Uint8Array);
        held.delete(key);
      }
    },
    remove: async (relative) => {
      const name = inside(relative);
      if (name === '') throw new SpindleError('PATH_REFUSED', 'a workspace is removed by disposing of it');
      for (const key of [name, ...below(name)]) held.delete(key);
    },
    place: async (ref, relative) => {
      const name = inside(relative);
      const bytes = await readContent(files, ref);
      held.set(name, bytes);
    },
    digest: async (relative, signal) => {
      signal?.throwIfAborted();
      const bytes = get(relative);
      return { sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length };
    },
    store: async (relative, signal) => {
      signal?.throwIfAborted();
      return storeContent(files, get(relative));
    },
    // Memory has no end that a test would want to meet.
    freeBytes: async () => Number.MAX_SAFE_INTEGER,
    dispose: async () => {
      disposed = true;
      held.clear();
      forget();
    },
  };
}
