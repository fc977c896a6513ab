/** What an uploaded file has to be before it is taken: a binary RPM with a name that can be used, whose files stay where they belong. */
import type { FileHandle } from 'node:fs/promises';
import { formatNevra, type Nevra, parseNevra, rpmFileName } from '../../shared/fedora/nvr.ts';
import { Problem, quoted } from '../../shared/http/problem.ts';
import { printable } from '../../shared/programs/printable.ts';
import { climbingPath } from '../../shared/rpm/climbing-path.ts';
import { RpmHeaderError, readRpmContents, readRpmHeader, usualHeaderBytes } from '../../shared/rpm/header.ts';

export interface CheckedRpm extends Nevra {
  readonly nevra: string;
  readonly sourceRpm: string;
  readonly summary: string | null;
}

/** No package of a distribution comes near these. */
const headerBytesMax = 16 * 1024 * 1024;
const installedBytesMax = 32 * 1024 ** 3;
const fileNameBytesMax = 240;
const archLengthMax = 16;
const summaryLengthMax = 300;

/** `arches`: those that some release is built for. Throws a Problem that says what is wrong. Reads no more of the file than its header. */
export async function checkRpm(file: FileHandle, size: number, arches: readonly string[]): Promise<CheckedRpm> {
  const bytes = await readHeaderBytes(file, size);
  try {
    const read = readRpmHeader(bytes);
    if (!('header' in read)) throw new RpmHeaderError('ends before its header does');
    const { header } = read;
    if (header.isSource || header.sourceRpm === null) {
      throw new Problem('RPM_SOURCE', `${quoted(header.name)} is a source RPM; build it, and upload the binary RPMs`);
    }
    const nevra = formatNevra(header);
    checkName(header, nevra, arches);
    const { summary, installedBytes, files } = readRpmContents(bytes);
    const climbing = climbingPath(files);
    if (climbing !== undefined) throw new Problem('RPM_PATHS_REFUSED', `${nevra} names the file ${quoted(climbing)}, which is not below the root directory`);
    if (installedBytes > installedBytesMax)
      throw new Problem('RPM_CONTENTS_TOO_LARGE', `${nevra} would need ${installedBytes} bytes once installed; at most ${installedBytesMax} are taken`);
    const { name, epoch, version, release, arch } = header;
    return { name, epoch, version, release, arch, nevra, sourceRpm: shown(header.sourceRpm), summary: summary === null ? null : shown(summary) };
  } catch (error) {
    if (error instanceof RpmHeaderError) throw new Problem('RPM_UNREADABLE', `what was uploaded ${error.message}`);
    throw error;
  }
}

/** Names become file names, addresses and words of a command line. */
function checkName(header: Nevra, nevra: string, arches: readonly string[]): void {
  const parsed = parseNevra(nevra);
  const isSame = parsed !== undefined && formatNevra(parsed) === nevra && parsed.name === header.name && parsed.arch === header.arch;
  if (!isSame || header.arch.length > archLengthMax || rpmFileName(header).length > fileNameBytesMax) {
    throw new Problem('RPM_NAME_INVALID', `the RPM calls itself ${quoted(nevra)}, which cannot be the name of one`);
  }
  if (header.arch === 'noarch' || arches.includes(header.arch)) return;
  throw new Problem('RPM_ARCH_UNSUPPORTED', `${nevra} is for ${header.arch}; this service makes images for ${arches.join(', ')}, and takes noarch packages`);
}

const shown = (text: string) => printable(text.split('\n', 1)[0] ?? '').slice(0, summaryLengthMax);

async function readHeaderBytes(file: FileHandle, size: number): Promise<Uint8Array> {
  for (let wanted = Math.min(size, usualHeaderBytes); ; ) {
    const bytes = new Uint8Array(wanted);
    let filled = 0;
    while (filled < wanted) {
      const { bytesRead } = await file.read(bytes, filled, wanted - filled, filled);
      if (bytesRead === 0) throw new Problem('RPM_UNREADABLE', 'what was uploaded ends before its header does');
      filled += bytesRead;
    }
    let needed: number;
    try {
      const read = readRpmHeader(bytes);
      if ('header' in read) return bytes;
      needed = read.bytesNeeded;
    } catch (error) {
      if (error instanceof RpmHeaderError) throw new Problem('RPM_UNREADABLE', `what was uploaded ${error.message}`);
      throw error;
    }
    if (needed > headerBytesMax)
      throw new Problem('RPM_CONTENTS_TOO_LARGE', `the RPM announces a header of ${needed} bytes; at most ${headerBytesMax} are taken`);
    if (needed > size) throw new Problem('RPM_UNREADABLE', 'what was uploaded ends before its header does');
    wanted = needed;
  }
}
