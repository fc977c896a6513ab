/** The image-builder's stage on this machine's own tools and file system, some tools replaced by scripts: what becomes of whatever an engine does and leaves. */
import { createHash } from 'node:crypto';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageEngine } from '../../services/image-builder/engines/engine.ts';
import { imageBuilder } from '../../services/image-builder/service.ts';
import type { ImageType } from '../../shared/build/request.ts';
import { storeContent } from '../../shared/files/content.ts';
import { localFiles } from '../../shared/files/local.ts';
import type { ProgramRequest, Programs } from '../../shared/programs/programs.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import type { Release } from '../../shared/releases/releases.ts';
import type { RepositorySet, Resolution } from '../../shared/resolution/resolution.ts';
import { memoryRpmStore } from '../../shared/rpm-store/memory.ts';
import type { EventOf } from '../../shared/stage/stage.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';
import { stageWorld } from './stage-context.ts';

export interface ImageStage {
  /** Where stored files and workspaces stand. Not removed. */
  readonly directory: string;
  readonly engine: ImageEngine;
  readonly imageType: ImageType;
  readonly resolution: Resolution;
  /** Of the resolution's packages, with their files' contents. */
  readonly repositories: { readonly set: RepositorySet; readonly contents: readonly Uint8Array[] };
  /** Shell scripts in the place of tools, by their names. A name without one is not installed. */
  readonly tools: Readonly<Record<string, string | undefined>>;
  readonly request?: object;
  /** Over the simulated release, under the resolution's id. */
  readonly release?: Partial<Release>;
}

/** As a repository lists it. */
export function storedFileOf(path: string, bytes: Uint8Array): { readonly path: string; readonly sha256: string; readonly size: number } {
  return { path, sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length };
}

/** Resolves with the event, or rejects as the stage does. The workspace is gone afterwards. */
export async function runImageStage({ directory, engine, imageType, resolution, repositories, tools, request = {}, release = {} }: ImageStage) {
  const files = localFiles({ directory: join(directory, 'files') });
  const programs = withScripts(spawnedPrograms(), tools);
  const workspace = await localWorkspaces({ directory: join(directory, 'work'), files, owner: 'test', programs }).create('image-builder');
  const world = await stageWorld({ request: { label: 'LEFT', imageType, ...request }, release: { ...release, id: resolution.release } });
  const stage = imageBuilder({ engines: [engine] });
  try {
    for (const content of repositories.contents) await storeContent(files, content);
    const data = {
      arch: 'x86_64',
      imageType,
      engine: engine.name,
      resolution: await storeContent(files, JSON.stringify(resolution)),
      repositories: await storeContent(files, JSON.stringify(repositories.set)),
    };
    const context = { ...world.context, files, programs, rpms: memoryRpmStore({ files, clock: world.context.clock }), workspace: async () => workspace };
    const [emitted] = [await stage.handle({ data } as EventOf<(typeof stage)['consumes']>, context)].flat();
    if (!emitted) throw new Error('the stage said nothing');
    return { emitted, lines: world.lines };
  } finally {
    await workspace.dispose();
    await files.close();
  }
}

/** They stand in the workspace that they run in: of the rest a sandbox shows little. */
function withScripts(programs: Programs, tools: Readonly<Record<string, string | undefined>>): Programs {
  const replaced = async (request: ProgramRequest): Promise<ProgramRequest> => {
    const { command, cwd } = request;
    const script = tools[command];
    if (script === undefined) return Object.hasOwn(tools, command) ? { ...request, command: `/nonexistent/${command}` } : request;
    const directory = cwd ?? request.sandbox?.directory;
    // Asked for its version before it has a place.
    if (directory === undefined) return { ...request, command: 'true', args: [] };
    const path = join(directory, '.tools', command);
    await mkdir(join(directory, '.tools'), { recursive: true });
    await writeFile(path, `#!/bin/sh\n${script}\n`);
    await chmod(path, 0o755);
    return { ...request, command: path };
  };
  return {
    has: (command) => (Object.hasOwn(tools, command) ? Promise.resolve(tools[command] !== undefined) : programs.has(command)),
    run: async (request) => programs.run(await replaced(request)),
    start: async (request) => programs.start(await replaced(request)),
  };
}
