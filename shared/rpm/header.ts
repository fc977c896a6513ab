/** Reads the start of an RPM file: who the package is and what its signature header says. Trusts nothing in it. Pure. */
import type { Nevra } from '../fedora/nvr.ts';

export interface RpmHeader extends Nevra {
  readonly isSource: boolean;
  /** Seconds since 1970; 0 where the header does not say. */
  readonly buildTimeS: number;
  /** File name of the source RPM, null for a source RPM itself. */
  readonly sourceRpm: string | null;
  /** MD5 of header and payload as the file itself states it, 32 lower-case hex digits. Null where the file has none, as RPM 6 makes them. */
  readonly sigMd5: string | null;
  /** Where the header begins: the bytes from here to the end are what the MD5 is of. */
  readonly headerStart: number;
}

/** The bytes are not the start of an RPM file. */
export class RpmHeaderError extends Error {
  override readonly name = 'RpmHeaderError';
}

/** Enough for nearly every package; the rest says how much more it needs. */
export const usualHeaderBytes = 64 * 1024;
/** rpm's own bound is larger, but no package of a distribution comes near this. */
const headerBytesMax = 64 * 1024 * 1024;
const entriesMax = 0xffff;
const leadBytes = 96;

const tag = {
  sigMd5: 1004,
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  summary: 1004,
  buildTime: 1006,
  size: 1009,
  arch: 1022,
  oldFileNames: 1027,
  fileSizes: 1028,
  sourceRpm: 1044,
  sourcePackage: 1106,
  directoryIndexes: 1116,
  baseNames: 1117,
  directoryNames: 1118,
  longFileSizes: 5008,
  longSize: 5009,
};
const type = { int32: 4, int64: 5, string: 6, binary: 7, strings: 8, translated: 9 };

/** `bytes`: the file's first bytes. Where they are too few, how many it needs. Throws RpmHeaderError. */
export function readRpmHeader(bytes: Uint8Array): { readonly header: RpmHeader } | { readonly bytesNeeded: number } {
  const opened = openHeader(bytes);
  if ('bytesNeeded' in opened) return opened;
  const { view, signature, main, isSource, headerStart } = opened;
  const text = (which: number) => textAt(bytes, main, which, main.find(which, type.string)?.at);
  const needed = (which: number, what: string): string => {
    const value = text(which);
    if (!value) throw new RpmHeaderError(`names no ${what} in its header`);
    return value;
  };
  const epochAt = main.find(tag.epoch, type.int32, 4)?.at;
  const buildTimeAt = main.find(tag.buildTime, type.int32, 4)?.at;
  const md5 = signature.find(tag.sigMd5, type.binary, 16);
  const sourceRpm = text(tag.sourceRpm) ?? null;
  return {
    header: {
      name: needed(tag.name, 'name'),
      epoch: epochAt === undefined ? 0 : view.getUint32(epochAt),
      version: needed(tag.version, 'version'),
      release: needed(tag.release, 'release'),
      // A source RPM's header holds the architecture that it was built on.
      arch: isSource ? 'src' : needed(tag.arch, 'architecture'),
      isSource,
      buildTimeS: buildTimeAt === undefined ? 0 : view.getUint32(buildTimeAt),
      sourceRpm: isSource ? null : sourceRpm,
      sigMd5: md5 && md5.count === 16 ? Buffer.from(bytes.subarray(md5.at, md5.at + 16)).toString('hex') : null,
      headerStart,
    },
  };
}

/** What a header says of the payload. */
export interface RpmContents {
  /** The first line of what the package is, in its first language. */
  readonly summary: string | null;
  /** Bytes once installed: what the header states in one number, or the sum of its files where that is more. */
  readonly installedBytes: number;
  readonly files: RpmFileNames;
}

/** Kept apart as they stand in the header: joined, a small header could mean very many long paths. */
export interface RpmFileNames {
  /** Each ends with `/`; as old packages have them, whole paths in `names`, the only one is empty. */
  readonly directories: readonly string[];
  readonly names: readonly string[];
  /** For each name the place of its directory in `directories`. */
  readonly directoryOf: readonly number[];
}

const filesMax = 250_000;

/** `bytes`: at least up to the end of the header, as readRpmHeader asked for them. Throws RpmHeaderError, also where the lists of files do not fit together. */
export function readRpmContents(bytes: Uint8Array): RpmContents {
  const opened = openHeader(bytes);
  if ('bytesNeeded' in opened) throw new RpmHeaderError('ends before its header does');
  const { view, main } = opened;
  const numbers = (which: number, kind: number): readonly number[] => {
    const width = kind === type.int64 ? 8 : 4;
    const found = main.find(which, kind, width);
    if (!found) return [];
    if (found.count > filesMax) throw new RpmHeaderError(`names ${found.count} files; at most ${filesMax} are read`);
    if (found.at + found.count * width > main.end) throw new RpmHeaderError(`has tag ${which} outside its header`);
    return Array.from({ length: found.count }, (_, place) => {
      const at = found.at + place * width;
      return width === 8 ? Number(view.getBigUint64(at)) : view.getUint32(at);
    });
  };
  const texts = (which: number): readonly string[] => {
    const found = main.find(which, type.strings);
    if (!found) return [];
    if (found.count > filesMax) throw new RpmHeaderError(`names ${found.count} files; at most ${filesMax} are read`);
    const list: string[] = [];
    for (let at = found.at; list.length < found.count; ) {
      const stop = bytes.indexOf(0, at);
      if (stop < 0 || stop >= main.end) throw new RpmHeaderError(`has a text without an end in its header (tag ${which})`);
      list.push(new TextDecoder().decode(bytes.subarray(at, stop)));
      at = stop + 1;
    }
    return list;
  };
  const [directories, names, directoryOf] = [texts(tag.directoryNames), texts(tag.baseNames), numbers(tag.directoryIndexes, type.int32)];
  if (names.length !== directoryOf.length || directoryOf.some((place) => place >= directories.length)) {
    throw new RpmHeaderError('has lists of files and directories that do not fit together');
  }
  const oldNames = texts(tag.oldFileNames);
  if (oldNames.length > 0 && names.length > 0) throw new RpmHeaderError('names its files in two ways');
  const total = (list: readonly number[]) => list.reduce((sum, size) => sum + size, 0);
  const stated = [...numbers(tag.size, type.int32), ...numbers(tag.longSize, type.int64)];
  const summed = total(numbers(tag.fileSizes, type.int32)) + total(numbers(tag.longFileSizes, type.int64));
  const summaryAt = main.findAny(tag.summary, [type.translated, type.string])?.at;
  return {
    summary: textAt(bytes, main, tag.summary, summaryAt) ?? null,
    installedBytes: Math.max(0, summed, ...stated.slice(0, 2)),
    files: oldNames.length > 0 ? { directories: [''], names: oldNames, directoryOf: oldNames.map(() => 0) } : { directories, names, directoryOf },
  };
}

function textAt(bytes: Uint8Array, { end }: Section, which: number, at: number | undefined): string | undefined {
  if (at === undefined) return undefined;
  const stop = bytes.indexOf(0, at);
  if (stop < 0 || stop >= end) throw new RpmHeaderError(`has a text without an end in its header (tag ${which})`);
  return new TextDecoder().decode(bytes.subarray(at, stop));
}

interface OpenedHeader {
  readonly view: DataView;
  readonly signature: Section;
  readonly main: Section;
  readonly isSource: boolean;
  readonly headerStart: number;
}

/** Finds the two headers, both whole within `bytes`; or says how many bytes that needs. */
function openHeader(bytes: Uint8Array): OpenedHeader | { readonly bytesNeeded: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < leadBytes + 16) return { bytesNeeded: leadBytes + 16 };
  if (view.getUint32(0) !== 0xedabeedb) throw new RpmHeaderError('does not begin as an RPM file does');
  const signature = section(view, leadBytes);
  const headerStart = Math.ceil(signature.end / 8) * 8;
  if (bytes.byteLength < headerStart + 16) return { bytesNeeded: headerStart + 16 };
  const main = section(view, headerStart);
  if (main.end > headerBytesMax) throw new RpmHeaderError(`has a header of ${main.end} bytes; at most ${headerBytesMax} are read`);
  if (bytes.byteLength < main.end) return { bytesNeeded: main.end };
  // rpm itself does not look at the lead: it takes for a source package what says so in its header.
  const isSource = view.getUint16(6) === 1 || main.has(tag.sourcePackage);
  return { view, signature, main, isSource, headerStart };
}

interface Section {
  /** The first byte after it. */
  readonly end: number;
  has(which: number): boolean;
  /** Where a tag's value stands, inside the section with at least `length` bytes. Only to be called where the bytes are there up to `end`. */
  find(which: number, kind: number, length?: number): Found | undefined;
  /** The same for a tag that comes with more than one type. */
  findAny(which: number, kinds: readonly number[], length?: number): Found | undefined;
}

interface Found {
  readonly at: number;
  readonly count: number;
}

/** A header structure: a magic number, an index of 16 bytes an entry, and a store that the entries point into. */
function section(view: DataView, start: number): Section {
  if (view.getUint32(start) !== 0x8eade801) throw new RpmHeaderError('has no header where one must begin');
  const entries = view.getUint32(start + 8);
  const storeBytes = view.getUint32(start + 12);
  if (entries > entriesMax || storeBytes > headerBytesMax)
    throw new RpmHeaderError(`announces a header of ${entries} entries and ${storeBytes} bytes, which is too large`);
  const index = start + 16;
  const store = index + entries * 16;
  const end = store + storeBytes;
  const entryOf = (which: number): number | undefined => {
    let found: number | undefined;
    for (let at = index; at < store; at += 16) {
      if (view.getUint32(at) !== which) continue;
      // Two readers could take one each.
      if (found !== undefined) throw new RpmHeaderError(`has tag ${which} twice`);
      found = at;
    }
    return found;
  };
  const findAny = (which: number, kinds: readonly number[], length = 1): Found | undefined => {
    const at = entryOf(which);
    if (at === undefined) return undefined;
    if (!kinds.includes(view.getUint32(at + 4))) throw new RpmHeaderError(`has tag ${which} with the unexpected type ${view.getUint32(at + 4)}`);
    const offset = view.getUint32(at + 8);
    if (offset + length > storeBytes) throw new RpmHeaderError(`has tag ${which} outside its header`);
    return { at: store + offset, count: view.getUint32(at + 12) };
  };
  return { end, has: (which) => entryOf(which) !== undefined, find: (which, kind, length) => findAny(which, [kind], length), findAny };
}
