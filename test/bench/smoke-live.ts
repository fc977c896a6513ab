/**
 * `smoke-live`: the sample live image from the request to its boot verdict with every cache warm, divided by a plain shell script of the same steps that has its files at hand,
 * too. `two-builds`: two of them at once, divided by one alone.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { compare, print } from './figure.ts';
import { build, runScript, writeOrders } from './live-build.ts';
import { startWarmService } from './warm-service.ts';

const rounds = 5;

export async function smokeLive(): Promise<void> {
  const service = await startWarmService();
  try {
    const first = await build(service, 'smoke-live');
    const written = await writeOrders(service, first.id);
    const warm = join(written.directory, 'warm');
    await mkdir(warm);
    const orders = { ...written, environment: { ...written.environment, WARM: warm } };
    // Leaves what it fetched and made in WARM.
    await runScript(orders, 'smoke-live');
    const figure = await compare(rounds, {
      ours: async () => (await build(service, 'smoke-live')).seconds,
      reference: () => runScript(orders, 'smoke-live'),
    });
    print('smoke-live', 's', figure);
  } finally {
    await service.stop();
  }
}

export async function twoBuilds(): Promise<void> {
  const service = await startWarmService();
  try {
    await build(service, 'two-builds');
    const figure = await compare(rounds, {
      ours: async () => {
        const startedAt = performance.now();
        // Each is held to its own verdict.
        await Promise.all(['FIRST', 'SECOND'].map((label) => build(service, 'two-builds', { label })));
        return (performance.now() - startedAt) / 1000;
      },
      reference: async () => (await build(service, 'two-builds')).seconds,
    });
    print('two-builds', 's', figure);
  } finally {
    await service.stop();
  }
}
