/** The release `sample` in a running program: its site listens at once, its distribution is made meanwhile. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateSampleDistribution } from '../examples/sample-distribution/sample-distribution.ts';
import { type SampleSite, startSampleSite } from '../examples/sample-distribution/site.ts';
import type { Config } from '../shared/config/config.ts';
import type { Log } from '../shared/log/log.ts';
import type { Programs } from '../shared/programs/programs.ts';
import type { Lifecycle } from '../shared/stage/lifecycle.ts';

/** Listens, on the port of last time where that is free: what was resolved before a restart names it. Serves once the distribution stands. */
export async function openSampleSite(config: Config, life: Lifecycle): Promise<SampleSite> {
  const directory = sampleDirectory(config);
  const lastPort = Number(await readFile(portFile(config), 'utf8').catch(() => '0'));
  const open = (port: number) => startSampleSite({ directory, host: '127.0.0.1', port });
  const site = await open(Number.isInteger(lastPort) && lastPort > 0 && lastPort < 65_536 ? lastPort : 0).catch(() => open(0));
  life.add('sample site', () => site.close());
  return site;
}

/** Never rejects: without the sample distribution every other release can still be built. */
export async function prepareSample(config: Config, site: SampleSite, programs: Programs, life: Lifecycle, logger: Log): Promise<void> {
  const stopping = new AbortController();
  life.add('sample distribution', async () => stopping.abort(new Error('the service stops')));
  try {
    await writeFile(portFile(config), new URL(site.url).port);
    const { isNew } = await generateSampleDistribution({ directory: sampleDirectory(config), programs, signal: stopping.signal });
    logger.info({ isNew, url: site.url }, 'the sample distribution stands');
  } catch (error) {
    logger.error({ err: error }, 'the sample distribution could not be made; builds of release "sample" will fail');
  }
}

const sampleDirectory = (config: Config) => join(config.stateDir, 'sample-distribution');
const portFile = (config: Config) => join(config.stateDir, 'sample-site.port');
