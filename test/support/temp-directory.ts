/** Temporary directories of tests: each has one owner, who removes it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

export interface TempDirectory {
  readonly path: string;
  remove(): Promise<void>;
}

/** A new directory that the caller removes. `under`: where to make it, instead of the system's place. */
export async function tempDirectory(under = tmpdir()): Promise<TempDirectory> {
  const path = await mkdtemp(join(under, 'spindle-test-'));
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 3 }) };
}

/** A new directory that goes when the running test has ended. Only inside a test, not in hooks. */
export async function testDirectory(): Promise<string> {
  const directory = await tempDirectory();
  onTestFinished(directory.remove);
  return directory.path;
}
