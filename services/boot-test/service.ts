/** Starts the finished image once for each firmware that was asked for, lets it install itself where it does that, starts the installed disk, and reads from the serial console whether the system runs and has the requested builds. */
import { type Artifact, mergeArtifacts } from '../../shared/build/artifact.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import type { Firmware, ImageType } from '../../shared/build/request.ts';
import { type BootVerdict, BuildFailed, ImageBootTested, ImageBuilt } from '../../shared/events/catalog.ts';
import { storeContent } from '../../shared/files/content.ts';
import { defineStage, type StageContext } from '../../shared/stage/stage.ts';
import { serialConsole } from './console.ts';
import type { SerialFinding } from './serial.ts';
import { combine, type Ending, installsItself, isConclusive, type Judgement, judge, judgeInstallation, reached } from './verdict.ts';
import type { MachineRequest, VirtualMachine, VirtualMachines } from './virtual-machine.ts';

/** How long to wait for a machine, milliseconds. */
interface Patience {
  /** Since console or screen last changed: two machines that share a processor are slow, but they show that they go on. */
  readonly silentMs: number;
  /** Since it was switched on, whatever it shows. */
  readonly startMs: number;
  /** The same for an installation. */
  readonly installMs: number;
}

export interface BootTestOptions {
  readonly virtualMachines: VirtualMachines;
  /** By how the processor is made. */
  readonly patience?: Readonly<Record<VirtualMachine['acceleration'], Patience>>;
}

const stageName = 'boot-test';
const limits = { concurrency: 2, attemptsMax: 3, deadlineMs: 60 * 60_000 };
const emulated: Patience = { silentMs: 120_000, startMs: 10 * 60_000, installMs: 30 * 60_000 };
const patiences = { kvm: { silentMs: 60_000, startMs: 5 * 60_000, installMs: 20 * 60_000 }, tcg: emulated, simulated: emulated } as const;
/** After a recognised state a report may still come: it says more. Anaconda takes longer to show whether it installs by itself. */
const reportAfterStateMs = 3000;
const undecidedStateMs = 30_000;
/** From an installation's last word until the machine is off. */
const turnOffMs = 60_000;
/** A look stops an emulated machine for a moment, and a fast start is over after a few seconds. */
const lookMs = 5000;
/** Pictures kept of one machine: the first ones show how far it came, the last is always taken. */
const picturesMax = 6;
const pictureBytesMax = 8 * 1024 * 1024;
/** The sample distribution's live image needs less; a desktop, and Anaconda with its packages in memory, need more. */
const memoryOf: Readonly<Record<ImageType, number>> = { live: 1024, boot: 2048, dvd: 2048 };
const imageName = 'image.iso';
/** Room on an empty disk: what is on the medium is compressed. */
const diskBytesFor = (mediumBytes: number) => Math.min(64 * 2 ** 30, 2 ** 30 + 4 * Math.ceil(mediumBytes / 2 ** 20) * 2 ** 20);

interface Trial extends Judgement {
  readonly firmware: Firmware;
  readonly wasInstalled: boolean;
  readonly acceleration: string;
  readonly durationMs: number;
  readonly lines: readonly string[];
  /** The screen as it changed, the last picture last. */
  readonly pictures: readonly Uint8Array[];
}

/** One machine, from switching on to its end. */
interface Run {
  readonly finding: SerialFinding;
  readonly ending: Ending;
  /** That the machine was given up after. */
  readonly timeoutMs: number;
  readonly screenText: string | undefined;
  readonly acceleration: string;
  readonly durationMs: number;
  readonly lines: readonly string[];
  readonly pictures: readonly Uint8Array[];
}

export function bootTest({ virtualMachines, patience = patiences }: BootTestOptions) {
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
        tryFirmware(
          {
            firmware,
            imageType: data.imageType,
            medium: `${workspace.path}/${imageName}`,
            mediumBytes: image.size,
            directory: workspace.path,
            requested: data.requested,
          },
          { ...context, signal },
          virtualMachines,
          patience,
        ),
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
        ...(await pictures(trials, context)),
      ]);
    },
  });
}

/** The image is finished and may be good: that this worker cannot test it must not lose it. Undefined where trying again may help. */
function whyNothingWasTested(error: unknown, { attempt, signal }: StageContext): string | undefined {
  if (signal.aborted || !(error instanceof SpindleError)) return undefined;
  const isLast = error.code === 'TOOL_MISSING' || (['BOOT_TEST_BROKEN', 'DISK_FULL'].includes(error.code) && attempt >= limits.attemptsMax);
  return isLast ? `the image was not tested: ${error.message}` : undefined;
}

interface TrialOrder {
  readonly firmware: Firmware;
  readonly imageType: ImageType;
  readonly medium: string;
  readonly mediumBytes: number;
  readonly directory: string;
  readonly requested: readonly string[];
}

/** Starts the image; where that installs something by itself, starts what was installed, and judges that. */
async function tryFirmware(
  { firmware, imageType, medium, mediumBytes, directory, requested }: TrialOrder,
  context: StageContext,
  virtualMachines: VirtualMachines,
  patience: Readonly<Record<VirtualMachine['acceleration'], Patience>>,
): Promise<Trial> {
  const { log, phase } = context;
  const order = {
    name: firmware,
    firmware,
    directory,
    memoryMiB: memoryOf[imageType],
    ...(imageType === 'live' ? {} : { diskBytes: diskBytesFor(mediumBytes) }),
  };
  const endPhases = phase(`starting the image by ${firmware}`, firmware);
  const concluded = (runs: readonly Run[], judgement: Judgement, wasInstalled: boolean): Trial => {
    endPhases();
    const durationMs = runs.reduce((sum, run) => sum + run.durationMs, 0);
    const acceleration = runs[0]?.acceleration ?? 'unknown';
    log(stageName, `${firmware} (${acceleration}, ${(durationMs / 1000).toFixed(1)} s): ${judgement.verdict}: ${judgement.reason}`);
    const pictures = runs.flatMap((run) => run.pictures);
    return { ...judgement, firmware, wasInstalled, acceleration, durationMs, lines: runs.flatMap(({ lines }) => lines), pictures };
  };

  const first = await runMachine({ ...order, medium }, context, virtualMachines, patience);
  if (!installsItself(first.finding)) return concluded([first], judge(first.finding, requested, first.ending, first.timeoutMs, first.screenText), false);
  const trouble = judgeInstallation(first.finding, first.ending, first.timeoutMs);
  if (trouble) return concluded([first], trouble, false);
  log(
    stageName,
    `${firmware}: installed ${first.finding.installation?.packages || 'the'} packages in ${(first.durationMs / 1000).toFixed(1)} s; starting the disk`,
  );
  phase(`starting the installed disk by ${firmware}`, firmware);
  const second = await runMachine({ ...order, medium: undefined }, context, virtualMachines, patience);
  return concluded([first, second], judge(second.finding, requested, second.ending, second.timeoutMs, second.screenText), true);
}

async function runMachine(
  order: Omit<MachineRequest, 'arch' | 'deadlineMs' | 'signal' | 'onSerial'>,
  { clock, request, signal, log, phase }: StageContext,
  virtualMachines: VirtualMachines,
  patience: Readonly<Record<VirtualMachine['acceleration'], Patience>>,
): Promise<Run> {
  const { firmware } = order;
  const enough = new AbortController();
  let state: string | undefined;
  let changedAt = clock.now();
  let isInstalling = false;
  let isDone = false;
  const console = serialConsole((line) => log(`console ${firmware}`, line));
  const startedAt = clock.now();
  const machine = await virtualMachines.start({
    ...order,
    arch: request.arch,
    deadlineMs: Math.max(...Object.values(patience).flatMap(({ startMs, installMs }) => [startMs, installMs])) + 60_000,
    signal,
    onSerial: (chunk) => {
      changedAt = clock.now();
      console.push(chunk);
      const { finding } = console;
      if (isConclusive(finding)) return enough.abort();
      isInstalling = installsItself(finding);
      if (isInstalling) phase(`installing by ${firmware}`, firmware);
      if (finding.installation?.end?.outcome === 'done' && !isDone) {
        isDone = true;
        clock.after(turnOffMs, () => enough.abort());
      }
      const now = reached(finding);
      if (now === undefined || isInstalling || now.what + now.isSure === state) return;
      state = now.what + now.isSure;
      // What the machine says meanwhile may show that it goes on by itself.
      clock.after(now.isSure ? reportAfterStateMs : undecidedStateMs, () => {
        if (!installsItself(console.finding)) enough.abort();
      });
    },
  });
  const pictures = pictureSeries();
  /** Resolves when patience is at its end. Meanwhile it looks at the screen. */
  const giveUp = async (over: AbortSignal): Promise<{ readonly ending: Ending; readonly timeoutMs: number }> => {
    const { silentMs, startMs, installMs } = patience[machine.acceleration];
    for (;;) {
      const timeoutMs = isInstalling ? installMs : startMs;
      const now = clock.now();
      if (now - startedAt >= timeoutMs) return { ending: 'late', timeoutMs };
      if (now - changedAt >= silentMs) return { ending: 'silent', timeoutMs: silentMs };
      await clock.sleep(Math.min(lookMs, startedAt + timeoutMs - now, changedAt + silentMs - now), over);
      const picture = await machine.screenshot({ onlyChanged: true });
      if (picture === undefined || over.aborted) continue;
      changedAt = clock.now();
      pictures.add(picture);
    }
  };
  try {
    const over = new AbortController();
    const givingUp = giveUp(AbortSignal.any([over.signal, signal]));
    givingUp.catch(() => {});
    const conclusive = new Promise<'conclusive'>((resolve) => {
      if (enough.signal.aborted) resolve('conclusive');
      enough.signal.addEventListener('abort', () => resolve('conclusive'), { once: true });
    });
    const end = await Promise.race([conclusive, machine.ended.then(() => 'turned-off' as const), givingUp]).finally(() => over.abort());
    const { ending, timeoutMs } = typeof end === 'string' ? { ending: end, timeoutMs: clock.now() - startedAt } : end;
    const screenText = ending === 'silent' || ending === 'late' ? await machine.screenText() : undefined;
    const last = ending === 'turned-off' ? undefined : await machine.screenshot();
    if (last) pictures.addLast(last);
    await machine.stop();
    console.end();
    return {
      ...{ finding: console.finding, ending, timeoutMs, screenText, acceleration: machine.acceleration },
      ...{ durationMs: clock.now() - startedAt, lines: console.lines, pictures: pictures.all },
    };
  } finally {
    await machine.stop();
  }
}

/** Pictures of one machine, bounded in number and bytes. A last one takes the place of the newest where there is no room. */
function pictureSeries() {
  const all: Uint8Array[] = [];
  const bytes = () => all.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const add = (picture: Uint8Array) => {
    if (all.length < picturesMax && bytes() + picture.byteLength <= pictureBytesMax) all.push(picture);
  };
  return {
    all: all as readonly Uint8Array[],
    add,
    addLast: (picture: Uint8Array) => {
      const newest = all.at(-1);
      if (newest && Buffer.from(newest).equals(picture)) return;
      if (all.length >= picturesMax || bytes() + picture.byteLength > pictureBytesMax) all.pop();
      all.push(picture);
    },
  };
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
    .map(({ firmware, wasInstalled, acceleration, durationMs, verdict, reason, lines }) =>
      [
        `== ${firmware}, ${acceleration}, ${(durationMs / 1000).toFixed(1)} s: ${wasInstalled ? 'installed, then ' : ''}${verdict}: ${reason}`,
        ...lines,
        '',
      ].join('\n'),
    )
    .join('\n');
}

/** `boot-test.png`: the last screen of the machine that tells most, one that failed, else the first. The others are `boot-test-bios-1.png` and so on, oldest first. */
async function pictures(trials: readonly Trial[], { files }: StageContext): Promise<readonly Artifact[]> {
  const pictured = trials.filter(({ pictures }) => pictures.length > 0);
  const telling = pictured.find(({ verdict }) => verdict !== 'booted') ?? pictured[0];
  const named = pictured.flatMap((trial) =>
    trial.pictures.map((picture, index) => ({
      name: trial === telling && index === trial.pictures.length - 1 ? 'boot-test.png' : `boot-test-${trial.firmware}-${index + 1}.png`,
      picture,
    })),
  );
  return Promise.all(named.map(async ({ name, picture }) => ({ name, mediaType: 'image/png', ...(await storeContent(files, picture)) })));
}
