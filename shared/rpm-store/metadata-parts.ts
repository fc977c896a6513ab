/** Takes a repository's metadata apart by package, and puts such parts together again as metadata that createrepo_c takes up. Knows only what createrepo_c itself writes. Pure. */
import { createHash } from 'node:crypto';

/** What the three files say of one package, each from `<package` to `</package>`. */
export interface MetadataParts {
  readonly primary: string;
  readonly filelists: string;
  readonly other: string;
}

const partKinds = ['primary', 'filelists', 'other'] as const;
type Kind = (typeof partKinds)[number];

const packagePattern = /<package[ >][\s\S]*?<\/package>/g;
const idPatterns: Readonly<Record<Kind, RegExp>> = {
  primary: /<checksum type="sha256" pkgid="YES">([0-9a-f]{64})<\/checksum>/,
  filelists: /^<package pkgid="([0-9a-f]{64})"/,
  other: /^<package pkgid="([0-9a-f]{64})"/,
};

/** By SHA-256 of the package. What is not in all three files, or twice in one, is left out. Text in metadata is escaped: no package's words can look like an element. */
export function splitMetadata(texts: Readonly<Record<Kind, string>>): ReadonlyMap<string, MetadataParts> {
  const [primary, filelists, other] = partKinds.map((kind) => partsOf(kind, texts[kind])) as [Parts, Parts, Parts];
  const found = new Map<string, MetadataParts>();
  for (const [sha256, part] of primary) {
    const [files, rest] = [filelists.get(sha256), other.get(sha256)];
    if (part !== null && files && rest) found.set(sha256, { primary: part, filelists: files, other: rest });
  }
  return found;
}

type Parts = Map<string, string | null>;

function partsOf(kind: Kind, text: string): Parts {
  const parts: Parts = new Map();
  for (const [part] of text.matchAll(packagePattern)) {
    const sha256 = idPatterns[kind].exec(part)?.[1];
    if (sha256 !== undefined) parts.set(sha256, parts.has(sha256) ? null : part);
  }
  return parts;
}

const namespaces: Readonly<Record<Kind, readonly [element: string, attributes: string]>> = {
  primary: ['metadata', 'xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"'],
  filelists: ['filelists', 'xmlns="http://linux.duke.edu/metadata/filelists"'],
  other: ['otherdata', 'xmlns="http://linux.duke.edu/metadata/other"'],
};

/** The files of a `repodata/` folder, by name. */
export function joinMetadata(parts: readonly MetadataParts[]): Readonly<Record<string, string>> {
  const files = partKinds.map((kind) => {
    const [element, attributes] = namespaces[kind];
    const packages = parts.map((part) => part[kind]).join('\n');
    return [
      `${kind}.xml`,
      `<?xml version="1.0" encoding="UTF-8"?>\n<${element} ${attributes} packages="${parts.length}">\n${packages}\n</${element}>\n`,
    ] as const;
  });
  const data = partKinds.map((kind) => `<data type="${kind}"><location href="repodata/${kind}.xml"/></data>`).join('\n');
  const repomd = `<?xml version="1.0" encoding="UTF-8"?>\n<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">\n<revision>0</revision>\n${data}\n</repomd>\n`;
  return { ...Object.fromEntries(files), 'repomd.xml': repomd };
}

/** As they are kept: a digest of the rest, the lengths, the texts. */
export function writeParts({ primary, filelists, other }: MetadataParts): Buffer {
  const texts = [primary, filelists, other].map((text) => Buffer.from(text));
  const rest = Buffer.concat([Buffer.from(`${texts.map(({ byteLength }) => byteLength).join(' ')}\n`), ...texts]);
  return Buffer.concat([Buffer.from(`${digestOf(rest)}\n`), rest]);
}

const digestLength = 64;

/** Undefined where it was not written whole, or has changed since. */
export function readParts(bytes: Buffer): MetadataParts | undefined {
  const rest = bytes.subarray(digestLength + 1);
  if (bytes.subarray(0, digestLength).toString('latin1') !== digestOf(rest)) return undefined;
  const start = rest.indexOf(10) + 1;
  const [primary = 0, filelists = 0, other = 0] = rest.subarray(0, start).toString('latin1').trim().split(' ').map(Number);
  const cut = (from: number, length: number) => rest.subarray(start + from, start + from + length).toString('utf8');
  return { primary: cut(0, primary), filelists: cut(primary, filelists), other: cut(primary + filelists, other) };
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
