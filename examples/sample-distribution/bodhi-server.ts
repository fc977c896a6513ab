/** Answers what an anonymous reader asks Bodhi, from the records of Sample Linux, with the routes, parameters, pages and errors of the real server. Pure. */
import { type Advisory, advisories, type BodhiRelease, type BodhiUpdateRow, buildRow, packageOf, releases, updateRow } from './bodhi-content.ts';

export interface BodhiAnswer {
  readonly status: number;
  readonly type: 'application/json' | 'text/html; charset=UTF-8';
  readonly body: string;
  /** Where a redirect leads. */
  readonly location?: string;
}

/** What the server says no with: each is about one parameter or about the address itself. */
class BodhiRefusal extends Error {
  readonly status: number;
  readonly problem: { readonly location: string; readonly name: string; readonly description: string };
  constructor(status: number, location: string, name: string, description: string) {
    super(description);
    this.status = status;
    this.problem = { location, name, description };
  }
}

/** `path` begins behind `/bodhi`; `siteUrl` has no slash at its end. */
export function answerBodhi(path: string, query: URLSearchParams, accept: string, siteUrl: string): BodhiAnswer {
  try {
    const found = route(path, query, siteUrl);
    if ('location' in found) return { status: found.status, type: 'text/html; charset=UTF-8', body: '', location: `${siteUrl}/bodhi${found.location}` };
    // The same address serves people's browsers, but for builds.
    if (accept.includes('text/html') && !accept.includes('application/json') && !path.startsWith('/builds/')) {
      return {
        status: 200,
        type: 'text/html; charset=UTF-8',
        body: '<!DOCTYPE html>\n<title>Sample Bodhi</title>\n<p>For people. Programs ask for JSON.</p>\n',
      };
    }
    return { status: 200, type: 'application/json', body: JSON.stringify(found.value) };
  } catch (error) {
    if (!(error instanceof BodhiRefusal)) throw error;
    return { status: error.status, type: 'application/json', body: JSON.stringify({ status: 'error', errors: [error.problem] }) };
  }
}

type Found = { readonly value: unknown } | { readonly status: number; readonly location: string };

function route(path: string, query: URLSearchParams, siteUrl: string): Found {
  const [, collection = '', item] = /^\/(updates|builds|releases)\/(?:([^/]+))?$/.exec(path) ?? [];
  if (collection === 'updates') return item === undefined ? { value: listUpdates(query, siteUrl) } : oneUpdate(item, siteUrl);
  if (collection === 'builds') return { value: item === undefined ? listBuilds(query) : oneBuild(item) };
  if (collection === 'releases') return { value: item === undefined ? listReleases(query) : oneRelease(item) };
  // The slash belongs to the address of a collection: who leaves it out is sent there.
  const asked = query.size === 0 ? '' : `?${query}`;
  if (/^\/(updates|builds|releases)$/.test(path)) return { status: 307, location: `${path}/${asked}` };
  throw new BodhiRefusal(404, 'url', 'path', 'Not Found');
}

function oneUpdate(id: string, siteUrl: string): Found {
  const advisory = advisories.find(({ alias }) => alias === id);
  if (advisory !== undefined) return { value: { update: updateRow(advisory, siteUrl), can_edit: false, ci_allowed: false } };
  if (knownPackages.has(id)) return { status: 302, location: `/updates/?packages=${encodeURIComponent(id)}` };
  throw new BodhiRefusal(404, 'url', 'id', 'Invalid update id');
}

const builds = advisories
  .flatMap((advisory) => advisory.nvrs.map((nvr) => ({ advisory, row: buildRow(nvr, advisory) })))
  .sort((a, b) => compareText(a.row.nvr, b.row.nvr));
const knownPackages: ReadonlySet<string> = new Set(builds.map(({ row }) => packageOf(row.nvr)));

function oneBuild(nvr: string) {
  const found = builds.find(({ row }) => row.nvr === nvr);
  if (found === undefined) throw new BodhiRefusal(404, 'url', 'nvr', 'No such build');
  return found.row;
}

function oneRelease(name: string) {
  const found = releases.find(({ shown }) => [shown.name, shown.long_name, shown.dist_tag].includes(name));
  if (found === undefined) throw new BodhiRefusal(404, 'url', 'name', 'No such release');
  return found.shown;
}

/** Repeated, or one text with commas or spaces between. Undefined where it is not asked for. */
function list(query: URLSearchParams, name: string): readonly string[] | undefined {
  const values = query.getAll(name).flatMap((value) => value.split(/[\s,]+/).filter((part) => part !== ''));
  return values.length === 0 ? undefined : values;
}

const statuses = ['pending', 'testing', 'stable', 'unpushed', 'obsolete'];
const allowed: readonly (readonly [name: string, values: readonly string[]])[] = [
  ['status', statuses],
  ['request', ['testing', 'stable', 'unpush', 'obsolete', 'revoke']],
  ['type', ['bugfix', 'security', 'newpackage', 'enhancement', 'unspecified']],
  ['severity', ['unspecified', 'urgent', 'high', 'medium', 'low']],
  ['suggest', ['unspecified', 'reboot', 'logout']],
];

function wantedReleases(query: URLSearchParams): ReadonlySet<BodhiRelease> | undefined {
  const names = [...(list(query, 'releases') ?? []), ...(list(query, 'release') ?? [])];
  if (names.length === 0) return undefined;
  const magic: Readonly<Record<string, readonly string[]>> = { __current__: ['current'], __pending__: ['pending', 'frozen'], __archived__: ['archived'] };
  const unknown: string[] = [];
  const wanted = names.flatMap((name) => {
    const states = Object.hasOwn(magic, name) ? magic[name] : undefined;
    if (states !== undefined) return releases.filter(({ shown }) => states.includes(shown.state));
    const found = releases.filter(({ shown }) => [name, name.toUpperCase()].includes(shown.name) || shown.version === name);
    if (found.length === 0) unknown.push(name);
    return found;
  });
  if (unknown.length > 0) throw new BodhiRefusal(400, 'querystring', 'releases', `Invalid releases specified: ${unknown.join(', ')}`);
  return new Set(wanted);
}

function listUpdates(query: URLSearchParams, siteUrl: string) {
  for (const [name, values] of allowed) {
    const wrong = list(query, name)?.findIndex((value) => !values.includes(value)) ?? -1;
    const given = list(query, name)?.[wrong];
    if (given !== undefined) {
      const where = name === 'status' ? `status.${wrong}` : name;
      throw new BodhiRefusal(400, 'querystring', where, `"${given}" is not one of ${values.join(', ')}`);
    }
  }
  const ofReleases = wantedReleases(query);
  const packages = list(query, 'packages');
  const nvrs = list(query, 'builds');
  const aliases = [...(list(query, 'alias') ?? []), ...(list(query, 'updateid') ?? [])];
  const bugs = list(query, 'bugs');
  const users = list(query, 'user');
  const search = query.get('search')?.toLowerCase();
  const like = query.get('like');
  const matches = (advisory: Advisory, row: BodhiUpdateRow) =>
    (ofReleases === undefined || ofReleases.has(advisory.release)) &&
    (packages === undefined || advisory.nvrs.some((nvr) => packages.includes(packageOf(nvr)))) &&
    (nvrs === undefined || advisory.nvrs.some((nvr) => nvrs.includes(nvr))) &&
    (aliases.length === 0 || aliases.includes(advisory.alias)) &&
    bugs === undefined &&
    (users === undefined || users.includes(row.user.name)) &&
    (search === undefined || [advisory.alias, ...advisory.nvrs].some((text) => text.toLowerCase().includes(search))) &&
    (like === null || advisory.nvrs.some((nvr) => nvr.includes(like))) &&
    (list(query, 'gating')?.includes(row.test_gating_status) ?? true) &&
    [...allowed.map(([name]) => name), 'content_type'].every((name) => list(query, name)?.includes(String(row[name as keyof BodhiUpdateRow])) ?? true) &&
    ['locked', 'pushed', 'critpath'].every((name) => isAsked(query, name, row[name as 'locked' | 'pushed' | 'critpath'])) &&
    isAsked(query, 'from_side_tag', advisory.fromTag !== null) &&
    ['submitted', 'modified', 'approved', 'pushed'].every((name) => isInTime(query, name, row[`date_${name}` as 'date_submitted' | 'date_pushed']));
  const found = advisories.map((advisory) => ({ advisory, row: updateRow(advisory, siteUrl) })).filter(({ advisory, row }) => matches(advisory, row));
  const { rows, ...page } = paged(
    found.map(({ row }) => row),
    query,
  );
  return { updates: rows, ...page, chrome: true, display_user: true, display_request: true, package: packages?.[0] ?? null };
}

function isAsked(query: URLSearchParams, name: string, actual: boolean): boolean {
  const value = query.get(name)?.toLowerCase();
  return value === undefined || ['true', '1', 'yes', 't', 'y', 'on'].includes(value) === actual;
}

function isInTime(query: URLSearchParams, name: string, actual: string | null): boolean {
  const [since, before] = [query.get(`${name}_since`), query.get(`${name}_before`)].map((text) => text?.replace('T', ' '));
  if (since === undefined && before === undefined) return true;
  return actual !== null && (since === undefined || actual >= since) && (before === undefined || actual < before);
}

function listBuilds(query: URLSearchParams) {
  const packages = list(query, 'packages');
  const unknown = packages?.filter((name) => !knownPackages.has(name)) ?? [];
  if (unknown.length > 0) throw new BodhiRefusal(400, 'querystring', 'packages', `Invalid packages specified: ${unknown.join(', ')}`);
  const updates = list(query, 'updates');
  const strangers = updates?.filter((name) => !advisories.some(({ alias }) => alias === name)) ?? [];
  if (strangers.length > 0) throw new BodhiRefusal(400, 'querystring', 'updates', `Invalid updates specified: ${strangers.join(', ')}`);
  const ofReleases = wantedReleases(query);
  const nvr = query.get('nvr');
  const found = builds.filter(
    ({ advisory, row }) =>
      (nvr === null || row.nvr === nvr) &&
      (packages?.includes(packageOf(row.nvr)) ?? true) &&
      (updates?.includes(advisory.alias) ?? true) &&
      (ofReleases === undefined || ofReleases.has(advisory.release)),
  );
  const { rows, ...page } = paged(
    found.map(({ row }) => row),
    query,
  );
  return { builds: rows, ...page };
}

function listReleases(query: URLSearchParams) {
  const pattern = query.get('name');
  const states = list(query, 'state');
  const ids = list(query, 'ids');
  const found = releases.filter(
    ({ id, shown }) =>
      (pattern === null || isLike(shown.name, pattern)) &&
      (states?.includes(shown.state) ?? true) &&
      (ids?.includes(String(id)) ?? true) &&
      !(isTrue(query.get('exclude_archived')) && shown.state === 'archived'),
  );
  const { rows, ...page } = paged(
    found.map(({ shown }) => shown).sort((a, b) => compareText(a.name, b.name)),
    query,
  );
  return { releases: rows, ...page };
}

const isTrue = (value: string | null) => value !== null && ['true', '1'].includes(value.toLowerCase());
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** SQL's LIKE, of which only `%` is known here. */
function isLike(text: string, pattern: string): boolean {
  const [first = '', ...rest] = pattern.replaceAll(/%+/g, '%').split('%');
  if (rest.length === 0) return text === first;
  if (!text.startsWith(first)) return false;
  let at = first.length;
  const last = rest.pop() as string;
  for (const part of rest) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - last.length >= at && text.endsWith(last);
}

/** A page behind the last one is empty, and no error. */
function paged<Row>(rows: readonly Row[], query: URLSearchParams) {
  const page = pageNumber(query, 'page', 1, Number.MAX_SAFE_INTEGER);
  const perPage = pageNumber(query, 'rows_per_page', 20, 1000);
  const start = (page - 1) * perPage;
  return { rows: rows.slice(start, start + perPage), page, pages: Math.ceil(rows.length / perPage), rows_per_page: perPage, total: rows.length };
}

function pageNumber(query: URLSearchParams, name: string, usual: number, max: number): number {
  const text = query.get(name);
  if (text === null || text === '') return usual;
  const refuse = (why: string): never => {
    throw new BodhiRefusal(400, 'querystring', name, why);
  };
  if (!/^[+-]?\d+$/.test(text)) return refuse(`"${text}" is not a number`);
  const value = Number(text);
  if (value < 1) return refuse(`${value} is less than minimum value 1`);
  return value > max ? refuse(`${value} is greater than maximum value ${max}`) : value;
}
