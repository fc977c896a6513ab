/**
 * A whole build through Spindle, from the request to the end with its boot verdict, divided by a plain shell script that runs the same tools in the same order. Both
 * fetch every package from the same site; the sample distribution and the service stand before.
 */
import { spawn } from 'node:child_process';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { compare, print } from './figure.ts';
import { build, runScript, writeOrders } from './live-build.ts';
import { startWarmService, type WarmService } from './warm-service.ts';

const rounds = 5;

export async function overhead(): Promise<void> {
  const service = await startWarmService();
  try {
    // The first build asks the tools for their versions, and whether KVM works.
    const first = await build(service, 'overhead');
    const orders = await writeOrders(service, first.id);
    const figure = await compare(rounds, {
      ours: async () => {
        await settle(service);
        return (await build(service, 'overhead')).seconds;
      },
      reference: async () => {
        await settle(service);
        return runScript(orders, 'overhead');
      },
    });
    print('overhead', 's', figure);
  } finally {
    await service.stop();
  }
}

/** Both begin alike: nothing fetched, and no writes of the other's still under way. */
async function settle({ stateDir }: WarmService): Promise<void> {
  const content = join(stateDir, 'files', 'content');
  for (const folder of await readdir(content)) {
    // The folders stay: the service knows that it has made them.
    for (const name of await readdir(join(content, folder))) await rm(join(content, folder, name));
  }
  await new Promise<void>((resolve, reject) => {
    const sync = spawn('sync', { stdio: 'ignore' });
    sync.on('error', reject);
    sync.on('close', () => resolve());
  });
}
