/** From a request to the exact packages of its image: the one core behind the resolver service and the dry run. All effects go through ports. */

import type { Bodhi } from '../bodhi/bodhi.ts';
import { SpindleError } from '../build/failure.ts';
import type { Engine, SingleBuildRequest } from '../build/request.ts';
import type { UntrustedCode } from '../build/untrusted-code.ts';
import { formatNevra, parseNevra } from '../fedora/nvr.ts';
import { findKickstart } from '../kickstart/requested.ts';
import type { Koji } from '../koji/koji.ts';
import { megabytes } from '../log/byte-size.ts';
import { endOfLife } from '../releases/end-of-life.ts';
import type { Release, RepositoryDefinition } from '../releases/releases.ts';
import { repositoryCollection } from '../releases/repository-collection.ts';
import type { RepositorySource } from '../repositories/repositories.ts';

import { looseId, type SolvedPackage, type Solver, type SolverAnswer, type UsedRepository } from '../solver/solver.ts';
import type { Workspace } from '../workspace/workspace.ts';
import { enginePackages } from './engine-packages.ts';
import { findSources } from './find-sources.ts';
import { knownBuilds } from './known-builds.ts';
import { refuseBeyondMedium, refuseBeyondNode } from './limits.ts';
import { fetchChosen, type LoosePackages, type LoosePorts, loosePackages, requiredCandidate } from './loose-packages.ts';
import type { Resolution, ResolvedPackage } from './resolution.ts';
import type { SourceSet } from './source-set.ts';
import { missingError, type TroubleContext, unsolvableError } from './trouble.ts';
import type { FindUploads } from './uploaded-packages.ts';

interface ResolvePorts extends LoosePorts {
  /** The client of a release's hub. */
  readonly koji: (koji: NonNullable<Release['koji']>) => Koji;
  readonly bodhi: (bodhi: NonNullable<Release['bodhi']>) => Bodhi;
  readonly solver: Solver;
  /** Left out where there are no uploads. */
  readonly findUploads?: FindUploads | undefined;
}

export interface ResolveOptions {
  readonly request: SingleBuildRequest;
  readonly release: Release;
  /** The image tool: what it needs inside the image is solved along. Null: only the packages are wanted, no image. */
  readonly engine: Engine | null;
  /** What the operator lets requesters bring that runs on a node; left out by a dry run, which runs nothing. */
  readonly untrustedCode?: UntrustedCode;
  readonly ports: ResolvePorts;
  readonly workspace: Workspace;
  readonly log: (tool: string, line: string) => void;
  /** What is done now. */
  readonly phase: (name: string) => unknown;
  readonly progress: (done: number, total: number, what: string) => void;
  readonly signal: AbortSignal;
}

/** Before the names of the requester's own repositories: so they are never taken for a release's. */
const ownPrefix = 'own:';

/** Which engine a request means. Throws IMAGE_TYPE_UNSUPPORTED where the release has none for the type. */
export function chooseEngine(request: Pick<SingleBuildRequest, 'engine' | 'imageType'>, release: Release): Engine {
  if (request.engine !== 'auto') return request.engine;
  const engine = release.engines[request.imageType];
  if (engine) return engine;
  const types = Object.keys(release.engines).join(', ');
  throw new SpindleError('IMAGE_TYPE_UNSUPPORTED', `imageType: ${release.name} has no engine for ${request.imageType} images here; it has one for: ${types}`);
}

/**
 * Every package of the image with digest, size and addresses; the chosen RPMs of Koji builds and tasks, and of uploads, are in the content store afterwards. Rejects with a SpindleError: the requester's mistakes
 * (PACKAGE_UNKNOWN, RPM_UNKNOWN, DEPENDENCIES_UNSOLVABLE, KOJI_…, ADVISORY_…, RELEASE_ENDED and others), or what is ill outside. Harmless to repeat.
 */
export async function resolveRequest(options: ResolveOptions): Promise<Resolution> {
  const { release, engine, ports, workspace, log, phase, progress, signal } = options;
  refuseUnserved(options);
  const koji = release.koji ? ports.koji(release.koji) : undefined;
  const bodhi = release.bodhi ? ports.bodhi(release.bodhi) : undefined;
  const say = (line: string) => log('resolver', line);
  const { request, stored } = await findKickstart({ request: options.request, release, engine, ports, allowed: options.untrustedCode, log: say, signal });
  phase('asking Koji and Bodhi');
  const { sets, warnings } = await findSources({ request, release, koji, bodhi, findUploads: ports.findUploads, log: say, signal });
  const looseOptions = { ports, workspace, progress, signal };
  if (sets.length > 0) phase('reading package headers');
  const loose = await loosePackages(sets, looseOptions);

  phase('solving dependencies');
  const collection = repositoryCollection(release, request.arch);
  const enabled = enabledRepositories(request, release);
  const further: readonly RepositorySource[] = request.sources.repositories.map(({ name, baseurl }) => ({ id: `${ownPrefix}${name}`, title: name, baseurl }));
  const answer = await ports.solver.solve(
    {
      collection,
      enabled: enabled.map(({ id }) => id),
      further,
      // A profile of fedora-kiwi-descriptions installs what the releases file says that it does.
      install: [...new Set([...request.packages, ...(engine === 'kiwi' && release.kiwi?.profiles[request.imageType] ? release.kiwi.packages : [])])],
      exclude: request.excludePackages,
      engine: engine === null ? { needed: [], ifKnown: [] } : enginePackages({ arch: request.arch, imageType: request.imageType, engine }),
      sets: loose.sets,
    },
    { signal, log: say },
  );
  if (answer.outcome !== 'solved') {
    const index = await ports.solver.index(collection, { signal });
    const context = (known: TroubleContext['known']): TroubleContext => ({
      releaseName: release.name,
      arch: request.arch,
      engine: engine ?? 'of nobody',
      install: request.packages,
      exclude: request.excludePackages,
      repositories: [
        ...release.repositories.map((repository) => ({ id: repository.id, role: repository.role, isOn: enabled.includes(repository) })),
        ...further.map(({ id }) => ({ id, role: 'requested' as const, isOn: true })),
      ],
      sets: sets.map(({ label, what, rpms }) => ({ label, what, names: rpms.map(({ name }) => name) })),
      nearest: (spec) => index.nearest(spec),
      known,
    });
    if (answer.outcome === 'unsolvable') throw unsolvableError(answer, context(new Map()));
    const unknown = answer.missing.flatMap(({ spec, reason }) => (reason === 'unknown' ? [spec] : []));
    throw missingError(answer, context(await knownBuilds(unknown, { release, koji, bodhi, clock: ports.clock, signal })));
  }
  refuseOddNames(answer.packages);
  const chosen = answer.packages.flatMap((solved) => (solved.repository === looseId ? [requiredCandidate(loose.candidates, formatNevra(solved))] : []));
  const fromKoji = chosen.filter(({ uploaded }) => !uploaded);
  if (fromKoji.length > 0) phase('fetching packages from Koji');
  const fetched = await fetchChosen(fromKoji, looseOptions);
  const resolution = { ...resolutionOf(answer, { request, release, sets, loose, fetched, warnings }), ...(stored ? { kickstart: stored } : {}) };
  refuseBeyondMedium(resolution, request.imageType);
  refuseBeyondNode(resolution, await workspace.freeBytes());
  tell(resolution, answer.skipped, say);
  return resolution;
}

function tell({ packages, downloadBytes, installedBytes, warnings }: Resolution, skipped: readonly string[], say: (line: string) => void): void {
  if (skipped.length > 0) say(`no repository has these members of the requested groups, so they are left out: ${skipped.join(' ')}`);
  for (const warning of warnings) say(`warning: ${warning}`);
  const side = packages.filter(({ from }) => from === 'side');
  say(
    `${packages.length} packages, ${side.length} of them from the side repository; ${megabytes(downloadBytes)} to fetch, ${megabytes(installedBytes)} installed`,
  );
  for (const { nevra, because } of side) say(`side: ${nevra}: ${because}`);
}

/** What cannot be served is refused by name: a source that is silently left out makes a wrong image. */
function refuseUnserved({ request, release, ports }: ResolveOptions): void {
  const ended = endOfLife(release, ports.clock.now());
  if (ended) throw ended;
  if (!release.arches.includes(request.arch)) {
    throw new SpindleError('ARCH_UNSUPPORTED', `arch: ${release.name} is not built for ${request.arch} here, but for ${release.arches.join(', ')}`);
  }
  if (request.sources.updatesTesting && !release.repositories.some(({ role }) => role === 'updates-testing')) {
    throw new SpindleError(
      'FEATURE_UNSUPPORTED',
      `sources.updatesTesting: ${release.name} has no updates-testing repository; turn it off, or name sources.kojiBuilds`,
    );
  }
}

/** The stable repositories always, the others as the request turns them on. */
function enabledRepositories({ sources }: SingleBuildRequest, release: Release): readonly RepositoryDefinition[] {
  const isOn = { stable: true, updates: sources.updates, 'updates-testing': sources.updatesTesting };
  return release.repositories.filter(({ role }) => isOn[role]);
}

/** Names become file names and addresses: whoever wrote the metadata must not choose those freely. Throws PACKAGE_MISMATCH. */
function refuseOddNames(packages: readonly SolvedPackage[]): void {
  for (const solved of packages) {
    const nevra = formatNevra(solved);
    if (parseNevra(nevra)?.name === solved.name && solved.arch.length <= 16 && nevra.length <= 400) continue;
    throw new SpindleError(
      'PACKAGE_MISMATCH',
      `the repository ${shownId(solved.repository)} names a package ${JSON.stringify(nevra.slice(0, 200))}, which no RPM can be called`,
    );
  }
}

interface Assembly {
  readonly request: SingleBuildRequest;
  readonly release: Release;
  readonly sets: readonly SourceSet[];
  readonly loose: LoosePackages;
  readonly fetched: Awaited<ReturnType<typeof fetchChosen>>;
  readonly warnings: readonly string[];
}

type Solved = Extract<SolverAnswer, { outcome: 'solved' }> & { readonly repositories: readonly UsedRepository[] };

const shownId = (id: string) => (id.startsWith(ownPrefix) ? id.slice(ownPrefix.length) : id);

function resolutionOf(answer: Solved, assembly: Assembly): Resolution {
  const { request, release, loose, sets, warnings } = assembly;
  const found = new Map(answer.repositories.map((repository) => [repository.id, repository]));
  const roleOf = (id: string) => release.repositories.find((repository) => repository.id === id)?.role ?? 'requested';
  const packages = answer.packages.map((solved): ResolvedPackage => {
    const nevra = formatNevra(solved);
    if (solved.repository === looseId) return fromSource(solved, nevra, assembly);
    const urls = urlsOf(solved, found.get(solved.repository)?.mirrors ?? []);
    return {
      ...published(solved, nevra),
      ...placeOf(solved.repository, roleOf(solved.repository)),
      role: roleOf(solved.repository),
      urls,
      sigkey: null,
      stored: false,
    };
  });
  packages.sort((a, b) => (a.nevra < b.nevra ? -1 : 1));
  const demanded = new Set([...loose.candidates.values()].filter(({ set }) => set.rule !== 'if-missing').map((candidate) => formatNevra(candidate)));
  return {
    version: 1,
    release: release.id,
    arch: request.arch,
    packages,
    requested: packages.filter(({ nevra }) => demanded.has(nevra)).map(({ nevra }) => nevra),
    roots: answer.roots,
    groups: answer.groups,
    environments: answer.environments,
    repositories: answer.repositories.map(({ id, revision, digest }) => ({ id: shownId(id), role: roleOf(id), revision, sha256: digest })),
    warnings: [...warnings, ...unusedTags(sets, packages)],
    downloadBytes: packages.reduce((sum, { size }) => sum + size, 0),
    installedBytes: packages.reduce((sum, { installedSize }) => sum + installedSize, 0),
  };
}

/** Whoever names a tag expects something of it in the image; that nothing needs it is no mistake, but has to be said. */
function unusedTags(sets: readonly SourceSet[], packages: readonly ResolvedPackage[]): readonly string[] {
  const chosen = new Set(packages.map(({ nevra }) => nevra));
  return sets
    .filter(({ rule, rpms }) => rule === 'preferred' && !rpms.some((rpm) => chosen.has(formatNevra(rpm))))
    .map(({ what, main }) => `nothing of ${what} is in the image: name some of its packages under packages (${main.slice(0, 5).join(', ')})`);
}

function common({ name, epoch, version, release, arch, installedSize }: SolvedPackage, nevra: string) {
  return { name, epoch, version, release, arch, nevra, installedSize };
}

function published(solved: SolvedPackage, nevra: string) {
  const { digestKind, digest, size } = solved;
  if (digestKind !== 'sha256' || !/^[0-9a-f]{64}$/.test(digest)) {
    throw new SpindleError(
      'REPOSITORY_METADATA_REFUSED',
      `the repository ${shownId(solved.repository)} names ${nevra} with a ${digestKind} digest; Spindle checks packages by SHA-256 only`,
    );
  }
  return { ...common(solved, nevra), sha256: digest, size };
}

function fromSource(solved: SolvedPackage, nevra: string, { loose, fetched }: Assembly): ResolvedPackage {
  const candidate = requiredCandidate(loose.candidates, nevra);
  if (candidate.uploaded) {
    const place = { from: 'side', repository: 'upload', role: 'uploaded' } as const;
    return { ...common(solved, nevra), ...candidate.uploaded, ...place, because: candidate.because, urls: [], sigkey: null, stored: true, untrusted: true };
  }
  const file = fetched.get(nevra);
  if (!file) throw new SpindleError('INTERNAL', `the file of ${nevra} was not fetched`);
  const { ref, source } = file;
  const alike = candidate.sources.filter((each) => each !== source && each.sigkey === source.sigkey);
  return {
    ...common(solved, nevra),
    ...ref,
    from: 'side',
    repository: 'koji',
    role: 'koji',
    because: candidate.because,
    urls: [source, ...alike].map(({ url }) => url),
    sigkey: source.sigkey,
    stored: true,
  };
}

function placeOf(id: string, role: RepositoryDefinition['role'] | 'requested') {
  const repository = shownId(id);
  if (role === 'requested') return { from: 'side', repository, because: `It is in the repository ${repository} that the request names.` } as const;
  if (role === 'updates-testing') return { from: 'side', repository, because: `It is in ${repository}, which the request turned on.` } as const;
  return {
    from: 'stable',
    repository,
    because: `The ${role === 'updates' ? 'updates' : 'stable'} repository ${repository} has exactly this package.`,
  } as const;
}

/** The package's address on each mirror. What leads out of the mirror is refused. */
function urlsOf({ location, base, repository, name }: SolvedPackage, mirrors: readonly string[]): string[] {
  const bases = base === null ? mirrors : [base];
  return bases.map((mirror) => {
    const root = URL.canParse(mirror) ? new URL(mirror.endsWith('/') ? mirror : `${mirror}/`) : undefined;
    // The parsed form decides: a climb can be written in several ways.
    const url = root && URL.canParse(location, root.href) ? new URL(location, root) : undefined;
    if (!root || !url || !/^https?:$/.test(root.protocol) || !url.href.startsWith(root.href) || url.search !== '' || url.hash !== '') {
      throw new SpindleError(
        'REMOTE_REFUSED',
        `the repository ${shownId(repository)} gives ${name.slice(0, 100)} a location outside of itself: ${JSON.stringify(location.slice(0, 200))}`,
      );
    }
    return url.href;
  });
}
