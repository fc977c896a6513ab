/** What is in an image, told from its own RPM database, beside what was resolved. Pure. */
import type { SingleBuildRequest } from '../../shared/build/request.ts';
import { compareEvr, formatNevra, type Nevra, parseNevra } from '../../shared/fedora/nvr.ts';
import type { FileRef } from '../../shared/files/content-ref.ts';
import { withoutHashes } from '../../shared/kickstart/secrets.ts';
import type { Resolution } from '../../shared/resolution/resolution.ts';

interface ManifestPackage {
  readonly nevra: string;
  /** `unknown`, and null for the rest: it is in the image, but nobody resolved it. */
  readonly from: 'stable' | 'side' | 'unknown';
  readonly repository: string | null;
  readonly sha256: string | null;
  readonly sigkey: string | null;
  /** The key whose signature was checked; null where there is none that is trusted. */
  readonly signedBy: string | null;
  /** There where nobody but the requester vouches for it. */
  readonly untrusted?: true;
}

export interface Comparison {
  /** Every installed package, by name, then version. */
  readonly packages: readonly ManifestPackage[];
  /** NEVRAs that were resolved but are not installed, and the other way round. Sorted. */
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  /** Requested builds that are not installed, each with what the image holds of that name instead. */
  readonly requestedMissing: readonly { readonly nevra: string; readonly instead: readonly string[] }[];
}

/** Public keys are packages of this name in the database; they are no content. */
const keyPackage = 'gpg-pubkey';

/** `signers`: by SHA-256. */
export function compareContents(installed: readonly Nevra[], resolution: Resolution, signers: ReadonlyMap<string, string | null> = new Map()): Comparison {
  const present = installed
    .filter(({ name }) => name !== keyPackage)
    .map((nevra) => ({ ...nevra, text: formatNevra(nevra) }))
    .sort((a, b) => byText(a.name, b.name) || compareEvr(a, b) || byText(a.arch, b.arch));
  const presentTexts = new Set(present.map(({ text }) => text));
  const resolved = new Map(resolution.packages.map((item) => [normal(item.nevra), item]));
  return {
    packages: present.map(({ text }) => {
      const item = resolved.get(text);
      return item
        ? {
            nevra: text,
            from: item.from,
            repository: item.repository,
            sha256: item.sha256,
            sigkey: item.sigkey,
            signedBy: signers.get(item.sha256) ?? null,
            ...(item.untrusted ? { untrusted: true } : {}),
          }
        : { nevra: text, from: 'unknown', repository: null, sha256: null, sigkey: null, signedBy: null };
    }),
    missing: [...resolved.keys()].filter((text) => !presentTexts.has(text)).sort(),
    unexpected: present.map(({ text }) => text).filter((text) => !resolved.has(text)),
    requestedMissing: resolution.requested
      .map(normal)
      .filter((text) => !presentTexts.has(text))
      .map((nevra) => ({ nevra, instead: present.filter(({ name }) => name === parseNevra(nevra)?.name).map(({ text }) => text) })),
  };
}

/** An epoch of 0 is the same as none. */
function normal(text: string): string {
  const nevra = parseNevra(text);
  return nevra ? formatNevra(nevra) : text;
}

const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

export interface ManifestOrder {
  readonly buildId: string;
  readonly request: SingleBuildRequest;
  readonly engine: string;
  /** Tool → version. */
  readonly tools: Readonly<Record<string, string>>;
  readonly image: FileRef & { readonly name: string };
  readonly resolution: Resolution;
  readonly comparison: Comparison;
}

/** `manifest.json`: the same image gives the same bytes, so it holds no time and no host. */
export function formatManifest({ buildId, request, engine, tools, image, resolution, comparison }: ManifestOrder): string {
  const manifest = {
    version: 1,
    buildId,
    release: resolution.release,
    arch: resolution.arch,
    imageType: request.imageType,
    label: request.label,
    engine,
    tools,
    image: { name: image.name, sha256: image.sha256, size: image.size },
    requested: resolution.requested,
    packages: comparison.packages,
    missing: comparison.missing,
    repositories: resolution.repositories,
    request: publicRequest(request),
  };
  return `${JSON.stringify(manifest, undefined, 2)}\n`;
}

/** The manifest is public: no addresses of people, no secrets of their web hooks, no passwords in repository URLs. */
function publicRequest({ notify: _, ...request }: SingleBuildRequest): Omit<SingleBuildRequest, 'notify'> {
  const repositories = request.sources.repositories.map((repository) => ({
    ...repository,
    baseurl: withoutPassword(repository.baseurl),
    ...(repository.gpgkey === undefined ? {} : { gpgkey: withoutPassword(repository.gpgkey) }),
  }));
  const kickstart = request.kickstart === null ? null : withoutHashes(request.kickstart);
  return { ...request, kickstart, sources: { ...request.sources, repositories } };
}

function withoutPassword(text: string): string {
  const url = new URL(text);
  url.username = '';
  url.password = '';
  return url.href;
}
