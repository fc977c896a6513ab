/** Every event of the pipeline, in its order. What a stage needs of earlier stages travels in the event as references into the files port. Pure. */
import { z } from 'zod';
import { Artifact } from '../build/artifact.ts';
import { Failure } from '../build/failure.ts';
import { Engine, ImageType } from '../build/request.ts';
import { FileRef } from '../files/content-ref.ts';
import { defineEvent } from './define.ts';

export const BootVerdict = z.enum(['booted', 'no-verdict', 'failed']);
export type BootVerdict = z.infer<typeof BootVerdict>;

const target = { arch: z.string().regex(/^[a-z0-9_]{1,16}$/), imageType: ImageType };
const artifacts = z.array(Artifact).max(50);

export const BuildRequested = defineEvent({
  type: 'build.requested',
  version: 1,
  summary: 'A queued build got a slot: resolve it.',
  data: z.object({ release: z.string(), ...target }),
});

export const BuildResolved = defineEvent({
  type: 'build.resolved',
  version: 1,
  summary: 'Every package is known exactly, and the whole set installs together.',
  /** `resolution`: JSON of shared/resolution/resolution.ts. */
  data: z.object({ ...target, engine: Engine, resolution: FileRef }),
});

export const SideRepoReady = defineEvent({
  type: 'side-repo.ready',
  version: 1,
  summary: 'Every resolved RPM is stored and checked, and the local repositories have their metadata.',
  /** `repositories`: JSON of the RepositorySet of shared/resolution/resolution.ts. */
  data: z.object({ ...target, engine: Engine, resolution: FileRef, repositories: FileRef }),
  routingKey: ({ arch, imageType, engine }) => `side-repo.ready.${arch}.${imageType}.${engine}`,
});

export const ImageBuilt = defineEvent({
  type: 'image.built',
  version: 1,
  summary: 'The image is stored, and its own RPM database holds every requested build.',
  /** `image` names the artifact that boots; `requested`: NEVRAs that the running system must have. */
  data: z.object({ ...target, image: z.string(), requested: z.array(z.string()).max(5000), artifacts }),
});

export const ImageBootTested = defineEvent({
  type: 'image.boot-tested',
  version: 1,
  summary: 'The image was started once; the verdict says how that went. No verdict where the request asked for no test.',
  data: z.object({ image: z.string(), verdict: BootVerdict.nullable(), reason: z.string().max(2000), artifacts }),
});

export const ImageUploaded = defineEvent({
  type: 'image.uploaded',
  version: 1,
  summary: 'Every artifact stands under its public name.',
  data: z.object({ image: z.string(), artifacts }),
});

export const BuildFinished = defineEvent({
  type: 'build.finished',
  version: 1,
  summary: 'The build ended well.',
  data: z.object({ verdict: BootVerdict.nullable(), reason: z.string().max(2000) }),
});

export const BuildFailed = defineEvent({
  type: 'build.failed',
  version: 1,
  summary: 'The build ended badly, for the reason given.',
  data: z.object({ failure: Failure, artifacts: artifacts.default([]) }),
});

export const BuildCanceled = defineEvent({
  type: 'build.canceled',
  version: 1,
  summary: 'The build ended because somebody asked for that.',
  data: z.object({}),
});

export const BuildExpired = defineEvent({
  type: 'build.expired',
  version: 1,
  summary: 'The files of an ended build were removed; its record stays.',
  data: z.object({}),
});

/** In pipeline order; docs/events.md and docs/asyncapi.yaml are made from this. */
export const catalog = [
  BuildRequested,
  BuildResolved,
  SideRepoReady,
  ImageBuilt,
  ImageBootTested,
  ImageUploaded,
  BuildFinished,
  BuildFailed,
  BuildCanceled,
  BuildExpired,
] as const;
export type EventType = (typeof catalog)[number]['type'];
/** Any event that a stage can return. */
export type AnyEmitted = { [D in (typeof catalog)[number] as D['type']]: ReturnType<D> }[EventType];
const byType: ReadonlyMap<string, (typeof catalog)[number]> = new Map(catalog.map((definition) => [definition.type, definition]));

export function definitionOf(type: string): (typeof catalog)[number] | undefined {
  return byType.get(type);
}

export function routingKeyOf(event: AnyEmitted): string {
  const definition = byType.get(event.type);
  return definition ? (definition.routingKey as (data: unknown) => string)(event.data) : event.type;
}
