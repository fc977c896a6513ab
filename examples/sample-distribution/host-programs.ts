/** Runs the host tools that the sample distribution is made with; a tool that fails is an error that ends with its last lines. */
import { SpindleError } from '../../shared/build/failure.ts';
import type { ProgramRequest, Programs } from '../../shared/programs/programs.ts';

export type RunTool = (command: string, args: readonly string[], options?: Partial<Pick<ProgramRequest, 'cwd' | 'env' | 'outputBytesMax'>>) => Promise<string>;

const deadlineMs = 300_000;

/** A function that runs a tool and resolves with its standard output, or rejects with ENGINE_FAILED. */
export function toolRunner(programs: Programs, signal: AbortSignal | undefined, onLine: (line: string) => void): RunTool {
  return async (command, args, options = {}) => {
    const result = await programs.run({
      command,
      args,
      deadlineMs,
      ...options,
      ...(signal ? { signal } : {}),
      onLine: (line, stream) => stream === 'stderr' && onLine(`${command}: ${line}`),
    });
    if (result.exitCode === 0 && !result.truncated) return result.stdout;
    const lines = `${result.stdout}\n${result.stderr}`.split('\n').filter((line) => line.trim() !== '');
    const how = result.truncated
      ? 'wrote more than is read'
      : result.exitCode === null
        ? `was ended by ${result.signal}`
        : `ended with status ${result.exitCode}`;
    throw new SpindleError('ENGINE_FAILED', `${command} ${how} while the sample distribution was made; its last words: ${lines.at(-1) ?? 'none'}`, {
      details: lines.slice(-20),
    });
  };
}
