/** What intake's routes work with. */

import type { Build } from '../../shared/build/build.ts';
import type { SingleBuildRequest } from '../../shared/build/request.ts';
import type { Bus } from '../../shared/bus/bus.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import type { Secret } from '../../shared/config/secret.ts';
import type { Files } from '../../shared/files/files.ts';
import { Problem } from '../../shared/http/problem.ts';
import type { Log } from '../../shared/log/log.ts';
import type { Release } from '../../shared/releases/releases.ts';
import type { Resolution } from '../../shared/resolution/resolution.ts';
import type { PackageIndex } from '../../shared/solver/package-index.ts';
import type { Collection, Store } from '../../shared/store/store.ts';
import type { Worker } from '../../shared/workers/worker.ts';
import type { IdempotencyKey } from './accept.ts';
import type { IntakeRules } from './service.ts';
import type { RpmUploads } from './uploads.ts';

export interface IntakePorts extends IntakeRules {
  readonly builds: Collection<Build>;
  readonly workers: Collection<Worker>;
  readonly idempotencyKeys: Collection<IdempotencyKey>;
  readonly store: Pick<Store, 'ping'>;
  readonly files: Files;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly logger: Log;
  /** Without a slash at the end. */
  readonly publicUrl: string;
  readonly listenHost: string;
  /** What the tokens of build nodes are made with. Without it nobody reads repositories by their digest. */
  readonly repositorySecret?: Secret;
  /** A dry run: what the resolver would find. Rejects with a SpindleError, or with the signal's reason. */
  readonly resolve: (request: SingleBuildRequest, signal: AbortSignal) => Promise<Resolution>;
  /** What can be searched for packages. Rejects as `resolve` does. */
  readonly packages: (release: Release, arch: string, signal: AbortSignal) => Promise<PackageIndex>;
  readonly uploads: RpmUploads;
  /** How long a refused upload may go on being sent, in milliseconds. */
  readonly uploadLingerMs?: number;
  /** Called after builds were queued. */
  readonly onQueued: () => void;
  /** Above so many queued builds new ones are refused. */
  readonly queuedMax?: number;
}

export type { App } from '../../shared/http/section.ts';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isId(text: string): boolean {
  return uuid.test(text);
}

/** Throws BUILD_UNKNOWN for anything that names no build. */
export async function requiredBuild({ builds }: Pick<IntakePorts, 'builds'>, id: string): Promise<Build> {
  const found = isId(id) ? await builds.get(id) : undefined;
  if (!found) throw new Problem('BUILD_UNKNOWN', 'there is no build of this id');
  return found.document;
}
