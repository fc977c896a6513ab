/** What a request's sources bring besides repositories: sets of RPMs with where their files are, and words for people. Pure. */
import { SpindleError } from '../build/failure.ts';
import type { SingleBuildRequest } from '../build/request.ts';
import { compareEvr, formatNevra, type Nevra } from '../fedora/nvr.ts';
import type { FileRef } from '../files/content-ref.ts';
import type { Koji, KojiBuild, KojiRpm } from '../koji/koji.ts';
import type { Release } from '../releases/releases.ts';
import type { RpmSource } from '../rpm/fetch-rpm.ts';
import type { LooseSet } from '../solver/solver.ts';

export interface SignedSource extends RpmSource {
  /** Koji's path name of the signature, or null for the unsigned file. */
  readonly sigkey: string | null;
}

export interface SourceRpm extends Nevra {
  /** Best first. */
  readonly sources: readonly SignedSource[];
  /** What Koji calls payloadhash; null where it has none, as for scratch builds. */
  readonly payloadHash: string | null;
  /** One sentence for people: why it would be taken. */
  readonly because: string;
  /** Of an upload: the stored file. Then there are no sources. */
  readonly uploaded?: FileRef;
}

export interface SourceSet {
  readonly label: string;
  readonly rule: LooseSet['rule'];
  /** `the Koji build hello-1.1-1` */
  readonly what: string;
  readonly rpms: readonly SourceRpm[];
  readonly main: readonly string[];
  /** The requester's own RPM: it is another file than a published one of the same NEVRA. */
  readonly isUploaded?: boolean;
}

/** A signed copy is longer than the unsigned file by its signatures. */
const signatureBytesMax = 1024 * 1024;
const unknownSizeMax = 4 * 1024 ** 3;

const isDebug = ({ name }: Pick<Nevra, 'name'>) => /-(debuginfo|debugsource)(-|$)/.test(name);

/** Whether an RPM can be in this image at all. */
export function isFitting(rpm: Pick<Nevra, 'name' | 'arch'>, { arch, sources }: SingleBuildRequest): boolean {
  return (rpm.arch === arch || rpm.arch === 'noarch') && (sources.debuginfo || !isDebug(rpm));
}

/** Throws KOJI_BUILD_NOT_COMPLETE. */
export function requireComplete({ nvr, state }: KojiBuild): void {
  if (state === 'complete') return;
  const advice =
    state === 'building' ? 'is still building; ask again when it is complete' : `${state === 'failed' ? 'has failed' : `was ${state}`}; name another build`;
  throw new SpindleError('KOJI_BUILD_NOT_COMPLETE', `the Koji build ${nvr} ${advice}`);
}

/** Binary RPMs that Koji holds the files of, for this architecture and without debuginfo unless it is asked for. Throws KOJI_BUILD_NO_RPMS where there is none. */
export function usableRpms(build: KojiBuild, rpms: readonly KojiRpm[], request: SingleBuildRequest): readonly KojiRpm[] {
  const binary = rpms.filter(({ arch, isMetadataOnly }) => arch !== 'src' && arch !== 'nosrc' && !isMetadataOnly);
  const fitting = binary.filter((rpm) => isFitting(rpm, request));
  if (fitting.length > 0) return fitting;
  throw new SpindleError('KOJI_BUILD_NO_RPMS', `the Koji build ${build.nvr} has no RPM for ${request.arch}: ${otherArches(binary)}`);
}

/** `it has some for aarch64, s390x` */
export function otherArches(rpms: readonly Pick<Nevra, 'name' | 'arch'>[]): string {
  const others = [...new Set(rpms.filter((rpm) => !isDebug(rpm)).map(({ arch }) => arch))].sort();
  return others.length > 0 ? `it has some for ${others.join(', ')}` : 'it has none at all';
}

/** The packages that are named like the source package; else all of them, without what only debuggers want. */
export function mainNames(sourceNames: readonly string[], rpms: readonly Pick<Nevra, 'name'>[]): readonly string[] {
  const names = rpms.map(({ name }) => name);
  const main = names.filter((name) => sourceNames.includes(name));
  if (main.length > 0) return [...new Set(main)];
  const plain = rpms.filter((rpm) => !isDebug(rpm)).map(({ name }) => name);
  return [...new Set(plain.length > 0 ? plain : names)];
}

/** Where the file of a build's RPM is, signed copies first; none where the release takes signed packages only and there is no signed copy. */
export function fileSources(koji: Koji, build: KojiBuild, rpm: KojiRpm, sigkeys: readonly string[], release: Release): readonly SignedSource[] {
  const known = release.sigkeys.filter((key) => sigkeys.includes(key));
  return koji
    .filesOf(build, rpm, known)
    .filter(({ sigkey }) => sigkey !== null || release.unsigned !== 'refuse')
    .map(({ url, sigkey }) => ({
      url,
      sigkey,
      size: rpm.size === 0 ? unknownSizeMax : rpm.size + (sigkey === null ? 0 : signatureBytesMax),
      isSizeExact: sigkey === null && rpm.size > 0,
    }));
}

/** The file of a task's RPM: never signed. */
export function taskSources(file: { readonly url: string; readonly size: number }, release: Release): readonly SignedSource[] {
  if (release.unsigned === 'refuse') return [];
  return [{ url: file.url, sigkey: null, size: file.size === 0 ? unknownSizeMax : file.size, isSizeExact: file.size > 0 }];
}

export function unsignedError(rpm: Nevra, what: string, release: Release): SpindleError {
  const keys = release.sigkeys.join(', ') || 'none is known';
  return new SpindleError(
    'PACKAGE_UNSIGNED',
    `${what} has ${formatNevra(rpm)} without a signature of ${release.name} (keys: ${keys}), and this release takes signed packages only; wait until the build is signed`,
  );
}

/** Nobody signs what a scratch build leaves, so waiting would not help. */
export function scratchUnsignedError(rpm: Nevra, what: string, release: Release): SpindleError {
  return new SpindleError(
    'PACKAGE_UNSIGNED',
    `${what} has ${formatNevra(rpm)}, which is not signed, as nothing of a scratch build is; ${release.name} takes signed packages only here: name a signed build, or ask the operator to allow unsigned packages in side repositories`,
  );
}

/** True where a build's release says another distribution than this one, as `1.fc43` does for Fedora 44. Builds without such a mark are anybody's. */
export function hasForeignDist({ release }: Pick<KojiBuild, 'release'>, { dist }: Release): boolean {
  if (dist === undefined || release.split('.').includes(dist)) return false;
  return /\.[a-z]+[a-z0-9_]*$/i.test(release);
}

const ranks: Readonly<Record<LooseSet['rule'], number>> = { 'in-image': 0, preferred: 1, 'if-missing': 2 };

/**
 * One place for each package: what must be in the image keeps its packages, other sets give way to it; among equals that the requester left the choice, the newest wins. The same RPM in two sets stays
 * in the stronger one, but an upload and a build's are two. Throws REQUESTED_BUILD_CONFLICT where two builds that must both be in the image bring different versions of a package.
 */
export function withoutOverlap(sets: readonly SourceSet[]): readonly SourceSet[] {
  const owners = new Map<string, { readonly set: SourceSet; readonly rpm: SourceRpm }>();
  const ordered = sets.toSorted((a, b) => ranks[a.rule] - ranks[b.rule]);
  for (const set of ordered) {
    for (const rpm of set.rpms) {
      const owner = owners.get(rpm.name);
      if (owner === undefined) {
        owners.set(rpm.name, { set, rpm });
        continue;
      }
      const isSameFile = formatNevra(owner.rpm) === formatNevra(rpm) && !owner.set.isUploaded;
      if (owner.set === set || isSameFile) continue;
      if (set.rule === 'in-image') {
        throw new SpindleError(
          'REQUESTED_BUILD_CONFLICT',
          `${owner.set.what} and ${set.what} both have the package ${rpm.name}; one image holds one of them, so name one of the two`,
        );
      }
      if (owner.set.rule === set.rule && compareEvr(rpm, owner.rpm) > 0) owners.set(rpm.name, { set, rpm });
    }
  }
  return ordered.map((set) => ({ ...set, rpms: set.rpms.filter((rpm) => owners.get(rpm.name)?.set === set) })).filter(({ rpms }) => rpms.length > 0);
}
