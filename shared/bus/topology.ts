/** Which queues the pipeline has, as data made from the releases file: what can be printed, compared and asserted on any bus. Pure. */
import { type Engine, engines, type ImageType } from '../build/request.ts';
import {
  BuildCanceled,
  BuildFailed,
  BuildFinished,
  BuildRequested,
  BuildResolved,
  type EventType,
  ImageBootTested,
  ImageBuilt,
  SideRepoReady,
} from '../events/catalog.ts';
import type { ReleasesFile } from '../releases/releases.ts';
import type { Topology } from './bus.ts';

/** Queues are named after the service that reads them and the events in them. */
export function stageQueue(stage: string, key: string): string {
  return `${stage}.${key}`;
}

/** Facts that no queue is bound for: publish them with `mandatory: false`. */
export const unclaimedEvents: ReadonlySet<EventType> = new Set(['image.uploaded', 'build.expired']);

/** What one worker of the image-builder reads, for one kind of work it can do. */
export function imageBuilderQueue(arch: string, imageType: ImageType, engine: Engine): string {
  return stageQueue('image-builder', sideRepoReadyKey(arch, imageType, engine));
}

function sideRepoReadyKey(arch: string, imageType: ImageType, engine: Engine): string {
  return `${SideRepoReady.type}.${arch}.${imageType}.${engine}`;
}

/**
 * A build node with a slot free is sent the first message of each queue that it reads and gives all but one back, and the broker counts that. So these need a limit that only a
 * message which kills its readers reaches.
 */
const builderDeliveriesMax = 1_000;

/**
 * The queues of all stages. The image-builder has one for each architecture and image type of a release with each engine that a request may name,
 * whether or not a worker for it runs: so work for a missing worker waits instead of being lost.
 */
export function pipelineTopology({ releases }: ReleasesFile): Topology {
  const targets = new Map<string, { readonly arch: string; readonly imageType: ImageType }>();
  for (const release of releases) {
    for (const arch of release.arches) {
      for (const imageType of Object.keys(release.engines) as ImageType[]) targets.set(`${arch}.${imageType}`, { arch, imageType });
    }
  }
  const builderKeys = [...targets.keys()].sort().flatMap((key) => {
    const target = targets.get(key);
    return target ? engines.map((engine) => sideRepoReadyKey(target.arch, target.imageType, engine)) : [];
  });
  const queue = (stage: string, key: string) => ({ name: stageQueue(stage, key), bindings: [key] });
  return {
    queues: [
      queue('resolver', BuildRequested.type),
      queue('side-repo', BuildResolved.type),
      ...builderKeys.map((key) => ({ ...queue('image-builder', key), deliveriesMax: builderDeliveriesMax })),
      queue('boot-test', ImageBuilt.type),
      queue('uploader', ImageBootTested.type),
      { name: stageQueue('notifier', 'build.ended'), bindings: [BuildFinished.type, BuildFailed.type, BuildCanceled.type] },
    ],
  };
}

/** One line a binding, as a person would read it. */
export function printTopology(topology: Topology): string {
  return topology.queues.map(({ name, bindings }) => `${name} <- ${bindings.join(', ')}\n`).join('');
}
