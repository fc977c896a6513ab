/** From the Koji builds that a request names to a local repository of their RPMs, each fetched, checked and stored. */
import { pathToFileURL } from 'node:url';
import { SpindleError } from '../build/failure.ts';
import type { SingleBuildRequest } from '../build/request.ts';
import { formatNevra, rpmFileName } from '../fedora/nvr.ts';
import type { FileRef } from '../files/content-ref.ts';
import type { Koji, KojiBuild, KojiRpm } from '../koji/koji.ts';
import { forEachParallel } from '../parallel/for-each.ts';
import type { Programs } from '../programs/programs.ts';
import type { Release } from '../releases/releases.ts';
import { createRepository } from '../rpm/create-repository.ts';
import { type FetchPorts, fetchRpm } from '../rpm/fetch-rpm.ts';
import type { Workspace } from '../workspace/workspace.ts';
import type { SolverPackage, SolverRequest } from './solver.ts';

/** One stored RPM of a requested build. */
export interface Candidate {
  readonly nevra: string;
  readonly nvr: string;
  readonly ref: FileRef;
  readonly urls: readonly string[];
  readonly sigkey: string | null;
}

export interface KojiCandidates {
  /** By NEVRA. */
  readonly candidates: ReadonlyMap<string, Candidate>;
  readonly builds: SolverRequest['builds'];
  /** Of the local repository; undefined where no build was requested. */
  readonly baseurl: string | undefined;
}

export interface CandidatesOptions {
  readonly request: SingleBuildRequest;
  readonly release: Release;
  readonly koji: Koji | undefined;
  readonly ports: FetchPorts & { readonly programs: Programs };
  readonly workspace: Workspace;
  readonly log: (tool: string, line: string) => void;
  readonly progress: (done: number, total: number, what: string) => void;
  readonly signal: AbortSignal;
}

const atOnceMax = 6;
/** A signed copy is longer than the unsigned file by its signatures. */
const signatureBytesMax = 1024 * 1024;
const unknownSizeMax = 4 * 1024 ** 3;

export async function kojiCandidates(options: CandidatesOptions): Promise<KojiCandidates> {
  const { request, release, koji, workspace, log, progress, signal } = options;
  const wanted = request.sources.kojiBuilds;
  if (wanted.length === 0) return { candidates: new Map(), builds: [], baseurl: undefined };
  if (!koji)
    throw new SpindleError(
      'FEATURE_UNSUPPORTED',
      `sources.kojiBuilds: the release ${release.id} has no Koji here; leave the builds out, or choose another release`,
    );

  const builds = await findBuilds(wanted, koji, signal);
  const rpmLists = await koji.listBuildRpms(
    builds.map(({ id }) => id),
    signal,
  );
  const usable = builds.map((build, index) => ({ build, rpms: usableRpms(build, rpmLists[index] ?? [], request) }));
  refuseOverlap(usable);

  const rpms = usable.flatMap(({ build, rpms: list }) => list.map((rpm) => ({ build, rpm })));
  const sigkeys =
    release.sigkeys.length === 0
      ? rpms.map(() => [])
      : await koji.listSigkeys(
          rpms.map(({ rpm }) => rpm.id),
          signal,
        );
  const candidates = new Map<string, Candidate>();
  let fetched = 0;
  await forEachParallel(rpms, { atOnceMax, signal }, async ({ build, rpm }, taskSignal, index) => {
    const known = release.sigkeys.filter((key) => sigkeys[index]?.includes(key));
    const sources = sourcesOf(koji, build, rpm, known, release);
    const found = await fetchRpm({ nevra: rpm, sources, payloadHash: rpm.payloadHash }, options.ports, workspace, taskSignal);
    await workspace.place(found.ref, `candidates/Packages/${rpmFileName(rpm)}`);
    const urls = [found.source, ...sources.filter((source) => source !== found.source && source.sigkey === found.source.sigkey)].map(({ url }) => url);
    candidates.set(formatNevra(rpm), { nevra: formatNevra(rpm), nvr: build.nvr, ref: found.ref, urls, sigkey: found.source.sigkey });
    fetched += 1;
    progress(fetched, rpms.length, rpmFileName(rpm));
  });
  for (const { build, rpms: list } of usable) log('resolver', `Koji build ${build.nvr} (${build.id}): ${list.map((rpm) => formatNevra(rpm)).join(' ')}`);

  await createRepository({ programs: options.ports.programs, workspace, directory: 'candidates', revision: '0', log, signal });
  return {
    candidates,
    builds: usable.map(({ build, rpms: list }) => ({ nvr: build.nvr, packages: list.map(solverPackage), main: mainPackages(build, list).map(solverPackage) })),
    baseurl: pathToFileURL(`${workspace.path}/candidates/`).href,
  };
}

/** Each build once, however often and in whichever way it was named. */
async function findBuilds(wanted: readonly (string | number)[], koji: Koji, signal: AbortSignal): Promise<readonly KojiBuild[]> {
  const answers = await koji.getBuilds(wanted, signal);
  const unknown = wanted.filter((_, index) => answers[index] === undefined);
  if (unknown.length > 0) {
    const named = unknown.map((build) => (typeof build === 'number' ? `build id ${build}` : build));
    const rest = named.length > 5 ? ` and ${named.length - 5} more` : '';
    throw new SpindleError(
      'KOJI_BUILD_UNKNOWN',
      `Koji has no build ${named.slice(0, 5).join(', ')}${rest}; check name, version and release under sources.kojiBuilds`,
    );
  }
  const builds = [...new Map(answers.flatMap((build) => (build ? [[build.id, build] as const] : []))).values()];
  for (const { nvr, state } of builds) {
    if (state === 'complete') continue;
    const advice =
      state === 'building' ? 'is still building; ask again when it is complete' : `${state === 'failed' ? 'has failed' : `was ${state}`}; name another build`;
    throw new SpindleError('KOJI_BUILD_NOT_COMPLETE', `the Koji build ${nvr} ${advice}`);
  }
  return builds;
}

const isDebug = ({ name }: KojiRpm) => /-(debuginfo|debugsource)(-|$)/.test(name);

function usableRpms(build: KojiBuild, rpms: readonly KojiRpm[], request: SingleBuildRequest): readonly KojiRpm[] {
  const binary = rpms.filter(({ arch, isMetadataOnly }) => arch !== 'src' && arch !== 'nosrc' && !isMetadataOnly);
  const fitting = binary.filter((rpm) => (rpm.arch === request.arch || rpm.arch === 'noarch') && (request.sources.debuginfo || !isDebug(rpm)));
  if (fitting.length > 0) return fitting;
  const others = [...new Set(binary.filter((rpm) => !isDebug(rpm)).map(({ arch }) => arch))].sort();
  const has = others.length > 0 ? `it has some for ${others.join(', ')}` : 'it has none at all';
  throw new SpindleError('KOJI_BUILD_NO_RPMS', `the Koji build ${build.nvr} has no RPM for ${request.arch}: ${has}`);
}

function refuseOverlap(usable: readonly { readonly build: KojiBuild; readonly rpms: readonly KojiRpm[] }[]): void {
  const owners = new Map<string, string>();
  for (const { build, rpms } of usable) {
    for (const { name } of rpms) {
      const other = owners.get(name);
      if (other !== undefined && other !== build.nvr) {
        throw new SpindleError(
          'REQUESTED_BUILD_CONFLICT',
          `the Koji builds ${other} and ${build.nvr} both have the package ${name}; one image holds one of them, so name one build`,
        );
      }
      owners.set(name, build.nvr);
    }
  }
}

/** The package that is named like the build; else all of them, without what only debuggers want. */
function mainPackages(build: KojiBuild, rpms: readonly KojiRpm[]): readonly KojiRpm[] {
  const main = rpms.filter(({ name }) => name === build.name);
  if (main.length > 0) return main;
  const plain = rpms.filter((rpm) => !isDebug(rpm));
  return plain.length > 0 ? plain : rpms;
}

const solverPackage = ({ name, epoch, version, release, arch }: KojiRpm): SolverPackage => ({
  name,
  evr: `${epoch === 0 ? '' : `${epoch}:`}${version}-${release}`,
  arch,
});

function sourcesOf(koji: Koji, build: KojiBuild, rpm: KojiRpm, sigkeys: readonly string[], release: Release) {
  const files = koji.filesOf(build, rpm, sigkeys).filter(({ sigkey }) => sigkey !== null || release.unsigned !== 'refuse');
  if (files.length === 0) {
    const keys = release.sigkeys.join(', ') || 'none is known';
    throw new SpindleError(
      'PACKAGE_UNSIGNED',
      `Koji has ${formatNevra(rpm)} without a signature of ${release.name} (keys: ${keys}), and this release takes signed packages only; wait until the build is signed`,
    );
  }
  return files.map(({ url, sigkey }) => ({
    url,
    sigkey,
    size: rpm.size === 0 ? unknownSizeMax : rpm.size + (sigkey === null ? 0 : signatureBytesMax),
    isSizeExact: sigkey === null && rpm.size > 0,
  }));
}
