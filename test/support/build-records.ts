/** Build records for tests, made by the same moves as real ones: a build in any state, with everything that its way there left in it. */
import { admitted, type Build, drivingEvent, newBuild, stageEnded, stageOfState } from '../../shared/build/build.ts';
import { SingleBuildRequest } from '../../shared/build/request.ts';
import { type BuildState, buildStates } from '../../shared/build/states.ts';
import { type AnyEmitted, BuildFinished, BuildResolved, ImageBootTested, ImageBuilt, ImageUploaded, SideRepoReady } from '../../shared/events/catalog.ts';
import type { Emitted } from '../../shared/events/define.ts';

/** 22 November 2026, midnight UTC. */
export const startMs = Date.UTC(2026, 10, 22);
export const buildId = '01936f00-0000-7000-8000-000000000001';

const ref = (digit: string, size: number) => ({ sha256: digit.repeat(64), size });
export const image = { name: 'Test-sample-x86_64.iso', mediaType: 'application/x-iso9660-image', ...ref('a', 52_428_800) };
const manifest = { name: 'manifest.json', mediaType: 'application/json', ...ref('b', 2_048) };
const target = { arch: 'x86_64', imageType: 'live' as const };

export function sampleRequest(changes: Record<string, unknown> = {}): SingleBuildRequest {
  return SingleBuildRequest.parse({ release: 'sample', arch: 'x86_64', imageType: 'live', label: 'Test', packages: ['@core', 'hello'], ...changes });
}

/** What the stage that works in a state returns when all goes well. */
export function wellEnded(state: BuildState): readonly AnyEmitted[] {
  switch (state) {
    case 'resolving':
      return [BuildResolved({ ...target, engine: 'kiwi', resolution: ref('c', 100) })];
    case 'preparing-side-repo':
      return [SideRepoReady({ ...target, engine: 'kiwi', resolution: ref('c', 100), repositories: ref('d', 200) })];
    case 'building':
      return [ImageBuilt({ ...target, image: image.name, requested: ['hello-1.1-1.sample.x86_64'], artifacts: [image, manifest] })];
    case 'boot-testing':
      return [ImageBootTested({ image: image.name, verdict: 'booted', reason: 'The login prompt came after 12 s.', artifacts: [image, manifest] })];
    case 'uploading':
      return [
        ImageUploaded({ image: image.name, artifacts: [image, manifest] }),
        BuildFinished({ verdict: 'booted', reason: 'The login prompt came after 12 s.' }),
      ];
    default:
      throw new Error(`no stage works on a build that is ${state}`);
  }
}

export function queuedBuild(changes: Record<string, unknown> = {}): Build {
  return newBuild({ id: buildId, request: sampleRequest(changes), now: startMs });
}

/** The present stage ends with these events, now. */
export function endStage(build: Build, emitted: readonly Emitted[], now: number): Build {
  const driving = drivingEvent(build);
  if (!driving) throw new Error(`nothing drives a build that is ${build.state}`);
  return stageEnded(build, stageOfState[build.state] ?? '', driving.event, emitted, now);
}

/** A build that came to a state of the pipeline, or to `finished`, one minute a stage, without trouble. */
export function buildIn(state: BuildState, changes: Record<string, unknown> = {}): Build {
  let build = queuedBuild(changes);
  for (let minute = 1; build.state !== state; minute += 1) {
    const now = startMs + minute * 60_000;
    build = build.state === 'queued' ? admitted(build, now) : endStage(build, wellEnded(build.state), now);
    if (minute > buildStates.length) throw new Error(`no build gets to ${state} without trouble`);
  }
  return build;
}
