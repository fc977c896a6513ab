/** What every adapter of the programs port promises, as one suite. */
import { afterEach, describe, expect, it } from 'vitest';
import type { Programs } from '../../shared/programs/programs.ts';

/** Commands that behave alike in every adapter. */
export interface ContractTools {
  /** Prints `one`, `two` and, without a line's end, `three` to standard output, `four` to standard error; ends with status 3. */
  readonly speaks: Tool;
  /** Prints what it reads. */
  readonly echoes: Tool;
  /** Never ends by itself. */
  readonly hangs: Tool;
  /** Prints 3 MB of the letter x and no line's end, then a line `end`. */
  readonly floods: Tool;
  /** Prints the bytes 0xff, 0x00, ESC `[31mred`, BEL, `a`, CR, `b`, CR, LF. */
  readonly prints: Tool;
}
interface Tool {
  readonly command: string;
  readonly args: readonly string[];
}

export function programsContract(
  name: string,
  make: () => { readonly programs: Programs; readonly tools: ContractTools; readonly close?: () => Promise<void> },
): void {
  describe(`programs: ${name}`, () => {
    const made: ReturnType<typeof make>[] = [];
    const adapter = () => {
      const one = make();
      made.push(one);
      return one;
    };
    afterEach(async () => {
      await Promise.all(made.splice(0).map((one) => one.close?.()));
    });

    it('gives a non-zero exit as a result, with both streams and their lines', async () => {
      const { programs, tools } = adapter();
      const lines: string[] = [];
      const result = await programs.run({ ...tools.speaks, deadlineMs: 10_000, onLine: (line, stream) => lines.push(`${stream} ${line}`) });
      expect(result).toMatchObject({ exitCode: 3, signal: null, stdout: 'one\ntwo\nthree', stderr: 'four\n', truncated: false });
      expect(result.durationMs).toBeGreaterThanOrEqual(0);
      expect(lines.filter((line) => line.startsWith('stdout'))).toEqual(['stdout one', 'stdout two', 'stdout three']);
      expect(lines.filter((line) => line.startsWith('stderr'))).toEqual(['stderr four']);
    });

    it('knows which programs it can start', async () => {
      const { programs, tools } = adapter();
      expect(await programs.has(tools.speaks.command)).toBe(true);
      for (const command of ['no-such-program-anywhere', '/no/such/program', '', '../bin/sh', '/', 'a\0b']) expect(await programs.has(command)).toBe(false);
    });

    it('writes standard input and closes it', async () => {
      const { programs, tools } = adapter();
      const text = `häl\n${'x'.repeat(300_000)}`;
      const result = await programs.run({ ...tools.echoes, stdin: text, deadlineMs: 10_000 });
      expect(result.exitCode).toBe(0);
      expect(result.stdout).toBe(text);
    });

    it('keeps standard input open for what is written later, until it is stopped', async () => {
      const { programs, tools } = adapter();
      const lines: string[] = [];
      let seen = () => {};
      const second = new Promise<void>((resolve) => {
        seen = resolve;
      });
      const running = await programs.start({
        ...tools.echoes,
        keepsInput: true,
        deadlineMs: 10_000,
        onLine: (line) => {
          lines.push(line);
          if (line === 'second') seen();
        },
      });
      running.write('first\n');
      running.write('second\n');
      await second;
      expect(lines).toEqual(['first', 'second']);
      await running.stop();
      // Nobody reads it any more, and nobody minds.
      running.write('third\n');
      expect(lines).toHaveLength(2);
    });

    it('cuts long lines, keeps a bounded part and says that it did', async () => {
      const { programs, tools } = adapter();
      const lines: string[] = [];
      const result = await programs.run({ ...tools.floods, deadlineMs: 10_000, outputBytesMax: 1000, onLine: (line) => lines.push(line) });
      expect(result.truncated).toBe(true);
      expect(result.stdout).toBe('x'.repeat(1000));
      expect(lines).toEqual(['x'.repeat(8192), 'end']);
    });

    it('makes binary output and control characters safe in lines', async () => {
      const { programs, tools } = adapter();
      const lines: string[] = [];
      await programs.run({ ...tools.prints, deadlineMs: 10_000, onLine: (line) => lines.push(line) });
      expect(lines).toEqual(['b']);
      lines.length = 0;
      await programs.run({
        ...tools.echoes,
        stdin: '\u0000\u001b[31mred\u0007\ttab\u202e\u001b]0;title\u0007.\r\n',
        deadlineMs: 10_000,
        onLine: (line) => lines.push(line),
      });
      expect(lines).toEqual(['\ufffdred\ufffd\ttab\ufffd.']);
    });

    it('refuses a tool that is not there', async () => {
      const { programs } = adapter();
      for (const command of ['no-such-program', '/no/such/program', '../sh']) {
        await expect(programs.run({ command, args: [], deadlineMs: 1000 })).rejects.toMatchObject({
          code: 'TOOL_MISSING',
          message: expect.stringContaining(command),
        });
      }
    });

    it('takes no user that is root, or no number', async () => {
      const { programs, tools } = adapter();
      for (const user of [
        { uid: 0, gid: 65_534 },
        { uid: 65_534, gid: 0 },
        { uid: 65_534, gid: 65_534, groups: [0] },
        { uid: Number.NaN, gid: 65_534 },
      ]) {
        await expect(programs.run({ ...tools.speaks, user, deadlineMs: 1000 })).rejects.toThrow(TypeError);
      }
    });

    it('takes no sandbox and no bounds without isolation, no place that is not plain, and no bound that bounds nothing', async () => {
      const { programs, tools } = adapter();
      const isolation = 'private-no-network';
      for (const request of [
        { sandbox: { directory: '/srv/build' } },
        { bounds: { memoryBytesMax: 1000 } },
        { isolation, sandbox: { directory: 'build' } },
        { isolation, sandbox: { directory: '/srv/../etc' } },
        { isolation, sandbox: { directory: '/srv/build', readOnly: ['/srv/./tree'] } },
        { isolation, sandbox: { directory: '/srv/build', readOnly: [''] } },
        { isolation, bounds: { processesMax: 0 } },
        { isolation, bounds: { diskBytesMax: Number.NaN } },
      ] as const) {
        await expect(programs.run({ ...tools.speaks, ...request, deadlineMs: 1000 })).rejects.toThrow(TypeError);
      }
    });

    it('ends a tool at its deadline', async () => {
      const { programs, tools } = adapter();
      await expect(programs.run({ ...tools.hangs, deadlineMs: 100 })).rejects.toMatchObject({ code: 'TOOL_TIMED_OUT' });
    });

    it('starts nothing after the signal, and rejects with its reason', async () => {
      const { programs, tools } = adapter();
      const reason = new Error('canceled before');
      const lines: string[] = [];
      const run = programs.run({ ...tools.speaks, deadlineMs: 1000, signal: AbortSignal.abort(reason), onLine: (line) => lines.push(line) });
      await expect(run).rejects.toBe(reason);
      expect(lines).toEqual([]);
    });

    it('ends the tool when the signal fires, and rejects with its reason', async () => {
      const { programs, tools } = adapter();
      const controller = new AbortController();
      const reason = new Error('canceled');
      const running = await programs.start({ ...tools.hangs, deadlineMs: 10_000, signal: controller.signal });
      controller.abort(reason);
      await expect(running.ended).rejects.toBe(reason);
      await expect(running.stop()).rejects.toBe(reason);
    });

    it('stops when told, twice as once, and a late signal changes nothing', async () => {
      const { programs, tools } = adapter();
      const controller = new AbortController();
      const running = await programs.start({ ...tools.hangs, deadlineMs: 10_000, signal: controller.signal });
      const [first, second] = await Promise.all([running.stop(), running.stop()]);
      controller.abort(new Error('late'));
      expect(first).toMatchObject({ exitCode: null, signal: 'SIGTERM' });
      expect(second).toEqual(first);
      expect(await running.ended).toEqual(first);
    });

    it('stopping what has ended gives its result', async () => {
      const { programs, tools } = adapter();
      const running = await programs.start({ ...tools.speaks, deadlineMs: 10_000 });
      await running.ended;
      expect(await running.stop()).toMatchObject({ exitCode: 3 });
    });
  });
}
