/** A client of QEMU's machine protocol (JSON lines) on any stream: one command at a time, each with a bound in time and size. */
import type { Duplex } from 'node:stream';
import { z } from 'zod';
import { SpindleError } from '../../shared/build/failure.ts';
import type { Clock } from '../../shared/clock/clock.ts';

export interface QmpClient {
  /** Rejects with BOOT_TEST_BROKEN where QEMU refuses, answers nonsense, hangs up, or does not answer within `timeoutMs`. */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** Hangs up. Twice is once. */
  close(): void;
}

const Message = z.object({
  QMP: z.unknown().optional(),
  event: z.string().optional(),
  id: z.number().optional(),
  return: z.unknown().optional(),
  error: z.object({ desc: z.string() }).optional(),
  data: z.object({ nospace: z.boolean().optional() }).optional().catch(undefined),
});

const lineBytesMax = 1024 * 1024;

export interface QmpOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** The machine could not write, since the host's disk is full, and QEMU has stopped it. */
  readonly onDiskFull?: () => void;
}

/** Reads the greeting and leaves negotiation, so that commands can follow. */
export async function qmpClient(stream: Duplex, { clock, timeoutMs, onDiskFull }: QmpOptions): Promise<QmpClient> {
  const pending = new Map<number, { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void }>();
  const greeted = withResolvers();
  greeted.promise.catch(() => {});
  let broken: SpindleError | undefined;
  let nextId = 1;
  let held = '';

  const breakOff = (why: string) => {
    broken ??= new SpindleError('BOOT_TEST_BROKEN', `QEMU's monitor ${why}`);
    greeted.reject(broken);
    for (const { reject } of pending.values()) reject(broken);
    pending.clear();
    stream.destroy();
  };
  const take = (line: string) => {
    let message: z.infer<typeof Message>;
    try {
      message = Message.parse(JSON.parse(line));
    } catch {
      breakOff('sent something that is not its protocol');
      return;
    }
    if (message.QMP !== undefined) greeted.resolve();
    if (message.event === 'BLOCK_IO_ERROR' && message.data?.nospace) onDiskFull?.();
    if (message.id === undefined) return;
    const waiting = pending.get(message.id);
    pending.delete(message.id);
    if (message.error) waiting?.reject(new SpindleError('BOOT_TEST_BROKEN', `QEMU's monitor refused: ${message.error.desc.slice(0, 300)}`));
    else waiting?.resolve(message.return);
  };
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const lines = (held + chunk).split('\n');
    held = lines.pop() ?? '';
    if (held.length > lineBytesMax) breakOff('sent a line without end');
    else for (const line of lines) if (line.trim() !== '') take(line);
  });
  stream.on('error', (error) => breakOff(`broke: ${error.message}`));
  stream.on('close', () => breakOff('hung up'));

  const timed = async <T>(what: string, promise: Promise<T>): Promise<T> => {
    const forget = clock.after(timeoutMs, () => breakOff(`did not answer ${what} within ${timeoutMs} ms`));
    try {
      return await promise;
    } finally {
      forget();
    }
  };
  const execute = (command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> => {
    if (broken) return Promise.reject(broken);
    const id = nextId++;
    const answer = new Promise<unknown>((resolve, reject) => pending.set(id, { resolve, reject }));
    stream.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    return timed(command, answer);
  };

  await timed('with a greeting', greeted.promise);
  await execute('qmp_capabilities');
  return { execute, close: () => breakOff('was closed') };
}

/** Node 20 has no Promise.withResolvers. */
function withResolvers() {
  let resolve: () => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
