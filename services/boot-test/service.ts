/** Starts the finished image once for each firmware that was asked for, and reads from the serial console whether the system runs and has the requested builds. */
import { type Artifact, mergeArtifacts } from '../../shared/build/artifact.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import type { Firmware } from '../../shared/build/request.ts';
import { type BootVerdict, BuildFailed, ImageBootTested, ImageBuilt } from '../../shared/events/catalog.ts';
import { storeContent } from '../../shared/files/content.ts';
import { defineStage, type StageContext } from '../../shared/stage/stage.ts';
import { serialConsole } from './console.ts';
import { combine, type Ending, isConclusive, type Judgement, judge } from './verdict.ts';
import type { VirtualMachine, VirtualMachines } from './virtual-machine.ts';

export interface BootTestOptions {
  readonly virtualMachines: VirtualMachines;
  /** From switching on to giving up, by how the processor is made. */
  readonly bootTimeoutMs?: Readonly<Record<VirtualMachine['acceleration'], number>>;
}

const stageName = 'boot-test';
const limits = { concurrency: 2, attemptsMax: 3, deadlineMs: 15 * 60_000 };
const bootTimeouts = { kvm: 90_000, tcg: 180_000, simulated: 180_000 } as const;
/** After a login prompt a report may still come: it says more. */
const reportAfterPromptMs = 3000;
const memoryMiB = 1024;
const imageName = 'image.iso';

interface Trial extends Judgement {
  readonly firmware: Firmware;
  readonly acceleration: string;
  readonly durationMs: number;
  readonly lines: readonly string[];
  readonly screenshot: Uint8Array | undefined;
}

export function bootTest({ virtualMachines, bootTimeoutMs = bootTimeouts }: BootTestOptions) {
  return defineStage({
    name: stageName,
    state: 'boot-testing',
    consumes: ImageBuilt,
    emits: [ImageBootTested, BuildFailed],
    long: true,
    limits,

    async handle({ data }, context) {
      const { request, log, files } = context;
      const answer = (verdict: BootVerdict | null, reason: string, added: readonly Artifact[] = []) =>
        ImageBootTested({ image: data.image, verdict, reason, artifacts: [...mergeArtifacts(data.artifacts, added)] });
      if (!request.bootTest) return answer(null, 'not asked for');

      const image = data.artifacts.find(({ name }) => name === data.image);
      if (!image) throw new SpindleError('ENGINE_OUTPUT_MISSING', `the event names the image ${data.image}, but lists no such artifact`);
      const workspace = await context.workspace();
      await workspace.place(image, imageName);

      // Side by side: an emulated processor uses one core of the host's, and each start is mostly waiting for one.
      const trials = await allOrNone(context.signal, request.firmware, (firmware, signal) =>
        tryFirmware(firmware, `${workspace.path}/${imageName}`, workspace.path, data.requested, { ...context, signal }, virtualMachines, bootTimeoutMs),
      ).catch((error: unknown) => {
        const brokenFor = whyNothingWasTested(error, context);
        if (brokenFor === undefined) throw error;
        return brokenFor;
      });
      if (typeof trials === 'string') {
        log(stageName, trials);
        return answer('no-verdict', trials.slice(0, 2000));
      }
      const { verdict, reason } = combine(trials);
      log(stageName, `${verdict}: ${reason}`);
      return answer(verdict, reason, [
        { name: 'boot-test.log', mediaType: 'text/plain; charset=utf-8', ...(await storeContent(files, formatLog(trials))) },
        ...(await picture(trials, context)),
      ]);
    },
  });
}

/** The image is finished and may be good: that this worker cannot test it must not lose it. Undefined where trying again may help. */
function whyNothingWasTested(error: unknown, { attempt, signal }: StageContext): string | undefined {
  if (signal.aborted || !(error instanceof SpindleError)) return undefined;
  const isLast = error.code === 'TOOL_MISSING' || (error.code === 'BOOT_TEST_BROKEN' && attempt >= limits.attemptsMax);
  return isLast ? `the image was not tested: ${error.message}` : undefined;
}

async function tryFirmware(
  firmware: Firmware,
  image: string,
  directory: string,
  requested: readonly string[],
  { clock, request, signal, log, progress }: StageContext,
  virtualMachines: VirtualMachines,
  bootTimeoutMs: Readonly<Record<VirtualMachine['acceleration'], number>>,
): Promise<Trial> {
  const enough = new AbortController();
  let prompted = false;
  const console = serialConsole((line) => log(`console ${firmware}`, line));
  const timeoutMax = Math.max(...Object.values(bootTimeoutMs));
  progress(0, 0, `starting the image by ${firmware}`);
  const startedAt = clock.now();
  const machine = await virtualMachines.start({
    arch: request.arch,
    firmware,
    image,
    directory,
    memoryMiB,
    deadlineMs: timeoutMax + 60_000,
    signal,
    onSerial: (chunk) => {
      console.push(chunk);
      if (isConclusive(console.finding)) enough.abort();
      else if (console.finding.loginPrompt !== undefined && !prompted) {
        prompted = true;
        clock.after(reportAfterPromptMs, () => enough.abort());
      }
    },
  });
  try {
    const timeoutMs = bootTimeoutMs[machine.acceleration];
    const ending = await watch(machine, enough.signal, timeoutMs, { clock, signal });
    const screenshot = ending === 'turned-off' ? undefined : await machine.screenshot();
    await machine.stop();
    console.end();
    const judgement = judge(console.finding, requested, ending, timeoutMs);
    const durationMs = clock.now() - startedAt;
    log(stageName, `${firmware} (${machine.acceleration}, ${(durationMs / 1000).toFixed(1)} s): ${judgement.verdict}: ${judgement.reason}`);
    return { ...judgement, firmware, acceleration: machine.acceleration, durationMs, lines: console.lines, screenshot };
  } finally {
    await machine.stop();
  }
}

async function watch(
  machine: VirtualMachine,
  enough: AbortSignal,
  timeoutMs: number,
  { clock, signal }: Pick<StageContext, 'clock' | 'signal'>,
): Promise<Ending> {
  const done = new AbortController();
  const conclusive = new Promise<Ending>((resolve) => {
    if (enough.aborted) resolve('conclusive');
    enough.addEventListener('abort', () => resolve('conclusive'), { once: true });
  });
  const late = clock.sleep(timeoutMs, AbortSignal.any([done.signal, signal])).then((): Ending => 'timed-out');
  late.catch(() => {});
  try {
    return await Promise.race([conclusive, machine.ended.then((): Ending => 'turned-off'), late]);
  } finally {
    done.abort();
  }
}

/** Runs all at once. Where one fails the others are ended, and only then its error is thrown: nobody is left running. */
async function allOrNone<T, R>(signal: AbortSignal, items: readonly T[], run: (item: T, signal: AbortSignal) => Promise<R>): Promise<readonly R[]> {
  const others = new AbortController();
  let cause: { readonly error: unknown } | undefined;
  const results = await Promise.allSettled(
    items.map((item) =>
      run(item, AbortSignal.any([signal, others.signal])).catch((error: unknown) => {
        cause ??= { error };
        others.abort(error);
        throw error;
      }),
    ),
  );
  if (cause) throw cause.error;
  return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
}

function formatLog(trials: readonly Trial[]): string {
  return trials
    .map(({ firmware, acceleration, durationMs, verdict, reason, lines }) =>
      [`== ${firmware}, ${acceleration}, ${(durationMs / 1000).toFixed(1)} s: ${verdict}: ${reason}`, ...lines, ''].join('\n'),
    )
    .join('\n');
}

/** The screen of the machine that tells most: one that failed, else the first. */
async function picture(trials: readonly Trial[], { files }: StageContext): Promise<readonly Artifact[]> {
  const pictured = trials.filter(({ screenshot }) => screenshot !== undefined);
  const { screenshot } = pictured.find(({ verdict }) => verdict !== 'booted') ?? pictured[0] ?? {};
  return screenshot ? [{ name: 'boot-test.png', mediaType: 'image/png', ...(await storeContent(files, screenshot)) }] : [];
}
