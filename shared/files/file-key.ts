/** What a file key may look like, for every files adapter alike: a key can never name anything outside its store. Pure. */
import { SpindleError } from '../build/failure.ts';
import type { FileKey } from './files.ts';

const lengthMax = 512;
/** A segment has at most 240 characters: below the 255 bytes that file systems allow for one name. */
const keyPattern = /^[A-Za-z0-9_+~@-][A-Za-z0-9._+~@-]{0,239}(?:\/[A-Za-z0-9_+~@-][A-Za-z0-9._+~@-]{0,239})*$/;

export function isFileKey(key: string): boolean {
  return key.length > 0 && key.length <= lengthMax && keyPattern.test(key);
}

/** The key itself. Throws PATH_REFUSED where it is not one. */
export function checkFileKey(key: FileKey): FileKey {
  if (typeof key !== 'string' || !isFileKey(key)) {
    throw new SpindleError(
      'PATH_REFUSED',
      `${JSON.stringify(String(key).slice(0, 200))} is not a file key: segments of letters, digits and "._+~@-", joined by "/"`,
    );
  }
  return key;
}

/** A prefix for `list`: a key, or nothing for all. Throws PATH_REFUSED otherwise. */
export function checkFilePrefix(prefix: string): string {
  return prefix === '' ? prefix : checkFileKey(prefix);
}

/** The first byte and the byte after the last one of an inclusive range, cut to a file of `size` bytes. Equal where the range holds nothing. */
export function cutRange(size: number, range: { readonly start?: number; readonly end?: number } = {}): { readonly start: number; readonly stop: number } {
  const start = Math.min(Math.max(0, range.start ?? 0), size);
  const stop = Math.min(size, (range.end ?? size - 1) + 1);
  return { start, stop: Math.max(start, stop) };
}
