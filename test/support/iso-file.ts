/** The smallest file that passes for a bootable ISO by its first sectors, with some content behind them. */
import type { Firmware } from '../../shared/build/request.ts';

const sector = 2048;
const catalogSector = 19;
const headerBytes = 20 * sector;

export interface IsoFileOptions {
  /** Which firmware finds a boot entry; none at all where the list is empty. */
  readonly startedBy?: readonly Firmware[];
  /** Of the whole file, as it says itself. */
  readonly sectors?: number;
}

export function isoFile(content: string, { startedBy = ['bios', 'uefi'], sectors }: IsoFileOptions = {}): Uint8Array {
  const bytes = Buffer.alloc(headerBytes + Math.ceil(content.length / sector) * sector);
  const descriptor = (at: number, kind: number) => {
    bytes[at * sector] = kind;
    bytes.write('CD001\x01', at * sector + 1, 'latin1');
  };
  descriptor(16, 1);
  bytes.writeUInt32LE(sectors ?? bytes.length / sector, 16 * sector + 80);
  bytes.writeUInt16LE(sector, 16 * sector + 128);
  if (startedBy.length > 0) {
    descriptor(17, 0);
    bytes.write('EL TORITO SPECIFICATION', 17 * sector + 7, 'latin1');
    bytes.writeUInt32LE(catalogSector, 17 * sector + 71);
    writeCatalog(bytes.subarray(catalogSector * sector, headerBytes), startedBy);
  }
  descriptor(18, 255);
  bytes.write(content, headerBytes);
  return bytes;
}

/** What stands behind the first sectors. */
export function isoContent(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8', headerBytes).replace(/\0+$/, '');
}

function writeCatalog(catalog: Buffer, startedBy: readonly Firmware[]): void {
  const platform = (firmware: Firmware | undefined) => (firmware === 'uefi' ? 0xef : 0);
  const entry = (at: number) => {
    catalog[at] = 0x88;
    catalog.writeUInt32LE(catalogSector, at + 8);
  };
  const [first, ...others] = startedBy;
  catalog[0] = 1;
  catalog[1] = platform(first);
  catalog.writeUInt16LE(0xaa55, 30);
  entry(32);
  for (const [index, firmware] of others.entries()) {
    const at = 64 + index * 64;
    catalog[at] = index === others.length - 1 ? 0x91 : 0x90;
    catalog[at + 1] = platform(firmware);
    catalog.writeUInt16LE(1, at + 2);
    entry(at + 32);
  }
}
