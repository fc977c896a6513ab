/** The solver's "no", in words that the requester can act on. Pure. */
import { distance } from 'fastest-levenshtein';
import { SpindleError } from '../build/failure.ts';
import { parseNevra } from '../fedora/nvr.ts';
import type { SolverAnswer } from './solver.ts';

type Missing = Extract<SolverAnswer, { outcome: 'missing' }>;

export interface TroubleContext {
  readonly releaseName: string;
  readonly arch: string;
  /** Requested builds, by NVR, with the package names that they bring. */
  readonly builds: readonly { readonly nvr: string; readonly packages: readonly { readonly name: string }[] }[];
  readonly engine: string;
}

export function missingError({ missing, known }: Missing, context: TroubleContext): SpindleError {
  const forEngine = missing.filter(({ askedBy }) => askedBy === 'engine');
  const ofRequest = missing.filter(({ askedBy }) => askedBy === 'request');
  const where = `${context.releaseName} for ${context.arch}`;
  if (ofRequest.length === 0) {
    const names = forEngine.map(({ spec }) => spec).join(', ');
    return new SpindleError(
      'ENGINE_UNSUPPORTED',
      `the engine ${context.engine} needs ${names} inside the image, and the repositories of ${where} have no such package; choose another engine`,
    );
  }
  const replaced = ofRequest.find(({ reason }) => reason === 'replaced');
  if (replaced) {
    const build =
      context.builds.find(({ packages }) => packages.some(({ name }) => replaced.spec.startsWith(name)))?.nvr ??
      context.builds[0]?.nvr ??
      'a requested Koji build';
    return new SpindleError(
      'REQUESTED_BUILD_CONFLICT',
      `the request names ${replaced.spec} and the Koji build ${build}, which has another version of it; leave one of them out`,
    );
  }
  const lines = ofRequest.slice(0, 20).map(({ spec, reason }) => {
    if (reason === 'excluded') return `${spec} is named under packages and left out by excludePackages`;
    const near = nearest(spec, known);
    const kind = reason === 'no-group' ? 'group' : 'package, file or capability';
    return `${where} has no ${kind} ${spec}${near.length > 0 ? `; near to it: ${near.join(', ')}` : ''}`;
  });
  const more = ofRequest.length > 1 ? ` (and ${ofRequest.length - 1} more, see the details)` : '';
  return new SpindleError('PACKAGE_UNKNOWN', `${lines[0]}${more}`, ofRequest.length > 1 ? { details: lines } : {});
}

/** Up to 3 names that somebody may have meant: little has to change, or one begins with the other. Groups for groups, packages for packages. */
export function nearest(spec: string, known: readonly string[]): readonly string[] {
  const bare = spec.replace(/[*?[\]].*$/, '').toLowerCase();
  if (bare.length < 2 || bare.startsWith('/')) return [];
  const kind = /^@\^?/.exec(bare)?.[0] ?? '';
  const farthest = Math.max(1, Math.floor(bare.length / 3));
  return known
    .filter((name) => (/^@\^?/.exec(name)?.[0] ?? '') === kind && Math.abs(name.length - bare.length) <= bare.length + 10)
    .map((name) => {
      const other = name.toLowerCase();
      const steps = distance(bare, other);
      const isPart = bare.length - kind.length >= 3 && (other.startsWith(bare) || bare.startsWith(`${other}-`));
      return { name, rank: steps <= farthest ? steps : isPart ? farthest + steps : Number.POSITIVE_INFINITY };
    })
    .filter(({ rank }) => rank < Number.POSITIVE_INFINITY)
    .sort((a, b) => a.rank - b.rank || (a.name < b.name ? -1 : 1))
    .slice(0, 3)
    .map(({ name }) => name);
}

export function unsolvableError(problems: readonly string[], context: TroubleContext): SpindleError {
  const details = [...new Set(problems.map((line) => line.trim()).filter((line) => line !== ''))].slice(0, 40);
  // The job's own line ("conflicting requests") says nothing; the reason follows it.
  const reason =
    details.find((line) => !/^(conflicting requests|package .* is filtered out|cannot install the best candidate)/.test(line)) ??
    details[0] ??
    'the solver gave no reason';
  const builds = context.builds.length > 0 ? ` with ${context.builds.map(({ nvr }) => nvr).join(', ')}` : '';
  const why = filteredOut(details, context).map((line) => `; ${line}`);
  return new SpindleError('DEPENDENCIES_UNSOLVABLE', `the packages${builds} cannot be installed together on ${context.releaseName}: ${reason}${why.join('')}`, {
    details,
  });
}

/** The solver knows that a package is out of the question, but not by whom: the requester, or a build that stands in its place. */
function filteredOut(details: readonly string[], { builds }: TroubleContext): readonly string[] {
  const filtered = details.flatMap((line) => /^package (\S+) is filtered out by exclude filtering/.exec(line)?.[1] ?? []);
  return filtered.slice(0, 3).map((nevra) => {
    const build = builds.find(({ packages }) => packages.some(({ name }) => parseNevra(nevra)?.name === name));
    return build ? `the Koji build ${build.nvr} stands in the place of ${nevra}` : `excludePackages leaves out ${nevra}`;
  });
}
