/**
 * The file that a download writes to, hashed as it grows. Most calls wait for the disk: writing to the page cache takes microseconds, where a turn through Node's thread pool takes ten
 * times as long; but a disk that has fallen behind makes a write wait, so none of this may run where the service's own work does. See transfer-threads.ts.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, openSync, read as readCallback, rmSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';

export interface PartFile {
  /** Bytes that are in it, all of them hashed. */
  readonly size: number;
  append(bytes: Uint8Array): void;
  /** Begins anew with nothing. */
  empty(): void;
  /** Its SHA-256. Nothing is appended any more. */
  digest(): string;
  makeReadOnly(): void;
  /** `keep` false: it is removed. Twice is once. */
  close(keep: boolean): void;
}

const read = promisify(readCallback);
const hashedAtOnce = 1024 * 1024;

/** A file that was not there before. Throws EEXIST where it was. */
export function newPart(path: string): PartFile {
  return partFile(path, openSync(path, 'wx', 0o600));
}

/** The part that is there, or a new one, cut to `sizeMax` bytes and hashed. Rejects with the signal's reason, or what the file system says. */
export async function openPart(path: string, sizeMax: number, signal: AbortSignal | undefined): Promise<PartFile> {
  const openHere = () => openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  let descriptor = openHere();
  let { size, nlink } = fstatSync(descriptor);
  if (nlink !== 1) {
    // A file that has another name too may be a stored one by now, which nobody may write to: only this name of it is given up.
    closeSync(descriptor);
    rmSync(path);
    descriptor = openHere();
    ({ size, nlink } = fstatSync(descriptor));
  }
  try {
    if (size > sizeMax) ftruncateSync(descriptor, sizeMax);
    const part = partFile(path, descriptor);
    if (size > 0) await part.hashWhatIsThere(signal);
    return part;
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function partFile(path: string, descriptor: number): PartFile & { hashWhatIsThere(signal: AbortSignal | undefined): Promise<void> } {
  let hash = createHash('sha256');
  let size = 0;
  let isClosed = false;
  return {
    get size() {
      return size;
    },
    append: (bytes) => {
      hash.update(bytes);
      // A disk that has room for a part takes that, and says so only when asked again.
      for (let written = 0; written < bytes.byteLength; ) {
        const count = writeSync(descriptor, bytes, written, bytes.byteLength - written, size);
        written += count;
        size += count;
      }
    },
    empty: () => {
      ftruncateSync(descriptor, 0);
      hash = createHash('sha256');
      size = 0;
    },
    digest: () => hash.digest('hex'),
    makeReadOnly: () => fchmodSync(descriptor, 0o444),
    close: (keep) => {
      if (isClosed) return;
      isClosed = true;
      if (!keep) rmSync(path, { force: true });
      closeSync(descriptor);
    },
    hashWhatIsThere: async (signal) => {
      const buffer = Buffer.allocUnsafe(hashedAtOnce);
      for (;;) {
        signal?.throwIfAborted();
        const { bytesRead } = await read(descriptor, buffer, 0, buffer.byteLength, size);
        if (bytesRead === 0) return;
        hash.update(buffer.subarray(0, bytesRead));
        size += bytesRead;
      }
    },
  };
}
