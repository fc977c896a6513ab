/** What this machine is: its name, memory, KVM and free disk, as a worker tells them. */
import { access, constants, statfs } from 'node:fs/promises';
import { hostname, totalmem } from 'node:os';
import type { WorkerFacts } from './announce.ts';

export async function hostFacts(): Promise<Pick<WorkerFacts, 'host' | 'memoryBytes' | 'kvm'>> {
  const kvm = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  return { host: hostname(), memoryBytes: totalmem(), kvm };
}

/** Bytes that can be written on the file system of a directory; null where it is not there. */
export async function freeBytes(directory: string): Promise<number | null> {
  const found = await statfs(directory).catch(() => undefined);
  return found ? found.bavail * found.bsize : null;
}
