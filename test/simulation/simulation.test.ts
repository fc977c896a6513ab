/** 200 seeds of the simulation, and a crash after every step of every service. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Step } from '../../shared/stage/steps.ts';
import seeds from './seeds.json' with { type: 'json' };
import { simulate } from './world.ts';

test('200 seeds hold every invariant, and every kind of fault was injected', { timeout: 280_000 }, async () => {
  const { exitCode, output } = await new Promise<{ exitCode: number | null; output: string }>((resolve, reject) => {
    const run = fileURLToPath(new URL('../../bin/run.mjs', import.meta.url));
    const child = spawn(process.execPath, [run, 'sim', '--seeds', '200'], {
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 270_000,
      killSignal: 'SIGKILL',
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.on('error', reject);
    child.on('close', (exitCode) => resolve({ exitCode, output }));
  });
  expect(exitCode, output).toBe(0);
  expect(output).toContain('200 seeds');
});

test.each(seeds)('seed $seed, which once found: $found', async ({ seed }) => {
  const { violations } = await simulate(seed);
  expect(violations).toEqual([]);
});

test('the same seed is the same run', async () => {
  const [first, second] = [await simulate(7), await simulate(7)];
  expect(second.trace).toEqual(first.trace);
});

const stageSteps = ['received', 'claimed', 'acknowledged', 'handled', 'committed', 'relayed'] as const satisfies readonly Step[];
const quickSteps = ['received', 'handled', 'committed', 'relayed'] as const satisfies readonly Step[];
const crashes: readonly { readonly service: string; readonly step: Step }[] = [
  ...quickSteps.map((step) => ({ service: 'resolver', step })),
  ...['side-repo', 'image-builder', 'boot-test', 'uploader'].flatMap((service) => stageSteps.map((step) => ({ service, step }))),
  { service: 'uploader', step: 'marked' },
  ...(['admitted', 'relayed'] as const).map((step) => ({ service: 'intake', step })),
  ...(['letter-recorded', 'letter-claimed', 'letter-sent', 'letter-marked'] as const).map((step) => ({ service: 'notifier', step })),
];

describe('a crash at one place and nothing else', () => {
  test.for(crashes)('$service after $step', async (plan) => {
    const { violations, faults, endStates } = await simulate(1, plan);
    expect(faults.get(`crash after ${plan.step}`)).toBe(1);
    expect(violations).toEqual([]);
    expect(Object.keys(endStates).filter((state) => state !== 'finished' && !/PACKAGE_UNKNOWN|KOJI_BUILD_UNKNOWN/.test(state))).toEqual([]);
  });
});
