/** The states of a build and their order. Pure. */
import { z } from 'zod';

/** In pipeline order; the last four end a build. */
export const buildStates = [
  'queued',
  'resolving',
  'preparing-side-repo',
  'building',
  'boot-testing',
  'uploading',
  'finished',
  'failed',
  'canceled',
  'expired',
] as const;
export const BuildState = z.enum(buildStates);
export type BuildState = z.infer<typeof BuildState>;

const endStates: ReadonlySet<BuildState> = new Set(['finished', 'failed', 'canceled', 'expired']);

export function isEnded(state: BuildState): boolean {
  return endStates.has(state);
}

/** True where `state` is later in the pipeline than `reference`; an ended build is past every stage. */
export function isPast(state: BuildState, reference: BuildState): boolean {
  return isEnded(state) ? !isEnded(reference) : buildStates.indexOf(state) > buildStates.indexOf(reference);
}
