/** The solver port: which packages an image gets. The solving itself is dnf's and libsolv's; here is what they are asked, and what they answer. */
import { z } from 'zod';
import type { RepositorySource } from '../repositories/repositories.ts';
import type { PackageIndex } from './package-index.ts';

/** A release's repositories for one architecture: what a solver keeps ready between requests. */
export interface RepositoryCollection {
  readonly arch: string;
  /** `$releasever`. */
  readonly releasever: string;
  /** All of the release, also those that a request leaves off: so an answer can say what one of them would have had. */
  readonly repositories: readonly (RepositorySource & { readonly role: 'stable' | 'updates' | 'updates-testing' })[];
}

/** A package outside of any repository: an RPM of a build, known by its header. */
export interface LoosePackage {
  readonly name: string;
  readonly epoch: number;
  readonly version: string;
  readonly release: string;
  readonly arch: string;
  /** Absolute path of a file that begins as the RPM does and has its whole header; its name ends with `.rpm`. */
  readonly header: string;
}

/**
 * A set of loose packages that belong together.
 * `in-image`: no other version of its packages may be chosen, and at least one of them must be; where nothing needs one, `main` is installed.
 * `preferred`: no other version of its packages may be chosen; whether one is chosen is the request's matter.
 * `if-missing`: only for names that no enabled repository and no other set has.
 */
export interface LooseSet {
  /** For people: an NVR, an advisory, a tag. Unique in a request. */
  readonly label: string;
  readonly rule: 'in-image' | 'preferred' | 'if-missing';
  readonly packages: readonly LoosePackage[];
  /** Also in the place of published packages that are called exactly alike: its files are others. Only with `in-image`. */
  readonly evenIfPublished?: boolean;
  /** Names of those of its packages that stand for the whole. */
  readonly main: readonly string[];
}

export interface SolverRequest {
  readonly collection: RepositoryCollection;
  /** Ids of the collection's repositories that this request uses. */
  readonly enabled: readonly string[];
  /** The requester's own repositories. Their ids are like none of the collection's. */
  readonly further: readonly RepositorySource[];
  /** What the requester named: packages, `@groups`, `@^environments`, globs, files, capabilities. */
  readonly install: readonly string[];
  readonly exclude: readonly string[];
  /** What the image tool needs: `needed` must be there, `ifKnown` is taken where a repository has it. */
  readonly engine: { readonly needed: readonly string[]; readonly ifKnown: readonly string[] };
  readonly sets: readonly LooseSet[];
}

/** The repository name of loose packages in answers: no repository can be called so. */
export const looseId = '@loose';

const text = z.string().max(4096);
const count = z.number().int().nonnegative();

const SolvedPackage = z.object({
  name: text,
  epoch: count,
  version: text,
  release: text,
  arch: text,
  /** `looseId`, or the id of a repository. */
  repository: text,
  /** Label of the set that a loose package is of. */
  set: text.nullable(),
  digestKind: text,
  /** Empty for a loose package: its file is not here yet. */
  digest: text,
  /** Bytes of the file; 0 for a loose package. */
  size: count,
  installedSize: count,
  /** Relative to a mirror of its repository, or to `base` where the metadata names one. Empty for a loose package. */
  location: text,
  base: text.nullable(),
});
export type SolvedPackage = z.infer<typeof SolvedPackage>;

/** A group that a request names, or that an environment does: those of its packages that were chosen. */
const SolvedGroup = z.object({ id: text, name: text, packages: z.array(text) });
const SolvedEnvironment = z.object({ id: text, name: text, groups: z.array(text) });

/** Where else a package is: for words that tell the requester what to change. */
const Elsewhere = z.object({ nevra: text, repository: text, advisories: z.array(text).max(20) });
export type Elsewhere = z.infer<typeof Elsewhere>;

export const SolverAnswer = z.discriminatedUnion('outcome', [
  z.object({
    outcome: z.literal('solved'),
    packages: z.array(SolvedPackage).max(20_000),
    /** Names of chosen packages that the requester or the engine asked for, groups and capabilities resolved. */
    roots: z.array(text),
    /** Packages of a group that no enabled repository has. */
    skipped: z.array(text),
    /** Those that the request names; of an environment's the groups that it stands for. */
    groups: z.array(SolvedGroup).max(1000).optional(),
    environments: z.array(SolvedEnvironment).max(100).optional(),
  }),
  z.object({
    outcome: z.literal('missing'),
    missing: z.array(
      z.object({
        spec: text,
        /** `excluded`: by the requester; `replaced`: a set stands in its place; `disabled`: only a repository that the request leaves off has it. */
        reason: z.enum(['unknown', 'no-group', 'excluded', 'replaced', 'disabled']),
        askedBy: z.enum(['request', 'engine']),
        /** For `replaced`: the set's label. */
        set: text.nullable(),
        /** For `disabled`. */
        elsewhere: z.array(Elsewhere).max(10),
      }),
    ),
  }),
  z.object({
    outcome: z.literal('unsolvable'),
    /** libsolv's own sentences, one list for each problem. */
    problems: z.array(z.array(text)),
    /** What a repository that the request leaves off would have had for a requirement that nothing provides, by the requirement. */
    hints: z.array(z.object({ requirement: text, elsewhere: z.array(Elsewhere).max(10) })),
    /** Why packages that libsolv calls "filtered out" are out of the question; `set`: the label of what stands in their place. */
    filtered: z.array(z.object({ nevra: text, reason: z.enum(['excluded', 'replaced', 'disabled']), set: text.nullable() })),
  }),
]);
export type SolverAnswer = z.infer<typeof SolverAnswer>;

/** The state of a repository that an answer was found with. */
export interface UsedRepository {
  readonly id: string;
  readonly revision: string;
  /** SHA-256 of its repomd.xml. */
  readonly digest: string;
  /** Base URLs, best first, each with a slash at its end. */
  readonly mirrors: readonly string[];
}

export interface SolveOptions {
  readonly signal: AbortSignal;
  /** Lines for the build's log. */
  readonly log?: (line: string) => void;
}

export interface Solver {
  /**
   * Rejects with what `Repositories.open` rejects with, REPOSITORY_REFUSED for a further one, PACKAGE_MISMATCH for a header, SOLVER_FAILED, TOOL_MISSING, TOOL_TIMED_OUT or the signal's reason. `repositories`: the enabled and the further ones.
   */
  solve(request: SolverRequest, options: SolveOptions): Promise<SolverAnswer & { readonly repositories: readonly UsedRepository[] }>;
  /** Names and summaries of the newest package of each name, of all the collection's repositories. Rejects as `solve` does. */
  index(collection: RepositoryCollection, options: SolveOptions): Promise<PackageIndex>;
  close(): Promise<void>;
}
