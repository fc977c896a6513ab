/** RPMs in the content store: who they are, and whether they are what Koji says. */
import { createHash } from 'node:crypto';
import { SpindleError } from '../build/failure.ts';
import { contentKey, type FileRef } from '../files/content-ref.ts';
import type { Files } from '../files/files.ts';
import { type RpmHeader, RpmHeaderError, readRpmHeader, usualHeaderBytes } from './header.ts';

/** Reads no more of the file than its header. Rejects with FILE_MISSING, or PACKAGE_MISMATCH where it is no RPM. */
export async function readStoredHeader(files: Files, ref: FileRef, what: string): Promise<RpmHeader> {
  let bytesWanted = Math.min(ref.size, usualHeaderBytes);
  for (;;) {
    const bytes = await readStart(files, ref, bytesWanted);
    let read: ReturnType<typeof readRpmHeader>;
    try {
      read = readRpmHeader(bytes);
    } catch (error) {
      if (error instanceof RpmHeaderError) throw new SpindleError('PACKAGE_MISMATCH', `what was fetched as ${what} ${error.message}`, { cause: error });
      throw error;
    }
    if ('header' in read) return read.header;
    if (read.bytesNeeded > ref.size) throw new SpindleError('PACKAGE_MISMATCH', `what was fetched as ${what} ends before its header does`);
    bytesWanted = read.bytesNeeded;
  }
}

async function readStart(files: Files, ref: FileRef, bytes: number): Promise<Uint8Array> {
  if (bytes === 0) return new Uint8Array();
  const found = await files.get(contentKey(ref.sha256), { start: 0, end: bytes - 1 });
  if (!found) throw new SpindleError('FILE_MISSING', `stored file sha256:${ref.sha256} is gone`);
  const chunks: Uint8Array[] = [];
  for await (const chunk of found.body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The MD5 of header and payload, computed: what Koji calls payloadhash, and the same for the signed and the unsigned file. */
export async function storedPayloadHash(files: Files, ref: FileRef, header: RpmHeader, signal?: AbortSignal): Promise<string> {
  const found = await files.get(contentKey(ref.sha256), { start: header.headerStart });
  if (!found) throw new SpindleError('FILE_MISSING', `stored file sha256:${ref.sha256} is gone`);
  const hash = createHash('md5');
  for await (const chunk of found.body) {
    signal?.throwIfAborted();
    hash.update(chunk);
  }
  return hash.digest('hex');
}
