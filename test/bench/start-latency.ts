/**
 * What Spindle itself adds before an image is being made: from the 202 to the start of KIWI on an idle service, less the wall time of the child processes that ran in
 * between (the solver and createrepo_c). The reference is the wall time of those.
 */
import { until } from '../support/until.ts';
import { figureOf, median, note, print, rounded } from './figure.ts';
import { type ProgramRun, type Stretch, stretches, sumMs } from './recorded-programs.ts';
import { startWarmService, type WarmService } from './warm-service.ts';

const rounds = 7;
const startMsMax = 60_000;

const isVersionQuestion = ({ request }: ProgramRun) => request.args.includes('--version');
const isImageTool = (run: ProgramRun) => run.request.command === 'kiwi-ng' && !isVersionQuestion(run);

async function round(service: WarmService, isFirst = false): Promise<readonly Stretch[]> {
  const { runs, forget } = service.recorded;
  forget();
  const id = await service.submit();
  const answeredAt = performance.now();
  const { startedAt } = await until(() => runs.find(isImageTool), { timeoutMs: startMsMax, what: 'KIWI to start' });
  // What the first build asks of its tools is asked to the end, so that the next ones need not. The others are canceled at once: a file system on which KIWI's many
  // files were removed a moment ago is slow at making new ones.
  if (isFirst)
    await until(() => runs.filter(isVersionQuestion).every(({ endedAt }) => Number.isFinite(endedAt)), {
      timeoutMs: startMsMax,
      what: 'KIWI to tell its version',
    });
  await service.cancel(id);
  const { state } = await service.ended(id);
  if (state !== 'canceled') throw new Error(`the build ended as ${state} instead of canceled`);
  return stretches(
    runs.filter((run) => !isImageTool(run)),
    answeredAt,
    startedAt,
  );
}

export async function startLatency(): Promise<void> {
  const service = await startWarmService();
  try {
    await round(service, true);
    const found: (readonly Stretch[])[] = [];
    for (let index = 0; index < rounds; index += 1) found.push(await round(service));
    const ours = found.map((parts) => sumMs(parts, true));
    const children = found.map((parts) => sumMs(parts, false));
    for (const parts of found) note(`start-latency: ${parts.map(describe).join(' · ')}`);
    print('start-latency', 'ms', figureOf(ours, children), { total: rounded(median(found.map((parts) => sumMs(parts, true) + sumMs(parts, false)))) });
  } finally {
    await service.stop();
  }
}

function describe({ programs, isGap, ms }: Stretch): string {
  return isGap ? `${ms.toFixed(1)} ms` : `[${programs.join(' ')} ${ms.toFixed(0)}]`;
}
