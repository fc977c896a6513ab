/**
 * A whole build through Spindle, from the request to the end with its boot verdict, divided by a plain shell script that runs the same tools in the same order. Both
 * fetch every package from the same site; the sample distribution and the service stand before.
 */
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { uefiCandidates } from '../../services/boot-test/qemu.ts';
import { compare, note, print } from './figure.ts';
import { type ProgramRun, stretches, sumMs } from './recorded-programs.ts';
import { startWarmService, type WarmService } from './warm-service.ts';

const rounds = 5;
const scriptMsMax = 300_000;
const script = fileURLToPath(new URL('./overhead-reference.sh', import.meta.url));
const solver = fileURLToPath(new URL('../../shared/resolution/solver/dnf4.py', import.meta.url));

/** What the script is told of the build that it repeats. */
interface Orders {
  readonly environment: Readonly<Record<string, string>>;
  readonly directory: string;
}

export async function overhead(): Promise<void> {
  const service = await startWarmService();
  try {
    // The first build asks the tools for their versions, and whether KVM works.
    const first = await build(service);
    const orders = await writeOrders(service, first.id);
    const figure = await compare(rounds, {
      ours: async () => {
        await settle(service);
        return (await build(service)).seconds;
      },
      reference: async () => {
        await settle(service);
        return runScript(orders);
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

async function build(service: WarmService): Promise<{ readonly id: string; readonly seconds: number }> {
  service.recorded.forget();
  const startedAt = performance.now();
  const id = await service.submit();
  const shown = await service.ended(id);
  const endedAt = performance.now();
  if (shown.state !== 'finished' || shown.verdict !== 'booted')
    throw new Error(`the build ended as ${shown.state}, its verdict ${shown.verdict}: ${JSON.stringify(shown.failure)}`);
  noteBuild(service.recorded.runs, startedAt, endedAt);
  return { id, seconds: (endedAt - startedAt) / 1000 };
}

function noteBuild(runs: readonly ProgramRun[], from: number, to: number): void {
  const parts = stretches(runs, from, to);
  const described = parts.map(({ programs, isGap, ms }) => (isGap ? ms.toFixed(0) : `[${programs.join(' ')} ${ms.toFixed(0)}]`));
  // Where several programs ran at once, each by itself: when it ended, as the script tells it.
  const ends = runs.map(({ request, endedAt }) => `${request.command.replace(/^.*\//, '')} ${(endedAt - from).toFixed(0)}`);
  note(`overhead: ours ${(to - from).toFixed(0)} ms, ${sumMs(parts, true).toFixed(0)} of them with no program running: ${described.join(' ')}`);
  note(`overhead: ours, ends: ${ends.join(' · ')}`);
}

/** Everything that the script needs to know, as the first build has it. */
async function writeOrders({ url, siteUrl, stateDir, recorded }: WarmService, id: string): Promise<Orders> {
  const directory = join(stateDir, 'reference');
  await mkdir(directory);
  const question = recorded.runs.find(({ request }) => request.args.includes(solver))?.request.stdin;
  const workspace = /"directory":"([^"]+)\/solver"/.exec(question ?? '')?.[1];
  if (question === undefined || workspace === undefined) throw new Error('the build did not run the solver');
  await writeFile(join(directory, 'question.json'), question.replaceAll(workspace, '@WORK@'));
  const recipe = await fetch(`${url}/api/v1/builds/${id}/artifacts/config.xml`);
  await writeFile(join(directory, 'recipe.xml'), await recipe.text());
  const uefi = await firstThere();
  return {
    directory,
    environment: {
      SOLVER: solver,
      QUESTION: join(directory, 'question.json'),
      RECIPE: join(directory, 'recipe.xml'),
      KOJI_RPM_URL: `${siteUrl}/kojifiles/packages/hello/1.1/1.sample/noarch/hello-1.1-1.sample.noarch.rpm`,
      LABEL: 'HELLO-LIVE',
      UEFI_CODE: uefi.code,
      UEFI_VARIABLES: uefi.variables,
    },
  };
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
async function runScript({ directory, environment }: Orders): Promise<number> {
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
  note(`overhead: reference ${(seconds * 1000).toFixed(0)} ms, ends: ${steps.trim().replaceAll('\n', ' · ')}`);
  await rm(work, { recursive: true });
  return seconds;
}
