/** The side repository of a package list, without an image and without a running service: the resolver and the side-repo stage, as the service runs them. */
import { chmod, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { failureOf, SpindleError } from '../shared/build/failure.ts';
import { engines, ImageType, type SingleBuildRequest } from '../shared/build/request.ts';
import { ConfigProblem, readConfig } from '../shared/config/config.ts';
import { readContentText, storeContent } from '../shared/files/content.ts';
import { contentKey } from '../shared/files/content-ref.ts';
import type { Files } from '../shared/files/files.ts';
import { createLog } from '../shared/log/log.ts';
import { loadReleases, ReleasesProblem } from '../shared/releases/load.ts';
import type { ReleasesFile } from '../shared/releases/releases.ts';
import { remoteClients } from '../shared/resolution/remote-clients.ts';
import { RepositorySet, type ResolvedPackage } from '../shared/resolution/resolution.ts';
import { resolveRequest } from '../shared/resolution/resolve.ts';
import { lifecycle } from '../shared/stage/lifecycle.ts';
import { type Adapters, hostAdapters, openAdapters } from '../shared/stage/start.ts';
import type { Workspace } from '../shared/workspace/workspace.ts';
import { checkRequest } from './intake/service.ts';
import { openSampleSite, prepareSample } from './sample-release.ts';
import { sideRepo } from './side-repo/service.ts';

export interface SideRepoOrder {
  /** A build request, as parsed from its file; its image types do not matter. */
  readonly request: unknown;
  /** Must not exist yet, or be empty. With several architectures each has a folder of its name in it. */
  readonly directory: string;
  /** Metadata, RPMs and what else is kept for the next call. One call at a time. */
  readonly cacheDirectory: string;
  /** Settings: SPINDLE_RELEASES_FILE, SPINDLE_EGRESS_ALLOW. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly onLine: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface MadeSideRepo {
  readonly arch: string;
  /** Absolute. */
  readonly directory: string;
  readonly packages: readonly (Pick<ResolvedPackage, 'nevra' | 'repository' | 'because' | 'sha256'> & { readonly signedBy: string | null })[];
  readonly warnings: readonly string[];
}

export type SideRepoOutcome =
  | { readonly outcome: 'made'; readonly repositories: readonly MadeSideRepo[] }
  /** The request is at fault. */
  | {
      readonly outcome: 'refused';
      readonly code: string;
      readonly message: string;
      readonly errors: readonly { readonly field: string; readonly message: string }[];
    }
  /** The directory is. */
  | { readonly outcome: 'unusable'; readonly message: string }
  /** Something else is. */
  | { readonly outcome: 'failed'; readonly code: string; readonly message: string; readonly details: readonly string[] };

/** Nothing is installed here, so no code of any package runs. */
const untrustedCode = { kickstartScripts: true, rpms: true };

/** Rejects only with the signal's reason, or where Spindle itself is broken. What is made appears whole or not at all. */
export async function createSideRepository(order: SideRepoOrder): Promise<SideRepoOutcome> {
  const { environment, onLine, signal } = order;
  const { clock, programs } = hostAdapters();
  const logger = createLog({ level: 'warn', destination: { write: (line) => onLine(line.trimEnd()) } });
  const life = lifecycle({ clock, logger });
  let workspace: Workspace | undefined;
  try {
    const config = readConfig({
      SPINDLE_STATE_DIR: order.cacheDirectory,
      SPINDLE_RELEASES_FILE: environment['SPINDLE_RELEASES_FILE'],
      SPINDLE_EGRESS_ALLOW: environment['SPINDLE_EGRESS_ALLOW'],
    });
    const loaded = await loadReleases(config.releasesFile);
    const wantsSample = loaded.needs.includes('SAMPLE_SITE') && /^sample/.test(String((order.request as { release?: unknown } | null)?.release ?? ''));
    const site = wantsSample ? await openSampleSite(config, life) : undefined;
    const releases = loaded.fill(site ? { SAMPLE_SITE: site.url } : {});
    // No image is made, so whatever tool there is for one of this release will do.
    const rules = { releases, engines: Object.fromEntries(engines.map((engine) => [engine, ImageType.options])), untrustedCode };
    const checked = checkRequest(packagesOnly(order.request), rules);
    if (!checked.isValid) return refused(checked.code, checked.problems);
    const taken = await whyTaken(order.directory);
    if (taken !== undefined) return { outcome: 'unusable', message: taken };
    const allow = [...config.egressAllow, ...(site ? [new URL(site.url).host] : [])];
    const adapters = await openAdapters(config, life, { clock, programs, logger, worker: 'side-repo-create', allow });
    if (site) await prepareSample(config, site, programs, life, logger);
    await adapters.workspaces.sweep();
    workspace = await adapters.workspaces.create('side-repo-create');
    const repositories: MadeSideRepo[] = [];
    for (const request of checked.requests) {
      const directory = resolve(order.directory, ...(checked.requests.length > 1 ? [request.arch] : []));
      repositories.push(await make(request, directory, { adapters, releases, workspace, onLine, signal }));
    }
    return { outcome: 'made', repositories };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ReleasesProblem || error instanceof ConfigProblem)
      return { outcome: 'failed', code: 'SETTINGS_INVALID', message: error.message, details: [] };
    const { code, message, fault, details = [] } = failureOf(error, 'side-repo');
    if (code === 'INTERNAL') throw error;
    return fault === 'requester' ? { outcome: 'refused', code, message, errors: [] } : { outcome: 'failed', code, message, details };
  } finally {
    await workspace?.dispose();
    await life.stop();
  }
}

/** Every kind of image has the same packages here; one is needed for the request to be one. */
function packagesOnly(request: unknown): unknown {
  if (typeof request !== 'object' || request === null || Array.isArray(request)) return request;
  return { ...request, imageType: 'live', engine: 'auto' };
}

function refused(code: string, problems: readonly { readonly field: string; readonly message: string }[]): SideRepoOutcome {
  return {
    outcome: 'refused',
    code,
    message: problems[0]?.message ?? 'the request is not valid',
    errors: problems.map(({ field, message }) => ({ field, message })),
  };
}

interface Making {
  readonly adapters: Adapters;
  readonly releases: ReleasesFile;
  readonly workspace: Workspace;
  readonly onLine: (line: string) => void;
  readonly signal: AbortSignal;
}

async function make(request: SingleBuildRequest, directory: string, { adapters, releases, workspace, onLine, signal }: Making): Promise<MadeSideRepo> {
  const { files, clock } = adapters;
  const log = (tool: string, line: string) => onLine(`${tool}: ${line}`);
  const context = { ...adapters, ...remoteClients(adapters), releases, untrustedCode, log, phase: () => () => undefined, progress: () => undefined, signal };
  const release = releases.releases.find(({ id }) => id === request.release);
  if (!release) throw new SpindleError('RELEASE_UNKNOWN', `release: there is no release ${request.release} here`);
  const resolution = await resolveRequest({
    request,
    release,
    engine: null,
    ports: context,
    workspace,
    log,
    phase: context.phase,
    progress: context.progress,
    signal,
  });
  // What the release has needs no fetching here.
  const packages = resolution.packages.filter(({ from }) => from === 'side');
  const data = {
    arch: request.arch,
    imageType: request.imageType,
    engine: 'native' as const,
    resolution: await storeContent(files, JSON.stringify({ ...resolution, packages })),
  };
  const made = await sideRepo.handle({ type: 'build.resolved', data } as Parameters<typeof sideRepo.handle>[0], {
    ...context,
    buildId: clock.id(),
    owner: null,
    request,
    pinnedResolution: null,
    attempt: 1,
    workspace: async () => workspace,
  });
  const ready = [made].flat().find((event) => event.type === 'side-repo.ready');
  if (ready?.type !== 'side-repo.ready') throw new SpindleError('REPOSITORY_METADATA_FAILED', 'no repository came of the packages');
  const { repositories } = RepositorySet.parse(JSON.parse(await readContentText(files, ready.data.repositories)));
  const side = repositories.find(({ id }) => id === 'side') ?? { files: [] };
  await exported(files, side.files, directory, signal);
  const signers = new Map(side.files.map(({ sha256, signedBy = null }) => [sha256, signedBy]));
  return {
    arch: request.arch,
    directory,
    packages: packages.map(({ nevra, repository, because, sha256 }) => ({ nevra, repository, because, sha256, signedBy: signers.get(sha256) ?? null })),
    warnings: resolution.warnings,
  };
}

async function whyTaken(directory: string): Promise<string | undefined> {
  try {
    return (await readdir(directory)).length > 0 ? `${directory} is not empty; name a directory that is, or that is not there yet` : undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? undefined : `${directory} cannot be used: ${code === 'ENOTDIR' ? 'it is no directory' : message}`;
  }
}

/** Copies, never links: what becomes of the directory must not become of the stored packages. It appears under its name once it is whole. */
async function exported(files: Files, wanted: RepositorySet['repositories'][number]['files'], directory: string, signal: AbortSignal): Promise<void> {
  const parent = dirname(directory);
  await mkdir(parent, { recursive: true });
  const temporary = await mkdtemp(join(parent, `.${basename(directory)}-`));
  try {
    await chmod(temporary, 0o755);
    for (const { path, sha256, size } of wanted) {
      signal.throwIfAborted();
      const found = await files.get(contentKey(sha256));
      if (found?.size !== size) throw new SpindleError('FILE_MISSING', `the stored file of ${path} is gone; run the command again`);
      await mkdir(dirname(join(temporary, path)), { recursive: true });
      await writeFile(join(temporary, path), found.body, { flag: 'wx' });
    }
    await rename(temporary, directory);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}
