/** Reads libsolv's sentences: what is wrong, and by which chain of requirements it follows from what was asked for. Pure. */
import { parseNevra } from '../fedora/nvr.ts';

/** The root of a problem. Packages are NEVRAs as libsolv writes them. */
type Cause =
  | { readonly kind: 'nothing-provides'; readonly requirement: string; readonly by: string }
  | { readonly kind: 'filtered'; readonly package: string; readonly requirement: string | undefined; readonly by: string | undefined }
  | { readonly kind: 'conflict'; readonly package: string; readonly other: string; readonly verb: 'conflicts with' | 'obsoletes' }
  | { readonly kind: 'two-versions'; readonly package: string; readonly other: string }
  | { readonly kind: 'architecture'; readonly package: string }
  | { readonly kind: 'unknown'; readonly line: string };

export interface Problem {
  readonly cause: Cause;
  /** From what was asked for down to the package that the cause is about; that one alone where it was asked for itself. For a conflict: of the first side. */
  readonly chain: readonly string[];
  /** For a conflict: the same of the other side. */
  readonly otherChain: readonly string[];
}

interface Edge {
  readonly from: string;
  readonly requirement: string;
}

const patterns = {
  requires: /^package (\S+) requires (.+), but none of the providers can be installed$/,
  nothing: /^nothing provides (.+) needed by (\S+)$/,
  conflict: /^package (\S+) (conflicts with|obsoletes) .+ provided by (\S+)$/,
  both: /^cannot install both (\S+) and (\S+)$/,
  architecture: /^package (\S+) does not have a compatible architecture$/,
  filtered: /^package (\S+) is filtered out by exclude filtering$/,
};
/** Says only that something was asked for. */
const empty = /^(conflicting requests|cannot install the best candidate for the job)$/;

/** `name` of a NEVRA; the text itself where it is none. */
export const nameOf = (nevra: string): string => parseNevra(nevra)?.name ?? nevra;

/** One problem's sentences, in the order that libsolv gave them: an order that says nothing. */
export function readProblem(lines: readonly string[]): Problem {
  const edges = lines.flatMap((line): readonly Edge[] => {
    const [, from, requirement] = patterns.requires.exec(line) ?? [];
    return from !== undefined && requirement !== undefined ? [{ from, requirement }] : [];
  });
  const cause = causeOf(lines, edges);
  switch (cause.kind) {
    case 'nothing-provides':
      return { cause, chain: chainTo(cause.by, edges), otherChain: [] };
    case 'filtered':
      return { cause, chain: cause.by === undefined ? [cause.package] : chainTo(cause.by, edges), otherChain: [] };
    case 'conflict':
    case 'two-versions':
      return { cause, chain: chainTo(cause.package, edges, cause.other), otherChain: chainTo(cause.other, edges, cause.package) };
    case 'architecture':
      return { cause, chain: chainTo(cause.package, edges), otherChain: [] };
    default:
      return { cause, chain: [], otherChain: [] };
  }
}

/** The most telling sentence decides: what is missing before what is in the way, and that before what was left out. */
function causeOf(lines: readonly string[], edges: readonly Edge[]): Cause {
  const first = (pattern: RegExp): RegExpExecArray | undefined => {
    for (const line of lines) {
      const match = pattern.exec(line);
      if (match) return match;
    }
    return undefined;
  };
  const nothing = first(patterns.nothing);
  if (nothing) return { kind: 'nothing-provides', requirement: nothing[1] as string, by: nothing[2] as string };
  const conflict = first(patterns.conflict);
  if (conflict) return { kind: 'conflict', package: conflict[1] as string, verb: conflict[2] as 'obsoletes', other: conflict[3] as string };
  const filtered = first(patterns.filtered);
  if (filtered) {
    const name = nameOf(filtered[1] as string);
    const edge = edges.find(({ requirement }) => requirement.split(' ')[0] === name) ?? lowest(edges);
    return { kind: 'filtered', package: filtered[1] as string, requirement: edge?.requirement, by: edge?.from };
  }
  const both = first(patterns.both);
  if (both) return { kind: 'two-versions', package: both[1] as string, other: both[2] as string };
  const architecture = first(patterns.architecture);
  if (architecture) return { kind: 'architecture', package: architecture[1] as string };
  return { kind: 'unknown', line: lines.find((line) => !empty.test(line)) ?? lines[0] ?? 'the solver gave no reason' };
}

/** The edge that no other one leads on from. */
function lowest(edges: readonly Edge[]): Edge | undefined {
  return edges.find(({ requirement }) => !edges.some(({ from }) => nameOf(from) === requirement.split(' ')[0])) ?? edges.at(-1);
}

/**
 * Upwards from a package, by who requires its name; where nobody does by name, by a requirement that no package of the problem is named like. `others`: packages of the problem that no edge begins at.
 */
function chainTo(nevra: string, edges: readonly Edge[], ...others: readonly string[]): readonly string[] {
  const chain = [nevra];
  const left = new Set(edges.filter(({ from }) => from !== nevra));
  const names = new Set([...edges.map(({ from }) => from), ...others].map(nameOf));
  for (let at = nevra; left.size > 0; ) {
    const byName = [...left].find(({ requirement }) => requirement.split(' ')[0] === nameOf(at));
    const byCapability = [...left].find(({ requirement }) => !names.has(requirement.split(' ')[0] ?? ''));
    const edge = byName ?? (left.size === 1 || chain.length === 1 ? byCapability : undefined);
    if (edge === undefined) break;
    left.delete(edge);
    for (const other of left) if (other.from === edge.from) left.delete(other);
    if (chain.includes(edge.from)) break;
    chain.unshift(edge.from);
    at = edge.from;
  }
  return chain;
}
