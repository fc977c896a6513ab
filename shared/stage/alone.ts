/** One service as a process of its own, of which there may be several on any host: settings, a state directory of its own, health and metrics, an orderly stop. */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { SpindleError } from '../build/failure.ts';
import { spindleVersion } from '../build/version.ts';
import { type Config, readConfig } from '../config/config.ts';
import { healthApp } from '../http/health-app.ts';
import { createLog, type Log } from '../log/log.ts';
import { loadReleases } from '../releases/load.ts';
import { type Lifecycle, lifecycle } from './lifecycle.ts';
import { serviceMetrics } from './metrics.ts';
import { runProcess } from './process.ts';
import { openServiceHost, type ServiceHost, startCaretaking, startPackageUpkeep } from './service-host.ts';
import { type AdapterNeed, type HostAdapters, hostAdapters, lockStateDir } from './start.ts';

export interface AloneService {
  /** The folder's name. */
  readonly name: string;
  readonly needs: readonly AdapterNeed[];
  /** Starts it; what it starts is handed to the host's lifecycle. */
  readonly start?: (host: ServiceHost) => Promise<void>;
  /** Likewise for one that has an address besides that of health and metrics. */
  readonly listen?: (host: ServiceHost) => Promise<{ readonly url: string }>;
}

interface StartedAlone {
  readonly healthUrl: string;
  readonly url: string | undefined;
  stop(): Promise<void>;
}

/** Processes of one service that share one SPINDLE_STATE_DIR. */
const placesMax = 64;

/** What main.ts of a service calls. */
export async function runAlone(service: AloneService): Promise<void> {
  await runProcess(async () => {
    const config = readConfig(undefined, undefined, 'alone');
    const logger = createLog({ level: config.logLevel }).child({ service: service.name });
    for (const warning of config.warnings) logger.warn({}, warning);
    const started = await startAlone(service, config, logger);
    console.error(`${service.name} runs; health and metrics at ${started.healthUrl}${started.url === undefined ? '' : `, it listens on ${started.url}`}`);
    return { logger, stop: () => started.stop() };
  });
}

async function startAlone(service: AloneService, given: Config, logger: Log): Promise<StartedAlone> {
  // The clock does not depend on settings, and the lifecycle needs one before there is a state directory.
  const { clock } = hostAdapters();
  const life = lifecycle({ clock, logger });
  try {
    const config = { ...given, stateDir: await ownStateDir(given.stateDir, service.name, life) };
    return await startParts(service, config, logger, hostAdapters(config, given.stateDir), life);
  } catch (error) {
    await life.stop();
    throw error;
  }
}

async function startParts(service: AloneService, config: Config, logger: Log, host: HostAdapters, life: Lifecycle): Promise<StartedAlone> {
  const worker = `${hostname()}-${service.name}-${createHash('sha256').update(config.stateDir).digest('hex').slice(0, 8)}`;
  const loaded = await loadReleases(config.releasesFile);
  const site = config.sampleSite;
  const releases = loaded.fill(site === undefined ? {} : { SAMPLE_SITE: site });
  const allow = [...config.egressAllow, ...(site === undefined ? [] : [new URL(site).host])];
  const metrics = serviceMetrics({ service: service.name, version: spindleVersion });
  const opened = await openServiceHost(config, life, {
    host,
    logger,
    worker,
    releases,
    allow,
    needs: service.needs,
    onStageEnded: metrics.stageEnded,
  });
  await service.start?.(opened);
  const started = await service.listen?.(opened);
  if (service.needs.includes('packages')) startPackageUpkeep(opened);
  await startCaretaking(opened);
  if (service.name === 'monitor') metrics.watchQueues(opened.adapters.queues, opened.topology);
  // Last, so that it stops first: who asks whether this process is ready sees at once that it is going.
  const app = await healthApp({ ...opened.adapters, metrics: metrics.text });
  const healthUrl = await app.listen({ host: config.healthListen.host, port: config.healthListen.port });
  life.add('health', () => app.close());
  logger.info({ worker, healthUrl, url: started?.url, version: spindleVersion }, 'ready');
  return { healthUrl, url: started?.url, stop: () => life.stop() };
}

/**
 * The first directory below the given one that no living process of this service has: so a restart comes back to its own, to its caches and what it has to clear away. Rejects with STATE_DIR_LOCKED
 * where all are taken.
 */
async function ownStateDir(parent: string, name: string, life: Lifecycle): Promise<string> {
  for (let place = 1; place <= placesMax; place += 1) {
    const stateDir = join(parent, name, String(place));
    try {
      await lockStateDir(stateDir, life);
      return stateDir;
    } catch (error) {
      if (!(error instanceof SpindleError && error.code === 'STATE_DIR_LOCKED')) throw error;
    }
  }
  throw new SpindleError('STATE_DIR_LOCKED', `${placesMax} processes of ${name} have ${join(parent, name)} already; give this one another SPINDLE_STATE_DIR`);
}
