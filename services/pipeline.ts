/** All stages in their order. The embedded service, the simulation and the tests read it; services never import it. */
import { bootTest } from './boot-test/service.ts';
import type { VirtualMachines } from './boot-test/virtual-machine.ts';
import { imageEngines } from './image-builder/engines/all.ts';
import { imageBuilder } from './image-builder/service.ts';
import { type ResolverOptions, resolver } from './resolver/service.ts';
import { sideRepo } from './side-repo/service.ts';
import { uploader } from './uploader/service.ts';

export function pipelineStages({ virtualMachines, ...resolving }: ResolverOptions & { readonly virtualMachines: VirtualMachines }) {
  return [resolver(resolving), sideRepo, imageBuilder({ engines: imageEngines }), bootTest({ virtualMachines }), uploader] as const;
}
