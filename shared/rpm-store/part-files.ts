/** Keeps what createrepo_c said of each package, one small file a package, for the next repository that it is in. What is lost or torn is read from the RPM again. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type MetadataParts, readParts, writeParts } from './metadata-parts.ts';

export interface PartFiles {
  /** By digest, in the order given. */
  read(sha256s: readonly string[]): Promise<ReadonlyMap<string, MetadataParts>>;
  /** Never rejects: without them only time is lost. */
  write(parts: ReadonlyMap<string, MetadataParts>): Promise<void>;
  remove(sha256: string): Promise<void>;
}

const atOnceMax = 32;
/** Of texts that are kept in memory as well: the packages of the last repositories are most of the next one's. */
const keptMax = 32e6;

/** `version`: of what made the parts; another one would say other things of the same package. */
export function partFiles(directory: string, version: string): PartFiles {
  const pathOf = (sha256: string) => join(directory, version, sha256.slice(0, 2), sha256);
  const folders = new Set<string>();
  /** Longest unused first. */
  const kept = new Map<string, MetadataParts>();
  let keptSize = 0;
  const forget = (sha256: string): void => {
    const known = kept.get(sha256);
    if (!known) return;
    kept.delete(sha256);
    keptSize -= sizeOf(known);
  };
  const keep = (sha256: string, parts: MetadataParts): void => {
    forget(sha256);
    kept.set(sha256, parts);
    keptSize += sizeOf(parts);
    for (const oldest of kept.keys()) {
      if (keptSize <= keptMax) return;
      forget(oldest);
    }
  };
  return {
    read: async (sha256s) => {
      const read: (MetadataParts | undefined)[] = [];
      await lanes(sha256s, async (sha256, place) => {
        read[place] = kept.get(sha256) ?? (await readFile(pathOf(sha256)).then(readParts, () => undefined));
      });
      for (const [place, sha256] of sha256s.entries()) if (read[place]) keep(sha256, read[place]);
      return new Map(sha256s.flatMap((sha256, place) => (read[place] ? [[sha256, read[place]] as const] : [])));
    },
    write: async (parts) => {
      await lanes([...parts], async ([sha256, part]) => {
        const path = pathOf(sha256);
        keep(sha256, part);
        try {
          if (!folders.has(dirname(path))) await mkdir(dirname(path), { recursive: true, mode: 0o700 });
          folders.add(dirname(path));
          await writeFile(`${path}.new`, writeParts(part));
          await rename(`${path}.new`, path);
        } catch {
          // The folder may have gone meanwhile.
          folders.delete(dirname(path));
        }
      });
    },
    remove: (sha256) => {
      forget(sha256);
      return rm(pathOf(sha256), { force: true }).catch(() => {});
    },
  };
}

const sizeOf = ({ primary, filelists, other }: MetadataParts) => primary.length + filelists.length + other.length;

async function lanes<T>(items: readonly T[], task: (item: T, place: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const place = next;
      next += 1;
      await task(items[place] as T, place);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnceMax, items.length) }, lane));
}
