/** All stages in their order. The embedded service, the simulation and the tests read it; services never import it. */
import type { Engine, ImageType } from '../shared/build/request.ts';
import { bootTest } from './boot-test/service.ts';
import type { VirtualMachines } from './boot-test/virtual-machine.ts';
import { osbuild } from './image-builder/engines/image-builder.ts';
import { kiwi } from './image-builder/engines/kiwi.ts';
import { livemediaCreator } from './image-builder/engines/livemedia-creator.ts';
import { lorax } from './image-builder/engines/lorax.ts';
import { mkksiso } from './image-builder/engines/mkksiso.ts';
import { native } from './image-builder/engines/native.ts';
import { imageBuilder } from './image-builder/service.ts';
import { type ResolverOptions, resolver } from './resolver/service.ts';
import { sideRepo } from './side-repo/service.ts';
import { uploader } from './uploader/service.ts';

/** In the order in which they are told of. Which of them a node can run, it finds out by what each needs. */
export const imageEngines = [kiwi, native, lorax, livemediaCreator, mkksiso, osbuild];

/** What can be asked for: engine → the kinds of images it makes. Where no node has the engine, its builds wait and say so. */
export const servedEngines: Readonly<Partial<Record<Engine, readonly ImageType[]>>> = Object.fromEntries(
  imageEngines.map(({ name, imageTypes }) => [name, imageTypes]),
);

export function pipelineStages({ virtualMachines, ...resolving }: ResolverOptions & { readonly virtualMachines: VirtualMachines }) {
  return [resolver(resolving), sideRepo, imageBuilder({ engines: imageEngines }), bootTest({ virtualMachines }), uploader] as const;
}
