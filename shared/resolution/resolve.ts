/** From a request to the exact packages of its image: the one core behind the resolver service and the dry run. All effects go through ports. */
import { SpindleError } from '../build/failure.ts';
import type { Engine, SingleBuildRequest } from '../build/request.ts';
import { formatNevra, parseNevra } from '../fedora/nvr.ts';
import type { Koji } from '../koji/koji.ts';
import type { Programs } from '../programs/programs.ts';
import { expandUrl, type Release, type RepositoryDefinition } from '../releases/releases.ts';
import type { FetchPorts } from '../rpm/fetch-rpm.ts';
import type { Workspace } from '../workspace/workspace.ts';
import { enginePackages } from './engine-packages.ts';
import { type Candidate, type KojiCandidates, kojiCandidates } from './koji-candidates.ts';
import type { Resolution, ResolvedPackage } from './resolution.ts';
import { candidatesId, type SolvedPackage, type SolverAnswer, solve } from './solver.ts';
import { missingError, unsolvableError } from './trouble.ts';

interface ResolvePorts extends FetchPorts {
  /** The client of a release's hub. */
  readonly koji: (koji: NonNullable<Release['koji']>) => Koji;
  readonly programs: Programs;
}

export interface ResolveOptions {
  readonly request: SingleBuildRequest;
  readonly release: Release;
  /** The image tool: what it needs inside the image is solved along. */
  readonly engine: Engine;
  readonly ports: ResolvePorts;
  readonly workspace: Workspace;
  readonly log: (tool: string, line: string) => void;
  readonly progress: (done: number, total: number, what: string) => void;
  readonly signal: AbortSignal;
}

const userAgent = 'spindle-resolver/1';

/** Which engine a request means. Throws IMAGE_TYPE_UNSUPPORTED where the release has none for the type. */
export function chooseEngine(request: Pick<SingleBuildRequest, 'engine' | 'imageType'>, release: Release): Engine {
  if (request.engine !== 'auto') return request.engine;
  const engine = release.engines[request.imageType];
  if (engine) return engine;
  const types = Object.keys(release.engines).join(', ');
  throw new SpindleError('IMAGE_TYPE_UNSUPPORTED', `imageType: ${release.name} has no engine for ${request.imageType} images here; it has one for: ${types}`);
}

/**
 * Every package of the image with digest, size and addresses; the RPMs of requested Koji builds are in the content store afterwards. Rejects with a SpindleError: the requester's mistakes (PACKAGE_UNKNOWN,
 * DEPENDENCIES_UNSOLVABLE, KOJI_BUILD_…, FEATURE_UNSUPPORTED and others), or what is ill outside. Harmless to repeat.
 */
export async function resolveRequest(options: ResolveOptions): Promise<Resolution> {
  const { request, release, engine, ports, workspace, log, progress, signal } = options;
  refuseUnserved(request, release);
  const koji = release.koji ? ports.koji(release.koji) : undefined;
  progress(0, 0, 'asking Koji');
  const fromKoji = await kojiCandidates({ request, release, koji, ports, workspace, log, progress, signal });
  const repositories = chosenRepositories(request, release);

  progress(0, 0, 'solving dependencies');
  const answer = await solve(
    {
      arch: request.arch,
      releasever: release.releasever ?? release.id,
      userAgent,
      repositories: [
        ...repositories.map((repository) => ({ id: repository.id, ...addressOf(repository, release, request.arch) })),
        ...(fromKoji.baseurl === undefined ? [] : [{ id: candidatesId, baseurl: fromKoji.baseurl }]),
      ],
      install: request.packages,
      exclude: request.excludePackages,
      engine: enginePackages({ arch: request.arch, imageType: request.imageType, engine }),
      builds: fromKoji.builds,
    },
    ports.programs,
    workspace,
    signal,
  );
  const context = { releaseName: release.name, arch: request.arch, builds: fromKoji.builds, engine };
  if (answer.outcome === 'missing') throw missingError(answer, context);
  if (answer.outcome === 'unsolvable') throw unsolvableError(answer.problems, context);
  if (answer.outcome === 'repository-failed') {
    const reason = answer.problems[0]?.split('\n')[0]?.slice(0, 500);
    throw new SpindleError('REPOSITORY_UNREACHABLE', `the metadata of a repository of ${release.name} could not be fetched: ${reason}`, {
      details: answer.problems,
    });
  }
  const resolution = resolutionOf(answer, { request, release, repositories, fromKoji });
  if (answer.skipped.length > 0) log('resolver', `no repository has these members of the requested groups, so they are left out: ${answer.skipped.join(' ')}`);
  const side = resolution.packages.filter(({ from }) => from === 'side');
  log(
    'resolver',
    `${resolution.packages.length} packages, ${side.length} of them from the side repository; ${megabytes(resolution.downloadBytes)} to fetch, ${megabytes(resolution.installedBytes)} installed`,
  );
  for (const { nevra, because } of side) log('resolver', `side: ${nevra}: ${because}`);
  return resolution;
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

/** What later versions will serve is refused by name: a source that is silently left out makes a wrong image. */
function refuseUnserved(request: SingleBuildRequest, release: Release): void {
  if (!release.arches.includes(request.arch)) {
    throw new SpindleError('ARCH_UNSUPPORTED', `arch: ${release.name} is not built for ${request.arch} here, but for ${release.arches.join(', ')}`);
  }
  const { kojiTasks, kojiTags, advisories, repositories, rpms } = request.sources;
  const unserved = [
    ...Object.entries({ kojiTasks, kojiTags, advisories, repositories, rpms }).flatMap(([key, list]) => (list.length > 0 ? [`sources.${key}`] : [])),
    ...(request.kickstart === null ? [] : ['kickstart']),
  ];
  if (unserved.length > 0) {
    throw new SpindleError(
      'FEATURE_UNSUPPORTED',
      `${unserved.join(', ')}: this version of Spindle cannot serve that yet; name packages and sources.kojiBuilds instead`,
    );
  }
  if (request.sources.updatesTesting && !release.repositories.some(({ role }) => role === 'updates-testing')) {
    throw new SpindleError(
      'FEATURE_UNSUPPORTED',
      `sources.updatesTesting: ${release.name} has no updates-testing repository; turn it off, or name sources.kojiBuilds`,
    );
  }
}

/** The stable repositories always, the others as the request turns them on. */
function chosenRepositories({ sources }: SingleBuildRequest, release: Release): readonly RepositoryDefinition[] {
  const isOn = { stable: true, updates: sources.updates, 'updates-testing': sources.updatesTesting };
  return release.repositories.filter(({ role }) => isOn[role]);
}

function addressOf({ metalink, mirrorlist, baseurl }: RepositoryDefinition, release: Release, arch: string) {
  const expanded = (template: string) => expandUrl(template, release, arch);
  if (metalink !== undefined) return { metalink: expanded(metalink) };
  if (mirrorlist !== undefined) return { mirrorlist: expanded(mirrorlist) };
  return { baseurl: expanded(baseurl ?? '') };
}

interface Assembly {
  readonly request: SingleBuildRequest;
  readonly release: Release;
  readonly repositories: readonly RepositoryDefinition[];
  readonly fromKoji: KojiCandidates;
}

function resolutionOf(answer: Extract<SolverAnswer, { outcome: 'solved' }>, { request, release, repositories, fromKoji }: Assembly): Resolution {
  const found = new Map(answer.repositories.map((repository) => [repository.id, repository]));
  const packages = answer.packages.map((solved): ResolvedPackage => {
    const nevra = formatNevra(solved);
    // Names become file names and addresses: whoever wrote the metadata must not choose those freely.
    if (parseNevra(nevra)?.name !== solved.name || solved.arch.length > 16) {
      throw new SpindleError(
        'PACKAGE_MISMATCH',
        `the repository ${solved.repository} names a package ${JSON.stringify(nevra.slice(0, 200))}, which no RPM can be called`,
      );
    }
    if (solved.repository === candidatesId) return fromBuild(solved, nevra, fromKoji.candidates.get(nevra));
    const definition = repositories.find(({ id }) => id === solved.repository);
    const mirrors = found.get(solved.repository)?.mirrors ?? [];
    return { ...common(solved, nevra), ...published(solved.repository, definition?.role), urls: urlsOf(solved, mirrors), sigkey: null, stored: false };
  });
  packages.sort((a, b) => (a.nevra < b.nevra ? -1 : 1));
  return {
    version: 1,
    release: release.id,
    arch: request.arch,
    packages,
    requested: packages.filter(({ nevra }) => fromKoji.candidates.has(nevra)).map(({ nevra }) => nevra),
    roots: answer.roots,
    repositories: repositories.map(({ id, role }) => ({ id, role, revision: found.get(id)?.revision ?? '' })),
    downloadBytes: packages.reduce((sum, { size }) => sum + size, 0),
    installedBytes: packages.reduce((sum, { installedSize }) => sum + installedSize, 0),
  };
}

function common(solved: SolvedPackage, nevra: string) {
  const { name, epoch, version, release, arch, size, installedSize, digest, digestKind } = solved;
  if (digestKind !== 'sha256' || !/^[0-9a-f]{64}$/.test(digest)) {
    throw new SpindleError(
      'REPOSITORY_UNREACHABLE',
      `the repository ${solved.repository} names ${nevra} with a ${digestKind} digest; Spindle checks packages by SHA-256 only`,
    );
  }
  return { name, epoch, version, release, arch, nevra, sha256: digest, size, installedSize };
}

function fromBuild(solved: SolvedPackage, nevra: string, candidate: Candidate | undefined): ResolvedPackage {
  const shared = common(solved, nevra);
  if (candidate?.ref.sha256 !== shared.sha256)
    throw new SpindleError('SOLVER_FAILED', `the solver chose ${nevra}, which is not the RPM that was fetched from Koji`);
  const because = `The request names the Koji build ${candidate.nvr}.`;
  return { ...shared, from: 'side', repository: 'koji', because, urls: [...candidate.urls], sigkey: candidate.sigkey, stored: true };
}

function published(repository: string, role: RepositoryDefinition['role'] | undefined) {
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
        `the repository ${repository} gives ${name.slice(0, 100)} a location outside of itself: ${JSON.stringify(location.slice(0, 200))}`,
      );
    }
    return url.href;
  });
}
