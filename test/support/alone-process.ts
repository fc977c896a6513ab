/** One service as a process of its own, compiled, as an operator starts it. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { until } from './until.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Makes `dist/` of what is newer than it. */
async function compile(): Promise<void> {
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', "await (await import('./bin/compile.mjs')).compile()"], { cwd: root });
}

export interface AloneProcess {
  readonly pid: number;
  readonly healthUrl: string;
  /** Where it listens besides; empty where nowhere. */
  readonly url: string;
  output(): string;
  signal(name: NodeJS.Signals): void;
  /** Resolves with the exit status, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
}

interface EndedStart {
  readonly status: number | NodeJS.Signals | null;
  readonly output: string;
}

function start(service: string, settings: Readonly<Record<string, string>>) {
  const { PATH = '', HOME = '' } = process.env;
  const child: ChildProcess = spawn(process.execPath, [`dist/services/${service}/main.js`], {
    cwd: root,
    env: { PATH, HOME, ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-100_000);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => child.once('close', (code, signal) => resolve(code ?? signal)));
  return { child, ended, output: () => output };
}

/** Starts it where that must fail. */
export async function failedStart(service: string, settings: Readonly<Record<string, string>>): Promise<EndedStart> {
  await compile();
  const { ended, output } = start(service, settings);
  const status = await ended;
  return { status, output: output() };
}

/** Resolves once it says that it runs. */
export async function startAloneProcess(service: string, settings: Readonly<Record<string, string>>): Promise<AloneProcess> {
  await compile();
  const { child, ended, output } = start(service, settings);
  const said = await until(
    () => {
      if (child.exitCode !== null) throw new Error(`${service} ended with ${child.exitCode}: ${output()}`);
      return /runs; health and metrics at (\S+?)(?:, it listens on (\S+))?\n/.exec(output()) ?? false;
    },
    { timeoutMs: 60_000, what: `${service} runs` },
  );
  return {
    pid: child.pid ?? 0,
    healthUrl: said[1] ?? '',
    url: said[2] ?? '',
    output,
    signal: (name) => void child.kill(name),
    ended,
  };
}
