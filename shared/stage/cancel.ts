/** Canceling: the wish is stored first, then broadcast. A lost broadcast costs a heartbeat's time and nothing else. */
import { type Build, cancelRequested } from '../build/build.ts';
import type { Bus } from '../bus/bus.ts';
import type { Clock } from '../clock/clock.ts';
import type { Collection, Versioned } from '../store/store.ts';
import { relayOutbox } from './outbox.ts';
import type { Probe } from './steps.ts';

/** Broadcast with the build's id: whoever runs a stage of it stops. */
export const cancelTopic = 'build.cancel';

/**
 * Asks for the end of a build. Resolves with the record as it is afterwards; `accepted` is false where it had ended already. Undefined where there is no such build.
 */
export async function cancelBuild(
  ports: { readonly bus: Bus; readonly builds: Collection<Build>; readonly clock: Clock; readonly probe?: Probe },
  buildId: string,
): Promise<{ readonly accepted: boolean; readonly build: Build } | undefined> {
  const { bus, builds, clock } = ports;
  let found: Versioned<Build> | undefined = await builds.get(buildId);
  while (found) {
    const next = cancelRequested(found.document, clock.now());
    if (!next) return { accepted: false, build: found.document };
    if (await builds.replace(next, found.version)) {
      bus.broadcast(cancelTopic, buildId);
      // Where the relay fails, the reconciler repeats it.
      await relayOutbox(ports, { document: next, version: found.version + 1 }).catch(() => undefined);
      return { accepted: true, build: next };
    }
    found = await builds.get(buildId);
  }
  return undefined;
}
