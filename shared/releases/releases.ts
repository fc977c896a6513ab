/** Releases are data: what can be built, from which repositories, with which engines. Pure. */
import { z } from 'zod';
import { Engine, ImageType, PackageSpec } from '../build/request.ts';

const absolutePath = z
  .string()
  .max(1000)
  .regex(/^\/[^\0\n]*$/, 'is not an absolute path');
const fileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'is not a plain name');

const RepositoryDefinition = z
  .strictObject({
    id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/),
    role: z.enum(['stable', 'updates', 'updates-testing']),
    metalink: z.string().optional(),
    mirrorlist: z.string().optional(),
    baseurl: z.string().optional(),
  })
  .refine(
    (repository) => [repository.metalink, repository.mirrorlist, repository.baseurl].filter(Boolean).length === 1,
    'names exactly one of metalink, mirrorlist and baseurl',
  );
export type RepositoryDefinition = z.infer<typeof RepositoryDefinition>;

export const Release = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/),
  name: z.string(),
  arches: z.array(z.string()).min(1),
  /** `$releasever` in repository URLs, where it is not the id. */
  releasever: z.string().optional(),
  /** The mark in the release of packages built for it, such as `fc44`: tells builds of another release. */
  dist: z
    .string()
    .regex(/^[A-Za-z0-9_]+$/)
    .optional(),
  /** The last day, `YYYY-MM-DD`, on which it is built. */
  eol: z.iso.date().optional(),
  repositories: z.array(RepositoryDefinition).min(1),
  koji: z
    .strictObject({
      hub: z.url(),
      files: z.url(),
      tags: z
        .strictObject({
          stable: z.string(),
          updates: z.string().optional(),
          testing: z.string().optional(),
        })
        .optional(),
      /** Tags besides those where builds are looked for that the requester may have meant: update candidates, and what waits for its push. */
      candidateTags: z.array(z.string()).max(10).optional(),
    })
    .optional(),
  bodhi: z.strictObject({ url: z.url(), name: z.string() }).optional(),
  keys: z.array(z.string()).default([]),
  sigkeys: z.array(z.string().regex(/^[0-9a-f]{8}$/)).default([]),
  unsigned: z.enum(['refuse', 'side-repo', 'allow']).default('refuse'),
  /** The checkout of fedora-kiwi-descriptions, on every node, that the engine kiwi takes instead of its own description. */
  kiwi: z
    .strictObject({
      description: absolutePath,
      file: fileName.default('Fedora.kiwi'),
      /** Image type → profile, such as `Workstation-Live`. */
      profiles: z.partialRecord(ImageType, fileName),
      /** What the profiles install: packages and groups, which are resolved with every request. */
      packages: z.array(PackageSpec).max(500).default([]),
    })
    .optional(),
  /** Architecture → the boot ISO, on every node, onto which mkksiso puts packages and kickstart. */
  baseIsos: z.record(z.string(), absolutePath).optional(),
  /** Image type → the engine that `auto` means. A type without an entry cannot be built. */
  engines: z.partialRecord(ImageType, Engine),
});
export type Release = z.infer<typeof Release>;

export const ReleasesFile = z
  .strictObject({ releases: z.array(Release).min(1) })
  .refine(({ releases }) => new Set(releases.map(({ id }) => id)).size === releases.length, 'names a release id twice');
export type ReleasesFile = z.infer<typeof ReleasesFile>;

/** A repository's URL with `$releasever` and `$basearch` filled in. */
export function expandUrl(template: string, release: Release, arch: string): string {
  return template.replaceAll('$releasever', release.releasever ?? release.id).replaceAll('$basearch', arch);
}
