/**
 * The record of a build and its legal moves. Each move is a pure function from one record to the next; what it says goes out with it, in the record's outbox,
 * so that one conditional write of one document commits both.
 */
import { z } from 'zod';
import { isoTime } from '../clock/clock.ts';
import { BootVerdict, definitionOf } from '../events/catalog.ts';
import type { Emitted } from '../events/define.ts';
import { derivedId, Envelope } from '../events/envelope.ts';
import { FileRef } from '../files/content-ref.ts';
import type { CollectionDefinition } from '../store/store.ts';
import { Artifact, mergeArtifacts } from './artifact.ts';
import { Failure, FailureCode } from './failure.ts';
import { Engine, ImageType, SingleBuildRequest } from './request.ts';
import { runsMax, StageRun, withoutOpenRuns } from './stage-run.ts';
import { BuildState, isEnded, isPast } from './states.ts';

/** An event that is committed, and not yet known to have arrived. */
const OutboxEntry = z.object({
  event: Envelope,
  routingKey: z.string(),
  /** Who takes it out: the stage that consumes it, with its own commit; or, where null, the relay, once the bus has it. */
  consumer: z.string().nullable(),
  /** Set where the entry goes to the dead letters instead of the topic exchange. */
  deadLetter: z.object({ stage: z.string(), code: z.string(), reason: z.string(), attempts: z.number().int() }).optional(),
});
export type OutboxEntry = z.infer<typeof OutboxEntry>;

const TimelineEntry = z.object({ at: z.iso.datetime(), state: BuildState, message: z.string().max(500).optional() });

/** Why a build that waits for its stage waits in vain, until something changes. */
export const StageProblem = z.object({ code: FailureCode, message: z.string().max(1000) });
export type StageProblem = z.infer<typeof StageProblem>;

const StageStatus = z.object({
  name: z.string(),
  waitingSince: z.iso.datetime(),
  startedAt: z.iso.datetime().nullable(),
  worker: z.string().nullable(),
  attempt: z.number().int().positive(),
  problem: StageProblem.optional(),
});

/** Who runs the stage. `token` fences: nobody without it can commit. `expiresAt` in milliseconds since 1970. */
const Claim = z.object({ token: z.string(), worker: z.string(), expiresAt: z.number() });

export const Build = z.object({
  schema: z.literal(1),
  id: z.uuid(),
  groupId: z.uuid().nullable(),
  owner: z.string().nullable(),
  retryOf: z.uuid().nullable(),
  /** What a retry from a later stage begins with, in place of `build.requested`; null once it has begun. Not in records of older versions. */
  resume: z.object({ type: z.string(), data: z.unknown() }).nullable().default(null),
  createdAt: z.iso.datetime(),
  endedAt: z.iso.datetime().nullable(),
  expiresAt: z.iso.datetime().nullable(),
  request: SingleBuildRequest,
  state: BuildState,
  stage: StageStatus.nullable(),
  claim: Claim.nullable(),
  /** Milliseconds since 1970: a failed try is repeated then, not before. */
  retryAt: z.number().nullable(),
  /** Milliseconds since 1970: the reconciler looks at the build then. Null: nothing can be left undone. */
  wakeAt: z.number().nullable(),
  /** How often the outbox went out without an answer: the reconciler waits longer each time. */
  relays: z.number().int().nonnegative(),
  cancelRequestedAt: z.iso.datetime().nullable(),
  outbox: z.array(OutboxEntry).max(20),
  timeline: z.array(TimelineEntry).max(200),
  /** The runs of its stages, oldest first. */
  runs: z.array(StageRun).max(runsMax).default([]),
  /** The resolution, once there is one; on a retry with `same`, from the start. */
  resolution: FileRef.nullable(),
  pinned: z.boolean(),
  /** The RepositorySet that the image is made from, once it stands; null in records of older versions too. */
  repositories: FileRef.nullable().default(null),
  artifacts: z.array(Artifact).max(50),
  verdict: BootVerdict.nullable(),
  verdictReason: z.string().nullable(),
  failure: Failure.nullable(),
});
export type Build = z.infer<typeof Build>;

/** What a moment's move needs besides the record: the time, in milliseconds since 1970. */
type Now = number;
const iso = isoTime;

/** Which stage works on a build in a state, as its folder is named. `scheduler` is intake's. */
export const stageOfState: Readonly<Partial<Record<BuildState, string>>> = {
  queued: 'scheduler',
  resolving: 'resolver',
  'preparing-side-repo': 'side-repo',
  building: 'image-builder',
  'boot-testing': 'boot-test',
  uploading: 'uploader',
};

/** What a stage event makes of its build's state. Other events leave it as it is. */
const stateAfter: Readonly<Record<string, BuildState>> = {
  'build.requested': 'resolving',
  'build.resolved': 'preparing-side-repo',
  'side-repo.ready': 'building',
  'image.built': 'boot-testing',
  'image.boot-tested': 'uploading',
  'build.finished': 'finished',
  'build.failed': 'failed',
  'build.canceled': 'canceled',
  'build.expired': 'expired',
};

/** How long after a relay the reconciler looks whether it was answered, by how often it was tried: 5 s, doubling, at most 5 minutes. */
export function relayPatienceMs(relays: number): number {
  return Math.min(5_000 * 2 ** Math.min(relays, 10), 300_000);
}

const timelineMax = 200;
function withTimeline(build: Build, now: Now, state: BuildState, message?: string): Build['timeline'] {
  const entry = { at: iso(now), state, ...(message === undefined ? {} : { message: message.length > 500 ? `${message.slice(0, 499)}…` : message }) };
  // The first entries tell how it began and the last how it stands: where there are too many, those between them go.
  return build.timeline.length < timelineMax ? [...build.timeline, entry] : [...build.timeline.slice(0, 20), ...build.timeline.slice(21), entry];
}

export function newBuild(options: {
  readonly id: string;
  readonly request: SingleBuildRequest;
  readonly now: Now;
  readonly groupId?: string | null;
  readonly owner?: string | null;
  readonly retryOf?: string | null;
  readonly resolution?: FileRef | null;
}): Build {
  return {
    schema: 1,
    id: options.id,
    groupId: options.groupId ?? null,
    owner: options.owner ?? null,
    retryOf: options.retryOf ?? null,
    resume: null,
    createdAt: iso(options.now),
    endedAt: null,
    expiresAt: null,
    request: options.request,
    state: 'queued',
    stage: { name: 'scheduler', waitingSince: iso(options.now), startedAt: null, worker: null, attempt: 1 },
    claim: null,
    retryAt: null,
    wakeAt: null,
    relays: 0,
    cancelRequestedAt: null,
    outbox: [],
    timeline: [{ at: iso(options.now), state: 'queued' }],
    runs: [],
    resolution: options.resolution ?? null,
    pinned: options.resolution !== undefined && options.resolution !== null,
    repositories: null,
    artifacts: [],
    verdict: null,
    verdictReason: null,
    failure: null,
  };
}

/** Who takes an event out of the outbox. End events wait for the notifier only where somebody is to be told. */
function consumerOf(type: string, build: Build): string | null {
  const state = stateAfter[type];
  if (state !== undefined && !isEnded(state)) return stageOfState[state] ?? null;
  if (type === 'build.finished' || type === 'build.failed' || type === 'build.canceled') return hasRecipients(build) ? 'notifier' : null;
  return null;
}

function hasRecipients(build: Build): boolean {
  return build.request.notify.email.length > 0;
}

/** The id of an event: the same whenever the same stage answers the same event. `cause` is null for a build's first event. */
export function eventId(buildId: string, cause: string | null, stage: string, type: string): string {
  return derivedId(cause ?? buildId, stage, type);
}

function seal(build: Build, emitted: Emitted, cause: Envelope | null, stage: string, now: Now): Envelope {
  const id = eventId(build.id, cause?.id ?? null, stage, emitted.type);
  return {
    specversion: '1.0',
    id,
    source: `spindle/${stage}`,
    type: emitted.type,
    subject: build.id,
    time: iso(now),
    datacontenttype: 'application/json',
    correlationid: cause?.correlationid ?? id,
    ...(cause ? { causationid: cause.id } : {}),
    data: emitted.data,
  };
}

function outboxEntry(build: Build, emitted: Emitted, cause: Envelope | null, stage: string, now: Now): OutboxEntry {
  const definition = definitionOf(emitted.type);
  if (!definition) throw new Error(`stage ${stage} returned ${emitted.type}, which is not in the catalog`);
  const routingKey = (definition.routingKey as (data: unknown) => string)(emitted.data);
  return { event: seal(build, emitted, cause, stage, now), routingKey, consumer: consumerOf(emitted.type, build) };
}

/** The event that asks the present stage to run; undefined for queued and ended builds. */
export function drivingEvent(build: Build): OutboxEntry | undefined {
  const stage = stageOfState[build.state];
  return build.outbox.find((entry) => entry.consumer === stage && entry.deadLetter === undefined);
}

/** Records what emitted events say about the build as a whole. */
function folded(build: Build, { type, data }: Emitted): Build {
  const facts = data as {
    resolution?: FileRef;
    repositories?: FileRef;
    artifacts?: Artifact[];
    verdict?: BootVerdict | null;
    reason?: string;
    failure?: Failure;
  };
  return {
    ...build,
    ...(type === 'build.resolved' && facts.resolution ? { resolution: facts.resolution } : {}),
    ...(type === 'side-repo.ready' && facts.repositories ? { repositories: facts.repositories } : {}),
    ...(facts.artifacts ? { artifacts: [...mergeArtifacts(build.artifacts, facts.artifacts)] } : {}),
    ...(type === 'image.boot-tested' || type === 'build.finished' ? { verdict: facts.verdict ?? null, verdictReason: facts.reason ?? null } : {}),
    ...(facts.failure ? { failure: facts.failure } : {}),
  };
}

/**
 * The one way forward: the build moves by the events a stage emits, and they go into its outbox. The event that was consumed leaves the outbox: that it was consumed
 * proves that it arrived.
 */
function advanced(build: Build, stage: string, cause: Envelope | null, emitted: readonly Emitted[], now: Now): Build {
  let next = build;
  for (const event of emitted) next = folded(next, event);
  const state = emitted.map(({ type }) => stateAfter[type]).findLast((candidate) => candidate !== undefined) ?? build.state;
  if (!isPast(state, build.state)) throw new Error(`stage ${stage} cannot move a build from ${build.state} to ${state}`);
  const ended = isEnded(state);
  const nextStage = stageOfState[state];
  const entries = emitted.map((event) => outboxEntry(next, event, cause, stage, now));
  return {
    ...next,
    state,
    stage: ended || nextStage === undefined ? null : { name: nextStage, waitingSince: iso(now), startedAt: null, worker: null, attempt: 1 },
    claim: null,
    retryAt: null,
    relays: 0,
    wakeAt: now + relayPatienceMs(0),
    endedAt: ended ? iso(now) : null,
    expiresAt: ended ? iso(now + build.request.expiresInDays * 86_400_000) : null,
    outbox: [...build.outbox.filter(({ consumer }) => consumer === null), ...entries],
    timeline: withTimeline(next, now, state, next.failure?.message),
    runs: ended ? withoutOpenRuns(next.runs) : next.runs,
  };
}

/** queued → resolving. The policy that chose this build is intake's. */
export function admitted(build: Build, now: Now): Build {
  const { release, arch, imageType } = build.request;
  const first = build.resume ?? { type: 'build.requested', data: { release, arch, imageType } };
  return { ...advanced(build, 'scheduler', null, [first], now), resume: null };
}

/** The state in which a build waits for what this event asks for; undefined for events that ask no stage for anything. */
export function stateDrivenBy(eventType: string): BuildState | undefined {
  const state = Object.hasOwn(stateAfter, eventType) ? stateAfter[eventType] : undefined;
  return state === undefined || isEnded(state) ? undefined : state;
}

/** A new build that goes on where an ended one was given up: its first event is the one that the stage did not get done, with all that earlier stages had made. */
export function retryFrom(ended: Build, event: Emitted, { id, now }: { readonly id: string; readonly now: Now }): Build {
  const state = stateDrivenBy(event.type);
  if (state === undefined) throw new Error(`no stage is asked for anything by ${event.type}`);
  const fresh = newBuild({ id, request: ended.request, now, owner: ended.owner, retryOf: ended.id });
  return {
    ...fresh,
    resume: { type: event.type, data: event.data },
    pinned: ended.pinned,
    resolution: ended.pinned || isPast(state, 'resolving') ? ended.resolution : null,
    repositories: isPast(state, 'preparing-side-repo') ? ended.repositories : null,
  };
}

/** A stage ended with these events. */
export function stageEnded(build: Build, stage: string, cause: Envelope, emitted: readonly Emitted[], now: Now): Build {
  return advanced(build, stage, cause, emitted, now);
}

/** The stage is run by one process, which holds the token until `expiresAt`. */
export function claimed(build: Build, claim: z.infer<typeof Claim>, now: Now): Build {
  if (!build.stage) throw new Error(`build ${build.id} has ended: nobody can claim it`);
  const { problem: _solved, ...stage } = build.stage;
  return { ...build, claim, stage: { ...stage, startedAt: iso(now), worker: claim.worker }, retryAt: null, wakeAt: claim.expiresAt };
}

/** What a build that waits for its image to be made needs of a worker; undefined for any other. */
export function buildTargetOf(build: Build): { readonly arch: string; readonly imageType: ImageType; readonly engine: Engine } | undefined {
  if (build.state !== 'building') return undefined;
  const data = drivingEvent(build)?.event.data;
  return BuildTarget.safeParse(data).data;
}
const BuildTarget = z.object({ arch: z.string(), imageType: ImageType, engine: Engine });

/** Nobody can do what the build waits for, or somebody can again (null). The timeline tells the first only, and once. */
export function withProblem(build: Build, problem: StageProblem | null, now: Now): Build {
  if (!build.stage) throw new Error(`build ${build.id} has ended: it waits for nothing`);
  const { problem: before, ...stage } = build.stage;
  if (problem === null) return { ...build, stage };
  const message = problem.message.length > 1000 ? `${problem.message.slice(0, 999)}…` : problem.message;
  return {
    ...build,
    stage: { ...stage, problem: { ...problem, message } },
    timeline: before ? build.timeline : withTimeline(build, now, build.state, message),
  };
}

/** The holder still works on it. */
export function heartbeat(build: Build, expiresAt: number): Build {
  if (!build.claim) throw new Error(`build ${build.id} has no claim to renew`);
  return { ...build, claim: { ...build.claim, expiresAt }, wakeAt: expiresAt };
}

/** A try failed and another follows after `delayMs`. */
export function retrying(build: Build, message: string, delayMs: number, now: Now): Build {
  if (!build.stage) throw new Error(`build ${build.id} has ended: no stage to try again`);
  const retryAt = now + delayMs;
  return {
    ...build,
    claim: null,
    retryAt,
    wakeAt: retryAt,
    stage: { ...build.stage, waitingSince: iso(now), startedAt: null, worker: null, attempt: build.stage.attempt + 1 },
    timeline: withTimeline(build, now, build.state, `attempt ${build.stage.attempt} of ${build.stage.name} did not succeed: ${message}`),
  };
}

/** The stage that held the claim gives it back unharmed (the service stops): another process goes on, and no try is counted. */
export function givenBack(build: Build, now: Now): Build {
  if (!build.stage) throw new Error(`build ${build.id} has ended: nothing to give back`);
  return { ...build, claim: null, wakeAt: now, stage: { ...build.stage, waitingSince: iso(now), startedAt: null, worker: null } };
}

/** The build fails; `artifacts` (log, recipe) stay downloadable. Where the event was given up after tries, it becomes a dead letter too. */
export function failed(
  build: Build,
  options: { readonly stage: string; readonly failure: Failure; readonly now: Now; readonly artifacts?: readonly Artifact[]; readonly isDeadLetter: boolean },
): Build {
  const driving = drivingEvent(build);
  const data = { failure: options.failure, artifacts: [...(options.artifacts ?? [])] };
  const next = advanced(build, options.stage, driving?.event ?? null, [{ type: 'build.failed', data }], options.now);
  if (!options.isDeadLetter || !driving) return next;
  const deadLetter = { stage: options.stage, code: options.failure.code, reason: options.failure.message, attempts: build.stage?.attempt ?? 1 };
  return { ...next, outbox: [...next.outbox, { ...driving, consumer: null, deadLetter }] };
}

/** The wish is stored. Where no live claim is, the build ends at once; else its holder stops first. Undefined where the build has ended. */
export function cancelRequested(build: Build, now: Now): Build | undefined {
  if (isEnded(build.state)) return undefined;
  const wished: Build = build.cancelRequestedAt
    ? build
    : { ...build, cancelRequestedAt: iso(now), timeline: withTimeline(build, now, build.state, 'cancel requested') };
  return hasLiveClaim(build, now) ? wished : canceled(wished, now);
}

export function canceled(build: Build, now: Now): Build {
  return advanced(build, stageOfState[build.state] ?? 'intake', drivingEvent(build)?.event ?? null, [{ type: 'build.canceled', data: {} }], now);
}

/** Entries without a consumer leave the outbox once the bus has them. */
export function relayed(build: Build, sent: ReadonlySet<string>): Build {
  const outbox = build.outbox.filter((entry) => entry.consumer !== null || !sent.has(outboxKey(entry)));
  return { ...build, outbox, wakeAt: isEnded(build.state) && outbox.length === 0 ? null : build.wakeAt };
}

/** Tells a dead letter from the event it was. */
export function outboxKey(entry: OutboxEntry): string {
  return entry.deadLetter ? `dead-letter:${entry.event.id}` : entry.event.id;
}

/** The notifier has recorded whom it tells: the end event has arrived. */
export function notified(build: Build): Build {
  const outbox = build.outbox.filter(({ consumer }) => consumer !== 'notifier');
  return { ...build, outbox, wakeAt: outbox.length === 0 ? null : build.wakeAt };
}

export function hasLiveClaim(build: Build, now: Now): boolean {
  return build.claim !== null && build.claim.expiresAt > now;
}

/** What a stage does with an event that reached it. */
export type Admission = 'run' | 'duplicate' | 'leased' | 'not-yet' | 'canceled' | 'foreign';

export function admission(build: Build, stageState: BuildState, event: Pick<Envelope, 'id'>, now: Now): Admission {
  if (isPast(build.state, stageState)) return 'duplicate';
  const driving = drivingEvent(build);
  if (build.state !== stageState || driving === undefined || driving.event.id !== event.id) return 'foreign';
  if (hasLiveClaim(build, now)) return 'leased';
  if (build.cancelRequestedAt !== null) return 'canceled';
  if (build.retryAt !== null && build.retryAt > now) return 'not-yet';
  return 'run';
}

/**
 * A record was checked when it was made, and it is read before every move: here only its kind is looked at, so that a record of another version or a damaged one is
 * told from a build. The full schema takes four times as long as the rest of reading.
 */
function readBuild(json: unknown): Build {
  const build = json as Partial<Build> | null;
  if (build?.schema !== 1 || !BuildState.safeParse(build.state).success || !Array.isArray(build.outbox) || !Array.isArray(build.timeline) || !build.request) {
    return Build.parse(json);
  }
  // Records of older versions know of no runs.
  return (build.runs ? build : { ...build, runs: [] }) as Build;
}

const phaseOf = (state: BuildState) => (state === 'queued' ? 'queued' : isEnded(state) ? 'ended' : 'active');

export const buildCollection: CollectionDefinition<Build> = {
  name: 'builds',
  read: readBuild,
  indexes: {
    /** All, in the order of their ids: of their creation. */
    byCreation: ({ id }) => ['all', id],
    byPhase: ({ state, id }) => [phaseOf(state), id],
    byState: ({ state, id }) => [state, id],
    byWake: ({ state, wakeAt }) => (wakeAt === null ? undefined : [state, wakeAt]),
    byGroup: ({ groupId, id }) => (groupId === null ? undefined : [groupId, id]),
    /** Builds that name uploaded RPMs, as long as their files are promised. */
    byUploads: ({ state, request, id }) => (request.sources.rpms.length === 0 || state === 'expired' ? undefined : [isEnded(state) ? 'ended' : 'live', id]),
  },
};
