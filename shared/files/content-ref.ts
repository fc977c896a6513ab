/** A stored file, named by its content. Pure. */
import { z } from 'zod';
import type { FileKey } from './files.ts';

/** `size` in bytes, `sha256` as 64 lower-case hex digits. */
export const FileRef = z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), size: z.number().int().nonnegative() });
export type FileRef = z.infer<typeof FileRef>;

export function contentKey(sha256: string): FileKey {
  return `content/${sha256.slice(0, 2)}/${sha256}`;
}

/** The SHA-256 that a key names; undefined where it is another kind of key. */
export function digestOfContentKey(key: FileKey): string | undefined {
  return /^content\/[0-9a-f]{2}\/([0-9a-f]{64})$/.exec(key)?.[1];
}
