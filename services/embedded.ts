/** The whole service in one process on the embedded adapters: `npm start`. Importing it starts nothing; running it does. */
import { createHash } from 'node:crypto';
import { type AddressInfo, createServer } from 'node:net';
import { hostname } from 'node:os';
import { pathToFileURL } from 'node:url';
import { spindleVersion } from '../shared/build/version.ts';
import { type Config, readConfig, withPort } from '../shared/config/config.ts';
import { createLog, type Log } from '../shared/log/log.ts';
import { loadReleases } from '../shared/releases/load.ts';
import { type Lifecycle, lifecycle } from '../shared/stage/lifecycle.ts';
import { runProcess } from '../shared/stage/process.ts';
import { openServiceHost, startCaretaking, startPackageUpkeep } from '../shared/stage/service-host.ts';
import { type HostAdapters, hostAdapters, lockStateDir } from '../shared/stage/start.ts';
import { startBootTest } from './boot-test/start.ts';
import { startImageBuilder } from './image-builder/start.ts';
import { startIntake } from './intake/start.ts';
import { monitorOf } from './monitor/start.ts';
import { startNotifier } from './notifier/start.ts';
import { startResolver } from './resolver/start.ts';
import { openSampleSite, prepareSample } from './sample-release.ts';
import { startSideRepo } from './side-repo/start.ts';
import { startUploader } from './uploader/start.ts';

export interface EmbeddedService {
  /** Where it listens. */
  readonly url: string;
  stop(): Promise<void>;
}

/** Names this process in claims: whoever has the state directory has its name, so a successor knows what its predecessor held, also in a store that others use too. */
function workerOf(config: Config): string {
  if (config.store.scheme === 'file') return 'embedded';
  return `${hostname()}-${createHash('sha256').update(config.stateDir).digest('hex').slice(0, 8)}`;
}

/**
 * Starts everything in order, and undoes what was started where a part fails. Rejects with STATE_DIR_LOCKED where another process has the state directory.
 * `host`: what stands for this machine's clock and programs.
 */
export async function startEmbedded(config: Config, logger: Log, host: HostAdapters = hostAdapters(config)): Promise<EmbeddedService> {
  const life = lifecycle({ clock: host.clock, logger });
  try {
    return await startParts(config, logger, host, life);
  } catch (error) {
    await life.stop();
    throw error;
  }
}

async function startParts(given: Config, logger: Log, host: HostAdapters, life: Lifecycle): Promise<EmbeddedService> {
  // Letters and links name the port, so it has to be known before anything that makes them starts.
  const config = given.listen.port === 0 ? withPort(given, await freePort(given.listen.host)) : given;
  const loaded = await loadReleases(config.releasesFile);
  const site = loaded.needs.includes('SAMPLE_SITE') ? await openSampleSite(config, life) : undefined;
  const releases = loaded.fill(site ? { SAMPLE_SITE: site.url } : {});
  const allow = [...config.egressAllow, ...(site ? [new URL(site.url).host] : [])];
  await lockStateDir(config.stateDir, life);
  const ready = site ? prepareSample(config, site, host.programs, life, logger) : undefined;
  const opened = await openServiceHost(config, life, { host, logger, worker: workerOf(config), releases, allow });

  // From the last stage to the first, so that each one's next is there; stopped the other way round.
  await startNotifier(opened);
  await startUploader(opened);
  await startBootTest(opened);
  await startImageBuilder(opened);
  await startSideRepo(opened);
  await startResolver(opened);
  startPackageUpkeep(opened);
  await startCaretaking(opened);
  const { url } = await startIntake(opened, { others: [await monitorOf(opened)], ready });
  const { problem: _said, ...heldBy } = opened.enforcement;
  logger.info({ url, version: spindleVersion, bounds: { ...config.buildBounds, heldBy } }, 'spindle is ready');
  return { url, stop: () => life.stop() };
}

async function freePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await runProcess(async () => {
    const config = readConfig();
    const logger = createLog({ level: config.logLevel });
    for (const warning of config.warnings) logger.warn({}, warning);
    const service = await startEmbedded(config, logger);
    console.error(`Spindle listens on ${service.url}. Stop it with Ctrl+C.`);
    return { logger, stop: () => service.stop() };
  });
}
