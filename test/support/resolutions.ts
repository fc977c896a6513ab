/** Resolutions for tests, made of NEVRAs: what the resolver would have found. */
import { createHash } from 'node:crypto';
import { formatNevra, type Nevra, parseNevra, rpmFileName } from '../../shared/fedora/nvr.ts';
import type { RepositorySet, Resolution, ResolvedPackage } from '../../shared/resolution/resolution.ts';
import { rpmFile } from './rpm-file.ts';

/** A resolution of these packages, with nothing else in it. */
export function resolutionWith(packages: readonly ResolvedPackage[], release: string): Resolution {
  return {
    version: 1,
    release,
    arch: 'x86_64',
    packages: [...packages],
    requested: [],
    roots: [],
    repositories: [],
    warnings: [],
    downloadBytes: 0,
    installedBytes: 0,
  };
}

/** One stable package, by its file. */
export function resolvedRpm(nevra: Nevra, bytes: Uint8Array, change: Partial<ResolvedPackage> = {}): ResolvedPackage {
  return {
    ...nevra,
    nevra: formatNevra(nevra),
    from: 'stable',
    repository: 'sample',
    because: 'The test says so.',
    urls: [`https://mirror.example/${rpmFileName(nevra)}`],
    sha256: createHash('sha256').update(bytes).digest('hex'),
    size: bytes.byteLength,
    installedSize: 1000,
    sigkey: null,
    stored: true,
    ...change,
  };
}

/** `side`: NEVRAs that come from the side repository and were asked for; the others come from the stable one. */
export function resolutionOf(stable: readonly string[], side: readonly string[] = [], change: Partial<Resolution> = {}): Resolution {
  const resolved = (text: string, from: 'stable' | 'side'): ResolvedPackage => {
    const nevra = parseNevra(text);
    if (!nevra) throw new Error(`${text} is not a NEVRA`);
    const { bytes, sha256 } = rpmFile(nevra);
    return {
      ...nevra,
      nevra: text,
      from,
      repository: from === 'side' ? 'koji' : 'sample',
      because: 'The test says so.',
      urls: [`https://mirror.example/${rpmFileName(nevra)}`],
      sha256,
      size: bytes.byteLength,
      installedSize: 1000,
      sigkey: from === 'side' ? null : '6d9f90a6',
      stored: true,
    };
  };
  const packages = [...stable.map((text) => resolved(text, 'stable')), ...side.map((text) => resolved(text, 'side'))];
  return {
    ...resolutionWith(
      packages.sort((a, b) => (a.nevra < b.nevra ? -1 : 1)),
      'sample',
    ),
    requested: [...side],
    roots: ['hello'],
    repositories: [{ id: 'sample', role: 'stable', revision: '1700000000' }],
    ...change,
  };
}

/** The repositories that a resolution's packages stand in, with the files' contents. */
export function repositoriesOf({ packages }: Resolution): { readonly set: RepositorySet; readonly contents: readonly Uint8Array[] } {
  const contents: Uint8Array[] = [];
  const repositories = (['stable', 'side'] as const).map((id) => ({
    id,
    files: packages
      .filter(({ from }) => from === id)
      .map((item) => {
        contents.push(rpmFile(item).bytes);
        return { path: `Packages/${rpmFileName(item)}`, sha256: item.sha256, size: item.size };
      }),
  }));
  return { set: { version: 1, repositories }, contents };
}
