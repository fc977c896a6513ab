/** Makes sets of RPMs ready for the solver by fetching their headers, and brings the files of those that it chose into the content store. */

import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { Egress } from '../egress/egress.ts';
import { formatNevra, parseNevra, rpmFileName } from '../fedora/nvr.ts';
import type { FileRef } from '../files/content-ref.ts';
import type { Files } from '../files/files.ts';
import { forEachParallel } from '../parallel/for-each.ts';
import { fetchRpmHeader } from '../rpm/fetch-header.ts';
import type { RpmHeader } from '../rpm/header.ts';
import { recall, remember } from '../rpm/known-rpm.ts';
import type { RpmDownloads } from '../rpm/rpm-downloads.ts';
import { readStoredStart } from '../rpm/stored-rpm.ts';
import type { LooseSet } from '../solver/solver.ts';
import type { Workspace } from '../workspace/workspace.ts';
import type { SignedSource, SourceRpm, SourceSet } from './source-set.ts';

export interface LoosePorts {
  readonly egress: Egress;
  readonly files: Files;
  readonly clock: Clock;
  readonly downloads: RpmDownloads;
}

export interface LooseOptions {
  readonly ports: LoosePorts;
  readonly workspace: Workspace;
  readonly progress: (done: number, total: number, what: string) => void;
  readonly signal: AbortSignal;
}

/** An RPM that the solver may choose, with its header in the workspace. */
export interface Candidate extends SourceRpm {
  readonly set: SourceSet;
  readonly header: string;
}

export interface LoosePackages {
  /** By NEVRA. */
  readonly candidates: ReadonlyMap<string, Candidate>;
  readonly sets: readonly LooseSet[];
}

const headersAtOnceMax = 16;
const filesAtOnceMax = 16;

/** Rejects as fetchRpmHeader does. */
export async function loosePackages(sets: readonly SourceSet[], { ports, workspace, progress, signal }: LooseOptions): Promise<LoosePackages> {
  const candidates = new Map<string, Candidate>();
  const wanted = sets.flatMap((set) => set.rpms.map((rpm) => ({ set, rpm })));
  let fetched = 0;
  await forEachParallel(wanted, { atOnceMax: headersAtOnceMax, signal }, async ({ set, rpm }, taskSignal) => {
    const path = `headers/${rpmFileName(rpm)}`;
    const { header } = rpm.uploaded
      ? await placeHeader(rpm.uploaded, path, ports, workspace)
      : await fetchRpmHeader({ nevra: rpm, isFileName: rpm.payloadHash === null, sources: rpm.sources, path }, ports, workspace, taskSignal);
    // A file name has no epoch: what a task left is known whole only now.
    const known = { ...rpm, epoch: header.epoch };
    candidates.set(formatNevra(known), { ...known, set, header: `${workspace.path}/${path}` });
    fetched += 1;
    progress(fetched, wanted.length, rpmFileName(rpm));
  });
  return {
    candidates,
    sets: sets.map((set) => ({
      label: set.label,
      rule: set.rule,
      main: set.main,
      ...(set.isUploaded ? { evenIfPublished: true } : {}),
      packages: [...candidates.values()]
        .filter((candidate) => candidate.set === set)
        .map(({ name, epoch, version, release, arch, header }) => ({ name, epoch, version, release, arch, header }))
        .sort((a, b) => (a.header < b.header ? -1 : 1)),
    })),
  };
}

/** As fetchRpmHeader does it for a file that is stored already. */
async function placeHeader(
  ref: FileRef,
  path: string,
  { files }: Pick<LooseOptions['ports'], 'files'>,
  workspace: Workspace,
): Promise<{ readonly header: RpmHeader }> {
  const { header, bytes } = await readStoredStart(files, ref, 'an uploaded RPM');
  await workspace.write(path, bytes);
  return { header };
}

/** By NEVRA: the stored file, and the source that gave it. Rejects as RpmDownloads.fetch and reserve do. */
export async function fetchChosen(
  chosen: readonly Candidate[],
  { ports, progress, signal }: LooseOptions,
): Promise<ReadonlyMap<string, { readonly ref: FileRef; readonly source: SignedSource }>> {
  const found = new Map<string, { readonly ref: FileRef; readonly source: SignedSource }>();
  const missing: Candidate[] = [];
  const fetched: (readonly [Candidate, { readonly ref: FileRef; readonly source: SignedSource }])[] = [];
  await forEachParallel(chosen, { atOnceMax: filesAtOnceMax, signal }, async (candidate) => {
    const known = await recall(candidate, ports.files);
    if (known) found.set(formatNevra(candidate), known);
    else missing.push(candidate);
  });
  const bytesTotal = missing.reduce((sum, candidate) => sum + knownSize(candidate), 0);
  const arrived = new Map<string, number>();
  let bytesDone = 0;
  const room = await ports.downloads.reserve(bytesTotal);
  try {
    await forEachParallel(missing, { atOnceMax: filesAtOnceMax, signal }, async (candidate, taskSignal) => {
      const nevra = formatNevra(candidate);
      const onBytes = (bytes: number) => {
        bytesDone += bytes - (arrived.get(nevra) ?? 0);
        arrived.set(nevra, bytes);
        // Some hosts tell no size before.
        progress(bytesDone, Math.max(bytesTotal, bytesDone), rpmFileName(candidate));
      };
      const wanted = { nevra: candidate, sources: candidate.sources, payloadHash: candidate.payloadHash };
      const { ref, source } = await ports.downloads.fetch(wanted, { signal: taskSignal, onBytes });
      room.filled(knownSize(candidate));
      fetched.push([candidate, { ref, source }]);
    });
  } finally {
    room.release();
  }
  if (fetched.length > 0) await ports.files.sync();
  await forEachParallel(fetched, { atOnceMax: filesAtOnceMax, signal }, async ([candidate, stored]) => {
    await remember(candidate, stored, ports.files);
    found.set(formatNevra(candidate), stored);
  });
  return found;
}

/** Of the copy that is wanted most; 0 where there is only a bound. */
function knownSize({ sources: [best] }: Candidate): number {
  return best?.isSizeExact ? best.size : 0;
}

/** The candidate of a NEVRA that the solver chose. Throws SOLVER_FAILED where it was never given one. */
export function requiredCandidate(candidates: LoosePackages['candidates'], nevra: string): Candidate {
  const found = candidates.get(nevra);
  if (!found || parseNevra(nevra) === undefined)
    throw new SpindleError('SOLVER_FAILED', `the solver chose ${nevra.slice(0, 200)}, which no source of the request brings`);
  return found;
}
