/** The rest of a file of which a part is there: how it is asked for, and whether an answer is that. Pure. */
import type { EgressAnswer } from './egress.ts';

/** The headers that ask for everything from `from` on, or for the whole where the file is not that of `validator` any more. */
export function restHeaders(from: number, validator: string | undefined): Readonly<Record<string, string>> {
  return { range: `bytes=${from}-`, ...(validator === undefined ? {} : { 'if-range': validator }) };
}

/** What tells one state of a file from another: its strong ETag, or else the time of its last change. Undefined: the host says neither. */
export function validatorOf(headers: EgressAnswer['headers']): string | undefined {
  // A weak one (W/"…") stands for files that may differ in their bytes.
  const etag = headers['etag'] ?? '';
  if (/^"[\x21\x23-\x7e]{1,200}"$/.test(etag)) return etag;
  const changed = headers['last-modified'] ?? '';
  return /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(changed) ? changed : undefined;
}

/**
 * The size of the whole file where a 206 is its rest from `from` on, to its end; undefined where it is some other part, a part of another state of the file, or of one that is too large.
 */
export function sizeByRest(
  { headers }: EgressAnswer,
  wanted: { readonly from: number; readonly validator?: string; readonly bytesMax: number },
): number | undefined {
  const [, first, last, total] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(headers['content-range'] ?? '') ?? [];
  if (first === undefined || Number(first) !== wanted.from || Number(last) !== Number(total) - 1 || Number(total) > wanted.bytesMax) return undefined;
  const validator = validatorOf(headers);
  // Some hosts know ranges, and no If-Range.
  if (wanted.validator !== undefined && validator !== undefined && validator !== wanted.validator) return undefined;
  return Number(total);
}
