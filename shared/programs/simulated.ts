/** The programs port without programs: each command is a function. No real time, process or file is touched, so a run repeats exactly. */
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import { keepFirst, keepLast } from './output.ts';
import { splitLines } from './printable.ts';
import { checkRequest, type ProgramRequest, type ProgramResult, type Programs, type RunningProgram } from './programs.ts';

/**
 * Plays one run of a tool. Its `stdout` and `stderr` are also given to `onLine`, after it has returned; lines that must come earlier it gives to
 * `request.onLine` itself, and leaves out of its result. `input` has what is written to it, one text at a time, until it is ended. `request.signal` fires on cancel, deadline and stop; after that its result counts no more.
 */
export type SimulatedProgram = (request: ProgramRequest, input?: AsyncIterable<string>) => Promise<Partial<ProgramResult>>;

export function simulatedPrograms(handlers: Readonly<Record<string, SimulatedProgram>>, clock: Clock): Programs {
  const start = async (request: ProgramRequest): Promise<RunningProgram> => {
    request.signal?.throwIfAborted();
    checkRequest(request);
    const handler = Object.hasOwn(handlers, request.command) ? handlers[request.command] : undefined;
    if (!handler) throw new SpindleError('TOOL_MISSING', `the program ${request.command} is not installed on this worker; install it and retry the build`);
    const startedAt = clock.now();
    const ending = new AbortController();

    const cut = new Promise<'stopped'>((resolve, reject) => {
      ending.signal.addEventListener('abort', () => (ending.signal.reason === stopped ? resolve('stopped') : reject(ending.signal.reason)), { once: true });
    });
    cut.catch(() => {});
    const forgetDeadline = clock.after(request.deadlineMs, () =>
      ending.abort(new SpindleError('TOOL_TIMED_OUT', `${request.command} did not end within ${Math.round(request.deadlineMs / 1000)} s and was ended`)),
    );
    const abort = () => ending.abort(request.signal?.reason);
    request.signal?.addEventListener('abort', abort, { once: true });

    const written: string[] = [];
    let wake: () => void = () => {};
    const input = (async function* () {
      for (;;) {
        const text = written.shift();
        if (text !== undefined) yield text;
        else if (ending.signal.aborted) return;
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    })();
    ending.signal.addEventListener('abort', () => wake(), { once: true });

    const finish = async (): Promise<ProgramResult> => {
      try {
        const played = handler({ ...request, signal: ending.signal }, input);
        played.catch(() => {});
        const result = await Promise.race([played, cut]);
        const base = { exitCode: 0, signal: null, stdout: '', stderr: '', truncated: false, durationMs: clock.now() - startedAt };
        if (result === 'stopped') return { ...base, exitCode: null, signal: 'SIGTERM' };
        return bounded({ ...base, ...result }, request);
      } finally {
        forgetDeadline();
        request.signal?.removeEventListener('abort', abort);
      }
    };
    const ended = finish();
    ended.catch(() => {});
    return {
      pid: undefined,
      ended,
      write: (text) => {
        if (!request.keepsInput) return;
        written.push(text);
        wake();
      },
      stop: () => {
        ending.abort(stopped);
        return ended;
      },
    };
  };
  return { has: async (command) => Object.hasOwn(handlers, command), start, run: async (request) => (await start(request)).ended };
}

const stopped = Symbol('stopped');

function bounded(result: ProgramResult, request: ProgramRequest): ProgramResult {
  const bytesMax = request.outputBytesMax ?? 1024 * 1024;
  const stdout = keepFirst(bytesMax);
  const stderr = keepLast(bytesMax);
  for (const [stream, keep, text] of [
    ['stdout', stdout, result.stdout],
    ['stderr', stderr, result.stderr],
  ] as const) {
    const bytes = new TextEncoder().encode(text);
    keep.push(bytes);
    const lines = splitLines((line) => request.onLine?.(line, stream));
    lines.push(bytes);
    lines.end();
  }
  return { ...result, stdout: stdout.text(), stderr: stderr.text(), truncated: result.truncated || stdout.truncated };
}
