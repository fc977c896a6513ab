/** `npm run sim -- --seeds N [--from M]`, or `SEED=n npm run sim` for one seed with its whole trace. Prints faults by kind; fails on any violation. */
import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { faultKinds } from './faults.ts';
import { type SimulationResult, simulate } from './world.ts';

/** So many seeds draw every kind of fault many times: one that was never injected is a fault of the simulation. */
const seedsForAllKinds = 100;

interface Summary {
  seeds: number;
  builds: number;
  checks: number;
  readonly faults: Record<string, number>;
  readonly endStates: Record<string, number>;
  readonly failures: { readonly seed: number; readonly violations: readonly string[] }[];
}

const emptySummary = (): Summary => ({ seeds: 0, builds: 0, checks: 0, faults: {}, endStates: {}, failures: [] });

function add(counts: Record<string, number>, more: Iterable<readonly [string, number]>): void {
  for (const [key, count] of more) counts[key] = (counts[key] ?? 0) + count;
}

function addResult(summary: Summary, result: SimulationResult): void {
  summary.seeds += 1;
  summary.builds += result.builds;
  summary.checks += result.checks;
  add(summary.faults, result.faults);
  add(summary.endStates, Object.entries(result.endStates));
  if (result.violations.length > 0) summary.failures.push({ seed: result.seed, violations: result.violations });
}

async function simulateRange(from: number, step: number, to: number, isStoppedAtFirst: boolean): Promise<Summary> {
  const summary = emptySummary();
  for (let seed = from; seed < to; seed += step) {
    addResult(summary, await simulate(seed));
    if (isStoppedAtFirst && summary.failures.length > 0) break;
  }
  return summary;
}

/** One child process a core, each with every n-th seed. */
async function simulateAll(from: number, seeds: number): Promise<Summary> {
  const total = emptySummary();
  const workers = Math.min(availableParallelism(), seeds);
  const parts = Array.from({ length: workers }, (_, index) => inChild(from + index, workers, from + seeds));
  for (const part of await Promise.all(parts)) {
    total.seeds += part.seeds;
    total.builds += part.builds;
    total.checks += part.checks;
    add(total.faults, Object.entries(part.faults));
    add(total.endStates, Object.entries(part.endStates));
    total.failures.push(...part.failures);
  }
  return total;
}

function inChild(from: number, step: number, to: number): Promise<Summary> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), ['--child', '--from', String(from), '--step', String(step), '--to', String(to)], {
      execArgv: import.meta.url.endsWith('.ts') ? ['--import', 'tsx'] : [],
    });
    child.on('message', (summary) => resolve(summary as Summary));
    child.on('error', reject);
    child.on('exit', (code, signal) => reject(new Error(`a simulation process ended without a result (${code ?? signal})`)));
  });
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '200' },
      from: { type: 'string', default: '1' },
      step: { type: 'string', default: '1' },
      to: { type: 'string' },
      child: { type: 'boolean', default: false },
      'stop-at-first': { type: 'boolean', default: false },
    },
  });
  const from = Number(values.from);
  if (values.child) {
    process.send?.(await simulateRange(from, Number(values.step), Number(values.to), false));
    return 0;
  }
  const only = process.env['SEED'];
  if (only !== undefined) {
    const result = await simulate(Number(only));
    console.log(result.trace.join('\n'));
    console.log(
      JSON.stringify({ seed: result.seed, builds: result.builds, endStates: result.endStates, faults: Object.fromEntries(result.faults) }, undefined, 1),
    );
    for (const violation of result.violations) console.log(`VIOLATION ${violation}`);
    return result.violations.length === 0 ? 0 : 1;
  }
  const startedAt = performance.now();
  const seeds = Number(values.seeds);
  const summary = values['stop-at-first'] ? await simulateRange(from, 1, from + seeds, true) : await simulateAll(from, seeds);
  report(summary);
  const never = faultKinds.filter((kind) => !summary.faults[kind]);
  const isTooTame = seeds >= seedsForAllKinds && summary.failures.length === 0 && never.length > 0;
  if (isTooTame) console.log(`NEVER INJECTED: ${never.join(', ')}`);
  console.log(
    `${summary.seeds} seeds, ${summary.builds} builds, ${summary.checks} checks, ${summary.failures.length} seeds with violations, ${((performance.now() - startedAt) / 1000).toFixed(1)} s`,
  );
  return summary.failures.length === 0 && !isTooTame ? 0 : 1;
}

function report(summary: Summary): void {
  console.log('faults injected:');
  for (const kind of faultKinds) console.log(`  ${String(summary.faults[kind] ?? 0).padStart(8)}  ${kind}`);
  console.log('builds ended:');
  for (const [state, count] of Object.entries(summary.endStates).sort()) console.log(`  ${String(count).padStart(8)}  ${state}`);
  for (const { seed, violations } of summary.failures.slice(0, 20)) {
    console.log(`seed ${seed} (repeat it with SEED=${seed} npm run sim):`);
    for (const violation of violations) console.log(`  VIOLATION ${violation}`);
  }
}

process.exitCode = await main();
