/** Turns the settings into adapters: the only file of the service that picks them. */
import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { SpindleError } from '../build/failure.ts';
import { spindleVersion } from '../build/version.ts';
import type { Bus, Delivery } from '../bus/bus.ts';
import type { DeadLetter } from '../bus/dead-letter.ts';
import { deadLetterCollection } from '../bus/dead-letter-collection.ts';
import { embeddedBroker } from '../bus/embedded.ts';
import type { QueueReport } from '../bus/queue-report.ts';
import { rabbitMqBus } from '../bus/rabbitmq.ts';
import { rabbitMqManagement } from '../bus/rabbitmq-management.ts';
import type { Clock } from '../clock/clock.ts';
import { systemClock } from '../clock/system.ts';
import type { Config } from '../config/config.ts';
import { localPartialFiles } from '../downloads/local.ts';
import type { Egress } from '../egress/egress.ts';
import { httpEgress } from '../egress/http.ts';
import type { Files } from '../files/files.ts';
import { localFiles } from '../files/local.ts';
import type { Log } from '../log/log.ts';
import { fileMail } from '../mail/file.ts';
import type { Mail } from '../mail/mail.ts';
import { smtpMail } from '../mail/smtp.ts';
import type { Programs } from '../programs/programs.ts';
import { type SpawnedPrograms, spawnedPrograms } from '../programs/spawned.ts';
import { cachedRepositories } from '../repositories/cached.ts';
import { type RpmDownloads, rpmDownloads } from '../rpm/rpm-downloads.ts';
import { contentTarget } from '../rpm/stored-rpm.ts';
import { localRpmStore } from '../rpm-store/local.ts';
import type { RpmStore } from '../rpm-store/rpm-store.ts';
import { dnfSolver } from '../solver/dnf.ts';
import type { Solver } from '../solver/solver.ts';
import { openEmbeddedStore } from '../store/embedded.ts';
import type { Collection, Store } from '../store/store.ts';
import type { OnCorrupt } from '../store/stored-document.ts';
import { localWorkspaces } from '../workspace/local.ts';
import type { Workspaces } from '../workspace/workspace.ts';
import type { Lifecycle } from './lifecycle.ts';

const userAgent = `Spindle/${spindleVersion} (on-demand Fedora image builds)`;
/** Two hash and write as fast as most lines bring files; each costs memory. */
const transferThreadsMax = 2;

export interface Adapters {
  readonly clock: Clock;
  readonly programs: Programs;
  readonly store: Store;
  readonly bus: Bus;
  readonly queues: QueueReport;
  readonly files: Files;
  readonly mail: Mail;
  readonly workspaces: Workspaces;
  readonly egress: Egress;
  readonly downloads: RpmDownloads;
  readonly rpms: RpmStore;
  readonly solver: Solver;
}

/** Needed before everything else: what it takes to prepare what the settings name. */
export interface HostAdapters {
  readonly clock: Clock;
  readonly programs: Programs;
  /** Absent where the programs are no real ones. */
  readonly control?: Pick<SpawnedPrograms, 'enforcement' | 'sweep' | 'close'>;
}

/**
 * Without settings, nothing is built: programs then have no sandbox to hide a state directory from. `hidden`: a directory above that of this process, where others have theirs.
 */
export function hostAdapters(config?: Config, hidden = config?.stateDir ?? ''): HostAdapters {
  const clock = systemClock();
  if (!config) return { clock, programs: spawnedPrograms({ clock }) };
  const programs = spawnedPrograms({
    clock,
    bounds: config.buildBounds,
    hides: [hidden, ...[config.store, config.files, config.mail].flatMap((place) => ('path' in place ? [place.path] : []))],
    // Whoever has the state directory owns what is named after it.
    controlGroups: createHash('sha256').update(config.stateDir).digest('hex').slice(0, 12),
  });
  return { clock, programs, control: programs };
}

/** The store may lie elsewhere, but what is in the state directory belongs to one process too. Rejects with STATE_DIR_LOCKED where another one has it. */
export async function lockStateDir(stateDir: string, life: Lifecycle): Promise<void> {
  const lock = await openEmbeddedStore({ path: join(stateDir, 'lock.sqlite') });
  life.add('lock', () => lock.close());
}

/** What only some services use: letters; what is fetched and the packages that are made of it; dnf. */
export type AdapterNeed = 'mail' | 'packages' | 'solver';

/** Stands for an adapter that a service said it does not need: a call of it is a mistake of ours. */
function notOpened<T extends object>(name: string): T {
  return new Proxy({} as T, {
    get: (_target, property) => {
      // What looks whether it is a promise, or prints it, calls nothing.
      if (typeof property === 'symbol' || property === 'then' || property === 'toJSON') return undefined;
      throw new SpindleError('INTERNAL', `${name} is used by a service that did not say that it needs it`);
    },
  });
}

/**
 * Opens the adapters and hands each to the lifecycle, which closes it. The state directory is locked already. `needs`: of those that only some services use; all where left out.
 * `allow`: addresses besides public ones that may be fetched from.
 */
export async function openAdapters(
  config: Config,
  life: Lifecycle,
  options: {
    readonly clock: Clock;
    readonly programs: Programs;
    readonly logger: Log;
    readonly worker: string;
    readonly allow: readonly string[];
    readonly needs?: readonly AdapterNeed[];
  },
): Promise<Adapters> {
  const { clock, programs } = options;
  const isNeeded = (need: AdapterNeed) => options.needs?.includes(need) ?? true;
  const store = await openStore(config, options);
  life.add('store', () => store.close());
  const files = await openFiles(config, life, options);
  const mail = isNeeded('mail') ? openMail(config) : notOpened<Mail>('mail');
  if (isNeeded('mail')) life.add('mail', () => mail.close());
  const { bus, queues } = await openBus(config, life, { ...options, store });
  life.add('bus', () => bus.close());
  // One name for good: whoever has the state directory owns every workspace in it, those of a dead predecessor too.
  const workspaces = localWorkspaces({ directory: join(config.stateDir, 'work'), files, owner: 'spindle', programs });
  const fetching = isNeeded('packages') ? await openPackages(config, life, { ...options, files }) : notOpenedPackages();
  const solver = isNeeded('solver') ? openSolver(config, life, { ...options, egress: fetching.egress }) : notOpened<Solver>('solver');
  return { clock, programs, store, bus, queues, files, mail, workspaces, ...fetching, solver };
}

type Fetching = Pick<Adapters, 'egress' | 'downloads' | 'rpms'>;

function notOpenedPackages(): Fetching {
  return { egress: notOpened('egress'), downloads: notOpened('downloads'), rpms: notOpened('the RPM store') };
}

async function openPackages(
  config: Config,
  life: Lifecycle,
  { clock, logger, files, allow }: { readonly clock: Clock; readonly logger: Log; readonly files: Files; readonly allow: readonly string[] },
): Promise<Fetching> {
  const egress = httpEgress({ userAgent, allow, transferThreads: Math.min(transferThreadsMax, availableParallelism()) });
  life.add('egress', () => egress.close());
  const partials = localPartialFiles({
    directory: join(config.stateDir, 'downloads'),
    clock,
    // The trees are links to the stored files where they can be, and copies elsewhere.
    goTo: [join(config.stateDir, 'rpms'), ...(config.files.scheme === 'file' ? [config.files.path] : [])],
  });
  const rpms = await localRpmStore({
    directory: join(config.stateDir, 'rpms'),
    files,
    clock,
    bytesMax: config.rpmStoreBytesMax,
    onTrouble: (error) => logger.warn({ err: error }, 'what is known of stored packages could not be written down'),
  });
  life.add('RPM store', () => rpms.close());
  const downloads = rpmDownloads({ egress, clock, partials, target: contentTarget(files) });
  life.add('downloads', () => downloads.close());
  return { egress, downloads, rpms };
}

function openSolver(
  config: Config,
  life: Lifecycle,
  { clock, programs, egress }: { readonly clock: Clock; readonly programs: Programs; readonly egress: Egress },
): Solver {
  const repositories = cachedRepositories({ directory: join(config.stateDir, 'metadata'), egress, programs, clock });
  life.add('repositories', () => repositories.close());
  const solver = dnfSolver({
    directory: join(config.stateDir, 'solver'),
    repositories,
    programs,
    clock,
    atOnceMax: Math.max(2, availableParallelism()),
    // Namespaces need root; without them dnf could reach the network, but is given local metadata only.
    ...(process.getuid?.() === 0 ? { isolation: 'private-no-network' as const } : {}),
  });
  life.add('solver', () => solver.close());
  return solver;
}

async function openStore(config: Config, { clock, logger }: { readonly clock: Clock; readonly logger: Log }): Promise<Store> {
  const onCorrupt: OnCorrupt = (collection, id, error) => logger.error({ collection, id, err: error }, 'a stored record cannot be read and is left out');
  if (config.store.scheme === 'mongodb') {
    // Only who needs the driver waits for it and holds it in memory.
    const { mongoDbStore } = await import('../store/mongodb.ts');
    return mongoDbStore({ url: config.store.url, clock, onCorrupt });
  }
  return openEmbeddedStore({ path: join(config.store.path, 'spindle.sqlite'), onCorrupt });
}

/** No upload of one file takes so long. */
const uploadMsMax = 24 * 3_600_000;
const uploadSweepMs = 6 * 3_600_000;

async function openFiles(config: Config, life: Lifecycle, { clock, logger }: { readonly clock: Clock; readonly logger: Log }): Promise<Files> {
  if (config.files.scheme === 'file') {
    const local = localFiles({ directory: config.files.path });
    life.add('files', () => local.close());
    return local;
  }
  const { s3Files } = await import('../files/s3.ts');
  const files = s3Files({ place: config.files.place, clock });
  life.add('files', () => files.close());
  const stopping = new AbortController();
  const sweeping = (async () => {
    while (!stopping.signal.aborted) {
      try {
        const count = await files.sweepUploads(uploadMsMax);
        if (count > 0) logger.info({ uploads: count }, 'abandoned uploads that had never ended');
      } catch (error) {
        logger.warn({ err: error }, 'unfinished uploads could not be swept');
      }
      await clock.sleep(uploadSweepMs, stopping.signal).catch(() => {});
    }
  })();
  life.add('upload sweep of the files', async () => {
    stopping.abort();
    await sweeping;
  });
  return files;
}

function openMail({ mail }: Config): Mail {
  return mail.scheme === 'smtp' ? smtpMail(mail.server) : fileMail({ directory: mail.path });
}

async function openBus(
  config: Config,
  life: Lifecycle,
  { store, clock, logger, worker }: { readonly store: Store; readonly clock: Clock; readonly logger: Log; readonly worker: string },
): Promise<{ readonly bus: Bus; readonly queues: QueueReport }> {
  const onHandlerError = (error: unknown, { queue, id }: Delivery) => logger.warn({ err: error, queue, messageId: id }, 'a message is handed out again');
  if (config.bus.scheme === 'amqp') {
    const { url, management } = config.bus;
    const bus = rabbitMqBus({ url: url.reveal(), clock, worker, onHandlerError, onTrouble: (error, what) => logger.warn({ err: error }, what) });
    // A door of its own: what leads to the broker is not for what requesters name.
    const { protocol, hostname, port } = new URL(management.url.reveal());
    const door = httpEgress({ userAgent, allow: [`${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`] });
    life.add('egress to the broker', () => door.close());
    return { bus, queues: rabbitMqManagement({ egress: door, url: management.url.reveal(), virtualHost: management.virtualHost }) };
  }
  const deadLetters: Collection<DeadLetter> = await store.collection(deadLetterCollection);
  const broker = embeddedBroker({ deadLetters, clock, onHandlerError });
  return { bus: broker.connect(), queues: broker };
}
