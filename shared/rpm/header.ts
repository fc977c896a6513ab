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

const tag = { sigMd5: 1004, name: 1000, version: 1001, release: 1002, epoch: 1003, buildTime: 1006, arch: 1022, sourceRpm: 1044, sourcePackage: 1106 };
const type = { int32: 4, string: 6, binary: 7 };

/** `bytes`: the file's first bytes. Where they are too few, how many it needs. Throws RpmHeaderError. */
export function readRpmHeader(bytes: Uint8Array): { readonly header: RpmHeader } | { readonly bytesNeeded: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < leadBytes + 16) return { bytesNeeded: leadBytes + 16 };
  if (view.getUint32(0) !== 0xedabeedb) throw new RpmHeaderError('does not begin as an RPM file does');
  const isSource = view.getUint16(6) === 1;
  const signature = section(view, leadBytes);
  const headerStart = Math.ceil(signature.end / 8) * 8;
  if (bytes.byteLength < headerStart + 16) return { bytesNeeded: headerStart + 16 };
  const main = section(view, headerStart);
  if (main.end > headerBytesMax) throw new RpmHeaderError(`has a header of ${main.end} bytes; at most ${headerBytesMax} are read`);
  if (bytes.byteLength < main.end) return { bytesNeeded: main.end };

  const text = (which: number): string | undefined => {
    const found = main.find(which, type.string);
    if (!found) return undefined;
    const stop = bytes.indexOf(0, found.at);
    if (stop < 0 || stop >= main.end) throw new RpmHeaderError(`has a text without an end in its header (tag ${which})`);
    return new TextDecoder().decode(bytes.subarray(found.at, stop));
  };
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

interface Section {
  /** The first byte after it. */
  readonly end: number;
  /** Where a tag's value stands, inside the section with at least `length` bytes. Only to be called where the bytes are there up to `end`. */
  find(which: number, kind: number, length?: number): { readonly at: number; readonly count: number } | undefined;
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
  return {
    end,
    find: (which, kind, length = 1) => {
      for (let at = index; at < store; at += 16) {
        if (view.getUint32(at) !== which) continue;
        if (view.getUint32(at + 4) !== kind) throw new RpmHeaderError(`has tag ${which} with the unexpected type ${view.getUint32(at + 4)}`);
        const offset = view.getUint32(at + 8);
        if (offset + length > storeBytes) throw new RpmHeaderError(`has tag ${which} outside its header`);
        return { at: store + offset, count: view.getUint32(at + 12) };
      }
      return undefined;
    },
  };
}
