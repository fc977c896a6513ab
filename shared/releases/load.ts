/** Reads the releases file: YAML, bounded, checked; placeholders for what is only known at start are filled in afterwards. */
import { readFile, stat } from 'node:fs/promises';
import { load } from 'js-yaml';
import { z } from 'zod';
import { ReleasesFile } from './releases.ts';

const bytesMax = 4 * 1024 * 1024;

/** The placeholders that a releases file may hold, as `${NAME}`. */
const releaseVariables = ['SAMPLE_SITE'] as const;
type ReleaseVariable = (typeof releaseVariables)[number];

/** The file that comes with Spindle. */
const shippedReleasesFile = new URL('./releases.yaml', import.meta.url);

/** The releases file cannot be used: the message names the file and every place in it that is wrong. */
export class ReleasesProblem extends Error {
  override readonly name = 'ReleasesProblem';
}

export interface LoadedReleases {
  /** Placeholders that the file holds. */
  readonly needs: readonly ReleaseVariable[];
  /**
   * The releases with the placeholders filled in. A release that needs one without a value is left out. Throws a ReleasesProblem where nothing is left, or where a
   * value makes a release invalid.
   */
  fill(values: Readonly<Partial<Record<ReleaseVariable, string>>>): ReleasesFile;
}

/** Rejects with a ReleasesProblem where the file is missing, too large, no YAML, or not what the schema says. */
export async function loadReleases(file: string | URL = shippedReleasesFile): Promise<LoadedReleases> {
  const name = file instanceof URL ? file.pathname : file;
  let text: string;
  try {
    const { size } = await stat(file);
    if (size > bytesMax) throw new Error(`it has ${size} bytes; at most ${bytesMax} are read`);
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new ReleasesProblem(`The releases file ${name} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  return parseReleases(text, name);
}

/** `name` is for the messages. Throws a ReleasesProblem. */
export function parseReleases(text: string, name: string): LoadedReleases {
  let document: unknown;
  try {
    document = load(text, { filename: name, maxDepth: 20, maxAliases: 1000 });
  } catch (error) {
    throw new ReleasesProblem(`The releases file ${name} is not YAML: ${messageOf(error)}`, { cause: error });
  }
  const outer = z.strictObject({ releases: z.array(z.looseObject({})).min(1).max(1000) }).safeParse(document);
  if (!outer.success) throw problem(name, outer.error);
  const drafts = outer.data.releases.map((draft) => ({ draft, needs: variablesOf(draft, name) }));
  const fill: LoadedReleases['fill'] = (values) => {
    const usable = drafts.filter(({ needs }) => needs.every((variable) => values[variable] !== undefined));
    const filled = ReleasesFile.safeParse({ releases: usable.map(({ draft }) => substituted(draft, values)) });
    if (!filled.success) throw problem(name, filled.error);
    return filled.data;
  };
  // Mistakes are found at once, also in releases whose placeholders have no value yet.
  const trial = ReleasesFile.safeParse({ releases: drafts.map(({ draft }) => substituted(draft, { SAMPLE_SITE: 'http://127.0.0.1:1' })) });
  if (!trial.success) throw problem(name, trial.error);
  return { needs: [...new Set(drafts.flatMap(({ needs }) => needs))], fill };
}

const placeholder = /\$\{([^}]*)\}/g;

function variablesOf(value: unknown, name: string): readonly ReleaseVariable[] {
  if (typeof value === 'string') return [...value.matchAll(placeholder)].map((match) => knownVariable(match[1] ?? '', name));
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap((inner) => variablesOf(inner, name));
  return [];
}

function knownVariable(variable: string, name: string): ReleaseVariable {
  const known = releaseVariables.find((candidate) => candidate === variable);
  if (known) return known;
  throw new ReleasesProblem(`The releases file ${name} names the unknown placeholder \${${variable}}; known: ${releaseVariables.join(', ')}`);
}

function substituted(value: unknown, values: Readonly<Partial<Record<ReleaseVariable, string>>>): unknown {
  if (typeof value === 'string') return value.replace(placeholder, (text, variable: ReleaseVariable) => values[variable] ?? text);
  if (Array.isArray(value)) return value.map((inner) => substituted(inner, values));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, substituted(inner, values)]));
}

function problem(name: string, error: z.ZodError): ReleasesProblem {
  const places = error.issues.slice(0, 20).map(({ path, message }) => `  ${path.join('.') || 'the whole file'}: ${message}`);
  return new ReleasesProblem(`The releases file ${name} is not usable:\n${places.join('\n')}`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
