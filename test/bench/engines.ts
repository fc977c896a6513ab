/**
 * A live image through Spindle's image-builder stage, from the stage's message to its event, divided by a plain shell script that runs the same tools on the same repositories.
 */
import { spawn } from 'node:child_process';
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from '../support/until.ts';
import { compare, note, print } from './figure.ts';
import { stretches, sumMs } from './recorded-programs.ts';
import { startWarmService, type WarmService } from './warm-service.ts';

const rounds = 5;
const scriptMsMax = 300_000;
const script = fileURLToPath(new URL('./engine-reference.sh', import.meta.url));

type LiveEngine = 'native' | 'kiwi';
/** What each publishes, and the program that shows its workspace. */
const recipes: Readonly<Record<LiveEngine, { readonly artifact: string; readonly command: string }>> = {
  native: { artifact: 'recipe.sh', command: 'mksquashfs' },
  kiwi: { artifact: 'config.xml', command: 'kiwi-ng' },
};

export async function engineBench(engine: LiveEngine): Promise<void> {
  const service = await startWarmService();
  const directory = join(service.stateDir, 'reference');
  try {
    await mkdir(directory);
    const { artifact } = recipes[engine];
    // The first build asks the tools for their versions; while it runs its repositories are copied for the script.
    const id = await service.submit({ engine, bootTest: false });
    await copyRepositories(engine, service, directory);
    await stageSeconds(service, id);
    await writeFile(join(directory, artifact), await (await fetch(`${service.url}/api/v1/builds/${id}/artifacts/${artifact}`)).text());
    const figure = await compare(rounds, {
      ours: async () => {
        await sync();
        service.recorded.forget();
        return stageSeconds(service, await service.submit({ engine, bootTest: false, reuse: false }), `engine-${engine}`);
      },
      reference: () => runScript(engine, directory),
    });
    print(`engine-${engine}`, 's', figure);
  } finally {
    await service.stop();
  }
}

async function copyRepositories(engine: LiveEngine, { recorded }: WarmService, directory: string): Promise<void> {
  const find = () => recorded.runs.find(({ request }) => request.command === recipes[engine].command && request.cwd !== undefined)?.request.cwd;
  const workspace = await until(async () => find(), { timeoutMs: scriptMsMax, what: `${engine} to run` });
  await cp(join(workspace, 'repositories'), join(directory, 'repositories'), { recursive: true, dereference: true });
}

/** How long the build was `building`. */
async function stageSeconds(service: WarmService, id: string, bench?: string): Promise<number> {
  const { state, failure, timeline } = await service.ended(id);
  if (state !== 'finished') throw new Error(`the build ended as ${state}: ${JSON.stringify(failure)}`);
  const at = timeline.findIndex((each) => each.state === 'building');
  const [from, to] = [timeline[at], timeline[at + 1]];
  if (!from || !to) throw new Error(`the build's timeline names no stage that made the image: ${JSON.stringify(timeline)}`);
  const [startedAt, endedAt] = [Date.parse(from.at), Date.parse(to.at)];
  if (bench !== undefined) {
    const { timeOrigin } = performance;
    const parts = stretches(service.recorded.runs, startedAt - timeOrigin, endedAt - timeOrigin);
    const described = parts.map(({ programs, isGap, ms }) => (isGap ? ms.toFixed(0) : `[${programs.join(' ')} ${ms.toFixed(0)}]`));
    note(`${bench}: ours ${endedAt - startedAt} ms, ${sumMs(parts, true).toFixed(0)} of them with no program running: ${described.join(' ')}`);
  }
  return (endedAt - startedAt) / 1000;
}

/** Neither side has writes of the other's still under way. */
async function sync(): Promise<void> {
  await ended(spawn('sync', { stdio: 'ignore' }));
}

async function runScript(engine: LiveEngine, directory: string): Promise<number> {
  const work = join(directory, 'work');
  await rm(work, { recursive: true, force: true });
  await mkdir(work);
  await cp(join(directory, 'repositories'), join(work, 'repositories'), { recursive: true });
  // Else the tools' own syncs would wait for what was copied just now; ours are links.
  await sync();
  const environment = { ENGINE: engine, WORK: work, RECIPE: join(directory, recipes[engine].artifact) };
  const startedAt = performance.now();
  // In a session of its own, as each tool of ours is: the kernel shares the processor out among sessions first.
  const child = spawn(script, { env: environment, stdio: ['ignore', 'pipe', 'inherit'], timeout: scriptMsMax, killSignal: 'SIGTERM', detached: true });
  let steps = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    steps += chunk.toString();
  });
  const code = await ended(child);
  const seconds = (performance.now() - startedAt) / 1000;
  note(`engine-${engine}: reference ${(seconds * 1000).toFixed(0)} ms, ends: ${steps.trim().replaceAll('\n', ' · ')}`);
  if (code !== 0) throw new Error(`the reference ended with ${code}`);
  await rm(work, { recursive: true });
  return seconds;
}

function ended(child: ReturnType<typeof spawn>): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code));
  });
}
