/** The programs of this machine, with a record of what ran from when to when. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../shared/clock/system.ts';
import type { ProgramRequest, Programs } from '../../shared/programs/programs.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';

/** Times are those of `performance.now()`. */
export interface ProgramRun {
  readonly request: ProgramRequest;
  /** When the child process was there. Corrected at its end by the wall time that the port itself tells, which counts from the fork. */
  startedAt: number;
  /** Infinity while it runs. */
  endedAt: number;
}

export interface RecordedPrograms {
  readonly programs: Programs;
  /** In the order of their starts. */
  readonly runs: readonly ProgramRun[];
  forget(): void;
  /** What the warm solver was told last: its collection, and the question. Never forgotten. */
  readonly solver: { readonly collection: string; readonly question: string };
}

export function recordedPrograms(): RecordedPrograms {
  const spawned = spawnedPrograms({ clock: systemClock() });
  const runs: ProgramRun[] = [];
  const solver = { collection: '', question: '' };
  /** Its input is a line of JSON, then `solve NUMBER`: the question stands in a file of that number. */
  const hear = (directory: string, text: string): void => {
    if (text.startsWith('{')) solver.collection = text;
    const number = /^solve (\d+)$/m.exec(text)?.[1];
    if (number !== undefined) solver.question = readFileSync(join(directory, `${number}.json`), 'utf8');
  };
  const start: Programs['start'] = async (request) => {
    const running = await spawned.start(request);
    const run: ProgramRun = { request, startedAt: performance.now(), endedAt: Number.POSITIVE_INFINITY };
    runs.push(run);
    running.ended.then(
      ({ durationMs }) => {
        run.endedAt = performance.now();
        run.startedAt = Math.min(run.startedAt, run.endedAt - durationMs);
      },
      () => {
        run.endedAt = performance.now();
      },
    );
    if (!request.keepsInput || !request.args.some((argument) => argument.endsWith('/dnf4.py'))) return running;
    return {
      ...running,
      write: (text) => {
        hear(request.cwd ?? '', text);
        running.write(text);
      },
    };
  };
  return {
    programs: { has: spawned.has, start, run: async (request) => (await start(request)).ended },
    runs,
    solver,
    forget: () => {
      runs.length = 0;
    },
  };
}

/** A stretch of time in which no child process ran, or at least one did. */
export interface Stretch {
  /** The programs that ran; of a gap, the one that it led to. */
  readonly programs: readonly string[];
  readonly isGap: boolean;
  readonly ms: number;
}

/** From `from` to `to` without a hole: gaps and stretches of programs take turns. */
export function stretches(runs: readonly ProgramRun[], from: number, to: number): readonly Stretch[] {
  const found: Stretch[] = [];
  let at = from;
  let programs: string[] = [];
  let until = from;
  const closeStretch = () => {
    if (programs.length > 0) found.push({ programs, isGap: false, ms: until - at });
    at = until;
    programs = [];
  };
  const inTime = runs.filter(({ startedAt, endedAt }) => startedAt < to && endedAt > from).sort((a, b) => a.startedAt - b.startedAt);
  for (const { request, startedAt, endedAt } of inTime) {
    const name = request.command.replace(/^.*\//, '');
    if (startedAt > until) {
      closeStretch();
      found.push({ programs: [name], isGap: true, ms: startedAt - at });
      at = startedAt;
      until = startedAt;
    }
    programs.push(name);
    until = Math.max(until, Math.min(endedAt, to));
  }
  closeStretch();
  if (to > at) found.push({ programs: ['the end'], isGap: true, ms: to - at });
  return found;
}

export const sumMs = (parts: readonly Stretch[], isGap: boolean) => parts.reduce((sum, part) => sum + (part.isGap === isGap ? part.ms : 0), 0);
