/** What the command-line client says of itself, checked in: its commands and options are what scripts rest on. */
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { runCli } from '../../clients/cli/cli.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { expectGolden } from '../support/golden.ts';

const commands = [
  [],
  ['build'],
  ...['submit', 'list', 'show', 'log', 'cancel', 'retry', 'download'].map((name) => ['build', name]),
  ['resolve'],
  ['queues'],
  ['dead-letters'],
  ...['list', 'show', 'requeue', 'drop'].map((name) => ['dead-letters', name]),
  ['rpms'],
  ...['upload', 'list', 'delete'].map((name) => ['rpms', name]),
];

test('the help of every command', async () => {
  const texts: string[] = [];
  for (const command of commands) {
    texts.push(`$ spindle ${[...command, '--help'].join(' ')}\n`);
    const write = (text: string) => void texts.push(text);
    const status = await runCli([...command, '--help'], { stdout: write, stderr: write, stdin: Readable.from([]), clock: systemClock(), environment: {} });
    expect(status).toBe(0);
  }
  expectGolden('test/golden/cli-help.txt', texts.join(''));
});
