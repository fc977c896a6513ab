/** NVR, NVRA and NEVRA: how RPM packages and Koji builds are named, parsed, written and ordered. */
import { z } from 'zod';

/** name-version-release: a Koji build. */
export interface Nvr {
  readonly name: string;
  readonly version: string;
  readonly release: string;
}
/** One binary RPM. `epoch` is 0 where none was written. */
export interface Nevra extends Nvr {
  readonly epoch: number;
  readonly arch: string;
}

const part = /^[A-Za-z0-9._+~^,]+$/;
const namePattern = /^[A-Za-z0-9_][A-Za-z0-9._+-]*$/;

/** Splits on the last two dashes, as Koji does (koji/__init__.py parse_NVR). Undefined where it is none. */
export function parseNvr(text: string): Nvr | undefined {
  const releaseAt = text.lastIndexOf('-');
  const versionAt = text.lastIndexOf('-', releaseAt - 1);
  if (versionAt <= 0) return undefined;
  const name = text.slice(0, versionAt);
  const version = text.slice(versionAt + 1, releaseAt);
  const release = text.slice(releaseAt + 1);
  return namePattern.test(name) && part.test(version) && part.test(release) ? { name, version, release } : undefined;
}

export function formatNvr({ name, version, release }: Nvr): string {
  return `${name}-${version}-${release}`;
}

/** `name-[epoch:]version-release.arch`. */
export function parseNevra(text: string): Nevra | undefined {
  const archAt = text.lastIndexOf('.');
  if (archAt <= 0) return undefined;
  const arch = text.slice(archAt + 1);
  const withoutArch = text.slice(0, archAt);
  const epochMatch = /-(\d+):([^-]+-[^-]+)$/.exec(withoutArch);
  const nvr = parseNvr(epochMatch ? `${withoutArch.slice(0, epochMatch.index)}-${epochMatch[2]}` : withoutArch);
  if (!nvr || !/^[a-z0-9_]+$/.test(arch)) return undefined;
  return { ...nvr, epoch: epochMatch ? Number(epochMatch[1]) : 0, arch };
}

/** With the epoch only where it is not 0, as rpm and dnf print it. */
export function formatNevra({ name, epoch, version, release, arch }: Nevra): string {
  return `${name}-${epoch === 0 ? '' : `${epoch}:`}${version}-${release}.${arch}`;
}

/** The file name that every RPM repository gives the package. */
export function rpmFileName({ name, version, release, arch }: Nevra): string {
  return `${name}-${version}-${release}.${arch}.rpm`;
}

/** A version or release as rpm orders it (rpmvercmp): negative where `left` is older. `~` sorts before the end, `^` after it. */
export function compareVersions(left: string, right: string): number {
  if (left === right) return 0;
  let a = left;
  let b = right;
  const separators = /^[^A-Za-z0-9~^]+/;
  while (a.length > 0 || b.length > 0) {
    a = a.replace(separators, '');
    b = b.replace(separators, '');
    if (a.startsWith('~') || b.startsWith('~')) {
      if (!a.startsWith('~')) return 1;
      if (!b.startsWith('~')) return -1;
      a = a.slice(1);
      b = b.slice(1);
      continue;
    }
    if (a.startsWith('^') || b.startsWith('^')) {
      if (a === '') return -1;
      if (b === '') return 1;
      if (!a.startsWith('^')) return 1;
      if (!b.startsWith('^')) return -1;
      a = a.slice(1);
      b = b.slice(1);
      continue;
    }
    if (a === '' || b === '') break;
    const isNumber = /^[0-9]/.test(a);
    const segment = isNumber ? /^[0-9]+/ : /^[A-Za-z]+/;
    const segmentA = segment.exec(a)?.[0] ?? '';
    const segmentB = segment.exec(b)?.[0] ?? '';
    if (segmentB === '') return isNumber ? 1 : -1;
    a = a.slice(segmentA.length);
    b = b.slice(segmentB.length);
    if (isNumber) {
      const numberA = segmentA.replace(/^0+/, '');
      const numberB = segmentB.replace(/^0+/, '');
      if (numberA.length !== numberB.length) return numberA.length < numberB.length ? -1 : 1;
      if (numberA !== numberB) return numberA < numberB ? -1 : 1;
    } else if (segmentA !== segmentB) {
      return segmentA < segmentB ? -1 : 1;
    }
  }
  if (a === '' && b === '') return 0;
  return a === '' ? -1 : 1;
}

/** Epoch, then version, then release. */
export function compareEvr(left: Omit<Nevra, 'name' | 'arch'>, right: Omit<Nevra, 'name' | 'arch'>): number {
  return left.epoch - right.epoch || compareVersions(left.version, right.version) || compareVersions(left.release, right.release);
}

export const NvrText = z
  .string()
  .max(256)
  .refine((text) => parseNvr(text) !== undefined, 'is not name-version-release');
