/** Content addressing on top of the files port: a file is stored under its own SHA-256, so storing it twice is storing it once. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { SpindleError } from '../build/failure.ts';
import { contentKey, type FileRef } from './content-ref.ts';
import type { Files } from './files.ts';

/** Stores bytes or text under its digest. Harmless to repeat. */
export async function storeContent(files: Files, content: string | Uint8Array): Promise<FileRef> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  await files.put(contentKey(sha256), bytes, { ifAbsent: true });
  return { sha256, size: bytes.byteLength };
}

/** Stores a local file under its digest. The file must not change afterwards: it may become the stored one. */
export async function storeLocalFile(files: Files, path: string, signal?: AbortSignal): Promise<FileRef> {
  const ref = await digestLocalFile(path, signal);
  await storeDigested(files, path, ref, signal);
  return ref;
}

/** As storeLocalFile, for a file whose digest is known. */
export async function storeDigested(files: Files, path: string, { sha256 }: FileRef, signal?: AbortSignal): Promise<void> {
  await files.put(contentKey(sha256), { path }, { ifAbsent: true, ...(signal ? { signal } : {}) });
}

/** What a local file would be stored as. */
export async function digestLocalFile(path: string, signal?: AbortSignal): Promise<FileRef> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, ...(signal ? { signal } : {}) })) {
    hash.update(chunk as Buffer);
    size += (chunk as Buffer).byteLength;
  }
  return { sha256: hash.digest('hex'), size };
}

/** Reads a stored file whole, up to `bytesMax`; rejects with FILE_MISSING, FILE_TOO_LARGE or, where its bytes are not what its name says, FILE_CORRUPT. */
export async function readContent(files: Files, ref: FileRef, bytesMax = 64 * 1024 * 1024): Promise<Uint8Array> {
  const found = await files.get(contentKey(ref.sha256));
  if (!found) throw new SpindleError('FILE_MISSING', `stored file sha256:${ref.sha256} is gone`);
  if (found.size > bytesMax) throw new SpindleError('FILE_TOO_LARGE', `stored file sha256:${ref.sha256} has ${found.size} bytes; at most ${bytesMax} are read`);
  const chunks: Uint8Array[] = [];
  for await (const chunk of found.body) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  if (createHash('sha256').update(bytes).digest('hex') !== ref.sha256) {
    throw new SpindleError('FILE_CORRUPT', `stored file sha256:${ref.sha256} has other content than its name says`);
  }
  return bytes;
}

export async function readContentText(files: Files, ref: FileRef, bytesMax?: number): Promise<string> {
  return new TextDecoder().decode(await readContent(files, ref, bytesMax));
}
