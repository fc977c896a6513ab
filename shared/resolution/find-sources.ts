/** Asks Koji and Bodhi for what a request's sources name: builds, tasks, tags and advisories become sets of RPMs. Downloads nothing. */
import type { Bodhi } from '../bodhi/bodhi.ts';
import { usableUpdate } from '../bodhi/usable.ts';
import { SpindleError } from '../build/failure.ts';
import type { SingleBuildRequest } from '../build/request.ts';
import { formatNevra, parseNevra } from '../fedora/nvr.ts';
import type { Koji, KojiBuild, KojiRpm, KojiTagging } from '../koji/koji.ts';
import type { Release } from '../releases/releases.ts';
import {
  fileSources,
  hasForeignDist,
  isFitting,
  mainNames,
  otherArches,
  requireComplete,
  type SourceRpm,
  type SourceSet,
  scratchUnsignedError,
  taskSources,
  unsignedError,
  usableRpms,
  withoutOverlap,
} from './source-set.ts';
import { type FindUploads, uploadedSets } from './uploaded-packages.ts';

export interface FindOptions {
  readonly request: SingleBuildRequest;
  readonly release: Release;
  readonly koji: Koji | undefined;
  readonly bodhi: Bodhi | undefined;
  /** Left out where there are no uploads. */
  readonly findUploads?: FindUploads | undefined;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface FoundSources {
  readonly sets: readonly SourceSet[];
  /** Sentences for the requester: what was left out, and why. */
  readonly warnings: readonly string[];
}

/** More would be a distribution of its own; a repository serves that better. */
const rpmsMax = 10_000;

/** A set before its RPMs are known: builds with the sentence that says why they are here. */
interface BuildSet extends Pick<SourceSet, 'label' | 'rule' | 'what'> {
  readonly builds: readonly { readonly build: KojiBuild; readonly because: string }[];
}

/** Rejects with the requester's mistakes (RPM_…, KOJI_…, ADVISORY_…, PACKAGE_UNSIGNED, REQUESTED_BUILD_CONFLICT), KOJI_UNREACHABLE, KOJI_FAULT, BODHI_UNREACHABLE or the signal's reason. */
export async function findSources(options: FindOptions): Promise<FoundSources> {
  const { sources } = options.request;
  const isAsked = [sources.kojiBuilds, sources.kojiTasks, sources.kojiTags, sources.advisories].some((list) => list.length > 0);
  const uploads = sources.rpms.length === 0 ? [] : await uploadedSets(options.request, options.findUploads ?? noUploads);
  for (const { what } of uploads) options.log(what);
  if (!isAsked) return { sets: uploads, warnings: [] };
  const { koji } = options;
  if (!koji) throw unserved('kojiBuilds', options.release, 'Koji');
  const warnings: string[] = [];
  const [tasks, tags, advisories] = await Promise.all([ofTasks(koji, options), ofTags(koji, options), ofAdvisories(options)]);
  const named = await ofNamedBuilds(koji, advisories, options);
  const buildSets = [...named, ...tasks.builds, ...tags];
  await refuseForeign(koji, buildSets, options);
  const ofBuilds = await withRpms(koji, buildSets, options, warnings);
  const sets = withoutOverlap([...uploads, ...ofBuilds, ...tasks.scratch]);
  const count = sets.reduce((sum, { rpms }) => sum + rpms.length, 0);
  if (count > rpmsMax) {
    throw new SpindleError('KOJI_TAG_TOO_LARGE', `the sources of the request bring ${count} RPMs; at most ${rpmsMax} are taken, so name fewer tags or builds`);
  }
  for (const { what, rpms } of sets.filter(({ isUploaded }) => !isUploaded)) options.log(`${what}: ${rpms.map((rpm) => formatNevra(rpm)).join(' ')}`);
  return { sets, warnings };
}

const noUploads: FindUploads = async () => {
  throw new SpindleError('FEATURE_UNSUPPORTED', 'sources.rpms: only a running service has uploaded RPMs; name builds or repositories instead');
};

function unserved(key: string, release: Release, what: string): SpindleError {
  return new SpindleError('FEATURE_UNSUPPORTED', `sources.${key}: the release ${release.id} has no ${what} here; leave them out, or choose another release`);
}

const listed = (names: readonly string[]) => `${names.slice(0, 5).join(', ')}${names.length > 5 ? ` and ${names.length - 5} more` : ''}`;

/** Scratch tasks bring the RPMs that they left; tasks of real builds stand for those builds. */
async function ofTasks(
  koji: Koji,
  { request, release, signal }: FindOptions,
): Promise<{ readonly builds: readonly BuildSet[]; readonly scratch: readonly SourceSet[] }> {
  const wanted = [...new Set(request.sources.kojiTasks)];
  if (wanted.length === 0) return { builds: [], scratch: [] };
  const tasks = await koji.getTasks(wanted, signal);
  const unknown = wanted.filter((_, index) => tasks[index] === undefined);
  if (unknown.length > 0)
    throw new SpindleError('KOJI_TASK_UNKNOWN', `Koji has no task ${listed(unknown.map(String))}; check the numbers under sources.kojiTasks`);
  for (const task of tasks) {
    if (!task || task.state === 'closed') continue;
    const advice =
      task.state === 'failed' || task.state === 'canceled'
        ? `${task.state === 'failed' ? 'has failed' : 'was canceled'}; name another task`
        : 'has not ended; ask again when it has';
    throw new SpindleError('KOJI_TASK_UNUSABLE', `the Koji task ${task.id} (${task.method}) ${advice}`);
  }
  const made = await koji.listTaskBuilds(wanted, signal);
  const builds = wanted.flatMap((id, index) =>
    (made[index] ?? []).map(
      (build): BuildSet => ({
        ...setOfBuild(build),
        builds: [{ build, because: `The request names the Koji task ${id}, which made the build ${build.nvr}.` }],
      }),
    ),
  );
  const scratch = wanted.filter((_, index) => (made[index] ?? []).length === 0);
  const files = await koji.listTaskRpms(scratch, signal);
  return {
    builds,
    scratch: scratch.map((id, index): SourceSet => {
      const what = `the Koji task ${id}`;
      const all = (files[index] ?? []).flatMap((file) => {
        const rpm = parseNevra(file.fileName.replace(/\.rpm$/, ''));
        return rpm && rpm.arch !== 'src' && rpm.arch !== 'nosrc' ? [{ rpm, file }] : [];
      });
      const fitting = all.filter(({ rpm }) => isFitting(rpm, request));
      if (fitting.length === 0) {
        const has = otherArches(all.map(({ rpm }) => rpm));
        throw new SpindleError(
          'KOJI_TASK_UNUSABLE',
          `the Koji task ${id} leaves no RPM for ${request.arch}: ${has}; Koji removes the files of scratch builds after some weeks`,
        );
      }
      const rpms = fitting.map(({ rpm, file }): SourceRpm => {
        const sources = taskSources(file, release);
        if (sources.length === 0) throw scratchUnsignedError(rpm, what, release);
        return { ...rpm, sources, payloadHash: null, because: `The request names the Koji task ${id}, which left it.` };
      });
      const sourceNames = (files[index] ?? []).flatMap(({ fileName }) => parseNevra(fileName.replace(/\.(no)?src\.rpm$/, '.src'))?.name ?? []);
      return { label: `task ${id}`, rule: 'in-image', what, rpms, main: mainNames(sourceNames, rpms) };
    }),
  };
}

/**
 * What is tagged right there stands in the place of other versions. What it inherits fills gaps only, and not from the tags whose content the release's own repositories already have, nor from what lies
 * beyond them.
 */
async function ofTags(koji: Koji, { request, release, signal }: FindOptions): Promise<readonly BuildSet[]> {
  const wanted = [...new Set(request.sources.kojiTags)];
  if (wanted.length === 0) return [];
  const inheritance = await koji.getInheritance(wanted, signal);
  const unknown = wanted.filter((_, index) => inheritance[index] === undefined);
  if (unknown.length > 0) {
    throw new SpindleError(
      'KOJI_TAG_UNKNOWN',
      `Koji has no tag ${listed(unknown)}; a side tag is removed when its work is done: name the builds themselves under sources.kojiBuilds`,
    );
  }
  const own = new Set(Object.values(release.koji?.tags ?? {}));
  const chains = inheritance.map((tags = []) => {
    const end = tags.findIndex((tag) => own.has(tag));
    return end < 0 ? tags : tags.slice(0, end);
  });
  const asked = [...new Set([...wanted, ...chains.flat()])];
  const answers = await koji.listTagged(asked, signal);
  const taggedIn = new Map(asked.map((tag, index) => [tag, answers[index] ?? []]));
  return wanted.flatMap((tag, index): readonly BuildSet[] => {
    const direct = taggedIn.get(tag) ?? [];
    const seen = new Set(direct.map(({ build }) => build.name));
    const inherited = (chains[index] ?? []).flatMap((parent): readonly KojiTagging[] => {
      const fresh = (taggedIn.get(parent) ?? []).filter(({ build }) => !seen.has(build.name));
      for (const { build } of fresh) seen.add(build.name);
      return fresh;
    });
    if (direct.length + inherited.length === 0) {
      throw new SpindleError('KOJI_TAG_UNKNOWN', `the Koji tag ${tag} holds no build that ${release.name} lacks; name a side tag with builds in it`);
    }
    const what = `the Koji tag ${tag}`;
    return [
      { label: tag, rule: 'preferred', what, builds: direct.map(({ build }) => ({ build, because: `The Koji tag ${tag} holds it (build ${build.nvr}).` })) },
      {
        label: `${tag} (inherited)`,
        rule: 'if-missing',
        what,
        builds: inherited.map(({ build, tag: parent }) => ({
          build,
          because: `No repository has it; the Koji tag ${tag} inherits it from ${parent} (build ${build.nvr}).`,
        })),
      },
    ];
  });
}

interface Advisory {
  readonly alias: string;
  readonly nvrs: readonly string[];
}

async function ofAdvisories({ request, release, bodhi, signal }: FindOptions): Promise<readonly Advisory[]> {
  const wanted = [...new Set(request.sources.advisories)];
  if (wanted.length === 0) return [];
  if (!bodhi) throw unserved('advisories', release, 'Bodhi');
  const updates = await bodhi.getUpdates(wanted, signal);
  return wanted.map((alias, index) => ({ alias, nvrs: usableUpdate(alias, updates[index], release).map(({ nvr }) => nvr) }));
}

const setOfBuild = (build: KojiBuild) => ({ label: build.nvr, rule: 'in-image' as const, what: `the Koji build ${build.nvr}` });

/** Builds that the request or an advisory names: asked for together, each once, however often and in whichever way it was named. */
async function ofNamedBuilds(koji: Koji, advisories: readonly Advisory[], { request, signal }: FindOptions): Promise<readonly BuildSet[]> {
  const wanted = request.sources.kojiBuilds;
  const asked = [...wanted, ...advisories.flatMap(({ nvrs }) => nvrs)];
  if (asked.length === 0) return [];
  const answers = await koji.getBuilds(asked, signal);
  const unknown = wanted.filter((_, index) => answers[index] === undefined);
  if (unknown.length > 0) {
    const named = unknown.map((build) => (typeof build === 'number' ? `${build} (a build id)` : build));
    throw new SpindleError('KOJI_BUILD_UNKNOWN', `Koji has no build ${listed(named)}; check name, version and release under sources.kojiBuilds`);
  }
  const byName = new Map(asked.map((name, index) => [name, answers[index]]));
  const direct = new Map(wanted.flatMap((name) => byName.get(name) ?? []).map((build) => [build.id, build]));
  const sets: BuildSet[] = [...direct.values()].map((build) => ({
    ...setOfBuild(build),
    builds: [{ build, because: `The request names the Koji build ${build.nvr}.` }],
  }));
  for (const { alias, nvrs } of advisories) {
    const builds = nvrs.map((nvr) => {
      const build = byName.get(nvr);
      if (!build) throw new SpindleError('ADVISORY_UNUSABLE', `the advisory ${alias} names the build ${nvr}, which Koji does not have`);
      return build;
    });
    const rest = builds.filter(({ id }) => !direct.has(id));
    if (rest.length === 0) continue;
    const taken = rest.map((build) => ({ build, because: `The advisory ${alias} has it (Koji build ${build.nvr}).` }));
    sets.push({ label: alias, rule: 'in-image', what: `the advisory ${alias}`, builds: taken });
  }
  for (const { build } of sets.flatMap(({ builds }) => builds)) requireComplete(build);
  return sets;
}

/** A mark of another distribution is no proof: a package that was not rebuilt carries an old one. The tags that hold a build decide. */
async function refuseForeign(koji: Koji, sets: readonly BuildSet[], { release, signal }: FindOptions): Promise<void> {
  const stable = release.koji?.tags?.stable;
  const suspects = sets
    .filter(({ rule }) => rule === 'in-image')
    .flatMap(({ builds }) => builds.map(({ build }) => build))
    .filter((build) => hasForeignDist(build, release));
  if (suspects.length === 0 || stable === undefined) return;
  const tags = await koji.listTags(
    suspects.map(({ id }) => id),
    signal,
  );
  for (const [index, build] of suspects.entries()) {
    const held = tags[index] ?? [];
    if (held.some((tag) => tag === stable || tag.startsWith(`${stable}-`))) continue;
    const where = held.length > 0 ? `it is tagged ${listed(held)}` : 'no tag holds it';
    throw new SpindleError(
      'KOJI_BUILD_OTHER_RELEASE',
      `the Koji build ${build.nvr} was made for another release than ${release.name}: ${where}; name a build of ${release.name}`,
    );
  }
}

async function withRpms(koji: Koji, sets: readonly BuildSet[], options: FindOptions, warnings: string[]): Promise<readonly SourceSet[]> {
  const { request, release, signal } = options;
  const builds = [...new Map(sets.flatMap((set) => set.builds.map(({ build }) => [build.id, build] as const))).values()];
  if (builds.length === 0) return [];
  const lists = await koji.listBuildRpms(
    builds.map(({ id }) => id),
    signal,
  );
  const rpmsOf = new Map(builds.map(({ id }, index) => [id, lists[index] ?? []]));
  /** Of a build that the requester did not name itself, having nothing for this machine is no mistake. */
  const usable = (build: KojiBuild, rule: SourceSet['rule']): readonly KojiRpm[] => {
    const rpms = rpmsOf.get(build.id) ?? [];
    return rule === 'in-image' || rpms.some((rpm) => rpm.arch !== 'src' && isFitting(rpm, request)) ? usableRpms(build, rpms, request) : [];
  };
  const chosen = sets.map((set) => set.builds.map(({ build, because }) => ({ build, because, rpms: usable(build, set.rule) })));
  const all = [...new Map(chosen.flat().flatMap(({ rpms }) => rpms.map((rpm) => [rpm.id, rpm] as const))).values()];
  const keys =
    release.sigkeys.length === 0
      ? []
      : await koji.listSigkeys(
          all.map(({ id }) => id),
          signal,
        );
  const sigkeysOf = new Map(all.map(({ id }, index) => [id, keys[index] ?? []]));
  return sets.map((set, place): SourceSet => {
    const rpms = (chosen[place] ?? []).flatMap(({ build, because, rpms: list }) =>
      list.flatMap((rpm): readonly SourceRpm[] => {
        const sources = fileSources(koji, build, rpm, sigkeysOf.get(rpm.id) ?? [], release);
        const { name, epoch, version, release: rpmRelease, arch, payloadHash } = rpm;
        if (sources.length > 0) return [{ name, epoch, version, release: rpmRelease, arch, sources, payloadHash, because }];
        const error = unsignedError(rpm, set.what, release);
        if (set.rule !== 'if-missing') throw error;
        warnings.push(`${error.message}; it is left out`);
        return [];
      }),
    );
    return {
      label: set.label,
      rule: set.rule,
      what: set.what,
      rpms,
      main: mainNames(
        set.builds.map(({ build }) => build.name),
        rpms,
      ),
    };
  });
}
