/** Starts a build node in a process, alone or beside others. */
import { spindleVersion } from '../../shared/build/version.ts';
import type { ServiceHost } from '../../shared/stage/service-host.ts';
import { freeBytes, hostFacts } from '../../shared/workers/host-facts.ts';
import { workerCollection } from '../../shared/workers/worker.ts';
import { imageEngines } from './engines/all.ts';
import { startBuildNode } from './node.ts';
import { imageBuilder } from './service.ts';

const hostArch = process.arch === 'arm64' ? 'aarch64' : 'x86_64';

export async function startImageBuilder({ adapters, config, runtime, life, logger, enforcement }: ServiceHost): Promise<void> {
  if (enforcement.problem !== undefined) logger.warn({ problem: enforcement.problem }, 'no image can be built here: its tools cannot be isolated');
  const node = await startBuildNode({
    stage: imageBuilder({ engines: imageEngines }),
    engines: imageEngines,
    runtime,
    workers: await adapters.store.collection(workerCollection),
    facts: { ...(await hostFacts()), version: spindleVersion, arch: hostArch, slots: config.builderSlots },
    freeBytes: () => freeBytes(config.stateDir),
  });
  life.add('image-builder', () => node.stop());
}
