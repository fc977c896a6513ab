/** Intake's app on memory adapters, for the tests of the REST interface and of its client. */
import { pino } from 'pino';
import { idempotencyKeyCollection } from '../../services/intake/accept.ts';
import { type IntakePorts, intakeApp } from '../../services/intake/http.ts';
import { type Build, buildCollection } from '../../shared/build/build.ts';
import { deadLetterCollection } from '../../shared/bus/dead-letter-collection.ts';
import { type EmbeddedConnection, embeddedBus } from '../../shared/bus/embedded.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { type MemoryFiles, memoryFiles } from '../../shared/files/memory.ts';
import { loadReleases } from '../../shared/releases/load.ts';
import { readPackageIndex } from '../../shared/solver/package-index.ts';
import { memoryStore } from '../../shared/store/memory.ts';
import type { Collection, Versioned } from '../../shared/store/store.ts';

export interface Fixture {
  readonly app: Awaited<ReturnType<typeof intakeApp>>;
  readonly builds: Collection<Build>;
  readonly files: MemoryFiles;
  readonly bus: EmbeddedConnection;
  readonly clock: Clock;
  /** Lines of the service's log at level error. */
  readonly errors: string[];
  queuedCalls(): number;
  /** Applies one of the record's moves. */
  move(id: string, change: (build: Build, now: number) => Build): Promise<Build>;
  close(): Promise<void>;
}

export const liveRequest = { release: 'sample', imageType: 'live', packages: ['@core', 'hello'] };

export async function fixture(overrides: Partial<IntakePorts> = {}, wrapBuilds = (builds: Collection<Build>) => builds): Promise<Fixture> {
  const clock = systemClock();
  const store = memoryStore();
  const [builds, idempotencyKeys, deadLetters] = await Promise.all([
    store.collection(buildCollection),
    store.collection(idempotencyKeyCollection),
    store.collection(deadLetterCollection),
  ]);
  const files = memoryFiles({ clock });
  const bus = embeddedBus({ deadLetters, clock });
  const errors: string[] = [];
  let queuedCalls = 0;
  const app = await intakeApp({
    builds: wrapBuilds(builds),
    idempotencyKeys,
    store,
    files,
    bus,
    clock,
    logger: pino({ level: 'error' }, { write: (line) => void errors.push(line) }),
    publicUrl: 'http://127.0.0.1:8080',
    listenHost: '127.0.0.1',
    releases: (await loadReleases()).fill({ SAMPLE_SITE: 'http://127.0.0.1:1' }),
    engines: { kiwi: ['live'] },
    untrustedCode: { kickstartScripts: false, rpms: false },
    resolve: async () => {
      throw new Error('this test resolves nothing');
    },
    packages: async () => readPackageIndex('bash\t5.2-1\tx86_64\tsample\tThe shell\nhello\t1.0-1\tnoarch\tsample\tSays hello\n'),
    onQueued: () => {
      queuedCalls += 1;
    },
    ...overrides,
  });
  await app.ready();
  return {
    app,
    builds,
    files,
    bus,
    clock,
    errors,
    queuedCalls: () => queuedCalls,
    move: async (id, change) => {
      for (;;) {
        const found = (await builds.get(id)) as Versioned<Build>;
        const next = change(found.document, clock.now());
        if (await builds.replace(next, found.version)) return next;
      }
    },
    close: async () => {
      await app.close();
      await bus.close();
      await store.close();
    },
  };
}
