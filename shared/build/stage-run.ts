/** One run of one stage, as the record of a build keeps it: when it began, how it ended, and its phases with their times. Pure. */
import { z } from 'zod';

const nameLengthMax = 100;
export const phasesMax = 40;
/** Kept of one build, the newest. */
export const runsMax = 30;

const Phase = z.object({
  /** What was done: `installing packages`. */
  name: z.string().max(nameLengthMax),
  startedAt: z.iso.datetime(),
  /** Null while it goes on, and where the run was lost in it. */
  durationMs: z.number().int().nonnegative().nullable(),
});
export type Phase = z.infer<typeof Phase>;

export const StageRun = z.object({
  stage: z.string(),
  attempt: z.number().int().positive(),
  worker: z.string(),
  startedAt: z.iso.datetime(),
  /** Null while it goes on, and where it was lost. */
  durationMs: z.number().int().nonnegative().nullable(),
  /** Null while it goes on. `stopped`: its service stopped, and the stage was begun again. `lost`: nothing more was heard of it. */
  outcome: z.enum(['done', 'failed', 'canceled', 'stopped', 'lost']).nullable(),
  /** In the order of their beginnings; some may go on at the same time. */
  phases: z.array(Phase).max(phasesMax),
});
export type StageRun = z.infer<typeof StageRun>;

/** As it fits a phase's name. */
export function phaseName(text: string): string {
  return text.length > nameLengthMax ? `${text.slice(0, nameLengthMax - 1)}…` : text;
}

/** With what is now known of one run. Whatever else had not ended by then, never will. */
export function withRun(runs: readonly StageRun[], run: StageRun): StageRun[] {
  const others = runs.filter((each) => each.stage !== run.stage || each.startedAt !== run.startedAt || each.worker !== run.worker);
  return [...withoutOpenRuns(others), run].slice(-runsMax);
}

/** Of a build that has ended, or is begun anew elsewhere: nobody works on it any more. */
export function withoutOpenRuns(runs: readonly StageRun[]): StageRun[] {
  return runs.map((run) => (run.outcome === null ? { ...run, outcome: 'lost' } : run));
}
