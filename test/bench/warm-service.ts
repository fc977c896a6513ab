/** The embedded service as benchmarks use it: the sample distribution stands, everything else is new, and each program that it runs is recorded. */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { load } from 'js-yaml';
import { generateSampleDistribution } from '../../examples/sample-distribution/sample-distribution.ts';
import { startEmbedded } from '../../services/embedded.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { readConfig } from '../../shared/config/config.ts';
import { createLog } from '../../shared/log/log.ts';
import { openEmbeddedStore } from '../../shared/store/embedded.ts';
import { type RecordedPrograms, recordedPrograms } from './recorded-programs.ts';

/** What is read of a build. */
interface ShownBuild {
  readonly id: string;
  readonly state: string;
  readonly verdict: string | null;
  readonly failure: unknown;
  readonly timeline: readonly { readonly at: string; readonly state: string }[];
}

export interface WarmService {
  readonly stateDir: string;
  readonly url: string;
  /** Of Sample Linux. */
  readonly siteUrl: string;
  readonly recorded: RecordedPrograms;
  /** Asks for examples/hello-live.yaml, without its letter, and with these fields instead of its own. Resolves when the 202 is here. */
  submit(change?: object): Promise<string>;
  /** Resolves with the build once it has ended. */
  ended(id: string): Promise<ShownBuild>;
  cancel(id: string): Promise<void>;
  stop(): Promise<void>;
}

const exampleFile = fileURLToPath(new URL('../../examples/hello-live.yaml', import.meta.url));
/** Kept from one run to the next, for the sample distribution takes long to make. Nothing else in it is. */
const stateDir = join(tmpdir(), `spindle-bench-${process.getuid?.() ?? 0}`);

export async function startWarmService(): Promise<WarmService> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  // Refused where another bench runs: what it works with must not be removed.
  await (await openEmbeddedStore({ path: join(stateDir, 'lock.sqlite') })).close();
  await emptyState();
  const recorded = recordedPrograms();
  await generateSampleDistribution({ directory: join(stateDir, 'sample-distribution'), programs: recorded.programs });
  const config = readConfig({ SPINDLE_STATE_DIR: stateDir, SPINDLE_LISTEN: '127.0.0.1:0', SPINDLE_LOG_LEVEL: 'warn' });
  const logger = createLog({ level: config.logLevel, destination: process.stderr });
  const service = await startEmbedded(config, logger, { clock: systemClock(), programs: recorded.programs });
  const api = async (path: string, init: RequestInit = {}): Promise<Response> => {
    const answer = await fetch(`${service.url}/api/v1${path}`, init);
    if (!answer.ok) throw new Error(`${path} is answered with ${answer.status}: ${await answer.text()}`);
    return answer;
  };
  // A letter is sent after the end of a build, when the next one may be under way already.
  const example = { ...(load(await readFile(exampleFile, 'utf8')) as object), notify: {} };
  return {
    stateDir,
    url: service.url,
    siteUrl: `http://127.0.0.1:${(await readFile(join(stateDir, 'sample-site.port'), 'utf8')).trim()}`,
    recorded,
    submit: async (change = {}) => {
      const answer = await api('/builds', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ ...example, ...change }) });
      return ((await answer.json()) as ShownBuild).id;
    },
    ended: async (id) => {
      // The stream ends with the build, so nothing has to be asked again and again.
      await (await api(`/builds/${id}/events`)).text();
      return (await (await api(`/builds/${id}`)).json()) as ShownBuild;
    },
    cancel: async (id) => {
      await api(`/builds/${id}/cancel`, { method: 'POST' });
    },
    stop: async () => {
      await service.stop();
      await emptyState();
    },
  };
}

async function emptyState(): Promise<void> {
  const kept = new Set(['sample-distribution', 'lock.sqlite']);
  for (const name of await readdir(stateDir)) if (!kept.has(name)) await rm(join(stateDir, name), { recursive: true, force: true });
}
