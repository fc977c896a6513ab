/**
 * The stage runtime: consume → claim → handle → commit → relay. The lease in the store owns a running stage, never the message: a long stage's message is
 * acknowledged as soon as its claim is stored, and whatever happens then is the reconciler's to mend.
 */

import type { z } from 'zod';
import { admission, type Build, canceled, claimed, failed, givenBack, heartbeat, retrying, stageEnded } from '../build/build.ts';
import { type Failure, failureOf, retryKindOf, SpindleError } from '../build/failure.ts';
import { type StageRun, withRun } from '../build/stage-run.ts';
import { buildStates, isEnded } from '../build/states.ts';
import { buildTopic, progressTopic } from '../build/topics.ts';
import type { BuildLog, OpenBuildLog } from '../build-log/build-log.ts';
import type { Bus, Delivery, Disposition, Subscription } from '../bus/bus.ts';
import { isoTime } from '../clock/clock.ts';
import type { Emitted, EventDefinition } from '../events/define.ts';
import type { Envelope } from '../events/envelope.ts';
import type { Log } from '../log/log.ts';
import type { Collection, Versioned } from '../store/store.ts';
import type { WorkerBuild } from '../workers/worker.ts';
import type { Workspace, Workspaces } from '../workspace/workspace.ts';
import { cancelTopic } from './cancel.ts';
import { dispositionOf } from './disposition.ts';
import { relayOutbox } from './outbox.ts';
import { type Phases, trackPhases } from './phases.ts';
import type { Stage, StageContext, StagePorts } from './stage.ts';
import type { Probe } from './steps.ts';

/** A claim lasts so long without a heartbeat. With the reconciler's pass every second, a lost process is noticed within 22 s. */
const leaseMs = 20_000;
const heartbeatMs = 5_000;
/** A quick stage that takes longer than this writes a claim after all. */
const quickMs = 5_000;
/** A handler that ignores its signal for so long is left to itself; it holds nothing that could commit. */
const handlerGraceMs = 60_000;
/** Lost races in a row before the message is handed back: there are never that many who want to move one build. */
const racesMax = 50;

export interface StageRuntime extends StagePorts {
  readonly bus: Bus;
  readonly builds: Collection<Build>;
  readonly workspaces: Workspaces;
  readonly openBuildLog: OpenBuildLog;
  readonly logger: Log;
  /** Names this process for people, and in claims. */
  readonly worker: string;
  readonly probe?: Probe;
  /** For those who count. `outcome`: `returned`, `threw`, `canceled`, `stopping`, `lease-lost`. */
  readonly onStageEnded?: (run: { readonly stage: string; readonly outcome: string; readonly durationMs: number }) => void;
}

export interface RunningStage {
  readonly name: string;
  /** Build ids that this process works on now. */
  running(): readonly string[];
  /** The same, with what is done for each. */
  doing(): readonly WorkerBuild[];
  /** Reads these queues from now on, none where there are none. What is under way goes on. */
  serve(queues: readonly string[]): Promise<void>;
  /** Begins nothing new until `resume`; what runs goes on to its end. Resolves when nothing that was handed out before can begin any more. */
  hold(): Promise<void>;
  resume(): void;
  /** No new work; what runs is aborted and given back; resolves when that is done. Twice is once. */
  stop(): Promise<void>;
}

type AbortKind = 'canceled' | 'stopping' | 'deadline' | 'lease-lost';
class StageAbort extends Error {
  override readonly name = 'StageAbort';
  readonly kind: AbortKind;
  constructor(kind: AbortKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

type AnyStage = Stage<EventDefinition<string, z.ZodType>, EventDefinition<string, z.ZodType>>;

interface Run {
  readonly event: Envelope;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** What its handler does, in its own words. */
  what: string | null;
  /** Once it has begun. */
  phases: Phases | undefined;
  current: Versioned<Build>;
  token: string | null;
  readonly controller: AbortController;
  /** Resolves when nothing more will come of it. */
  readonly ended: Promise<void>;
}

const final: Disposition = 'ack';

export async function runStage(
  definition: unknown,
  runtime: StageRuntime,
  options: { readonly queues: readonly string[]; readonly slots?: number },
): Promise<RunningStage> {
  // The runtime does not care which events a stage takes and gives; its definition was checked where it was written.
  const stage = definition as AnyStage;
  const { bus, builds, clock, probe, worker } = runtime;
  const logger = runtime.logger.child({ stage: stage.name });
  const slots = options.slots ?? stage.limits.concurrency;
  const runs = new Map<string, Run>();
  const work = new Set<Promise<unknown>>();
  let isStopping = false;
  let isHeld = false;
  let subscription: Subscription | undefined;
  /** Deliveries that are not yet either a claimed run or somebody else's. */
  const takes = new Set<Promise<unknown>>();

  const track = <T>(promise: Promise<T>): Promise<T> => {
    work.add(promise);
    const forget = () => work.delete(promise);
    promise.then(forget, forget);
    return promise;
  };

  const receive = async (delivery: Delivery): Promise<Disposition> => {
    if (isStopping || isHeld) return 'requeue';
    const event = readEvent(stage, delivery.body);
    if (typeof event === 'string') return { deadLetter: event };
    const buildId = event.subject;
    await probe?.('received', buildId);
    // This process runs it already: a lost channel handed the message out again. Without a claim the message is what brings the build on, so it stays in hand until then.
    const running = runs.get(buildId);
    if (running && running.token === null) await running.ended;
    if (runs.has(buildId)) return final;
    if (isHeld || runs.size >= slots) return 'requeue';
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const run: Run = {
      event,
      startedAt: clock.now(),
      what: null,
      phases: undefined,
      current: undefined as never,
      token: null,
      controller: new AbortController(),
      ended,
    };
    runs.set(buildId, run);
    if (runs.size >= slots) subscription?.pause();
    let isBackground = false;
    const release = () => {
      runs.delete(buildId);
      end();
      if (runs.size < slots && !isStopping && !isHeld) subscription?.resume(slots - runs.size);
    };
    try {
      const taken = await beingTaken(take(run));
      if (taken !== 'run') return taken;
      if (!stage.long) {
        await execute(run);
        return final;
      }
      isBackground = true;
      void track(acknowledged(run).then(() => execute(run)))
        .catch((error: unknown) =>
          logger.error({ err: error, buildId }, 'a stage could not be brought to an end; the reconciler takes over when its lease ends'),
        )
        .finally(release);
      return final;
    } finally {
      if (!isBackground) release();
    }
  };

  const beingTaken = <T>(taken: Promise<T>): Promise<T> => {
    takes.add(taken);
    const forget = () => takes.delete(taken);
    taken.then(forget, forget);
    return taken;
  };

  /** From here on the message is gone, and only the claim stands for the work. */
  const acknowledged = async (run: Run): Promise<void> => {
    await probe?.('acknowledged', run.event.subject);
  };

  /** Decides what becomes of the event; where it is to run, a long stage holds a claim afterwards. */
  const take = async (run: Run): Promise<'run' | Disposition> => {
    for (let race = 0; race < racesMax; race += 1) {
      const found = await builds.get(run.event.subject);
      if (!found) return { deadLetter: `no build ${run.event.subject} is recorded` };
      const verdict = admission(found.document, stage.state, run.event, clock.now());
      switch (verdict) {
        case 'duplicate':
          // Its outcome is committed; should the relay have died before it was told, now is the time.
          if (found.document.outbox.length > 0) await relayOutbox(runtime, found);
          return final;
        case 'leased':
        case 'not-yet':
          return final;
        case 'foreign':
          return { deadLetter: `build ${found.document.id} is ${found.document.state} and waits for another event than ${run.event.id}` };
        case 'canceled':
          if (await commit(run, found, canceled(found.document, clock.now()))) return final;
          continue;
        case 'run': {
          run.current = found;
          if (!stage.long) return 'run';
          if (await claim(run)) return 'run';
          continue;
        }
      }
    }
    return 'requeue';
  };

  const claim = async (run: Run): Promise<boolean> => {
    const token = clock.id();
    const now = clock.now();
    const document = claimed(run.current.document, { token, worker, expiresAt: now + leaseMs }, now);
    if (!(await builds.replace(document, run.current.version))) return false;
    run.current = { document, version: run.current.version + 1 };
    run.token = token;
    bus.broadcast(buildTopic(document.id), document.state);
    await probe?.('claimed', document.id);
    return true;
  };

  /** Writes `next` if nobody moved the build since `from`, then lets its events out. */
  const commit = async (run: Run, from: Versioned<Build>, next: Build): Promise<boolean> => {
    if (!(await builds.replace(next, from.version))) return false;
    await probe?.('committed', next.id);
    try {
      await relayOutbox(runtime, { document: next, version: from.version + 1 });
    } catch (error) {
      logger.warn({ err: error, buildId: next.id, eventId: run.event.id }, 'committed events wait in the outbox');
    }
    return true;
  };

  /**
   * Keeps the lease alive and watches for cancel. The returned function ends that, and resolves when no write of it is under way any more. A timer and no sleeping loop: nearly
   * every run of a quick stage ends before the first look.
   */
  const keepLease = (run: Run): (() => Promise<void>) => {
    let renewedAt = clock.now();
    let isEnded = false;
    let looking: Promise<void> = Promise.resolve();
    const look = async (): Promise<void> => {
      try {
        const found = await builds.get(run.event.subject);
        if (!found || !isStillOurs(run, found.document)) {
          run.controller.abort(new StageAbort('lease-lost', 'another process took this stage over'));
          return;
        }
        run.current = found;
        if (found.document.cancelRequestedAt !== null) run.controller.abort(new StageAbort('canceled', 'the build was canceled'));
        if (run.token === null) {
          if (await claim(run)) renewedAt = clock.now();
          return;
        }
        const document = heartbeat(withStageRun(found.document, run, null), clock.now() + leaseMs);
        if (await builds.replace(document, found.version)) {
          run.current = { document, version: found.version + 1 };
          renewedAt = clock.now();
        }
      } catch (error) {
        logger.warn({ err: error, buildId: run.event.subject }, 'heartbeat failed');
        if (run.token !== null && clock.now() - renewedAt > leaseMs) {
          run.controller.abort(new StageAbort('lease-lost', 'the store could not be reached for a whole lease'));
        }
      }
    };
    const lookLater = (): (() => void) =>
      clock.after(run.token === null ? quickMs : heartbeatMs, () => {
        looking = look().then(() => {
          // A handler that winds down still holds its stage; only one that lost it stops renewing.
          const reason: unknown = run.controller.signal.reason;
          if (!isEnded && !(reason instanceof StageAbort && reason.kind === 'lease-lost')) forget = lookLater();
        });
      });
    let forget = lookLater();
    return () => {
      isEnded = true;
      forget();
      return looking;
    };
  };

  const isStillOurs = (run: Run, build: Build): boolean =>
    build.state === stage.state && (run.token === null ? build.claim === null : build.claim?.token === run.token);

  const execute = async (run: Run): Promise<void> => {
    const build = run.current.document;
    const attempt = build.stage?.attempt ?? 1;
    const startedAt = clock.now();
    const buildLog = runtime.openBuildLog({ buildId: build.id, stage: stage.name, stageIndex: buildStates.indexOf(stage.state), attempt, token: clock.id() });
    const phases = trackPhases(clock, (name, durationMs) => {
      if (durationMs !== undefined) return buildLog.line(stage.name, `phase: ${name}: ${(durationMs / 1000).toFixed(1)} s`);
      buildLog.line(stage.name, `phase: ${name}`);
      run.what = name;
      bus.broadcast(progressTopic(build.id), { stage: stage.name, phase: name, done: 0, total: 0, what: name });
    });
    run.phases = phases;
    const endLease = keepLease(run);
    const forgetDeadline = clock.after(stage.limits.deadlineMs, () =>
      run.controller.abort(new StageAbort('deadline', `${stage.name} did not end within ${Math.round(stage.limits.deadlineMs / 1000)} s`)),
    );
    let outcome: Outcome;
    try {
      outcome = returned(await handled(run, buildLog, phases, attempt), phases);
    } catch (error) {
      outcome = outcomeOf(run, error, phases.current, attempt);
    } finally {
      forgetDeadline();
      await endLease();
    }
    await probe?.('handled', build.id);
    phases.end();
    await endLog(buildLog, outcome);
    await conclude(run, outcome);
    const durationMs = clock.now() - startedAt;
    runtime.onStageEnded?.({ stage: stage.name, outcome: outcome.kind, durationMs });
    logger.info({ buildId: build.id, outcome: outcome.kind, attempt, durationMs }, 'stage ended');
  };

  type Outcome =
    | { readonly kind: 'returned'; readonly events: readonly Emitted[] }
    | { readonly kind: 'canceled' | 'stopping' | 'lease-lost' }
    | { readonly kind: 'threw'; readonly error: unknown; readonly failure: Failure; readonly attempt: number };

  /** A failure that the stage found itself is told with the phase that it was found in. */
  const returned = (events: readonly Emitted[], { current }: Phases): Outcome => ({
    kind: 'returned',
    events: events.map((event) => {
      const failure = failureIn(event);
      return failure && current !== undefined ? { ...event, data: { ...(event.data as object), failure: { phase: current, ...failure } } } : event;
    }),
  });

  const outcomeOf = (run: Run, error: unknown, phase: string | undefined, attempt: number): Outcome => {
    const reason: unknown = run.controller.signal.reason;
    const threw = (cause: unknown): Outcome => ({
      kind: 'threw',
      error: cause,
      failure: { ...failureOf(cause, stage.name), ...(phase === undefined ? {} : { phase }) },
      attempt,
    });
    if (!(reason instanceof StageAbort)) return threw(error);
    if (reason.kind === 'deadline') return threw(new SpindleError('STAGE_TIMED_OUT', reason.message));
    return { kind: reason.kind };
  };

  /** Runs the handler; whatever way it ends, its workspace is gone afterwards. */
  const handled = async (run: Run, buildLog: BuildLog, phases: Phases, attempt: number): Promise<readonly Emitted[]> => {
    const build = run.current.document;
    const { signal } = run.controller;
    let workspace: Promise<Workspace> | undefined;
    let toldAt = 0;
    const context: StageContext = {
      clock,
      files: runtime.files,
      programs: runtime.programs,
      egress: runtime.egress,
      downloads: runtime.downloads,
      rpms: runtime.rpms,
      releases: runtime.releases,
      untrustedCode: runtime.untrustedCode,
      buildId: build.id,
      owner: build.owner,
      request: build.request,
      pinnedResolution: build.pinned ? build.resolution : null,
      attempt,
      signal,
      workspace: () => {
        workspace ??= runtime.workspaces.create(`${build.id}-${stage.name}`);
        return workspace;
      },
      log: (tool, line) => buildLog.line(tool, line),
      phase: phases.begin,
      progress: (done, total, what) => {
        const now = clock.now();
        run.what = what;
        if (now - toldAt < 1_000) return;
        toldAt = now;
        bus.broadcast(progressTopic(build.id), { stage: stage.name, phase: phases.current ?? null, done, total, what });
      },
    };
    try {
      signal.throwIfAborted();
      const result = await boundedBy(signal, Promise.resolve(stage.handle(run.event as never, context)));
      return checkedEvents(stage, Array.isArray(result) ? (result as readonly Emitted[]) : [result as Emitted]);
    } finally {
      if (workspace)
        await workspace
          .then((made) => made.dispose())
          .catch((error: unknown) => logger.error({ err: error, buildId: build.id }, 'a workspace could not be removed'));
    }
  };

  /** The promise's own end; but once the signal has fired, at most a grace period later. */
  const boundedBy = <T>(signal: AbortSignal, promise: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      let forget: (() => void) | undefined;
      const onAbort = () => {
        forget = clock.after(handlerGraceMs, () => {
          logger.error({}, 'a handler ignored its signal');
          reject(signal.reason);
        });
      };
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
      promise.then(resolve, reject).finally(() => {
        signal.removeEventListener('abort', onAbort);
        forget?.();
      });
    });

  const endLog = async (buildLog: BuildLog, outcome: Outcome): Promise<void> => {
    if (outcome.kind === 'threw') {
      const { failure } = outcome;
      buildLog.line(stage.name, `${failure.code}: ${failure.message}`);
      for (const line of failure.details ?? []) buildLog.line(stage.name, `  ${line}`);
      if (failure.code === 'INTERNAL') logger.error({ err: outcome.error }, 'a handler broke');
    } else if (outcome.kind !== 'returned') {
      buildLog.line(stage.name, outcome.kind);
    }
    try {
      await buildLog.close();
    } catch (error) {
      logger.warn({ err: error }, 'the build log could not be written');
    }
  };

  /** Commits what came of the run, unless it is no longer ours to commit. */
  const conclude = async (run: Run, outcome: Outcome): Promise<void> => {
    let from: Versioned<Build> | undefined = run.current;
    for (let race = 0; race < racesMax && from; race += 1) {
      const build: Build = from.document;
      if (isEnded(build.state) || !isStillOurs(run, build)) {
        logger.info({ buildId: build.id }, 'the outcome of a stage that was no longer ours is dropped');
        return;
      }
      const next = concluded(withStageRun(build, run, outcome), run, outcome);
      if (next === undefined) return;
      if (await commit(run, from, next)) return;
      from = await builds.get(build.id);
    }
  };

  const concluded = (build: Build, run: Run, outcome: Outcome): Build | undefined => {
    const now = clock.now();
    if (outcome.kind === 'lease-lost') return undefined;
    if (build.cancelRequestedAt !== null) return canceled(build, now);
    switch (outcome.kind) {
      case 'returned':
        return stageEnded(build, stage.name, run.event, outcome.events, now);
      case 'canceled':
        return canceled(build, now);
      case 'stopping':
        return givenBack(build, now);
      case 'threw': {
        const { failure } = outcome;
        const disposition = dispositionOf(retryKindOf(outcome.error), outcome.attempt, stage.limits.attemptsMax, clock.random());
        if (disposition.kind === 'retry') {
          logger.warn({ err: outcome.error, buildId: build.id, delayMs: disposition.delayMs }, 'stage is tried again');
          return retrying(build, failure.message, disposition.delayMs, now);
        }
        return failed(build, { stage: stage.name, failure, now, isDeadLetter: disposition.isDeadLetter });
      }
    }
  };

  /** The record with what is known of this run: so far, or with its end. */
  const withStageRun = (build: Build, run: Run, outcome: Outcome | null): Build => {
    const startedAt = run.phases?.startedAt;
    if (startedAt === undefined) return build;
    const known: StageRun = {
      stage: stage.name,
      attempt: build.stage?.attempt ?? 1,
      worker,
      startedAt: isoTime(startedAt),
      durationMs: outcome === null ? null : Math.max(0, Math.round(clock.now() - startedAt)),
      outcome: outcome && runOutcome(outcome),
      phases: [...(run.phases?.all ?? [])],
    };
    return { ...build, runs: withRun(build.runs, known) };
  };

  const runOutcome = (outcome: Outcome): StageRun['outcome'] => {
    switch (outcome.kind) {
      case 'returned':
        return outcome.events.some((event) => failureIn(event)) ? 'failed' : 'done';
      case 'canceled':
        return 'canceled';
      case 'stopping':
        return 'stopped';
      case 'lease-lost':
        return 'lost';
      case 'threw':
        return 'failed';
    }
  };

  const forgetCancel = bus.listen(cancelTopic, (payload) => {
    const run = typeof payload === 'string' ? runs.get(payload) : undefined;
    run?.controller.abort(new StageAbort('canceled', 'the build was canceled'));
  });
  const serve = async (queues: readonly string[]): Promise<void> => {
    const before = subscription;
    subscription = undefined;
    await before?.close();
    if (queues.length === 0 || isStopping) return;
    const next = await bus.subscribe({ queues, prefetch: slots }, (delivery) => track(receive(delivery)));
    subscription = next;
    if (isHeld || runs.size >= slots) next.pause();
    if (isStopping) await next.close();
  };
  await serve(options.queues);

  let stopped: Promise<void> | undefined;
  return {
    name: stage.name,
    running: () => [...runs.keys()],
    doing: () => [...runs].map(([buildId, { startedAt, what }]) => ({ buildId, stage: stage.name, what, since: isoTime(startedAt) })),
    serve,
    hold: async () => {
      isHeld = true;
      subscription?.pause();
      await Promise.allSettled([...takes]);
    },
    resume: () => {
      isHeld = false;
      if (runs.size < slots && !isStopping) subscription?.resume(slots - runs.size);
    },
    stop: () => {
      stopped ??= (async () => {
        isStopping = true;
        for (const run of runs.values()) run.controller.abort(new StageAbort('stopping', 'the service stops'));
        await subscription?.close();
        await Promise.allSettled([...work]);
        forgetCancel();
      })();
      return stopped;
    },
  };
}

/** The event, or why it cannot be one. */
function readEvent(stage: AnyStage, body: string): Envelope | string {
  try {
    return stage.consumes.parse(JSON.parse(body));
  } catch (error) {
    return `unreadable ${stage.consumes.type}: ${error instanceof Error ? error.message.slice(0, 500) : 'not JSON'}`;
  }
}

/** Why the build fails, where an event says that it does. */
function failureIn({ type, data }: Emitted): Failure | undefined {
  return type === 'build.failed' ? (data as { readonly failure: Failure }).failure : undefined;
}

/** A handler's word is checked before it is committed: an event that its consumer could not read would be a dead letter later. */
function checkedEvents(stage: AnyStage, events: readonly Emitted[]): readonly Emitted[] {
  return events.map((event) => {
    const definition = stage.emits.find(({ type }) => type === event.type);
    if (!definition) throw new Error(`${stage.name} returned ${event.type}, which it does not declare`);
    return { type: event.type, data: definition.schema.parse(event.data) };
  });
}
