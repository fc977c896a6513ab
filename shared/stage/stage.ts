/** What a stage is: a function from one event to the next ones. The runtime around it is run.ts. */

import type { z } from 'zod';
import type { SingleBuildRequest } from '../build/request.ts';
import type { BuildState } from '../build/states.ts';
import type { UntrustedCode } from '../build/untrusted-code.ts';
import type { Clock } from '../clock/clock.ts';
import type { Egress } from '../egress/egress.ts';
import type { Emitted, Event, EventDefinition } from '../events/define.ts';
import type { FileRef } from '../files/content-ref.ts';
import type { Files } from '../files/files.ts';
import type { Programs } from '../programs/programs.ts';
import type { ReleasesFile } from '../releases/releases.ts';
import type { RpmDownloads } from '../rpm/rpm-downloads.ts';
import type { RpmStore } from '../rpm-store/rpm-store.ts';
import type { Workspace } from '../workspace/workspace.ts';

/** What a handler may use of the world. All are ports: nothing else reaches outside. */
export interface StagePorts {
  readonly clock: Clock;
  readonly files: Files;
  readonly programs: Programs;
  readonly egress: Egress;
  readonly downloads: RpmDownloads;
  readonly rpms: RpmStore;
  readonly releases: ReleasesFile;
  /** What requesters may bring that runs as root here (shared/build/untrusted-code.ts). */
  readonly untrustedCode: UntrustedCode;
}

export interface StageContext extends StagePorts {
  readonly buildId: string;
  /** Whose build it is; null where there is no sign-in. */
  readonly owner: string | null;
  /** The request as it was accepted. */
  readonly request: SingleBuildRequest;
  /** A retry of the very same packages: the resolution to use again. Null where packages are to be found anew. */
  readonly pinnedResolution: FileRef | null;
  /** 1 on the first try of this stage. */
  readonly attempt: number;
  /** Fires on cancel, stop, deadline and a lost lease. The handler then rejects with its reason as soon as it can. */
  readonly signal: AbortSignal;
  /** A private directory, made at the first call, gone when the handler has returned. */
  workspace(): Promise<Workspace>;
  /** Adds a line to the build's log. `tool`: the program it comes from, or the stage's own name. */
  log(tool: string, line: string): void;
  /**
   * From now on the run is in this phase, and no longer in the one before it on the same `track`. Shown with its times in the build's record and log. The function returned ends the track; what
   * is not ended ends with the run: a run that fails then says in which phase. Bounded: of very many only the first are kept.
   */
  phase(name: string, track?: string): () => void;
  /** For those who wait: at most about one a second goes out, and losing one is fine. `total` 0: not known. */
  progress(done: number, total: number, what: string): void;
}

export interface StageLimits {
  /** Messages in hand at once of a quick stage; for a long one this is its slots unless settings say otherwise. */
  readonly concurrency: number;
  /** Tries before the build fails, by whatever failure. */
  readonly attemptsMax: number;
  /** For one try. Then its signal fires, and the build fails with STAGE_TIMED_OUT. */
  readonly deadlineMs: number;
}

type AnyDefinition = EventDefinition<string, z.ZodType>;
type EmittedBy<D extends AnyDefinition> = D extends AnyDefinition ? Emitted<D['type'], z.infer<D['schema']>> : never;
export type EventOf<D extends AnyDefinition> = Event<D['type'], z.infer<D['schema']>>;

/**
 * Three endings: return events (the requester's mistake is one too: `BuildFailed`), throw (something is ill: a SpindleError's code says whether the
 * runtime tries again), or reject with `signal.reason`. Everything a handler does must be harmless to repeat.
 */
export interface Stage<Consumes extends AnyDefinition = AnyDefinition, Emits extends AnyDefinition = AnyDefinition> {
  /** The service's folder name. */
  readonly name: string;
  /** A build waits for this stage, or runs in it, exactly while it is in this state. */
  readonly state: BuildState;
  readonly consumes: Consumes;
  readonly emits: readonly Emits[];
  /** Long stages hold a lease from the start; the others get one only if they take over 5 seconds. */
  readonly long: boolean;
  readonly limits: StageLimits;
  readonly handle: (event: EventOf<Consumes>, context: StageContext) => Promise<EmittedBy<Emits> | readonly EmittedBy<Emits>[]>;
}

export function defineStage<Consumes extends AnyDefinition, const Emits extends AnyDefinition>(stage: Stage<Consumes, Emits>): Stage<Consumes, Emits> {
  return stage;
}
