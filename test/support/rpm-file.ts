/** Writes the smallest RPM file that our header reader takes: a lead, a signature header with the right MD5, a header and a payload. No other tool need take it. */
import { createHash } from 'node:crypto';
import type { Nevra } from '../../shared/fedora/nvr.ts';

export interface RpmFile {
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly payloadHash: string;
}

export type RpmFileEntry = readonly [tag: number, type: number, count: number, value: Uint8Array];
type Entry = RpmFileEntry;

const text = (value: string) => new TextEncoder().encode(`${value}\0`);
const int16 = (value: number) => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
};
const int32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** `region`: the tag of an entry that spans all others. rpm takes a header without one for one of its version 3. */
function section(given: readonly Entry[], region?: number): Buffer {
  if (region !== undefined) return regionSection(given, region);
  return Buffer.concat(sectionParts(given));
}

function regionSection(given: readonly Entry[], region: number): Buffer {
  const trailer = Buffer.concat([int32(region), int32(7), int32((-16 * (given.length + 1)) >>> 0), int32(16)]);
  const sorted = given.toSorted(([one], [other]) => one - other);
  const [, , , , ...parts] = sectionParts([...sorted, [region, 7, 16, trailer]]);
  const index = parts.slice(0, sorted.length + 1);
  const store = parts.slice(sorted.length + 1);
  // The region's entry stands first, its value last.
  return Buffer.concat([
    int32(0x8eade801),
    int32(0),
    int32(index.length),
    int32(Buffer.concat(store).byteLength),
    ...index.slice(-1),
    ...index.slice(0, -1),
    ...store,
  ]);
}

function sectionParts(entries: readonly Entry[]): readonly Uint8Array[] {
  const index: Buffer[] = [];
  const store: Uint8Array[] = [];
  let offset = 0;
  for (const [tag, type, count, value] of entries) {
    // Numbers stand at multiples of their size.
    const alignment = type === 4 ? 4 : type === 3 ? 2 : 1;
    const padding = (alignment - (offset % alignment)) % alignment;
    if (padding > 0) store.push(Buffer.alloc(padding));
    offset += padding;
    index.push(Buffer.concat([int32(tag), int32(type), int32(offset), int32(count)]));
    store.push(value);
    offset += value.byteLength;
  }
  return [int32(0x8eade801), int32(0), int32(entries.length), int32(offset), ...index, ...store];
}

/** Three arrays side by side: names, how to compare (8: equal), versions. */
function dependencies(
  all: readonly (readonly [name: string, version: string, flags: number])[],
  tags: { readonly names: number; readonly flags: number; readonly versions: number },
): readonly Entry[] {
  if (all.length === 0) return [];
  return [
    [tags.flags, 4, all.length, Buffer.concat(all.map(([, , flags]) => int32(flags)))],
    [tags.names, 8, all.length, Buffer.concat(all.map(([name]) => text(name)))],
    [tags.versions, 8, all.length, Buffer.concat(all.map(([, version]) => text(version)))],
  ];
}

function fileNames(files: readonly (readonly [directory: string, name: string])[]): readonly Entry[] {
  if (files.length === 0) return [];
  const directories = [...new Set(files.map(([directory]) => directory))];
  return [
    [1116, 4, files.length, Buffer.concat(files.map(([directory]) => int32(directories.indexOf(directory))))],
    [1117, 8, files.length, Buffer.concat(files.map(([, name]) => text(name)))],
    [1118, 8, directories.length, Buffer.concat(directories.map(text))],
  ];
}

const changelogEntries = 10;

function completing(files: readonly (readonly [directory: string, name: string])[], payload: Uint8Array): readonly Entry[] {
  const each = (type: number, tag: number, value: Uint8Array): Entry => [tag, type, files.length, Buffer.concat(files.map(() => value))];
  const changes = Array.from({ length: changelogEntries }, (_, index) => index);
  return [
    [1007, 6, 1, text('localhost')],
    [1014, 6, 1, text('MIT')],
    [1016, 9, 1, text('Unspecified')],
    ...(files.length === 0
      ? []
      : [
          each(4, 1028, int32(1000)),
          each(3, 1030, int16(0o100644)),
          each(4, 1034, int32(1_700_000_000)),
          each(8, 1035, text('0'.repeat(64))),
          each(4, 1037, int32(0)),
          each(8, 1039, text('root')),
          each(8, 1040, text('root')),
        ]),
    [1080, 4, changelogEntries, Buffer.concat(changes.map((index) => int32(1_700_000_000 - index * 86_400)))],
    [1081, 8, changelogEntries, Buffer.concat(changes.map((index) => text(`A Person <person-${index}@example.org> - 1-${index}`)))],
    [1082, 8, changelogEntries, Buffer.concat(changes.map((index) => text(`- Change ${index}, in words as people write them`)))],
    [5011, 4, 1, int32(8)],
    [5092, 8, 1, text(createHash('sha256').update(payload).digest('hex'))],
    [5093, 4, 1, int32(8)],
  ];
}

export interface RpmFileOptions {
  readonly payload?: string | Uint8Array;
  /** Stands in a signed copy only: makes another file of the same package. */
  readonly signature?: string;
  readonly sourceRpm?: string;
  /** Makes the header that much longer. */
  readonly headerPadding?: number;
  /** Capabilities by name, beside the package's own name and version. */
  readonly provides?: readonly string[];
  readonly requires?: readonly string[];
  /** Each as directory and name: `['/usr/bin/', 'hello']`. */
  readonly files?: readonly (readonly [directory: string, name: string])[];
  readonly summary?: string;
  /** Bytes once installed, as the header states them. */
  readonly installedBytes?: number;
  /** Seconds since 1970. */
  readonly buildTimeS?: number;
  /** Digests, sizes and owners of the files, changelog and more: what createrepo_c and rpmkeys look for. */
  readonly isComplete?: boolean;
  /** Stands at the end of the index: what a header should not have. */
  readonly further?: readonly RpmFileEntry[];
}

export function rpmFile({ name, epoch, version, release, arch }: Nevra, options: RpmFileOptions = {}): RpmFile {
  const isSource = arch === 'src';
  const payload = Buffer.from(options.payload ?? `the payload of ${name}`);
  const evr = `${epoch === 0 ? '' : `${epoch}:`}${version}-${release}`;
  const provided = [[name, evr, 8] as const, ...(options.provides ?? []).map((each) => [each, '', 0] as const)];
  const required = (options.requires ?? []).map((each) => [each, '', 0] as const);
  const strings: readonly Entry[] = [
    [1000, 6, 1, text(name)],
    [1001, 6, 1, text(version)],
    [1002, 6, 1, text(release)],
    ...(epoch === 0 ? [] : [[1003, 4, 1, int32(epoch)] as const]),
    ...(options.buildTimeS === undefined ? [] : [[1006, 4, 1, int32(options.buildTimeS)] as const]),
    ...(options.isComplete ? completing(options.files ?? [], payload) : []),
    ...(options.summary === undefined ? [] : [[1004, 9, 1, text(options.summary)] as const]),
    [1005, 6, 1, text('x'.repeat(options.headerPadding ?? 0))],
    [1009, 4, 1, int32(options.installedBytes ?? 1000)],
    [1021, 6, 1, text('linux')],
    [1022, 6, 1, text(isSource ? 'x86_64' : arch)],
    ...(isSource ? [] : [[1044, 6, 1, text(options.sourceRpm ?? `${name}-${version}-${release}.src.rpm`)] as const]),
    ...dependencies(required, { names: 1049, flags: 1048, versions: 1050 }),
    ...fileNames(options.files ?? []),
    ...dependencies(provided, { names: 1047, flags: 1112, versions: 1113 }),
    ...(options.further ?? []),
  ];
  const header = section(strings, options.isComplete ? 63 : undefined);
  const signed = Buffer.concat([header, payload]);
  const payloadHash = createHash('md5').update(signed).digest();
  const signature = section(
    [
      ...(options.signature === undefined ? [] : [[267, 7, options.signature.length, Buffer.from(options.signature)] as const]),
      ...(options.isComplete ? [[273, 6, 1, text(createHash('sha256').update(header).digest('hex'))] as const] : []),
      [1004, 7, 16, payloadHash],
    ],
    options.isComplete ? 62 : undefined,
  );
  const lead = Buffer.alloc(96);
  lead.writeUInt32BE(0xedabeedb);
  lead.writeUInt8(3, 4);
  lead.writeUInt16BE(isSource ? 1 : 0, 6);
  lead.writeUInt16BE(5, 78);
  const padding = Buffer.alloc((8 - ((lead.length + signature.length) % 8)) % 8);
  const bytes = new Uint8Array(Buffer.concat([lead, signature, padding, signed]));
  return { bytes, sha256: createHash('sha256').update(bytes).digest('hex'), payloadHash: payloadHash.toString('hex') };
}
