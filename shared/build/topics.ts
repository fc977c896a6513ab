/** Broadcast topics on which those who wait for one build are told that something is new. A lost broadcast costs them a short wait. Pure. */

/** The record of the build changed. */
export function buildTopic(buildId: string): string {
  return `build.changed.${buildId}`;
}

/** How far the running stage is: `{stage, done, total, what}`. */
export function progressTopic(buildId: string): string {
  return `progress.${buildId}`;
}
