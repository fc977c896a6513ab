/** Leadership: of many processes one holds a named lease in the store and does what only one should. */
import { z } from 'zod';
import type { Clock } from '../clock/clock.ts';
import type { Collection, CollectionDefinition } from '../store/store.ts';

const Lease = z.object({ id: z.string(), holder: z.string(), expiresAt: z.number() });
export type Lease = z.infer<typeof Lease>;

export const leaseCollection: CollectionDefinition<Lease> = { name: 'leases', read: (json) => Lease.parse(json), indexes: {} };

const leaseMs = 15_000;
const renewMs = 5_000;

export interface Leadership {
  /** True where this process leads now. Asks the store at most every 5 s while it leads. What a former leader still does must be harmless: it may be slow. */
  leads(): Promise<boolean>;
  /** Lets another process lead at once. */
  resign(): Promise<void>;
}

export function leadership(options: { readonly name: string; readonly holder: string; readonly leases: Collection<Lease>; readonly clock: Clock }): Leadership {
  const { name, holder, leases, clock } = options;
  let renewAt = 0;
  return {
    leads: async () => {
      const now = clock.now();
      if (now < renewAt) return true;
      renewAt = 0;
      const found = await leases.get(name);
      const mine = { id: name, holder, expiresAt: now + leaseMs };
      if (found && found.document.holder !== holder && found.document.expiresAt > now) return false;
      const held = found ? await leases.replace(mine, found.version) : await leases.insert(mine);
      if (held) renewAt = now + renewMs;
      return held;
    },
    resign: async () => {
      renewAt = 0;
      const found = await leases.get(name);
      if (found?.document.holder === holder) await leases.replace({ ...found.document, expiresAt: 0 }, found.version);
    },
  };
}
