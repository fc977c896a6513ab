/** A parsed body → the requests of its builds, or everything that is wrong with it. Pure. */
import { distance } from 'fastest-levenshtein';
import { z } from 'zod';
import { BuildRequest, type Engine, type ImageType, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { type UntrustedCode, untrustedCodeProblems } from '../../shared/build/untrusted-code.ts';
import { type FieldProblem, type ProblemCode, quoted } from '../../shared/http/problem.ts';
import { readText } from '../../shared/kickstart/content.ts';
import { isKickstartUrl, type KickstartProblem, problemSentence } from '../../shared/kickstart/kickstart.ts';
import { recipeProblems } from '../../shared/kickstart/recipe-support.ts';
import type { Release, ReleasesFile } from '../../shared/releases/releases.ts';

/** What this service can build. */
export interface IntakeRules {
  readonly releases: ReleasesFile;
  /** The engines that image-builder has, and the kinds of images that each makes. */
  readonly engines: ServedEngines;
  readonly untrustedCode: UntrustedCode;
}
export type ServedEngines = Readonly<Partial<Record<Engine, readonly ImageType[]>>>;

export type CheckedRequest =
  | { readonly isValid: true; readonly requests: readonly SingleBuildRequest[] }
  | { readonly isValid: false; readonly code: ProblemCode; readonly problems: readonly FieldProblem[] };

const problemsMax = 50;

/**
 * All problems at once. The code is that of the problems where they have one in common, else REQUEST_INVALID. A dry run installs nothing, so it needs no
 * permission for code that would run.
 */
export function checkRequest(body: unknown, rules: IntakeRules, purpose: 'build' | 'dry-run' = 'build'): CheckedRequest {
  const parsed = BuildRequest.safeParse(body);
  const problems = parsed.success ? requestProblems(parsed.data, rules, purpose) : parsed.error.issues.flatMap((issue) => issueProblems(issue, body));
  if (!parsed.success || problems.length > 0) return refused(problems.slice(0, problemsMax));
  return { isValid: true, requests: splitRequest(parsed.data) };
}

const schemaCodes = new Set(['KEY_UNKNOWN', 'FIELD_MISSING', 'FIELD_INVALID']);

export function refused(problems: readonly FieldProblem[]): Extract<CheckedRequest, { isValid: false }> {
  const [first] = problems;
  const isCommon = first !== undefined && !schemaCodes.has(first.code) && problems.every(({ code }) => code === first.code);
  return { isValid: false, code: isCommon ? (first.code as ProblemCode) : 'REQUEST_INVALID', problems };
}

// ---- What the schema says

type Path = readonly PropertyKey[];

/** `sources.kojiBuilds[0]`. A list that was written as one value shows no index. */
function fieldName(path: Path, body: unknown): string {
  let value = body;
  let name = '';
  for (const part of path) {
    if (typeof part === 'number' && !Array.isArray(value)) continue;
    name += typeof part === 'number' ? `[${part}]` : `${name === '' ? '' : '.'}${String(part)}`;
    value = child(value, part);
  }
  return name;
}

function valueAt(path: Path, body: unknown): unknown {
  return path.reduce<unknown>((value, part) => (typeof part === 'number' && !Array.isArray(value) ? value : child(value, part)), body);
}

function child(value: unknown, part: PropertyKey): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, part) ? (value as Record<PropertyKey, unknown>)[part] : undefined;
}

function issueProblems(issue: z.core.$ZodIssue, body: unknown): readonly FieldProblem[] {
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(key, issue.path, body));
  // A union says only "Invalid input": what the alternative that came closest says is of more use.
  if (issue.code === 'invalid_union') {
    const closest = issue.errors.find((errors) => errors.some(({ code }) => code !== 'invalid_type')) ?? issue.errors[0] ?? [];
    if (closest.length > 0) return closest.flatMap((inner) => issueProblems({ ...inner, path: [...issue.path, ...inner.path] } as z.core.$ZodIssue, body));
  }
  const field = fieldName(issue.path, body);
  const value = valueAt(issue.path, body);
  if (value === undefined && issue.path.length > 0) {
    return issue.path.length === 1 && issue.code === 'custom'
      ? [{ field, code: 'FIELD_MISSING', message: `${field} ${issue.message}` }]
      : [{ field, code: 'FIELD_MISSING', message: `${field} is missing` }];
  }
  // Our own messages are predicates: "is not a locale such as en_US.UTF-8".
  const isPredicate = /^[a-z]/.test(issue.message);
  const subject = typeof value === 'string' ? `${field} ${quoted(value)}` : field;
  return [{ field, code: 'FIELD_INVALID', message: isPredicate ? `${subject} ${issue.message}` : `${field || 'the request'}: ${issue.message}` }];
}

function unknownKey(key: string, path: Path, body: unknown): FieldProblem {
  const place = fieldName(path, body);
  const field = place === '' ? key.slice(0, 200) : `${place}.${key.slice(0, 200)}`;
  const nearest = nearestKey(key, path);
  return { field, code: 'KEY_UNKNOWN', message: `${quoted(key)} is not a key of ${place || 'a build request'}; the nearest one is ${quoted(nearest)}` };
}

const normalized = (key: string) => key.toLowerCase().replace(/[_\s-]/g, '');

/** The key that was meant: one of the same object, or the same key where it really belongs. */
function nearestKey(key: string, path: Path): string {
  const here = keysOf(schemaAt(path));
  const wanted = normalized(key.slice(0, 64));
  const exact = here.find((known) => normalized(known) === wanted) ?? allKeys.find((known) => normalized(known.split('.').at(-1) ?? '') === wanted);
  return exact ?? here.reduce((best, known) => (distance(wanted, normalized(known)) < distance(wanted, normalized(best)) ? known : best), here[0] ?? '');
}

/** The object schema below defaults, optionals, preprocessing and lists. */
function objectSchema(schema: unknown): z.ZodObject | undefined {
  if (schema instanceof z.ZodObject) return schema;
  if (schema instanceof z.ZodArray) return objectSchema(schema.element);
  if (schema instanceof z.ZodPipe) return objectSchema(schema.def.out);
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional || schema instanceof z.ZodNullable)
    return objectSchema(schema.def.innerType);
  return undefined;
}

const keysOf = (schema: unknown): readonly string[] => Object.keys(objectSchema(schema)?.shape ?? {});

function schemaAt(path: Path): unknown {
  return path.filter((part) => typeof part === 'string').reduce<unknown>((schema, part) => objectSchema(schema)?.shape[part], BuildRequest);
}

/** Every key of a request with the path to it: `sources.kojiBuilds`. */
const allKeys: readonly string[] = (function below(schema: unknown, prefix: string): readonly string[] {
  return keysOf(schema).flatMap((key) => [`${prefix}${key}`, ...below(objectSchema(schema)?.shape[key], `${prefix}${key}.`)]);
})(BuildRequest, '');

// ---- What this service can build

function requestProblems(request: BuildRequest, rules: IntakeRules, purpose: 'build' | 'dry-run'): readonly FieldProblem[] {
  const release = rules.releases.releases.find(({ id }) => id === request.release);
  const refused = purpose === 'build' ? permissionProblems(request, rules) : [];
  return [
    ...(release ? targetProblems(request, release, rules.engines) : [unknownRelease(request.release, rules.releases)]),
    ...[...featureProblems(request, release), ...kickstartProblems(request, release)].filter(
      ({ field }) => !refused.some((problem) => problem.field === field),
    ),
    ...refused,
  ];
}

/** Of a request that is to be built, also of one that was accepted before: a permission can be taken back. */
export function permissionProblems(
  request: Pick<BuildRequest, 'kickstart' | 'sources'>,
  { untrustedCode }: Pick<IntakeRules, 'untrustedCode'>,
): readonly FieldProblem[] {
  return untrustedCodeProblems(request, untrustedCode).map((problem) => ({ ...problem, code: 'UNTRUSTED_CODE_REFUSED' }));
}

function unknownRelease(id: string, { releases }: ReleasesFile): FieldProblem {
  const ids = releases.map((release) => release.id);
  const nearest = ids.reduce((best, known) => (distance(id, known) < distance(id, best) ? known : best));
  const message = `there is no release ${quoted(id)}; the nearest one is ${quoted(nearest)}, and all are ${ids.slice(0, 30).join(', ')}`;
  return { field: 'release', code: 'RELEASE_UNKNOWN', message };
}

function targetProblems(request: BuildRequest, release: Release, served: ServedEngines): readonly FieldProblem[] {
  const { engine } = request;
  const types = servedTypes(release, served);
  const engineProblem = (message: string) => [{ field: 'engine', code: 'ENGINE_UNSUPPORTED', message }];
  return [
    ...request.arch
      .filter((arch) => !release.arches.includes(arch))
      .map((arch) => ({
        field: 'arch',
        code: 'ARCH_UNSUPPORTED',
        message: `${release.name} is not built for ${quoted(arch)} here; it is for ${release.arches.join(', ')}`,
      })),
    ...request.imageType.flatMap((type) => {
      if (release.engines[type] === undefined || (engine === 'auto' && !types.includes(type))) {
        const message = `this service makes no ${type} images of ${release.name}; it makes ${types.join(', ') || 'none'}`;
        return [{ field: 'imageType', code: 'IMAGE_TYPE_UNSUPPORTED', message }];
      }
      if (engine === 'auto' || served[engine] === undefined || served[engine].includes(type)) return [];
      return engineProblem(`${engine} makes no ${type} images; it makes ${served[engine].join(', ')}`);
    }),
    ...(engine === 'auto' || served[engine] ? [] : engineProblem(`this service has no engine ${engine}; it has ${Object.keys(served).join(', ')}`)),
  ];
}

/** The kinds of images of a release that this service makes when it may choose the engine. */
export function servedTypes(release: Release, served: ServedEngines): readonly ImageType[] {
  return (Object.keys(release.engines) as ImageType[]).filter((type) => {
    const engine = release.engines[type];
    return engine !== undefined && served[engine]?.includes(type);
  });
}

/** Of a text what can be told from it alone; what it includes, and an address's content, are judged once they are fetched. */
function kickstartProblems(request: BuildRequest, release: Release | undefined): readonly FieldProblem[] {
  const problem = (code: string) => (what: KickstartProblem) => ({ field: 'kickstart', code, message: `kickstart: ${problemSentence(what)}` });
  const { kickstart } = request;
  if (kickstart === null) return [];
  if (isKickstartUrl(kickstart)) {
    const isFetched = /^\s*https:\/\//i.test(kickstart);
    return isFetched
      ? []
      : [
          {
            field: 'kickstart',
            code: 'KICKSTART_INVALID',
            message: 'kickstart: is an address that is not fetched from; give an https one, or the text itself',
          },
        ];
  }
  const { content, problems } = readText(kickstart);
  if (problems.length > 0) return problems.map(problem('KICKSTART_INVALID'));
  if (!release) return [];
  const unsayable = request.imageType.flatMap((type) => {
    const engine = request.engine === 'auto' ? release.engines[type] : request.engine;
    return engine === undefined ? [] : recipeProblems(content, engine, type);
  });
  return unsayable.map(problem('RECIPE_UNSUPPORTED'));
}

/** Saying no at once is kinder than failing the build later; saying yes and ignoring it would be a lie. */
function featureProblems({ sources, notify, ...request }: BuildRequest, release: Release | undefined): readonly FieldProblem[] {
  const unsupported = (field: string, message: string): FieldProblem => ({ field, code: 'FEATURE_UNSUPPORTED', message });
  const later: readonly (readonly [field: string, isAsked: boolean, what: string])[] = [
    ['notify.webhooks', notify.webhooks.length > 0, 'webhooks'],
    ['private', request.private, 'private builds'],
    ['priority', request.priority !== 'normal', 'priorities'],
  ];
  const problems = later.filter(([, isAsked]) => isAsked).map(([field, , what]) => unsupported(field, `${what} come with a later version of Spindle`));
  if (!release) return problems;
  if (sources.updatesTesting && !release.repositories.some(({ role }) => role === 'updates-testing')) {
    problems.push(unsupported('sources.updatesTesting', `${release.name} has no updates-testing repository`));
  }
  for (const key of ['kojiBuilds', 'kojiTasks', 'kojiTags'] as const) {
    if (sources[key].length > 0 && !release.koji) problems.push(unsupported(`sources.${key}`, `${release.name} has no Koji to take them from`));
  }
  if (sources.advisories.length > 0 && !(release.bodhi && release.koji)) {
    problems.push(unsupported('sources.advisories', `${release.name} has no Bodhi to take advisories from`));
  }
  const taken = sources.repositories.find(({ name }) => release.repositories.some(({ id }) => id === name));
  if (taken) {
    problems.push({
      field: 'sources.repositories',
      code: 'FIELD_INVALID',
      message: `sources.repositories names ${quoted(taken.name)}, which is a repository of ${release.name} itself; give yours another name`,
    });
  }
  return problems;
}
