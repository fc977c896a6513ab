/** The phases of one run of a stage: which one it is in, and how long each took. */
import { type Phase, phaseName, phasesMax } from '../build/stage-run.ts';
import { type Clock, isoTime } from '../clock/clock.ts';

export interface Phases {
  /** On this track the phase before it ends. The function returned ends the track; what nobody ends, ends with the run. The same name again is the same phase. */
  begin(name: string, track?: string): () => void;
  /** Milliseconds since 1970: when the run began. */
  readonly startedAt: number;
  /** All so far, in the order of their beginnings. */
  readonly all: readonly Phase[];
  /** What goes on now; several where several tracks do. Undefined where nothing does. */
  readonly current: string | undefined;
  /** The run has ended. */
  end(): void;
}

/** `onChange`: a phase began, or ended after so many milliseconds. */
export function trackPhases(clock: Pick<Clock, 'now'>, onChange: (name: string, durationMs: number | undefined) => void): Phases {
  const runStartedAt = clock.now();
  const all: Phase[] = [];
  const open = new Map<string, { readonly index: number; readonly name: string; readonly startedAt: number }>();

  const end = (track: string) => {
    const phase = open.get(track);
    if (!phase) return;
    open.delete(track);
    const durationMs = Math.max(0, Math.round(clock.now() - phase.startedAt));
    all[phase.index] = { name: phase.name, startedAt: isoTime(phase.startedAt), durationMs };
    onChange(phase.name, durationMs);
  };

  return {
    startedAt: runStartedAt,
    begin: (text, track = '') => {
      const name = phaseName(text);
      // The rest of a run with very many phases is its last one's.
      if (open.get(track)?.name !== name && all.length < phasesMax) {
        end(track);
        const startedAt = clock.now();
        open.set(track, { index: all.length, name, startedAt });
        all.push({ name, startedAt: isoTime(startedAt), durationMs: null });
        onChange(name, undefined);
      }
      return () => end(track);
    },
    get all() {
      return all;
    },
    get current() {
      return open.size === 0 ? undefined : phaseName([...open.values()].map(({ name }) => name).join(', '));
    },
    end: () => {
      for (const track of [...open.keys()]) end(track);
    },
  };
}
