/** What must hold at every step and at the end. It watches commits, publishes, acknowledgements and letters, and trusts none of them. */
import { createHash } from 'node:crypto';
import { type Build, drivingEvent, eventId, hasLiveClaim, stageOfState } from '../../shared/build/build.ts';
import { isEnded } from '../../shared/build/states.ts';
import type { Delivery as BusDelivery, Message } from '../../shared/bus/bus.ts';
import type { Envelope } from '../../shared/events/envelope.ts';
import type { MemoryFiles } from '../../shared/files/memory.ts';
import { publicKey } from '../../shared/files/public-key.ts';
import type { Letter } from '../../shared/mail/mail.ts';
import type { Worker } from '../../shared/workers/worker.ts';
import type { SimulatedProcess } from './process.ts';

interface Invariants {
  committed(process: SimulatedProcess, before: Build | undefined, after: Build): void;
  announced(process: SimulatedProcess, worker: Worker): void;
  published(message: Message): void;
  handedOut(delivery: BusDelivery, buildId: string): void;
  acknowledged(delivery: BusDelivery, process: SimulatedProcess, build: Build | undefined, othersInHand: number, now: number): void;
  atEnd(world: EndOfWorld): void;
  readonly violations: readonly string[];
  /** Commits, publishes and acknowledgements that were checked. */
  checks(): number;
}

interface EndOfWorld {
  readonly accepted: readonly string[];
  readonly builds: ReadonlyMap<string, Build>;
  readonly files: MemoryFiles;
  readonly letters: readonly Letter[];
  /** How often a notifier was killed or stalled, which excuses as many repeated letters. */
  readonly notifierInterruptions: number;
  readonly busDepth: number;
  readonly workspaces: readonly string[];
  readonly unsentDeliveries: number;
  readonly runningTools: number;
}

export function watchInvariants(nowMs: () => number): Invariants {
  const violations: string[] = [];
  const claimants = new Map<string, string>();
  /** Who ever held which stage of which build: what becomes of a lost claim is the reconciler's to know, however late its former holder acknowledges. */
  const holders = new Set<string>();
  /** How often the reconciler took each build up again; and how often it had when a copy of an event was handed out. A copy that is older than the last time is the reconciler's to answer for. */
  const relays = new Map<string, number>();
  const relaysBefore = new WeakMap<BusDelivery, number>();
  /** Workers that have said so. */
  const notTaking = new Set<string>();
  const moves = new Set<string>();
  const outbox = new Map<string, string>();
  const firstEvents = new Map<string, string>();
  let checks = 0;
  const check = (holds: boolean, sentence: () => string): void => {
    checks += 1;
    if (!holds && violations.length < 20) violations.push(sentence());
  };

  const checkEvent = (event: Envelope, before: Build | undefined): void => {
    const stage = event.source.replace('spindle/', '');
    const cause = event.causationid ?? null;
    check(
      event.id === eventId(event.subject, cause, stage, event.type),
      () => `event ${event.type} of ${event.subject} has an id that is not derived from its cause`,
    );
    check(cause === null || outbox.has(cause), () => `event ${event.type} of ${event.subject} names a cause that was never committed`);
    const first = firstEvents.get(event.subject);
    if (first === undefined) firstEvents.set(event.subject, event.id);
    check((first ?? event.id) === event.correlationid, () => `event ${event.type} of ${event.subject} has another correlation id than the build's first`);
    check(before !== undefined, () => `event ${event.type} came with a build's first record`);
    outbox.set(event.id, event.type);
  };

  return {
    violations,
    checks: () => checks,
    committed: (process, before, after) => {
      if (!before) {
        check(after.state === 'queued', () => `build ${after.id} began as ${after.state}`);
        return;
      }
      const now = nowMs();
      if (after.claim && after.claim.token !== before.claim?.token) {
        check(!hasLiveClaim(before, now), () => `${process.name} took a stage of ${after.id} that another holds`);
        claimants.set(after.claim.token, process.name);
        holders.add(`${process.name} ${after.id} ${after.state}`);
        check(!notTaking.has(process.name), () => `${process.name} began ${after.id}, though it had said that it takes nothing new`);
      }
      if (after.relays > before.relays) relays.set(after.id, (relays.get(after.id) ?? 0) + 1);
      if (isEnded(before.state))
        check(after.state === before.state || after.state === 'expired', () => `${process.name} turned ${before.id} from ${before.state} to ${after.state}`);
      if (before.state !== after.state) {
        const move = `${before.id} ${before.state}`;
        check(!moves.has(move), () => `${process.name} moved ${move} a second time, to ${after.state}`);
        moves.add(move);
      }
      // Whoever ends a live claim must be the one who holds it.
      const holder = before.claim && hasLiveClaim(before, now) ? claimants.get(before.claim.token) : undefined;
      if (holder !== undefined && after.claim?.token !== before.claim?.token) {
        check(holder === process.name, () => `${process.name} committed ${before.state} of ${before.id}, which ${holder} holds`);
      }
      // A build that waits for a worker with a claim that ran out is handed on by the reconciler only, not by the late one.
      if (before.claim && before.state !== after.state && !isEnded(after.state)) {
        check(claimants.get(before.claim.token) === process.name, () => `${process.name} moved ${before.id} from ${before.state}, though it never held it`);
      }
      const known = new Set(before.outbox.map(({ event }) => event.id));
      for (const { event } of after.outbox) if (!known.has(event.id)) checkEvent(event, before);
    },
    announced: (process, worker) => {
      if (worker.id !== process.name) return;
      if (worker.isTaking) notTaking.delete(worker.id);
      else notTaking.add(worker.id);
      check(!(worker.draining && worker.isTaking), () => `${worker.id} says that it takes builds while it is to drain`);
    },
    published: (message) => {
      check(outbox.has(message.id), () => `event ${message.routingKey} was published, but never committed`);
    },
    handedOut: (delivery, buildId) => {
      relaysBefore.set(delivery, relays.get(buildId) ?? 0);
    },
    acknowledged: (delivery, process, build, othersInHand, now) => {
      const stage = delivery.queue.slice(0, delivery.queue.indexOf('.'));
      if (!build || stage === 'notifier') {
        const isWaiting = build?.outbox.some(({ consumer, event }) => consumer === 'notifier' && event.id === delivery.id) ?? false;
        check(!isWaiting || othersInHand > 0, () => `the end of ${build?.id} was acknowledged before its letters were recorded`);
        return;
      }
      const isAccountedFor =
        stageOfState[build.state] !== stage ||
        drivingEvent(build)?.event.id !== delivery.id ||
        hasLiveClaim(build, now) ||
        build.retryAt !== null ||
        (relays.get(build.id) ?? 0) > (relaysBefore.get(delivery) ?? Number.POSITIVE_INFINITY) ||
        holders.has(`${process.name} ${build.id} ${build.state}`) ||
        (build.wakeAt ?? Number.POSITIVE_INFINITY) <= now;
      check(isAccountedFor || othersInHand > 0, () => `${delivery.routingKey} of ${build.id} was acknowledged, but the store knows nothing of its outcome`);
    },
    atEnd: (world) => {
      for (const id of world.accepted) checkEnded(check, id, world);
      check(world.busDepth === 0, () => `${world.busDepth} messages are left on the bus`);
      check(world.workspaces.length === 0, () => `workspaces are left: ${world.workspaces.join(', ')}`);
      check(world.unsentDeliveries === 0, () => `${world.unsentDeliveries} deliveries are neither sent nor given up`);
      check(world.runningTools === 0, () => `${world.runningTools} tools still run`);
      checkLetters(check, world);
    },
  };
}

type Check = (holds: boolean, sentence: () => string) => void;

function checkEnded(check: Check, id: string, { builds, files }: EndOfWorld): void {
  const build = builds.get(id);
  check(build !== undefined, () => `accepted build ${id} is gone`);
  if (!build) return;
  check(isEnded(build.state), () => `build ${id} never ended: ${build.state}, ${JSON.stringify(build.stage)}, wake ${build.wakeAt}`);
  if (!isEnded(build.state)) return;
  check(build.outbox.length === 0, () => `the outbox of ${id} still holds ${build.outbox.map(({ event }) => event.type).join(', ')}`);
  check(build.claim === null, () => `ended build ${id} is still claimed`);
  check(build.wakeAt === null, () => `ended build ${id} still waits to be looked at`);
  check((build.state === 'failed') === (build.failure !== null), () => `build ${id} is ${build.state} and its failure is ${build.failure?.code}`);
  check(build.failure?.code !== 'INTERNAL', () => `build ${id} failed by a bug: ${build.failure?.message}`);
  check(build.state !== 'canceled' || build.cancelRequestedAt !== null, () => `build ${id} was canceled, though nobody asked`);
  if (build.state !== 'finished') return;
  for (const artifact of build.artifacts) {
    const bytes = files.peek(publicKey(id, artifact));
    const digest = bytes ? createHash('sha256').update(bytes).digest('hex') : 'nothing';
    check(digest === artifact.sha256, () => `artifact ${artifact.name} of ${id} should be ${artifact.sha256} and is ${digest}`);
  }
  const names = new Set(build.artifacts.map(({ name }) => name));
  for (const wanted of ['CHECKSUM', 'manifest.json', 'sbom.spdx.json', 'build.log']) check(names.has(wanted), () => `finished build ${id} has no ${wanted}`);
}

function checkLetters(check: Check, { accepted, builds, letters, notifierInterruptions }: EndOfWorld): void {
  const byRecipient = new Map<string, Letter[]>();
  for (const letter of letters) byRecipient.set(letter.to, [...(byRecipient.get(letter.to) ?? []), letter]);
  for (const id of accepted) {
    const build = builds.get(id);
    for (const recipient of build?.request.notify.email ?? []) {
      const got = byRecipient.get(recipient) ?? [];
      check(
        new Set(got.map(({ messageId }) => messageId)).size === 1,
        () => `${recipient} got ${new Set(got.map(({ messageId }) => messageId)).size} different letters about ${id}`,
      );
      check(
        got.length - 1 <= notifierInterruptions,
        () => `${recipient} got the same letter ${got.length} times, though notifiers were interrupted only ${notifierInterruptions} times`,
      );
      const isSuccess = got.some(({ text }) => /is ready|is built/.test(text));
      check(isSuccess === (build?.state === 'finished'), () => `build ${id} is ${build?.state}, and its letter says ${isSuccess ? 'ready' : 'not ready'}`);
    }
  }
}
