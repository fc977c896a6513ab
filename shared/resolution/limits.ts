/** Whether what was resolved fits: onto the medium, and onto the machine that makes the image. Pure. */
import { SpindleError } from '../build/failure.ts';
import type { ImageType } from '../build/request.ts';

export interface Sizes {
  /** Of the RPM files, bytes. */
  readonly downloadBytes: number;
  /** Once installed, bytes. */
  readonly installedBytes: number;
}

/** A DVD with two layers (ECMA-267): 8,543,666,176 bytes. Larger images fit no medium that machines are installed from by hand. */
const mediumBytes = 8_543_666_176;
/** What squashfs leaves of an installed Fedora at best: 0.28 for Workstation 44 (2.85 GB of some 10 GB), and never less than this. */
const compressionAtBest = 0.2;

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;

/** Throws IMAGE_TOO_LARGE where the packages cannot fit onto the medium, however well they are compressed. */
export function refuseBeyondMedium({ downloadBytes, installedBytes }: Sizes, imageType: ImageType): void {
  // A DVD holds the RPM files themselves, the others a compressed system.
  const bytes = imageType === 'dvd' ? downloadBytes : installedBytes * compressionAtBest;
  if (bytes <= mediumBytes) return;
  const what = imageType === 'dvd' ? `${gigabytes(downloadBytes)} of packages` : `${gigabytes(installedBytes)} once installed`;
  throw new SpindleError('IMAGE_TOO_LARGE', `the request comes to ${what}, and a medium holds ${gigabytes(mediumBytes)}; name fewer packages or groups`);
}

/**
 * Throws DISK_FULL where this machine has not the room: the packages' files, the installed system, and the image, which is at most as large again.
 */
export function refuseBeyondNode({ downloadBytes, installedBytes }: Sizes, freeBytes: number): void {
  const neededBytes = downloadBytes + installedBytes * 2;
  if (neededBytes <= freeBytes) return;
  throw new SpindleError(
    'DISK_FULL',
    `the image needs about ${gigabytes(neededBytes)} of working space, and this service has ${gigabytes(freeBytes)} free; try again later, or name fewer packages`,
  );
}
