/** Our side of the `download` benchmark, a process that does only this: each message is a round, answered with its milliseconds and the most memory that was resident so far. */
import { join } from 'node:path';
import { systemClock } from '../../shared/clock/system.ts';
import { localPartialFiles } from '../../shared/downloads/local.ts';
import type { Egress } from '../../shared/egress/egress.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import { localFiles } from '../../shared/files/local.ts';
import { forEachParallel } from '../../shared/parallel/for-each.ts';
import { rpmDownloads } from '../../shared/rpm/rpm-downloads.ts';
import { contentTarget } from '../../shared/rpm/stored-rpm.ts';
import type { ServerReady } from './download-server.ts';
import { answerRounds } from './subject-process.ts';

export interface SubjectOrder extends ServerReady {
  /** New and empty. */
  readonly directory: string;
  readonly connections: number;
}

export interface SubjectAnswer {
  readonly ms: number;
  /** To make all of them durable, afterwards. */
  readonly syncMs: number;
  readonly residentMB: number;
}

/** As the service has them. */
const transferThreads = 2;
/** As many as the side-repo stage asks for at once. */
const askedAtOnceMax = 32;

/** Stands from the first round on, as the service's does. */
let standing: Egress | undefined;

async function round({ base, rpms, directory, connections }: SubjectOrder): Promise<SubjectAnswer> {
  const clock = systemClock();
  standing ??= httpEgress({ userAgent: 'spindle-bench/1', allow: [new URL(base).host], connectionsPerHostMax: connections, transferThreads });
  const egress = standing;
  const files = localFiles({ directory: join(directory, 'files') });
  const partials = localPartialFiles({ directory: join(directory, 'downloads'), clock });
  const downloads = rpmDownloads({ egress, clock, partials, target: contentTarget(files), atOnceMax: connections, perHostMax: connections });
  const { signal } = new AbortController();
  const startedAt = performance.now();
  const room = await downloads.reserve(rpms.reduce((sum, { size }) => sum + size, 0));
  const ordered = rpms.toSorted((one, other) => other.size - one.size);
  await forEachParallel(ordered, { atOnceMax: askedAtOnceMax, signal }, async ({ name, file, sha256, size }, taskSignal) => {
    const nevra = { name, epoch: 0, version: '1', release: '1', arch: 'x86_64' };
    await downloads.fetch({ nevra, sha256, sources: [{ url: `${base}/${file}`, size, isSizeExact: true }] }, { signal: taskSignal });
    room.filled(size);
  });
  room.release();
  const ms = performance.now() - startedAt;
  await files.sync();
  const syncMs = performance.now() - startedAt - ms;
  await downloads.close();
  await files.close();
  return { ms, syncMs, residentMB: process.resourceUsage().maxRSS / 1000 };
}

answerRounds('download-subject', round);
