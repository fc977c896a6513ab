/** RPMs in the content store: who they are, and whether they are what Koji says. */
import { createHash } from 'node:crypto';
import { SpindleError } from '../build/failure.ts';
import { formatNevra } from '../fedora/nvr.ts';
import { contentKey, type FileRef } from '../files/content-ref.ts';
import type { Files } from '../files/files.ts';
import type { RpmSource, RpmTarget, WantedRpm } from './fetch-rpm.ts';
import { type RpmHeader, RpmHeaderError, readRpmHeader, usualHeaderBytes } from './header.ts';

/** Reads no more of the file than its header. Rejects with FILE_MISSING, or PACKAGE_MISMATCH where it is no RPM. */
export async function readStoredHeader(files: Files, ref: FileRef, what: string): Promise<RpmHeader> {
  return (await readStoredStart(files, ref, what)).header;
}

/** The same with the bytes up to the header's end, and perhaps some more. Rejects alike. */
export async function readStoredStart(files: Files, ref: FileRef, what: string): Promise<{ readonly header: RpmHeader; readonly bytes: Uint8Array }> {
  return readStart((bytes) => firstBytes(files, ref, bytes), ref.size, usualHeaderBytes, what);
}

/** Reads as many bytes as the header has. Rejects with PACKAGE_MISMATCH where it is no RPM. */
async function readStart(
  startOf: (bytes: number) => Promise<Uint8Array>,
  size: number,
  firstWanted: number,
  what: string,
): Promise<{ readonly header: RpmHeader; readonly bytes: Uint8Array }> {
  let bytesWanted = Math.min(size, firstWanted);
  for (;;) {
    const bytes = await startOf(bytesWanted);
    let read: ReturnType<typeof readRpmHeader>;
    try {
      read = readRpmHeader(bytes);
    } catch (error) {
      if (error instanceof RpmHeaderError) throw new SpindleError('PACKAGE_MISMATCH', `what was fetched as ${what} ${error.message}`, { cause: error });
      throw error;
    }
    if ('header' in read) return { header: read.header, bytes };
    if (read.bytesNeeded > size) throw new SpindleError('PACKAGE_MISMATCH', `what was fetched as ${what} ends before its header does`);
    bytesWanted = read.bytesNeeded;
  }
}

async function firstBytes(files: Files, ref: FileRef, bytes: number): Promise<Uint8Array> {
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

/** Of a file that is at hand, where a second look costs little. */
const firstHeaderBytes = 16 * 1024;

/** The content store as the target of downloads. What is taken survives a crash only after `files.sync()`. */
export function contentTarget(files: Files): RpmTarget {
  return {
    take: async (rpm, { path, ref, url, start }, signal) => {
      const name = formatNevra(rpm.nevra);
      const { header } = await readStart(start, ref.size, firstHeaderBytes, name);
      if (formatNevra(header) !== name) throw new SpindleError('PACKAGE_MISMATCH', `${url} holds ${formatNevra(header).slice(0, 300)} instead of ${name}`);
      await files.put(contentKey(ref.sha256), { path, isOurs: true }, { ifAbsent: true, syncLater: true, signal });
      await checkPayload(rpm, header, ref, url, files, signal);
    },
  };
}

/** The payload is the one that Koji knows. Rejects with PACKAGE_DIGEST_MISMATCH. */
async function checkPayload(
  { payloadHash }: Pick<WantedRpm<RpmSource>, 'payloadHash'>,
  header: RpmHeader,
  ref: FileRef,
  from: string,
  files: Files,
  signal: AbortSignal,
): Promise<void> {
  // RPM 6 leaves the MD5 out of its headers; then Koji has none of the file either.
  if (!payloadHash || header.sigMd5 === null) return;
  const computed = await storedPayloadHash(files, ref, header, signal);
  if (computed !== payloadHash) throw new SpindleError('PACKAGE_DIGEST_MISMATCH', `${from} has the payload hash ${computed} instead of Koji's ${payloadHash}`);
}
