/** A worker: what a build node says of itself in one record that its heartbeat renews, and what that means for a build that waits. Pure. */
import { z } from 'zod';
import { Engine, ImageType } from '../build/request.ts';
import type { CollectionDefinition } from '../store/store.ts';

/** A worker writes its record this often. */
export const heartbeatMs = 2_500;
/** Without a heartbeat for so long a worker counts as lost. With the watch's look every second, its builds say so within 10 s. */
const lostAfterMs = 8_000;
/** Then its record goes. That of a node which is to drain stays longer: it must not come back from its repair and take builds. */
const forgottenAfterMs = 24 * 3_600_000;
const drainingForgottenAfterMs = 30 * 24 * 3_600_000;

export const WorkerEngine = z.object({
  name: Engine,
  imageTypes: z.array(ImageType),
  /** What its tool says; null where it is absent, was not asked yet, or cannot say. */
  version: z.string().nullable(),
  /** Programs that are not installed; where there is none, the engine is present. */
  missing: z.array(z.string()),
  /** The packages that bring all that the engine needs. */
  install: z.object({ debian: z.array(z.string()), fedora: z.array(z.string()) }),
});
export type WorkerEngine = z.infer<typeof WorkerEngine>;

export const WorkerBuild = z.object({
  buildId: z.string(),
  stage: z.string(),
  /** What the stage does at the moment, in its own words. */
  what: z.string().nullable(),
  /** When the stage began. */
  since: z.iso.datetime(),
});
export type WorkerBuild = z.infer<typeof WorkerBuild>;

export const Worker = z.object({
  /** Stays the same when the worker starts again. */
  id: z.string(),
  role: z.literal('image-builder'),
  host: z.string(),
  /** Of Spindle. */
  version: z.string(),
  arch: z.string(),
  engines: z.array(WorkerEngine),
  slots: z.number().int().positive(),
  builds: z.array(WorkerBuild),
  /** That can be written where builds are made; null where it cannot be asked. */
  freeBytes: z.number().nullable(),
  memoryBytes: z.number(),
  kvm: z.boolean(),
  startedAt: z.iso.datetime(),
  /** Milliseconds since 1970, by the worker's own clock. */
  heartbeatAt: z.number(),
  /** It said goodbye. */
  stoppedAt: z.iso.datetime().nullable(),
  /** Somebody asked it to finish what it has and take nothing new. Written by whoever asks; kept by the worker. */
  draining: z.boolean(),
  /** The worker's answer to that: false from the moment on from which it begins nothing new. */
  isTaking: z.boolean(),
});
export type Worker = z.infer<typeof Worker>;

export const workerCollection: CollectionDefinition<Worker> = {
  name: 'workers',
  read: (json) => Worker.parse(json),
  indexes: { byId: ({ id }) => ['all', id] },
};

/** Broadcast with nothing: somebody changed what this worker is to do. */
export function workerTopic(workerId: string): string {
  return `worker.${workerId}`;
}

export const workerStates = ['idle', 'busy', 'draining', 'drained', 'stopped', 'lost'] as const;
export type WorkerState = (typeof workerStates)[number];

/** `draining`: what it has still runs; `drained`: nothing does. `stopped` said goodbye, `lost` did not. */
export function workerState(worker: Worker, now: number): WorkerState {
  if (worker.stoppedAt !== null) return 'stopped';
  if (now - worker.heartbeatAt > lostAfterMs) return 'lost';
  const isBusy = worker.builds.length > 0;
  if (worker.draining) return isBusy || worker.isTaking ? 'draining' : 'drained';
  return isBusy ? 'busy' : 'idle';
}

export function isForgotten(worker: Worker, now: number): boolean {
  return now - worker.heartbeatAt > (worker.draining ? drainingForgottenAfterMs : forgottenAfterMs);
}

/** What one build needs of a worker. */
export interface BuildTarget {
  readonly arch: string;
  readonly imageType: ImageType;
  readonly engine: Engine;
}

const reasonsMax = 5;
const engineWord = (engine: string) => (engine === 'image-builder' ? 'the engine image-builder' : engine);

/** Why no worker will take such a build; undefined where one will, be it when a slot is free. The nearest worker to being one that can comes first. */
export function whyNobodyCan(workers: readonly Worker[], target: BuildTarget, now: number): string | undefined {
  const obstacles = workers.map((worker) => obstacle(worker, target, now));
  if (obstacles.some((each) => each === undefined)) return undefined;
  const reasons = obstacles
    .flatMap((each) => each ?? [])
    .sort((a, b) => a.distance - b.distance)
    .map(({ reason }) => reason);
  const lacking = workers.flatMap(({ engines }) => engines).find(({ name, missing }) => name === target.engine && missing.length > 0);
  const more = reasons.length > reasonsMax ? [`${reasons.length - reasonsMax} more cannot either`] : [];
  const { arch, imageType, engine } = target;
  const what = `no build node can make a ${imageType} image with ${engineWord(engine)} for ${arch}`;
  const cure = lacking ? ` (${installWords(lacking)})` : '';
  return `${what}: ${[...reasons.slice(0, reasonsMax), ...more].join('; ') || 'none is there'}${cure}`;
}

function obstacle(worker: Worker, { arch, imageType, engine }: BuildTarget, now: number): { readonly distance: number; readonly reason: string } | undefined {
  const { id } = worker;
  const state = workerState(worker, now);
  const found = worker.engines.find(({ name }) => name === engine);
  if (worker.arch !== arch) return { distance: 5, reason: `${id} builds for ${worker.arch} only` };
  if (!found) return { distance: 4, reason: `${id} does not know ${engineWord(engine)}` };
  if (!found.imageTypes.includes(imageType)) return { distance: 4, reason: `${engineWord(engine)} of ${id} makes ${found.imageTypes.join(', ')} images only` };
  if (state === 'stopped') return { distance: 3, reason: `${id} is stopped` };
  if (state === 'lost') return { distance: 2, reason: `${id} has not been heard of for ${Math.round((now - worker.heartbeatAt) / 1000)} s` };
  if (found.missing.length > 0) return { distance: 1, reason: `${id} lacks ${found.missing.join(', ')}` };
  if (worker.draining) return { distance: 0, reason: `${id} is draining` };
  return undefined;
}

function installWords({ install: { debian, fedora } }: WorkerEngine): string {
  const ways = [
    ...(debian.length > 0 ? [`on Debian: apt-get install ${debian.join(' ')}`] : []),
    ...(fedora.length > 0 ? [`on Fedora: dnf install ${fedora.join(' ')}`] : []),
  ];
  return ways.join('; ') || 'no distribution packages it';
}
