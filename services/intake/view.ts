/** A build as the outside sees it: the record without what only the machinery needs, and with links. Pure. */
import { z } from 'zod';
import { Artifact } from '../../shared/build/artifact.ts';
import { type Build, StageProblem } from '../../shared/build/build.ts';
import { Failure } from '../../shared/build/failure.ts';
import { Engine, ImageType, SingleBuildRequest } from '../../shared/build/request.ts';
import { StageRun } from '../../shared/build/stage-run.ts';
import { BuildState, isEnded } from '../../shared/build/states.ts';
import { BootVerdict } from '../../shared/events/catalog.ts';
import { apiPrefix } from '../../shared/http/section.ts';
import { withoutHashes } from '../../shared/kickstart/secrets.ts';
import type { Release, ReleasesFile } from '../../shared/releases/releases.ts';
import type { UploadedRpm } from '../../shared/uploads/uploaded-rpm.ts';
import { type ServedEngines, servedTypes } from './service.ts';

const PublicArtifact = z.object({ ...Artifact.shape, url: z.string() });
export type PublicArtifact = z.infer<typeof PublicArtifact>;

export const PublicBuild = z.object({
  id: z.uuid(),
  groupId: z.uuid().nullable(),
  owner: z.string().nullable(),
  retryOf: z.uuid().nullable(),
  createdAt: z.iso.datetime(),
  endedAt: z.iso.datetime().nullable(),
  expiresAt: z.iso.datetime().nullable(),
  cancelRequestedAt: z.iso.datetime().nullable(),
  state: BuildState,
  /** `startedAt` null: it waits. Null as a whole once the build has ended. */
  stage: z
    .object({
      name: z.string(),
      waitingSince: z.iso.datetime(),
      startedAt: z.iso.datetime().nullable(),
      worker: z.string().nullable(),
      attempt: z.number().int().positive(),
      /** Why it waits in vain: no build node can make it. Gone when one can. */
      problem: StageProblem.nullable(),
    })
    .nullable(),
  /** Of a queued build: its place, 1 is next. Only where one build was asked for. */
  queue: z.object({ place: z.number().int().positive() }).nullable(),
  verdict: BootVerdict.nullable(),
  verdictReason: z.string().nullable(),
  failure: Failure.nullable(),
  request: SingleBuildRequest,
  timeline: z.array(z.object({ at: z.iso.datetime(), state: BuildState, message: z.string().optional() })),
  /** The runs of its stages with their phases, oldest first; of a running one as of a few seconds ago. Empty where builds are listed. */
  runs: z.array(StageRun),
  artifacts: z.array(PublicArtifact),
  links: z.record(z.string(), z.string()),
  /** Told with the answer to a request only: what is accepted, but may have to wait for the operator. */
  warnings: z.array(z.string()).optional(),
});
export type PublicBuild = z.infer<typeof PublicBuild>;

export const PublicGroup = z.object({ id: z.uuid(), states: z.partialRecord(BuildState, z.number().int()), isEnded: z.boolean(), items: z.array(PublicBuild) });
export type PublicGroup = z.infer<typeof PublicGroup>;

export const BuildPage = z.object({
  meta: z.object({ limit: z.number().int(), nextCursor: z.string().nullable() }),
  items: z.array(PublicBuild),
});
export type BuildPage = z.infer<typeof BuildPage>;

export const buildPath = (buildId: string) => `${apiPrefix}/builds/${buildId}`;
export const groupPath = (groupId: string) => `${apiPrefix}/groups/${groupId}`;

export function publicArtifacts(build: Build): readonly PublicArtifact[] {
  return build.artifacts.map((artifact) => ({ ...artifact, url: `${buildPath(build.id)}/artifacts/${artifact.name}` }));
}

/** What is known only to who asked the store. */
interface BuildExtras {
  readonly queuePlace?: number;
  readonly warnings?: readonly string[];
}

export function publicBuild(build: Build, { queuePlace, warnings = [] }: BuildExtras = {}): PublicBuild {
  const self = buildPath(build.id);
  const { id, groupId, owner, retryOf, createdAt, endedAt, expiresAt, cancelRequestedAt, state, stage, verdict, verdictReason, failure, timeline } = build;
  return {
    id,
    groupId,
    owner,
    retryOf,
    createdAt,
    endedAt,
    expiresAt,
    cancelRequestedAt,
    state,
    stage: stage && { ...stage, problem: stage.problem ?? null },
    queue: queuePlace === undefined ? null : { place: queuePlace },
    verdict,
    verdictReason,
    failure,
    request: withoutSecrets(build.request),
    timeline,
    runs: build.runs,
    artifacts: [...publicArtifacts(build)],
    links: {
      self,
      events: `${self}/events`,
      log: `${self}/log`,
      artifacts: `${self}/artifacts`,
      ...(build.artifacts.some(({ name }) => name === 'manifest.json') ? { manifest: `${self}/manifest` } : {}),
      ...(build.artifacts.some(({ name }) => name === 'sbom.spdx.json') ? { sbom: `${self}/sbom` } : {}),
      ...(build.repositories ? { sideRepo: `${self}/side-repo.repo` } : {}),
      ...(isEnded(state) ? { retry: `${self}/retry` } : { cancel: `${self}/cancel` }),
      ...(groupId === null ? {} : { group: groupPath(groupId) }),
      ...(retryOf === null ? {} : { retryOf: buildPath(retryOf) }),
    },
    ...(warnings.length > 0 ? { warnings: [...warnings] } : {}),
  };
}

function withoutSecrets(request: SingleBuildRequest): SingleBuildRequest {
  const webhooks = request.notify.webhooks.map(({ secret, ...webhook }) => (secret === undefined ? webhook : { ...webhook, secret: '***' }));
  const kickstart = request.kickstart === null ? null : withoutHashes(request.kickstart);
  return { ...request, kickstart, notify: { ...request.notify, webhooks } };
}

export function publicGroup(groupId: string, builds: readonly Build[], extrasOf: (build: Build) => BuildExtras = () => ({})): PublicGroup {
  const states: PublicGroup['states'] = {};
  for (const { state } of builds) states[state] = (states[state] ?? 0) + 1;
  return { id: groupId, states, isEnded: builds.every(({ state }) => isEnded(state)), items: builds.map((build) => publicBuild(build, extrasOf(build))) };
}

export const PublicRelease = z.object({
  id: z.string(),
  name: z.string(),
  arches: z.array(z.string()),
  /** Those that this service makes, each with the engine that `auto` means. */
  imageTypes: z.array(z.object({ id: ImageType, engine: Engine })),
  repositories: z.array(z.object({ id: z.string(), role: z.string() })),
  hasKoji: z.boolean(),
  hasBodhi: z.boolean(),
  unsigned: z.string(),
});

export function publicRelease(release: Release, served: ServedEngines): z.infer<typeof PublicRelease> {
  return {
    id: release.id,
    name: release.name,
    arches: release.arches,
    imageTypes: servedTypes(release, served).flatMap((id) => {
      const engine = release.engines[id];
      return engine === undefined ? [] : [{ id, engine }];
    }),
    repositories: release.repositories.map(({ id, role }) => ({ id, role })),
    hasKoji: release.koji !== undefined,
    hasBodhi: release.bodhi !== undefined,
    unsigned: release.unsigned,
  };
}

export const PublicRpm = z.object({
  id: z.uuid(),
  nevra: z.string(),
  name: z.string(),
  epoch: z.number().int(),
  version: z.string(),
  release: z.string(),
  arch: z.string(),
  sha256: z.string(),
  size: z.number().int(),
  sourceRpm: z.string(),
  summary: z.string().nullable(),
  /** Whose signature was verified: of an upload nobody's, until a build holds it to the keys of its release. */
  signedBy: z.string().nullable(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
  /** Nobody but the requester vouches for it. */
  untrusted: z.literal(true),
  links: z.record(z.string(), z.string()),
});

export const RpmList = z.object({
  meta: z.object({ count: z.number().int(), bytes: z.number().int(), countMax: z.number().int(), bytesMax: z.number().int() }),
  items: z.array(PublicRpm),
});

export const rpmsPath = `${apiPrefix}/rpms`;
const rpmPath = (id: string) => `${rpmsPath}/${id}`;

export function publicRpm(upload: UploadedRpm): z.infer<typeof PublicRpm> {
  const { id, nevra, name, epoch, version, release, arch, sha256, size, sourceRpm, summary, createdAt, expiresAt } = upload;
  const identity = { id, nevra, name, epoch, version, release, arch, sha256, size, sourceRpm, summary };
  return { ...identity, signedBy: null, createdAt, expiresAt, untrusted: true, links: { self: rpmPath(id) } };
}

export const PublicImageType = z.object({
  id: ImageType,
  description: z.string(),
  /** Of the volume label, in characters. */
  labelLengthMax: z.number().int(),
  engines: z.array(Engine),
  releases: z.array(z.string()),
});

const imageTypeDescriptions: Readonly<Record<ImageType, string>> = {
  boot: 'A network installer: boots, and installs from the repositories.',
  dvd: 'An installer with its packages on the medium.',
  live: 'A system that runs from the medium.',
};

export function publicImageTypes(releases: ReleasesFile, served: ServedEngines): readonly z.infer<typeof PublicImageType>[] {
  return ImageType.options.map((id) => ({
    id,
    description: imageTypeDescriptions[id],
    labelLengthMax: 32,
    engines: Engine.options.filter((engine) => served[engine]?.includes(id)),
    releases: releases.releases.filter((release) => servedTypes(release, served).includes(id)).map((release) => release.id),
  }));
}
