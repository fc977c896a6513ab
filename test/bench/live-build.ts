/** One build of the sample live image for the benches: through Spindle, and by the plain shell script that runs the same tools in the same order. */
import { spawn } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { uefiCandidates } from '../../services/boot-test/qemu.ts';
import { note } from './figure.ts';
import { type ProgramRun, stretches, sumMs } from './recorded-programs.ts';
import type { WarmService } from './warm-service.ts';

const scriptMsMax = 300_000;
const script = fileURLToPath(new URL('./overhead-reference.sh', import.meta.url));
const solver = fileURLToPath(new URL('../../shared/solver/dnf4.py', import.meta.url));

/** What the script is told of the build that it repeats. */
interface Orders {
  readonly environment: Readonly<Record<string, string>>;
  readonly directory: string;
}

/** From the request to the end with its boot verdict. Throws where it does not boot. */
export async function build(service: WarmService, bench: string, change: object = {}): Promise<{ readonly id: string; readonly seconds: number }> {
  service.recorded.forget();
  const startedAt = performance.now();
  const id = await service.submit(change);
  const shown = await service.ended(id);
  const endedAt = performance.now();
  if (shown.state !== 'finished' || shown.verdict !== 'booted')
    throw new Error(`the build ended as ${shown.state}, its verdict ${shown.verdict}: ${JSON.stringify(shown.failure)}`);
  noteBuild(bench, service.recorded.runs, startedAt, endedAt);
  return { id, seconds: (endedAt - startedAt) / 1000 };
}

function noteBuild(bench: string, runs: readonly ProgramRun[], from: number, to: number): void {
  const parts = stretches(runs, from, to);
  const described = parts.map(({ programs, isGap, ms }) => (isGap ? ms.toFixed(0) : `[${programs.join(' ')} ${ms.toFixed(0)}]`));
  // Where several programs ran at once, each by itself: when it ended, as the script tells it.
  const ends = runs.map(({ request, endedAt }) => `${request.command.replace(/^.*\//, '')} ${(endedAt - from).toFixed(0)}`);
  note(`${bench}: ours ${(to - from).toFixed(0)} ms, ${sumMs(parts, true).toFixed(0)} of them with no program running: ${described.join(' ')}`);
  note(`${bench}: ours, ends: ${ends.join(' · ')}`);
}

/** Everything that the script needs to know, as the first build has it. */
export async function writeOrders({ url, siteUrl, stateDir, recorded }: WarmService, id: string): Promise<Orders> {
  const directory = join(stateDir, 'reference');
  await mkdir(directory);
  if (recorded.solver.question === '') throw new Error('the build did not ask the solver');
  const kojiRpmUrl = `${siteUrl}/kojifiles/packages/hello/1.1/1.sample/noarch/hello-1.1-1.sample.noarch.rpm`;
  const collection = JSON.parse(recorded.solver.collection) as object;
  await writeFile(join(directory, 'collection.json'), `${JSON.stringify({ ...collection, directory: '@WORK@/solver' })}\n`);
  const question = JSON.parse(recorded.solver.question) as { sets: { packages: { header: string }[] }[] };
  // Headers that were fetched alone are gone; at the start of the whole file is the same.
  for (const each of question.sets.flatMap(({ packages }) => packages)) each.header = `@WORK@/candidates/Packages/${kojiRpmUrl.replace(/^.*\//, '')}`;
  await writeFile(join(directory, 'question.json'), JSON.stringify(question));
  await writeFile(join(directory, 'urls.json'), JSON.stringify(await urlsOf(url, id)));
  const recipe = await fetch(`${url}/api/v1/builds/${id}/artifacts/config.xml`);
  await writeFile(join(directory, 'recipe.xml'), await recipe.text());
  const uefi = await firstThere();
  return {
    directory,
    environment: {
      SOLVER: solver,
      COLLECTION: join(directory, 'collection.json'),
      QUESTION: join(directory, 'question.json'),
      URLS: join(directory, 'urls.json'),
      RECIPE: join(directory, 'recipe.xml'),
      KOJI_RPM_URL: kojiRpmUrl,
      LABEL: 'HELLO-LIVE',
      UEFI_CODE: uefi.code,
      UEFI_VARIABLES: uefi.variables,
    },
  };
}

/** Where each stable package is fetched from, by its file's name. */
async function urlsOf(url: string, id: string): Promise<Readonly<Record<string, string>>> {
  const { request } = (await (await fetch(`${url}/api/v1/builds/${id}`)).json()) as { readonly request: object };
  const answer = await fetch(`${url}/api/v1/resolve`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(request) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`the dry run is answered with ${answer.status}: ${text}`);
  return Object.fromEntries([...text.matchAll(/"(http[^"]+\/([^/"]+\.rpm))"/g)].map(([, address = '', file = '']) => [file, address]));
}

async function firstThere() {
  for (const candidate of uefiCandidates) {
    const isThere = await readFile(candidate.code).then(
      () => true,
      () => false,
    );
    if (isThere) return candidate;
  }
  throw new Error('no UEFI firmware is installed');
}

/** Resolves with its seconds. */
export async function runScript({ directory, environment }: Orders, bench: string): Promise<number> {
  const work = join(directory, 'work');
  await rm(work, { recursive: true, force: true });
  await mkdir(work);
  const startedAt = performance.now();
  const child = spawn(script, { env: { ...environment, WORK: work }, stdio: ['ignore', 'pipe', 'pipe'], timeout: scriptMsMax, killSignal: 'SIGTERM' });
  let steps = '';
  let complaints = '';
  child.stdout.on('data', (chunk: Buffer) => {
    steps += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    complaints = (complaints + chunk.toString()).slice(-2000);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve(status));
  });
  const seconds = (performance.now() - startedAt) / 1000;
  if (code !== 0) throw new Error(`the reference ended with ${code} after ${steps.trim().replaceAll('\n', ' · ')}: ${complaints}`);
  note(`${bench}: reference ${(seconds * 1000).toFixed(0)} ms, ends: ${steps.trim().replaceAll('\n', ' · ')}`);
  await rm(work, { recursive: true });
  return seconds;
}
