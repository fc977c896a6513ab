/** What the first sectors of an ISO 9660 file say: whether it is one, how long it must be, and which firmware finds something in it to start (El Torito). Pure. */
import type { Firmware } from '../../shared/build/request.ts';

const sectorBytes = 2048;
/** Where the volume descriptors stand. There are never many: a file that has more of them is not read on. */
export const descriptorsAt = 16 * sectorBytes;
export const descriptorsBytes = 32 * sectorBytes;
export const catalogBytes = sectorBytes;

interface IsoVolume {
  /** The length that the file says it has, at least. */
  readonly bytes: number;
  /** Where the list of what firmware can start stands; undefined where there is none. */
  readonly bootCatalogAt: number | undefined;
}

/** Kinds of descriptors. */
const bootRecord = 0;
const primary = 1;
const end = 255;

/** `sectors`: what stands at `descriptorsAt`. Undefined where that is no ISO. */
export function readVolume(sectors: Uint8Array): IsoVolume | undefined {
  let bytes: number | undefined;
  let bootCatalogAt: number | undefined;
  for (let at = 0; at + sectorBytes <= sectors.length; at += sectorBytes) {
    const sector = Buffer.from(sectors.buffer, sectors.byteOffset + at, sectorBytes);
    if (sector.toString('latin1', 1, 6) !== 'CD001') break;
    const kind = sector[0];
    if (kind === end) break;
    if (kind === primary) bytes ??= sector.readUInt32LE(80) * sector.readUInt16LE(128);
    if (kind === bootRecord && sector.toString('latin1', 7, 30) === 'EL TORITO SPECIFICATION') bootCatalogAt ??= sector.readUInt32LE(71) * sectorBytes;
  }
  return bytes === undefined ? undefined : { bytes, bootCatalogAt };
}

const entryBytes = 32;
const platforms: ReadonlyMap<number | undefined, Firmware> = new Map([
  [0, 'bios'],
  [0xef, 'uefi'],
]);
const isBootable = 0x88;
const section = 0x90;
const lastSection = 0x91;

/** The firmware that finds an entry of its own in the catalog, which may be cut off or nonsense. */
export function startedBy(catalog: Uint8Array): ReadonlySet<Firmware> {
  const bytes = Buffer.from(catalog.buffer, catalog.byteOffset, catalog.byteLength);
  const found = new Set<Firmware>();
  // The validation entry: its mark, and the platform of the entry that follows.
  if (bytes.length < 2 * entryBytes || bytes[0] !== 1 || bytes[30] !== 0x55 || bytes[31] !== 0xaa) return found;
  let firmware = platforms.get(bytes[1]);
  for (let at = entryBytes; at + entryBytes <= bytes.length; at += entryBytes) {
    const kind = bytes[at];
    if (kind === section || kind === lastSection) firmware = platforms.get(bytes[at + 1]);
    else if (kind === isBootable && firmware && bytes.readUInt32LE(at + 8) > 0) found.add(firmware);
  }
  return found;
}
