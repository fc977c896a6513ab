/** Holds downloaded metadata files to what repomd.xml says of their content, in a program of its own with a deadline: nothing else opens them before. */
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { SpindleError } from '../build/failure.ts';
import type { Programs } from '../programs/programs.ts';
import type { MetadataFile } from './repomd.ts';

export interface CheckOptions {
  readonly programs: Programs;
  readonly signal: AbortSignal;
  /** For one file, uncompressed. */
  readonly openBytesMax: number;
}

const interpreter = '/usr/bin/python3';
const script = fileURLToPath(new URL('./check-metadata.py', import.meta.url));
const deadlineMs = 5 * 60_000;

const Answer = z.union([z.object({ openBytes: z.number().int().nonnegative() }), z.object({ problem: z.string(), file: z.string() })]);

/**
 * Resolves with the bytes of all files once opened. Rejects with REPOSITORY_METADATA_REFUSED where one is not what it should be: other size or checksum once opened, more than the bound, entities, names
 * without end; with TOOL_MISSING, TOOL_TIMED_OUT or the signal's reason.
 */
export async function checkMetadata(
  files: readonly { readonly file: MetadataFile; readonly path: string }[],
  { programs, signal, openBytesMax }: CheckOptions,
): Promise<number> {
  const question = files.map(({ file: { type, openChecksum, openSize }, path }) => ({
    path,
    type,
    openChecksum: openChecksum ?? null,
    openSize: openSize ?? null,
    openBytesMax,
  }));
  const result = await programs.run({
    command: interpreter,
    args: ['-I', '-B', script],
    stdin: JSON.stringify(question),
    deadlineMs,
    signal,
    isolation: 'host',
  });
  const answer = result.exitCode === 0 && !result.truncated ? Answer.safeParse(JSON.parse(result.stdout)) : undefined;
  if (!answer?.success) {
    const details = result.stderr.trim().split('\n').slice(-10);
    throw new SpindleError('SOLVER_FAILED', `the check of repository metadata broke: ${details.at(-1) ?? 'it gave no reason'}`, { details });
  }
  if ('openBytes' in answer.data) return answer.data.openBytes;
  const { problem, file } = answer.data;
  const type = files.find(({ path }) => path === file)?.file.type ?? 'a file';
  throw new SpindleError('REPOSITORY_METADATA_REFUSED', `its ${type} metadata ${problem}`);
}
