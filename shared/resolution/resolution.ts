/** What the resolver found: every package of the image, exactly, with where it comes from. Stored as JSON in the files port. Pure. */
import { z } from 'zod';
import { FileRef } from '../files/content-ref.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

export const ResolvedPackage = z.object({
  name: z.string(),
  epoch: z.number().int().nonnegative(),
  version: z.string(),
  release: z.string(),
  arch: z.string(),
  /** As `formatNevra` writes it. */
  nevra: z.string(),
  /** `stable`: a stable repository has exactly this package. `side`: it goes to the side repository. */
  from: z.enum(['stable', 'side']),
  /** The repository's id, the name of the requester's own repository, `koji`, or `upload`. */
  repository: z.string(),
  /** What kind of place that is; `requested`: the requester's own repository, `uploaded`: an RPM of theirs. Left out in resolutions of older versions. */
  role: z.enum(['stable', 'updates', 'updates-testing', 'requested', 'koji', 'uploaded']).optional(),
  /** One sentence for people: why it comes from there. */
  because: z.string(),
  /** Tried in this order. Empty only where `stored` is true. */
  urls: z.array(z.url()),
  sha256,
  /** Bytes of the RPM file. */
  size: z.number().int().nonnegative(),
  /** Bytes once installed. */
  installedSize: z.number().int().nonnegative(),
  /** Koji's path name of the signed copy; null where unsigned or not known. */
  sigkey: z.string().nullable(),
  /** True where the resolver has already put the file into the content store. */
  stored: z.boolean(),
  /** True where nobody but the requester vouches for the file. Left out elsewhere. */
  untrusted: z.literal(true).optional(),
});
export type ResolvedPackage = z.infer<typeof ResolvedPackage>;

export const Resolution = z.object({
  version: z.literal(1),
  release: z.string(),
  arch: z.string(),
  /** Sorted by NEVRA. */
  packages: z.array(ResolvedPackage).max(20_000),
  /** NEVRAs of the packages that requested builds put into the image: each must be in the finished image. */
  requested: z.array(z.string()),
  /** Names that the requester, and the image tool, asked for (groups and capabilities resolved to packages of this set), for recipes. Sorted. */
  roots: z.array(z.string()),
  /** The groups that the request names, or that an environment it names does, with those of their packages that are in this set: a medium with the packages says so of them. Left out in resolutions of older versions. */
  groups: z.array(z.object({ id: z.string(), name: z.string(), packages: z.array(z.string()) })).optional(),
  environments: z.array(z.object({ id: z.string(), name: z.string(), groups: z.array(z.string()) })).optional(),
  /** The repositories that were looked into, with the revision of their metadata and the SHA-256 of its repomd.xml. `requested`: the requester's own. */
  repositories: z.array(z.object({ id: z.string(), role: z.string(), revision: z.string(), sha256: z.string().optional() })),
  /** Sentences for the requester: what was left out or had no effect, though nothing failed. */
  warnings: z.array(z.string()).default([]),
  /** The text of the request's kickstart, with everything that it includes. Left out where there is none. */
  kickstart: FileRef.optional(),
  downloadBytes: z.number().int().nonnegative(),
  installedBytes: z.number().int().nonnegative(),
});
export type Resolution = z.infer<typeof Resolution>;

/** The local repositories of one build, file by file: whoever places these files has them, with no network. Stored as JSON in the files port. */
export const RepositorySet = z.object({
  version: z.literal(1),
  repositories: z.array(
    z.object({
      id: z.enum(['stable', 'side']),
      /** Relative paths (`Packages/h/hello-1.1-1.noarch.rpm`, `repodata/repomd.xml`), sorted. */
      files: z.array(
        z.object({
          path: z.string(),
          sha256,
          size: z.number().int().nonnegative(),
          /** Of an RPM: the key that signed it, null where it has no trusted signature. */
          signedBy: z.string().nullable().optional(),
        }),
      ),
    }),
  ),
});
export type RepositorySet = z.infer<typeof RepositorySet>;
