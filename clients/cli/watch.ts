/** Waits for builds: shows each stage and how long it takes, the log where that is wanted, and how each build ended. */
import { z } from 'zod';
import type { Clock } from '../../shared/clock/clock.ts';
import { type Api, ShownBuild } from './api.ts';
import { UnreachableError } from './outcome.ts';
import { elapsed, type Terminal } from './terminal.ts';

const StageData = z.looseObject({
  state: z.string(),
  name: z.string().optional(),
  startedAt: z.string().nullish(),
  worker: z.string().nullish(),
  attempt: z.number().optional(),
});
const StateData = z.looseObject({ state: z.string(), message: z.string().optional() });
const ProgressData = z.looseObject({ phase: z.string().nullish(), done: z.number(), total: z.number(), what: z.string() });

/** On a terminal the live line moves every second; elsewhere a line says twice a minute that it still goes on. */
const liveEveryMs = 1000;
const plainEveryMs = 30_000;

export interface WatchOptions {
  readonly isLogShown: boolean;
  /** Where log lines go: the result, or beside it. */
  readonly onLogLine: (line: string) => void;
  /** Before every line, where several builds are watched. */
  readonly label: string;
}

/** Resolves with the build as it ended. */
export async function watchBuild(api: Api, clock: Clock, terminal: Terminal, buildId: string, options: WatchOptions): Promise<ShownBuild> {
  const beganAt = clock.now();
  const prefix = options.label === '' ? '' : `${options.label}: `;
  let stage: z.infer<typeof StageData> = { state: 'queued' };
  let stageSince = beganAt;
  let progress = '';
  const ended = new AbortController();

  const status = () => {
    const waits = stage.name !== undefined && !stage.startedAt ? ', waiting' : '';
    const again = (stage.attempt ?? 1) > 1 ? `, attempt ${stage.attempt}` : '';
    return `${prefix}${stage.state}${waits}${again} ${elapsed(clock.now() - stageSince)}${progress === '' ? '' : `, ${progress}`} (${elapsed(clock.now() - beganAt)} in all)`;
  };
  const isLive = terminal.isLive && options.label === '';
  const ticking = (async () => {
    while (!ended.signal.aborted) {
      await clock.sleep(isLive ? liveEveryMs : plainEveryMs, ended.signal).catch(() => {});
      if (ended.signal.aborted) return;
      if (isLive) terminal.live(status());
      else terminal.note(status());
    }
  })();

  try {
    const [build] = await Promise.all([
      (async () => {
        for await (const { event, data } of api.events(buildId, ended.signal)) {
          if (event === 'state') {
            const { state, message } = StateData.parse(data);
            terminal.note(`${prefix}${state}${message === undefined ? '' : `: ${message}`}`);
            if (state !== stage.state) stageSince = clock.now();
            stage = { ...stage, state };
            progress = '';
          } else if (event === 'stage') {
            const next = StageData.parse(data);
            if (next.startedAt && !stage.startedAt) stageSince = clock.now();
            stage = next;
          } else if (event === 'progress') {
            const { phase, done, total, what } = ProgressData.parse(data);
            const inPhase = phase && phase !== what ? `${phase}: ` : '';
            progress = `${inPhase}${total > 0 ? `${done} of ${total} ` : ''}${what}`;
          } else if (event === 'end') {
            return ShownBuild.parse(data);
          }
          if (isLive) terminal.live(status());
        }
        throw new UnreachableError('the events of the build ended before the build did');
      })(),
      options.isLogShown ? printLog(api, buildId, true, (line) => options.onLogLine(`${prefix}${line}`), ended.signal) : undefined,
    ]);
    return build;
  } finally {
    ended.abort();
    await ticking;
    terminal.live('');
  }
}

/** The log line by line; a last line without an end is a line too. */
export async function printLog(api: Api, buildId: string, isFollowed: boolean, onLine: (line: string) => void, signal?: AbortSignal): Promise<void> {
  const decoder = new TextDecoder();
  let held = '';
  for await (const chunk of api.log(buildId, isFollowed, signal)) {
    const lines = (held + decoder.decode(chunk, { stream: true })).split('\n');
    held = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  }
  if (held !== '') onLine(held);
}
