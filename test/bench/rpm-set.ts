/** A thousand RPM files of 300 kB, the same at every run: with file lists, changelogs, dependencies and digests, so that createrepo_c and rpmkeys have the work that they have with real ones. */
import { createHash } from 'node:crypto';
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seededRandom } from '../../shared/clock/virtual.ts';
import { rpmFileName } from '../../shared/fedora/nvr.ts';
import { rpmFile } from '../support/rpm-file.ts';

export interface BenchRpm {
  readonly name: string;
  readonly epoch: number;
  readonly version: string;
  readonly release: string;
  readonly arch: string;
  readonly path: string;
  readonly sha256: string;
  readonly size: number;
}

const payloadBytes = 320_000;
const filesPerPackage = 25;
/** Changes where other files come out. */
const recipe = 2;

/** Kept in the temp directory from one run to the next. `count` packages, then as many more as are asked for. */
export async function benchRpms(count: number): Promise<readonly BenchRpm[]> {
  const directory = join(tmpdir(), `spindle-bench-rpms-${process.getuid?.() ?? 0}-${recipe}`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const rpms: BenchRpm[] = [];
  for (let index = 0; index < count; index += 1) {
    const nevra = { name: `bench-${String(index).padStart(4, '0')}`, epoch: 0, version: '1.0', release: '1', arch: 'noarch' };
    const { bytes, sha256 } = rpmFile(nevra, {
      payload: payloadOf(index),
      provides: [`bench(${index})`, 'bench-common'],
      requires: index === 0 ? [] : [`bench(${index - 1})`],
      files: Array.from({ length: filesPerPackage }, (_, file) => [`/usr/share/${nevra.name}/part-${file % 5}/`, `data-${file}.bin`] as const),
      summary: `Package ${index} of the bench`,
      buildTimeS: 1_700_000_000 + index,
      isComplete: true,
    });
    const path = join(directory, rpmFileName(nevra));
    const isThere = await stat(path).then(
      ({ size }) => size === bytes.byteLength,
      () => false,
    );
    if (!isThere) {
      await rm(path, { force: true });
      await writeFile(`${path}.new`, bytes);
      await rename(`${path}.new`, path);
    }
    rpms.push({ ...nevra, path, sha256, size: bytes.byteLength });
  }
  return rpms;
}

function payloadOf(index: number): Uint8Array {
  const random = seededRandom(1, `payload ${index}`);
  const seed = createHash('sha256').update(String(random())).digest();
  const bytes = Buffer.alloc(payloadBytes);
  // A hash in a chain is random enough, and quick to make.
  let block = seed;
  for (let at = 0; at < payloadBytes; at += 64) {
    block = createHash('sha512').update(block).digest();
    block.copy(bytes, at);
  }
  return bytes;
}
