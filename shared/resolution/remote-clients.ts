/** The clients of the hosts that a release names, as the resolver asks them: each release may have its own. */
import type { Bodhi } from '../bodhi/bodhi.ts';
import { bodhiRest } from '../bodhi/rest.ts';
import type { Clock } from '../clock/clock.ts';
import type { Egress } from '../egress/egress.ts';
import { kojiHub } from '../koji/hub.ts';
import type { Koji } from '../koji/koji.ts';
import type { Release } from '../releases/releases.ts';

export interface RemoteClients {
  readonly koji: (koji: NonNullable<Release['koji']>) => Koji;
  readonly bodhi: (bodhi: NonNullable<Release['bodhi']>) => Bodhi;
}

export function remoteClients({ egress, clock }: { readonly egress: Egress; readonly clock: Clock }): RemoteClients {
  return {
    koji: ({ hub, files }) => kojiHub({ hub, files, egress, clock }),
    bodhi: ({ url }) => bodhiRest({ url, egress, clock }),
  };
}
