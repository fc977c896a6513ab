/** The files by which installers know a tree: `.treeinfo` as productmd reads it, and `.discinfo`. Pure. */
import type { Resolution } from '../../../shared/resolution/resolution.ts';

export interface TreeDescription {
  /** `Fedora Linux`, without the version. */
  readonly name: string;
  readonly version: string;
  readonly arch: string;
  /** Seconds since 1970. */
  readonly timestamp: number;
  /** Whether the tree has a repository at its root. */
  readonly hasRepository: boolean;
}

const variant = 'Everything';

/** A newline or a bracket would begin a line or a section of its own. */
const value = (text: string) => text.replace(/[^\x20-\x7e]/g, ' ').trim();

/** Its last section is `[checksums]`, still empty: it is filled in once the files are made. */
export function treeinfo({ name, version, arch, timestamp, hasRepository }: TreeDescription): string {
  const title = value(name);
  const sections: Readonly<Record<string, Readonly<Record<string, string | number>>>> = {
    general: {
      arch,
      family: title,
      name: `${title} ${version}`,
      ...(hasRepository ? { packagedir: 'Packages', repository: '.' } : {}),
      platforms: arch,
      timestamp,
      variant,
      variants: variant,
      version,
    },
    header: { type: 'productmd.treeinfo', version: '1.2' },
    [`images-${arch}`]: { initrd: 'images/pxeboot/initrd.img', kernel: 'images/pxeboot/vmlinuz' },
    release: { name: title, short: title.split(' ')[0] ?? title, version },
    stage2: { mainimage: 'images/install.img' },
    tree: { arch, build_timestamp: timestamp, platforms: arch, variants: variant },
    [`variant-${variant}`]: {
      id: variant,
      name: variant,
      ...(hasRepository ? { packages: 'Packages', repository: '.' } : {}),
      type: 'variant',
      uid: variant,
    },
    checksums: {},
  };
  return Object.entries(sections)
    .map(
      ([section, entries]) =>
        `[${section}]\n${Object.entries(entries)
          .map(([key, text]) => `${key} = ${text}\n`)
          .join('')}`,
    )
    .join('\n');
}

export function discinfo({ name, version, arch, timestamp }: TreeDescription): string {
  return `${timestamp}.0\n${value(name)} ${version}\n${arch}\n`;
}

/** The time of a tree: that of the newest repository it was made from, so that the same packages make the same tree. */
export function treeTimestamp({ repositories }: Resolution): number {
  return Math.max(0, ...repositories.map(({ revision }) => (/^\d{9,11}$/.test(revision) ? Number(revision) : 0)));
}
