/** Reads and writes a repository's repomd.xml: which metadata files it has, and what each must hash to. Pure. */
import { childrenOf, readXmlDocument, textOf, type XmlElement } from './xml-document.ts';

interface Checksum {
  readonly type: 'sha256' | 'sha512';
  /** Lower-case hex. */
  readonly value: string;
}

export interface MetadataFile {
  readonly type: (typeof usedTypes)[number];
  /** Relative to the repository, below `repodata/` or beside it; plain names only. */
  readonly location: string;
  readonly checksum: Checksum;
  /** Bytes of the file; undefined where repomd.xml does not say. */
  readonly size: number | undefined;
  readonly openChecksum: Checksum | undefined;
  /** Bytes once uncompressed. */
  readonly openSize: number | undefined;
}

export interface Repomd {
  readonly revision: string;
  readonly files: readonly MetadataFile[];
}

/** It is a repomd.xml, but not one that can be trusted or used. */
export class RepomdError extends Error {
  override readonly name = 'RepomdError';
}

/** What the solver reads. Everything else (`other`, databases, zchunk twins, what is not known) stays where it is. */
const usedTypes = ['primary', 'filelists', 'group', 'updateinfo'] as const;
const compressedGroup = /^group_(gz|xz|zst|bz2)$/;
const digits = { sha256: 64, sha512: 128 } as const;

/** Throws RepomdError or XmlDocumentError. */
export function readRepomd(text: string): Repomd {
  const root = readXmlDocument(text);
  if (root.name !== 'repomd') throw new RepomdError(`is a <${root.name.slice(0, 64)}>, not a repomd`);
  const data = childrenOf(root, 'data');
  const named = new Map(data.map((element) => [element.attributes['type'] ?? '', element]));
  if (named.size !== data.length) throw new RepomdError('names one kind of metadata twice');
  const files = usedTypes.flatMap((type): readonly MetadataFile[] => {
    const element = named.get(type) ?? (type === 'group' ? data.find(({ attributes }) => compressedGroup.test(attributes['type'] ?? '')) : undefined);
    return element ? [fileOf(type, element)] : [];
  });
  if (!files.some(({ type }) => type === 'primary')) throw new RepomdError('names no primary metadata');
  return { revision: (textOf(root, 'revision') ?? '').slice(0, 100), files };
}

/**
 * The repomd.xml of these files alone, in the place of the repository's own: dnf fetches whatever a repomd.xml names and it could use (compressed comps beside plain ones, modules, deltas), and what was
 * not checked is not there.
 */
export function writeRepomd({ revision, files }: Repomd): string {
  const checksum = (name: string, { type, value }: Checksum) => `    <${name} type="${type}">${value}</${name}>`;
  const blocks = files.flatMap((file) => [
    `  <data type="${file.type}">`,
    checksum('checksum', file.checksum),
    ...(file.openChecksum ? [checksum('open-checksum', file.openChecksum)] : []),
    `    <location href="${file.location}"/>`,
    ...(file.size === undefined ? [] : [`    <size>${file.size}</size>`]),
    ...(file.openSize === undefined ? [] : [`    <open-size>${file.openSize}</open-size>`]),
    '  </data>',
  ]);
  const shownRevision = revision.replace(/[^A-Za-z0-9._:+-]/g, '');
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<repomd xmlns="http://linux.duke.edu/metadata/repo">',
    `  <revision>${shownRevision}</revision>`,
    ...blocks,
    '</repomd>',
    '',
  ].join('\n');
}

function fileOf(type: MetadataFile['type'], element: XmlElement): MetadataFile {
  const checksum = checksumOf(type, childrenOf(element, 'checksum')[0]);
  if (!checksum) throw new RepomdError(`names no checksum of ${type}`);
  const location = childrenOf(element, 'location')[0]?.attributes ?? {};
  const href = location['href'] ?? '';
  const other = Object.keys(location).find((name) => name !== 'href');
  if (other !== undefined) throw new RepomdError(`names another place for ${type} (${other.slice(0, 40)})`);
  if (!/^(?:[A-Za-z0-9_+~-][A-Za-z0-9._+~-]*\/){0,3}[A-Za-z0-9_+~-][A-Za-z0-9._+~-]{0,239}$/.test(href)) {
    throw new RepomdError(`gives ${type} a location that leads out of the repository or is no plain name: ${JSON.stringify(href.slice(0, 200))}`);
  }
  const size = sizeOf(textOf(element, 'size'));
  const openSize = sizeOf(textOf(element, 'open-size'));
  return { type, location: href, checksum, size, openChecksum: checksumOf(type, childrenOf(element, 'open-checksum')[0]), openSize };
}

function checksumOf(type: string, element: XmlElement | undefined): Checksum | undefined {
  if (!element) return undefined;
  const name = element.attributes['type'];
  const kind = name === 'sha256' || name === 'sha512' ? name : undefined;
  const value = element.text.toLowerCase();
  if (!kind) throw new RepomdError(`checks ${type} by ${(name ?? 'nothing').slice(0, 40)}; only SHA-256 and SHA-512 count`);
  if (!new RegExp(`^[0-9a-f]{${digits[kind]}}$`).test(value)) throw new RepomdError(`has a checksum of ${type} that is none`);
  return { type: kind, value };
}

const sizeOf = (text: string | undefined) => (/^\d{1,13}$/.test(text ?? '') ? Number(text) : undefined);
