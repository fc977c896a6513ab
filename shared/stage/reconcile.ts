/** The reconciler: drives again whatever a crash left between two steps. It looks only at builds whose time to be looked at has come. */
import { type Build, canceled, failed, hasLiveClaim, relayPatienceMs, retrying } from '../build/build.ts';
import { failureOf, SpindleError } from '../build/failure.ts';
import { type BuildState, isEnded } from '../build/states.ts';
import type { Clock } from '../clock/clock.ts';
import type { Log } from '../log/log.ts';
import type { Versioned } from '../store/store.ts';
import { lostAttemptsMax } from './disposition.ts';
import type { Leadership } from './leadership.ts';
import { type RelayPorts, relayOutbox } from './outbox.ts';

/** How often each state is looked at. With a lease of 20 s this notices a lost process well within 30 s. */
const defaultIntervalMs = 1_000;
const batchMax = 200;

/** What a build needs at `now`: its next record, whose outbox then goes out; undefined where it needs nothing. Pure. */
export function reconciled(build: Build, now: number): Build | undefined {
  if (build.wakeAt === null || build.wakeAt > now) return undefined;
  if (isEnded(build.state)) return build.outbox.length === 0 ? { ...build, wakeAt: null } : relayedAgain(build, now);
  if (hasLiveClaim(build, now)) return { ...build, wakeAt: build.claim?.expiresAt ?? now };
  if (build.cancelRequestedAt !== null) return canceled(build, now);
  if (build.claim !== null) return lost(build, now);
  return relayedAgain(build, now);
}

/** The process that held the claim vanished: its token is void from here on, and its stage runs again. */
function lost(build: Build, now: number): Build {
  const stage = build.stage?.name ?? 'stage';
  const error = new SpindleError('WORKER_LOST', `worker ${build.claim?.worker ?? ''} vanished in ${stage}`);
  if ((build.stage?.attempt ?? 1) >= lostAttemptsMax) return failed(build, { stage, failure: failureOf(error, stage), now, isDeadLetter: true });
  return relayedAgain(retrying(build, error.message, 0, now), now);
}

function relayedAgain(build: Build, now: number): Build {
  return { ...build, relays: build.relays + 1, retryAt: null, wakeAt: now + relayPatienceMs(build.relays + 1) };
}

/** The first thing a single process does with the state of a dead predecessor: its claims are void, its bus is gone, all unfinished work is due now. Pure. */
export function recovered(build: Build, now: number): Build | undefined {
  if (build.claim !== null) {
    const next = lost({ ...build, claim: { ...build.claim, expiresAt: now } }, now);
    return isEnded(next.state) ? next : { ...next, wakeAt: now, relays: 0 };
  }
  if (build.outbox.length === 0) return undefined;
  return { ...build, wakeAt: Math.max(now, build.retryAt ?? 0), relays: 0 };
}

export interface Reconciler {
  /** One look at everything that is due; resolves with how many builds were driven again. */
  pass(): Promise<number>;
  stop(): Promise<void>;
}

/** `leadership`: where other processes have a reconciler too; one of them looks. */
export function startReconciler(
  options: RelayPorts & {
    readonly clock: Clock;
    readonly logger: Log;
    readonly states: readonly BuildState[];
    readonly leadership?: Leadership;
    readonly intervalMs?: number;
  },
): Reconciler {
  const { builds, clock, logger, states, leadership, probe } = options;
  const stopping = new AbortController();

  const drive = async (found: Versioned<Build>): Promise<boolean> => {
    const next = reconciled(found.document, clock.now());
    // A lost race means that the build moved by itself.
    if (!next || !(await builds.replace(next, found.version))) return false;
    await probe?.('reconciled', next.id);
    if (next.outbox.length > 0 && !hasLiveClaim(next, clock.now())) await relayOutbox(options, { document: next, version: found.version + 1 });
    return true;
  };

  const isBusThere = () =>
    options.bus.ping().then(
      () => true,
      () => false,
    );

  const pass = async (): Promise<number> => {
    // What a pass does ends with an event. While none can go out, none is counted as sent again, and all of it is due as soon as they can.
    if (!(await isBusThere())) return 0;
    let driven = 0;
    for (const state of states) {
      const due = await builds.find({ index: 'byWake', prefix: [state], to: clock.now(), limit: batchMax });
      for (const found of due) {
        if (stopping.signal.aborted) return driven;
        try {
          if (await drive(found)) driven += 1;
        } catch (error) {
          // One build's trouble must not keep the others waiting; it is still due at the next pass.
          logger.warn({ err: error, buildId: found.document.id }, 'could not drive a build again');
        }
      }
    }
    return driven;
  };

  const loop = (async () => {
    while (!stopping.signal.aborted) {
      try {
        if (!leadership || (await leadership.leads())) await pass();
      } catch (error) {
        logger.warn({ err: error }, 'reconciler pass failed');
      }
      await clock.sleep(options.intervalMs ?? defaultIntervalMs, stopping.signal).catch(() => undefined);
    }
  })();

  return {
    pass,
    stop: async () => {
      stopping.abort(new Error('reconciler stopped'));
      await loop;
      await leadership?.resign().catch(() => undefined);
    },
  };
}
