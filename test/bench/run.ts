/** `npm run bench [-- NAME…]`: runs the named benchmarks, or all. Figures go to standard output, one line of JSON each; the exit status is 1 where one misses its target. */
import { loadavg } from 'node:os';
import { download } from './download.ts';
import { engineBench } from './engines.ts';
import { note } from './figure.ts';
import { idleLatencyRabbitMq } from './idle-latency-rabbitmq.ts';
import { overhead } from './overhead.ts';
import { pipelineEmbedded } from './pipeline-embedded.ts';
import { pipelineRabbitMq } from './pipeline-rabbitmq.ts';
import { packageSearch, resolveCold, resolveWarm } from './resolver.ts';
import { sideRepoBench } from './side-repo.ts';
import { smokeLive, twoBuilds } from './smoke-live.ts';
import { startLatency } from './start-latency.ts';
import { upload } from './upload.ts';

const benches: Readonly<Record<string, () => Promise<void>>> = {
  'pipeline-embedded': pipelineEmbedded,
  'pipeline-rabbitmq': pipelineRabbitMq,
  'idle-latency-rabbitmq': idleLatencyRabbitMq,
  'start-latency': startLatency,
  overhead,
  'smoke-live': smokeLive,
  'two-builds': twoBuilds,
  'engine-native': () => engineBench('native'),
  'engine-kiwi': () => engineBench('kiwi'),
  // Prints side-repo-plus-one and side-repo-same as well.
  'side-repo-1000-cached': sideRepoBench,
  'resolve-warm': resolveWarm,
  'resolve-cold': resolveCold,
  'package-search': packageSearch,
  download,
  upload,
};
const exitUsage = 2;

async function main(names: readonly string[]): Promise<void> {
  const unknown = names.filter((name) => !Object.hasOwn(benches, name));
  if (unknown.length > 0) {
    note(`bench: there is no ${unknown.join(', ')}\nusage: npm run bench [-- NAME…], NAME one of ${Object.keys(benches).join(', ')}`);
    process.exitCode = exitUsage;
    return;
  }
  for (const [name, bench] of Object.entries(benches)) {
    if (names.length > 0 && !names.includes(name)) continue;
    // Other work on the machine makes every figure worse; whoever reads them should know of it.
    note(`bench: ${name}, load ${loadavg()[0]?.toFixed(2)}`);
    try {
      await bench();
    } catch (error) {
      note(`bench: ${name} broke: ${error instanceof Error ? error.stack : String(error)}`);
      process.exitCode = 1;
    }
  }
}

await main(process.argv.slice(2));
