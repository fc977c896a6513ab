/** The solver's "no", in words that the requester can act on: what they wrote, what is wrong with it, what to do now. Pure. */
import { SpindleError } from '../build/failure.ts';
import type { Elsewhere, SolverAnswer } from '../solver/solver.ts';
import type { KnownBuild } from './known-builds.ts';
import { nameOf, type Problem, readProblem } from './problem-chain.ts';

type Missing = Extract<SolverAnswer, { outcome: 'missing' }>;
type Unsolvable = Extract<SolverAnswer, { outcome: 'unsolvable' }>;

export interface TroubleContext {
  readonly releaseName: string;
  readonly arch: string;
  readonly engine: string;
  /** What the requester named, and named as not wanted. */
  readonly install: readonly string[];
  readonly exclude: readonly string[];
  readonly repositories: readonly { readonly id: string; readonly role: 'stable' | 'updates' | 'updates-testing' | 'requested'; readonly isOn: boolean }[];
  /** `what`: `the Koji build hello-1.1-1`. */
  readonly sets: readonly { readonly label: string; readonly what: string; readonly names: readonly string[] }[];
  /** Up to 3 names that somebody may have meant. */
  readonly nearest: (spec: string) => readonly string[];
  /** Koji builds of unknown names. */
  readonly known: ReadonlyMap<string, readonly KnownBuild[]>;
}

const messageLengthMax = 400;
const textLengthMax = 120;
const detailsMax = 40;

/** What comes from metadata is anybody's text. */
const shown = (text: string, lengthMax = textLengthMax): string => {
  const clean = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');
  return clean.length > lengthMax ? `${clean.slice(0, lengthMax - 1)}…` : clean;
};
const sentence = (text: string) => shown(text, messageLengthMax);
const where = ({ releaseName, arch }: TroubleContext) => `${releaseName} for ${arch}`;

/** PACKAGE_UNKNOWN; REQUESTED_BUILD_CONFLICT where a requested build stands in the place; ENGINE_UNSUPPORTED where only the image tool lacks something. */
export function missingError({ missing }: Missing, context: TroubleContext): SpindleError {
  const ofRequest = missing.filter(({ askedBy }) => askedBy === 'request');
  if (ofRequest.length === 0) {
    const names = missing.map(({ spec }) => spec).join(', ');
    return new SpindleError(
      'ENGINE_UNSUPPORTED',
      sentence(
        `the engine ${context.engine} needs ${names} inside the image, and the repositories of ${where(context)} have no such package; choose another engine`,
      ),
    );
  }
  const replaced = ofRequest.find(({ reason }) => reason === 'replaced');
  if (replaced) {
    return new SpindleError(
      'REQUESTED_BUILD_CONFLICT',
      sentence(`the request names ${replaced.spec} and ${setWords(replaced.set, context)}, which has another version of it; leave one of them out`),
    );
  }
  const lines = ofRequest.slice(0, detailsMax).map((each) => sentence(missingWords(each, context)));
  const more = ofRequest.length > 1 ? ` (and ${ofRequest.length - 1} more, see the details)` : '';
  return new SpindleError('PACKAGE_UNKNOWN', `${lines[0]}${more}`, ofRequest.length > 1 ? { details: lines } : {});
}

function missingWords({ spec, reason, elsewhere }: Missing['missing'][number], context: TroubleContext): string {
  if (reason === 'excluded') return `${spec} is named under packages and left out by excludePackages; take it off one of the two`;
  if (reason === 'disabled') return `${spec} is not in the repositories of the request: ${elsewhereWords(elsewhere, context)}`;
  const kind = reason === 'no-group' ? 'group' : 'package, file or capability';
  const [build] = context.known.get(spec) ?? [];
  if (build) {
    const advisory = build.advisory === null ? '' : `, or the advisory ${build.advisory} under sources.advisories`;
    return `${where(context)} has no package ${spec}, but Koji has ${build.nvr} in ${build.tag}: name it under sources.kojiBuilds${advisory}`;
  }
  const near = context.nearest(spec).map((name) => shown(name));
  return `${where(context)} has no ${kind} ${spec}${near.length > 0 ? `; near to it: ${near.join(', ')}` : '; check how it is spelled, or name a source that has it'}`;
}

/** `updates-testing has tested-1-1.noarch: turn on …` */
function elsewhereWords(elsewhere: readonly Elsewhere[], { repositories }: TroubleContext): string {
  const [found] = elsewhere;
  if (!found) return 'nobody has it';
  const role = repositories.find(({ id }) => id === found.repository)?.role;
  const key = role === 'updates' ? 'sources.updates' : 'sources.updatesTesting';
  const advisory = found.advisories[0] === undefined ? '' : `, or name the advisory ${shown(found.advisories[0])} under sources.advisories`;
  return `${shown(found.repository)} has ${shown(found.nevra)}; turn on ${key}${advisory}`;
}

function setWords(label: string | null, { sets }: TroubleContext): string {
  return sets.find((set) => set.label === label)?.what ?? 'a requested build';
}

/** DEPENDENCIES_UNSOLVABLE with the first problem in words; the details are libsolv's own. */
export function unsolvableError(answer: Unsolvable, context: TroubleContext): SpindleError {
  const problems = answer.problems.filter((lines) => lines.length > 0);
  const read = problems.map((lines) => readProblem(lines)).toSorted((a, b) => telling(a) - telling(b));
  const [first] = read;
  const words = first ? problemWords(first, answer, context) : 'the packages cannot be installed together; the solver gave no reason';
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more problem${problems.length > 2 ? 's' : ''}, see the details)` : '';
  const details = problems.flatMap((lines, place) => [`Problem ${place + 1}:`, ...[...new Set(lines)].map((line) => shown(line, 500))]).slice(0, detailsMax);
  return new SpindleError('DEPENDENCIES_UNSOLVABLE', `${sentence(words)}${more}`, { details });
}

/** What the requester can do most about comes first. */
function telling({ cause }: Problem): number {
  return ['filtered', 'two-versions', 'conflict', 'nothing-provides', 'architecture', 'unknown'].indexOf(cause.kind);
}

function problemWords(problem: Problem, answer: Unsolvable, context: TroubleContext): string {
  const { cause, chain, otherChain } = problem;
  const top = topOf(chain);
  switch (cause.kind) {
    case 'nothing-provides': {
      const hint = answer.hints.find(({ requirement }) => requirement === cause.requirement);
      const needs = `${pathWords(chain, context)} ${shown(cause.requirement)}`;
      if (hint) return `${needs}, which is not in the repositories of the request: ${elsewhereWords(hint.elsewhere, context)}`;
      return `${needs}, which nothing on ${where(context)} provides; leave ${advised(top, context)} out, or name a source that has it`;
    }
    case 'filtered':
      return filteredWords(problem, cause, answer, context);
    case 'conflict': {
      const link = chainNote(chain) + chainNote(otherChain);
      const choice = [...new Set([top, topOf(otherChain)].map((name) => advised(name, context)))];
      const verb = cause.verb === 'obsoletes' ? 'replaces' : 'conflicts with';
      const advice = choice.length > 1 ? `leave ${choice.join(' or ')} out` : `leave ${choice[0]} out`;
      return `${named(cause.package, context)} ${verb} ${named(cause.other, context)}${link === '' ? '' : ` (${link.slice(2)})`}; ${advice}`;
    }
    case 'two-versions':
      return `${shown(cause.package)} and ${shown(cause.other)} cannot be installed together; name one version of ${shown(nameOf(cause.package))}`;
    case 'architecture':
      return `${shown(cause.package)} is not for ${context.arch}; name a package of this architecture, or ask for another arch`;
    default:
      return `the packages cannot be installed together on ${where(context)}: ${shown(cause.line, 250)}`;
  }
}

function filteredWords({ chain }: Problem, cause: Extract<Problem['cause'], { kind: 'filtered' }>, answer: Unsolvable, context: TroubleContext): string {
  const why = answer.filtered.find(({ nevra }) => nevra === cause.package);
  const top = topOf(chain);
  const needs =
    cause.by === undefined ? `the request needs ${shown(cause.package)}` : `${pathWords(chain, context)} ${shown(cause.requirement ?? nameOf(cause.package))}`;
  const hint = answer.hints.find(({ requirement }) => requirement === cause.requirement);
  if (why?.reason === 'excluded') return `${needs}, and excludePackages leaves out ${shown(cause.package)}; allow it, or leave ${advised(top, context)} out`;
  if (why?.reason === 'replaced') {
    return `${needs}, but ${setWords(why.set, context)} stands in the place of ${shown(cause.package)}; name a build of ${shown(nameOf(top))} that fits it too, or leave one of them out`;
  }
  if (hint) return `${needs}, which is not in the repositories of the request: ${elsewhereWords(hint.elsewhere, context)}`;
  return `${needs}, and ${shown(cause.package)} is left out; leave ${advised(top, context)} out too`;
}

const topOf = (chain: readonly string[]): string => chain[0] ?? '';

/** `a needs`, `a needs b, which needs`, `a needs b (2 packages between), which needs`: the requester's end and the cause's, at most one link between. */
function pathWords(chain: readonly string[], context: TroubleContext): string {
  const [top = '', ...rest] = chain;
  const first = `${named(top, context)} needs`;
  const last = rest.at(-1);
  if (last === undefined) return first;
  const between = rest.length - 1;
  if (between === 0) return `${first} ${shown(nameOf(last))}, which needs`;
  if (between === 1) return `${first} ${shown(nameOf(rest[0] as string))}, which needs ${shown(nameOf(last))}, which needs`;
  return `${first} ${shown(nameOf(last))} (by way of ${between} other packages), which needs`;
}

/** `; deep-l needs left`, for those that were not asked for themselves. */
function chainNote(chain: readonly string[]): string {
  const [top, next] = [chain[0], chain.at(-1)];
  return chain.length > 1 && top !== undefined && next !== undefined ? `; ${shown(nameOf(top))} needs ${shown(nameOf(next))}` : '';
}

/** A package with who brought it, where that is not plain from the request. */
function named(nevra: string, context: TroubleContext): string {
  const name = nameOf(nevra);
  const set = context.sets.find(({ names }) => names.includes(name));
  if (set) return `${shown(name)} of ${set.what}`;
  if (isAsked(name, context)) return shown(name);
  const groups = context.install.filter((spec) => spec.startsWith('@'));
  if (groups.length === 1) return `${shown(name)} (of ${groups[0]})`;
  return shown(name);
}

const isAsked = (name: string, { install }: TroubleContext) =>
  install.some((spec) => spec === name || spec.startsWith(`${name}-`) || spec.startsWith(`${name}.`));

/** What the requester would take away: the package, or the build that brings it. */
function advised(nevra: string, context: TroubleContext): string {
  const name = nameOf(nevra);
  const set = context.sets.find(({ names }) => names.includes(name));
  return set && !isAsked(name, context) ? set.what : shown(name);
}
