/** Reads a metalink: which mirrors a repository has, and what its repomd.xml must hash to. MirrorManager's format (librepo: tests/test_data). Pure. */
import { childrenOf, readXmlDocument, textOf, type XmlElement } from './xml-document.ts';

export interface RepomdHash {
  readonly type: 'sha256' | 'sha512';
  /** Lower-case hex. */
  readonly value: string;
}

export interface Metalink {
  /** Base URLs, best first, each with a slash at its end. */
  readonly mirrors: readonly string[];
  /** The newest repomd.xml first, then older ones that mirrors may still have. One of each pair is enough. */
  readonly accepted: readonly (readonly RepomdHash[])[];
}

/** The document is a metalink, but of no use to us. */
export class MetalinkError extends Error {
  override readonly name = 'MetalinkError';
}

const mirrorsMax = 500;
const alternatesMax = 50;
const digits = { sha256: 64, sha512: 128 } as const;

/** Throws MetalinkError or XmlDocumentError. */
export function readMetalink(text: string): Metalink {
  const root = readXmlDocument(text);
  if (root.name !== 'metalink') throw new MetalinkError(`is a <${root.name.slice(0, 64)}>, not a metalink`);
  const file = childrenOf(childrenOf(root, 'files')[0], 'file').find(({ attributes }) => attributes['name'] === 'repomd.xml');
  if (!file) throw new MetalinkError('names no repomd.xml');
  const alternates = childrenOf(childrenOf(file, 'alternates')[0], 'alternate')
    .toSorted((a, b) => timestampOf(b) - timestampOf(a))
    .slice(0, alternatesMax);
  const accepted = [file, ...alternates].map(hashesOf).filter((hashes) => hashes.length > 0);
  if (accepted.length === 0) throw new MetalinkError('names no SHA-256 or SHA-512 of repomd.xml');
  const mirrors = childrenOf(childrenOf(file, 'resources')[0], 'url')
    .flatMap(({ text: url, attributes }) => {
      const base = baseOf(url);
      return base === undefined ? [] : [{ base, isSafe: base.startsWith('https:'), preference: Number(attributes['preference'] ?? 0) || 0 }];
    })
    .slice(0, mirrorsMax)
    .toSorted((a, b) => Number(b.isSafe) - Number(a.isSafe) || b.preference - a.preference)
    .map(({ base }) => base);
  if (mirrors.length === 0) throw new MetalinkError('names no mirror that is reached by http or https');
  return { mirrors: [...new Set(mirrors)], accepted };
}

const timestampOf = (element: XmlElement) => Number(textOf(element, 'timestamp') ?? 0) || 0;

function hashesOf(element: XmlElement): readonly RepomdHash[] {
  return childrenOf(childrenOf(element, 'verification')[0], 'hash').flatMap(({ text, attributes }): readonly RepomdHash[] => {
    const type = attributes['type'];
    const value = text.toLowerCase();
    if (type !== 'sha256' && type !== 'sha512') return [];
    return new RegExp(`^[0-9a-f]{${digits[type]}}$`).test(value) ? [{ type, value }] : [];
  });
}

/** The repository's address from that of its repomd.xml; undefined for other protocols and other files. */
function baseOf(url: string): string | undefined {
  if (url.length > 2048 || !URL.canParse(url)) return undefined;
  const { protocol, href, search, hash, username, password } = new URL(url);
  if ((protocol !== 'http:' && protocol !== 'https:') || search || hash || username || password) return undefined;
  const ending = 'repodata/repomd.xml';
  return href.endsWith(`/${ending}`) ? href.slice(0, -ending.length) : undefined;
}
