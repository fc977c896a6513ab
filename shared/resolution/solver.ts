/** The dependency solver as a host program: what it is asked and what it answers. The solving itself is dnf's. */
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { SpindleError } from '../build/failure.ts';
import type { Programs } from '../programs/programs.ts';
import type { Workspace } from '../workspace/workspace.ts';

export interface SolverPackage {
  readonly name: string;
  /** `[epoch:]version-release`, the epoch only where it is not 0. */
  readonly evr: string;
  readonly arch: string;
}

export interface SolverRequest {
  /** For caches; the solver's own. */
  readonly directory: string;
  readonly arch: string;
  readonly releasever: string;
  readonly userAgent: string;
  /** Exactly one address each, variables filled in. */
  readonly repositories: readonly { readonly id: string; readonly metalink?: string; readonly mirrorlist?: string; readonly baseurl?: string }[];
  /** What the requester named: packages, `@groups`, `@^environments`, globs, files, capabilities. */
  readonly install: readonly string[];
  readonly exclude: readonly string[];
  /** What the image tool needs: `needed` must be there, `ifKnown` is taken where a repository has it. */
  readonly engine: { readonly needed: readonly string[]; readonly ifKnown: readonly string[] };
  /** Requested builds: no other version of their packages may be chosen; `main` is installed where none of them would be. */
  readonly builds: readonly { readonly nvr: string; readonly packages: readonly SolverPackage[]; readonly main: readonly SolverPackage[] }[];
}

/** The repository id of the requested Koji builds: a release's repositories cannot be called so. */
export const candidatesId = 'spindle:koji';

const text = z.string().max(4096);
const count = z.number().int().nonnegative();

const Answer = z.discriminatedUnion('outcome', [
  z.object({
    outcome: z.literal('solved'),
    packages: z
      .array(
        z.object({
          name: text,
          epoch: count,
          version: text,
          release: text,
          arch: text,
          repository: text,
          digestKind: text,
          digest: text,
          size: count,
          installedSize: count,
          /** Relative to a mirror of its repository, or to `base` where the metadata names one. */
          location: text,
          base: text.nullable(),
        }),
      )
      .max(20_000),
    roots: z.array(text),
    /** Packages of a group that no repository has. */
    skipped: z.array(text),
    repositories: z.array(z.object({ id: text, revision: text, mirrors: z.array(text) })),
  }),
  z.object({
    outcome: z.literal('missing'),
    missing: z.array(
      z.object({
        spec: text,
        /** `excluded`: by the requester; `replaced`: a requested build stands in its place. */
        reason: z.enum(['unknown', 'no-group', 'excluded', 'replaced']),
        askedBy: z.enum(['request', 'engine']),
      }),
    ),
    /** Every package name, `@group` and `@^environment`. */
    known: z.array(text),
  }),
  /** libsolv's own sentences. */
  z.object({ outcome: z.literal('unsolvable'), problems: z.array(z.string()) }),
  z.object({ outcome: z.literal('repository-failed'), problems: z.array(z.string()) }),
]);
export type SolverAnswer = z.infer<typeof Answer>;
export type SolvedPackage = Extract<SolverAnswer, { outcome: 'solved' }>['packages'][number];

/** The system's interpreter: dnf's bindings are built for no other. */
const interpreter = '/usr/bin/python3';
const script = fileURLToPath(new URL('./solver/dnf4.py', import.meta.url));
const deadlineMs = 5 * 60_000;
const answerBytesMax = 64 * 1024 * 1024;

/** Rejects with TOOL_MISSING, SOLVER_FAILED, TOOL_TIMED_OUT or the signal's reason. */
export async function solve(request: Omit<SolverRequest, 'directory'>, programs: Programs, workspace: Workspace, signal: AbortSignal): Promise<SolverAnswer> {
  await workspace.makeDirectory('solver/home');
  // libdnf opens its log there, and does not make the folder.
  await workspace.makeDirectory('solver/log');
  const directory = `${workspace.path}/solver`;
  const result = await programs.run({
    command: interpreter,
    // Isolated from the user's own modules and settings, and without writing compiled files beside the script.
    args: ['-I', '-B', script],
    cwd: directory,
    env: { HOME: `${directory}/home` },
    stdin: JSON.stringify({ ...request, directory } satisfies SolverRequest),
    deadlineMs,
    signal,
    outputBytesMax: answerBytesMax,
    isolation: 'host',
  });
  const details = result.stderr.trim().split('\n').slice(-10);
  if (result.exitCode === 3)
    throw new SpindleError('TOOL_MISSING', `dnf's Python API (python3-dnf) is not installed on this worker; install it and retry the build`, { details });
  if (result.exitCode !== 0 || result.truncated) {
    const how = result.truncated
      ? `answered with more than ${answerBytesMax} bytes`
      : `ended with ${result.exitCode === null ? result.signal : `status ${result.exitCode}`}`;
    throw new SpindleError('SOLVER_FAILED', `the dependency solver ${how}: ${details.at(-1) ?? ''}`, { details });
  }
  try {
    return Answer.parse(JSON.parse(result.stdout));
  } catch (error) {
    throw new SpindleError('SOLVER_FAILED', 'the dependency solver answered in a form that Spindle does not know', { cause: error, details });
  }
}
