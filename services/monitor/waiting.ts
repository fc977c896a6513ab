/** Since when builds wait for each queue, as their records say: the bus only knows of messages, and forgets them. */
import { type Build, buildTargetOf } from '../../shared/build/build.ts';
import type { BuildState } from '../../shared/build/states.ts';
import { imageBuilderQueue, stageQueue } from '../../shared/bus/topology.ts';
import type { Collection } from '../../shared/store/store.ts';

/** Of one state; there are never more under way than the settings allow. */
const buildsMax = 1_000;

const queueOfState: Readonly<Partial<Record<BuildState, string>>> = {
  resolving: stageQueue('resolver', 'build.requested'),
  'preparing-side-repo': stageQueue('side-repo', 'build.resolved'),
  'boot-testing': stageQueue('boot-test', 'image.built'),
  uploading: stageQueue('uploader', 'image.boot-tested'),
};
const notifierQueue = stageQueue('notifier', 'build.ended');

/** The queue that holds what a build waits for, and since when; undefined where it waits for none. Pure. */
function waitOf(build: Build): { readonly queue: string; readonly since: string } | undefined {
  const toTell = build.outbox.find(({ consumer }) => consumer === 'notifier');
  if (toTell && build.endedAt !== null) return { queue: notifierQueue, since: build.endedAt };
  if (!build.stage || build.stage.startedAt !== null) return undefined;
  const target = buildTargetOf(build);
  const queue = target ? imageBuilderQueue(target.arch, target.imageType, target.engine) : queueOfState[build.state];
  return queue === undefined ? undefined : { queue, since: build.stage.waitingSince };
}

/** Queue → the longest wait's beginning. */
export async function longestWaits(builds: Collection<Build>): Promise<ReadonlyMap<string, string>> {
  const waits = new Map<string, string>();
  const look = async (index: 'byState' | 'byWake', state: BuildState) => {
    for (const { document } of await builds.find({ index, prefix: [state], limit: buildsMax })) {
      const wait = waitOf(document);
      const known = wait && waits.get(wait.queue);
      if (wait && (known === undefined || wait.since < known)) waits.set(wait.queue, wait.since);
    }
  };
  await Promise.all([
    ...(['resolving', 'preparing-side-repo', 'building', 'boot-testing', 'uploading'] as const).map((state) => look('byState', state)),
    // Of the ended ones only those that still have something to tell.
    ...(['finished', 'failed', 'canceled'] as const).map((state) => look('byWake', state)),
  ]);
  return waits;
}
