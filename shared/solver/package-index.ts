/** Names and summaries of a collection's packages, to be searched in milliseconds. Pure. */
import { distance } from 'fastest-levenshtein';

export interface IndexedPackage {
  readonly name: string;
  /** `[epoch:]version-release`, the epoch only where it is not 0. */
  readonly evr: string;
  readonly arch: string;
  /** Id of the repository that has this version. */
  readonly repository: string;
  readonly summary: string;
}

export interface PackageIndex {
  /** Packages, groups not counted. */
  readonly size: number;
  /**
   * The packages that hold every word of the query in name or summary, whatever the case; best first: the exact name, names that begin with it, names that hold it, then summaries.
   * A query without a word finds nothing.
   */
  search(query: string, limit: number): readonly IndexedPackage[];
  /** Up to 3 names, `@groups` for a group, that somebody who wrote this may have meant. */
  nearest(spec: string): readonly string[];
}

const wordsMax = 10;
const queryLengthMax = 200;
/** A name at its end, so that no match can reach from one line into the next. */
const lineEnd = '\n';
const fieldEnd = '\t';

/**
 * Reads what a solver writes: one package a line, `name evr arch repository summary` with tabs between; `@group` and `@^environment` with their names as summaries and nothing between. Lines of
 * another form are left out.
 */
export function readPackageIndex(text: string): PackageIndex {
  const names: string[] = [];
  const groups: string[] = [];
  const lines: string[] = [];
  const summaries: string[] = [];
  for (const line of text.split('\n')) {
    const [name, evr, arch, repository, summary, ...rest] = line.split(fieldEnd);
    if (!name || evr === undefined || arch === undefined || repository === undefined || summary === undefined || rest.length > 0) continue;
    if (name.startsWith('@')) {
      groups.push(name);
      continue;
    }
    names.push(name);
    lines.push(line);
    summaries.push(summary);
  }
  return packageIndex({ names, groups, lines, byName: searchable(names), bySummary: searchable(summaries) });
}

/** One lower-case text for all entries: looking through it is one pass of the engine's own search. */
interface Searchable {
  readonly text: string;
  /** Where each entry begins, and after the last one the text's end. */
  readonly starts: Uint32Array;
}

function searchable(entries: readonly string[]): Searchable {
  const lower = entries.map((entry) => `${entry}${lineEnd}`.toLowerCase());
  const starts = new Uint32Array(entries.length + 1);
  let at = 0;
  for (const [place, entry] of lower.entries()) {
    starts[place] = at;
    at += entry.length;
  }
  starts[entries.length] = at;
  return { text: lower.join(''), starts };
}

/** Each entry that holds the word, in order, with where it first does. Stops where `visit` says so. */
function eachMatch({ text, starts }: Searchable, word: string, visit: (place: number, offset: number, length: number) => boolean): void {
  let place = 0;
  for (let position = text.indexOf(word); position >= 0; position = text.indexOf(word, starts[place + 1] as number)) {
    while ((starts[place + 1] as number) <= position) place += 1;
    const start = starts[place] as number;
    if (!visit(place, position - start, (starts[place + 1] as number) - start - lineEnd.length)) return;
  }
}

const entryOf = ({ text, starts }: Searchable, place: number) => text.slice(starts[place], starts[place + 1]);

interface Contents {
  readonly names: readonly string[];
  readonly groups: readonly string[];
  readonly lines: readonly string[];
  readonly byName: Searchable;
  readonly bySummary: Searchable;
}

interface Found {
  readonly rank: number;
  readonly place: number;
}

function packageIndex({ names, groups, lines, byName, bySummary }: Contents): PackageIndex {
  const read = (place: number): IndexedPackage => {
    const [name = '', evr = '', arch = '', repository = '', summary = ''] = (lines[place] ?? '').split(fieldEnd);
    return { name, evr, arch, repository, summary };
  };
  const byLength = groupByLength(names);
  const groupsByLength = groupByLength(groups);

  const search = (query: string, limit: number): readonly number[] => {
    const words = wordsOf(query);
    const [first, ...others] = words;
    if (first === undefined || limit < 1) return [];
    const holds = (place: number, wanted: readonly string[]) =>
      wanted.every((word) => entryOf(byName, place).includes(word) || entryOf(bySummary, place).includes(word));
    const best: Found[] = [];
    eachMatch(byName, first, (place, offset, length) => {
      const kind = offset > 0 ? 2 : length === first.length ? 0 : 1;
      const found = { rank: kind * 1000 + Math.min(length, 999), place };
      const last = best.at(-1);
      const isWanted = best.length < limit || (last !== undefined && isBefore(found, last));
      if (isWanted && holds(place, others)) {
        insert(best, found);
        if (best.length > limit) best.pop();
      }
      return true;
    });
    const places = best.map(({ place }) => place);
    if (places.length >= limit) return places;
    // What follows is no longer ranked: enough is enough, and the rarest word is the quickest to look for.
    const known = new Set(places);
    const [rarest = first, ...rest] = words.toSorted((a, b) => b.length - a.length);
    const more: number[] = [];
    const add = (place: number): boolean => {
      if (!known.has(place) && holds(place, rest)) {
        known.add(place);
        more.push(place);
      }
      return known.size < limit;
    };
    eachMatch(byName, rarest, add);
    if (known.size < limit) eachMatch(bySummary, rarest, add);
    return [...places, ...more];
  };

  return {
    size: names.length,
    search: (query, limit) => search(query, limit).map(read),
    nearest: (spec) => nearest(spec, /^@/.test(spec) ? groupsByLength : byLength),
  };
}

const wordsOf = (query: string): readonly string[] => [
  ...new Set(
    query
      .slice(0, queryLengthMax)
      .toLowerCase()
      .split(/\s+/)
      .filter((word) => word !== '')
      .slice(0, wordsMax),
  ),
];

function insert(best: Found[], found: Found): void {
  let at = best.length;
  while (at > 0 && isBefore(found, best[at - 1] as Found)) at -= 1;
  best.splice(at, 0, found);
}

const isBefore = (a: Found, b: Found) => a.rank < b.rank || (a.rank === b.rank && a.place < b.place);

function groupByLength(names: readonly string[]): ReadonlyMap<number, readonly string[]> {
  const found = new Map<number, string[]>();
  for (const name of names) {
    const same = found.get(name.length);
    if (same) same.push(name);
    else found.set(name.length, [name]);
  }
  return found;
}

/** Little has to change, or one begins with the other. Only names whose length allows either are looked at. */
function nearest(spec: string, byLength: ReadonlyMap<number, readonly string[]>): readonly string[] {
  const bare = spec
    .slice(0, 256)
    .replace(/[*?[\]].*$/, '')
    .toLowerCase();
  if (bare.length < 2 || bare.startsWith('/')) return [];
  const kind = /^@\^?/.exec(bare)?.[0] ?? '';
  const farthest = Math.max(1, Math.floor(bare.length / 3));
  const found: { readonly name: string; readonly rank: number }[] = [];
  for (const [length, names] of byLength) {
    const mayBeClose = Math.abs(length - bare.length) <= farthest;
    const mayBePart = length <= bare.length * 2 + 10;
    if (!mayBeClose && !mayBePart) continue;
    for (const name of names) {
      // Groups are apart from packages already; environments are told from them here.
      if (kind !== '' && name.startsWith('@^') !== (kind === '@^')) continue;
      const other = name.toLowerCase();
      const isPart = bare.length - kind.length >= 3 && (other.startsWith(bare) || bare.startsWith(`${other}-`));
      // Who mistypes a name rarely does so at both its ends; looking at every name as a whole would take ten times as long.
      const isAlike = mayBeClose && (other[0] === bare[0] || other.endsWith(bare.slice(-2)));
      const steps = isAlike ? distance(bare, other) : Number.POSITIVE_INFINITY;
      if (steps <= farthest) found.push({ name, rank: steps });
      else if (isPart) found.push({ name, rank: farthest + Math.abs(length - bare.length) });
    }
  }
  return found
    .sort((a, b) => a.rank - b.rank || (a.name < b.name ? -1 : 1))
    .slice(0, 3)
    .map(({ name }) => name);
}
