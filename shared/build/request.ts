/** A build request: the one schema for REST, command line, web and triggers. Pure. */
import { z } from 'zod';
import { NvrText } from '../fedora/nvr.ts';

const imageTypes = ['boot', 'dvd', 'live'] as const;
export const engines = ['native', 'kiwi', 'lorax', 'livemedia-creator', 'mkksiso', 'image-builder'] as const;
export const ImageType = z.enum(imageTypes);
export type ImageType = z.infer<typeof ImageType>;
export const Engine = z.enum(engines);
export type Engine = z.infer<typeof Engine>;
export const Firmware = z.enum(['bios', 'uefi']);
export type Firmware = z.infer<typeof Firmware>;

const oneOrMore = <T extends z.ZodType>(schema: T) =>
  z.preprocess(
    (value) => (Array.isArray(value) ? value : [value]),
    z
      .array(schema)
      .min(1)
      .max(8)
      .refine((list) => new Set(list).size === list.length, 'names something twice'),
  );

/**
 * A package, group (`@core`), environment (`@^name`), glob, `name-version`, `name.arch`, absolute file name or capability. It begins with a letter, digit, `_`, `@` or `/`, so it
 * can never be taken for an option; and holds no blanks but those of a capability's comparison.
 */
export const PackageSpec = z
  .string()
  .min(1)
  .max(256)
  .regex(
    /^(@\^?[A-Za-z0-9][A-Za-z0-9._+-]*|\/[A-Za-z0-9._+@%:,=/-]+|[A-Za-z0-9_][A-Za-z0-9._+~^:*?[\]()/-]*( (=|<|>|<=|>=) [A-Za-z0-9._+~^:-]+)?)$/,
    'is not a package, @group, glob, file or capability',
  )
  .refine((text) => !text.split('/').includes('..'), 'climbs out with ".."');

/** ISO 9660 volume identifiers hold 32 characters; file names are made of the label, so it has no separators either. */
const Label = z
  .string()
  .min(1)
  .max(32, 'is longer than the 32 characters of a volume label')
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'may hold letters, digits, ".", "_" and "-", and begins with a letter or digit');

const RemoteUrl = z.url({ protocol: /^https?$/, error: 'is not an http or https URL' }).max(2048);
const KojiTag = z
  .string()
  .max(256)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'is not a Koji tag');

const Sources = z.strictObject({
  updates: z.boolean().default(true),
  updatesTesting: z.boolean().default(false),
  kojiBuilds: z
    .array(z.union([NvrText, z.number().int().positive()]))
    .max(500)
    .default([]),
  kojiTasks: z.array(z.number().int().positive()).max(100).default([]),
  kojiTags: z.array(KojiTag).max(20).default([]),
  advisories: z
    .array(z.string().regex(/^FEDORA(-EPEL)?(-[A-Z]+)?-\d{4}-[0-9a-f]{6,16}$/, 'is not an advisory such as FEDORA-2026-0123456789'))
    .max(50)
    .default([]),
  repositories: z
    .array(
      z.strictObject({
        name: z
          .string()
          .max(64)
          .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'is not a repository name'),
        baseurl: RemoteUrl,
        gpgkey: RemoteUrl.optional(),
      }),
    )
    .max(20)
    .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, 'names two repositories alike')
    .default([]),
  rpms: z
    .array(z.string().regex(/^[0-9a-f-]{1,64}$/, 'is not the id of an uploaded RPM'))
    .max(100)
    .default([]),
  debuginfo: z.boolean().default(false),
});

const Email = z.email('is not an e-mail address').max(254);
const Webhook = z.strictObject({ url: RemoteUrl, secret: z.string().min(1).max(256).optional() });

const shape = {
  release: z.preprocess((value) => (typeof value === 'number' ? String(value) : value), z.string().min(1).max(64)),
  arch: oneOrMore(z.string().regex(/^[a-z0-9_]{1,16}$/, 'is not an architecture')).default(['x86_64']),
  imageType: oneOrMore(ImageType),
  label: Label.optional(),
  packages: z.array(PackageSpec).max(5000).default([]),
  excludePackages: z.array(PackageSpec).max(1000).default([]),
  sources: Sources.prefault({}),
  kickstart: z
    .string()
    .max(256 * 1024)
    .nullable()
    .default(null),
  engine: z.union([Engine, z.literal('auto')]).default('auto'),
  locale: z
    .string()
    .regex(/^[A-Za-z]{2,3}(_[A-Z]{2})?(\.[A-Za-z0-9-]+)?(@[a-z]+)?$/, 'is not a locale such as en_US.UTF-8')
    .default('en_US.UTF-8'),
  keyboard: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,32}$/, 'is not a keyboard layout')
    .default('us'),
  timezone: z
    .string()
    .regex(/^[A-Za-z0-9_+-]{1,32}(\/[A-Za-z0-9_+-]{1,32}){0,2}$/, 'is not a time zone')
    .default('UTC'),
  liveUser: z
    .string()
    .regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'is not a user name')
    .refine((name) => name !== 'root', 'is the administrator, whose account stays locked')
    .default('liveuser'),
  bootTest: z.boolean().default(true),
  firmware: oneOrMore(Firmware).default(['bios', 'uefi']),
  compression: z.enum(['fast', 'small']).default('fast'),
  reuse: z.boolean().default(true),
  private: z.boolean().default(false),
  notify: z.strictObject({ email: z.array(Email).max(20).default([]), webhooks: z.array(Webhook).max(10).default([]) }).prefault({}),
  expiresInDays: z.number().int().min(1).max(365).default(14),
  priority: z.enum(['low', 'normal', 'high']).default('normal'),
};

/** What may be sent. Lists of `arch` or `imageType` ask for one build of each pair. */
export const BuildRequest = z
  .strictObject(shape)
  .refine((request) => request.packages.length > 0 || request.kickstart !== null || hasSources(request.sources), {
    path: ['packages'],
    error: 'is empty: name packages, sources or a kickstart',
  });
export type BuildRequest = z.infer<typeof BuildRequest>;

function hasSources(sources: z.infer<typeof Sources>): boolean {
  return [sources.kojiBuilds, sources.kojiTasks, sources.kojiTags, sources.advisories, sources.repositories, sources.rpms].some((list) => list.length > 0);
}

/** The request of one build: one architecture, one kind of image, every default filled in. */
export const SingleBuildRequest = z.object({ ...shape, arch: z.string(), imageType: ImageType, label: Label });
export type SingleBuildRequest = z.infer<typeof SingleBuildRequest>;

/** One request for each pair of architecture and image type, in the order they were named. */
export function splitRequest(request: BuildRequest): readonly SingleBuildRequest[] {
  return request.arch.flatMap((arch) =>
    request.imageType.map((imageType) => ({ ...request, arch, imageType, label: request.label ?? defaultLabel(request.release, imageType) })),
  );
}

function defaultLabel(release: string, imageType: ImageType): string {
  return `Spindle-${release.replace(/[^A-Za-z0-9._-]/g, '-')}-${imageType}`.slice(0, 32);
}
