/** Turns checked requests into queued builds, durably, and once for each Idempotency-Key. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type Build, newBuild } from '../../shared/build/build.ts';
import type { SingleBuildRequest } from '../../shared/build/request.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import { derivedId } from '../../shared/events/envelope.ts';
import type { FileRef } from '../../shared/files/content-ref.ts';
import { Problem } from '../../shared/http/problem.ts';
import type { Collection, CollectionDefinition, Versioned } from '../../shared/store/store.ts';

/** What a key stands for. Written before its builds: whoever comes with the key again, also after a crash, makes the same ones. */
const IdempotencyKey = z.object({
  id: z.uuid(),
  /** SHA-256 of the request, so that the key cannot be used for another one. */
  digest: z.string(),
  /** Milliseconds since 1970. */
  at: z.number(),
  buildIds: z.array(z.uuid()),
  groupId: z.uuid().nullable(),
});
export type IdempotencyKey = z.infer<typeof IdempotencyKey>;

export const idempotencyKeyCollection: CollectionDefinition<IdempotencyKey> = {
  name: 'idempotency-keys',
  read: (json) => IdempotencyKey.parse(json),
  indexes: { byTime: ({ at }) => ['all', at] },
};

/** A client that tries again does so within minutes; after a week a key means nothing any more. */
const keyLifetimeMs = 7 * 86_400_000;

export interface AcceptPorts {
  readonly builds: Collection<Build>;
  readonly idempotencyKeys: Collection<IdempotencyKey>;
  readonly clock: Clock;
}

export interface Order {
  readonly requests: readonly SingleBuildRequest[];
  readonly owner: string | null;
  readonly retryOf?: string;
  readonly resolution?: FileRef;
  /** What the client sent as Idempotency-Key. */
  readonly key?: string;
}

/**
 * Resolves with the builds once every one of them is durable. The same key with the same order gives the same builds, however often; with another order it throws
 * IDEMPOTENCY_KEY_REUSED.
 */
export async function acceptBuilds(ports: AcceptPorts, order: Order): Promise<readonly Build[]> {
  const { clock } = ports;
  const buildIds = order.requests.map(() => clock.id());
  const plan = { at: clock.now(), buildIds, groupId: buildIds.length > 1 ? clock.id() : null };
  const { at, ...ids } = order.key === undefined ? plan : await planOfKey(ports, order, order.key, plan);
  return Promise.all(
    order.requests.map(async (request, index) => {
      const id = ids.buildIds[index] ?? clock.id();
      const build = newBuild({
        id,
        request,
        now: at,
        groupId: ids.groupId,
        owner: order.owner,
        retryOf: order.retryOf ?? null,
        resolution: order.resolution ?? null,
      });
      if (await ports.builds.insert(build)) return build;
      return (await ports.builds.get(id))?.document ?? build;
    }),
  );
}

type Plan = Pick<IdempotencyKey, 'at' | 'buildIds' | 'groupId'>;

async function planOfKey({ idempotencyKeys, clock }: AcceptPorts, order: Order, key: string, plan: Plan): Promise<Plan> {
  const id = derivedId('idempotency-key', order.owner ?? '', key);
  const { requests, retryOf, resolution } = order;
  const digest = createHash('sha256').update(JSON.stringify({ requests, retryOf, resolution })).digest('hex');
  let found: Versioned<IdempotencyKey> | undefined;
  while (!found) {
    if (await idempotencyKeys.insert({ id, digest, ...plan })) {
      await forgetOldKeys(idempotencyKeys, clock.now());
      return plan;
    }
    // Undefined only where it was swept away between the two calls: then it is ours to write.
    found = await idempotencyKeys.get(id);
  }
  if (found.document.digest !== digest) {
    throw new Problem('IDEMPOTENCY_KEY_REUSED', 'this Idempotency-Key was used before with another request; a new request needs a new key');
  }
  return found.document;
}

/** Each new key sweeps two old ones away, so that they cannot grow without bound and no sweep takes long. */
async function forgetOldKeys(keys: Collection<IdempotencyKey>, now: number): Promise<void> {
  const old = await keys.find({ index: 'byTime', prefix: ['all'], to: now - keyLifetimeMs, limit: 2 });
  await Promise.all(old.map(({ document, version }) => keys.remove(document.id, version)));
}
