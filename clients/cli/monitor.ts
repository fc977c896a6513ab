/** The operator's commands: how the queues stand, and what becomes of dead letters. */
import type { Command } from 'commander';
import { z } from 'zod';
import type { Clock } from '../../shared/clock/clock.ts';
import type { Api } from './api.ts';
import { UsageError } from './outcome.ts';
import type { GivenOptions } from './settings.ts';
import { elapsed, table } from './terminal.ts';

const listMax = 2000;
const pageMax = 200;

const ShownQueue = z.looseObject({
  name: z.string(),
  stage: z.string().nullable(),
  depth: z.number().nullable(),
  inHand: z.number().nullable(),
  oldestAgeSeconds: z.number().nullable(),
  publishRate: z.number().nullable(),
  ackRate: z.number().nullable(),
  consumers: z.number().nullable(),
});
const QueueList = z.looseObject({ meta: z.looseObject({ problem: z.string().nullable() }), items: z.array(ShownQueue) });

const ShownLetter = z.looseObject({
  id: z.string(),
  at: z.string(),
  stage: z.string(),
  queue: z.string(),
  routingKey: z.string(),
  code: z.string(),
  reason: z.string(),
  buildId: z.string().nullable(),
  attempts: z.number(),
  bodyLength: z.number(),
});
type ShownLetter = z.infer<typeof ShownLetter>;
const LetterPage = z.looseObject({ meta: z.looseObject({ nextCursor: z.string().nullable() }), items: z.array(ShownLetter) });
const WholeLetter = ShownLetter.extend({ body: z.string() });
const Requeued = z.looseObject({ id: z.string(), outcome: z.string(), buildId: z.string().nullable() });

/** What the commands are built with: all of them alike. */
export interface CommandTools {
  readonly program: Command;
  /** A group of commands. */
  readonly group: (usage: string, description: string) => Command;
  readonly leaf: (parent: Command, usage: string, description: string) => Command;
  readonly open: (options: GivenOptions) => {
    readonly api: Api;
    readonly isTable: boolean;
    /** A line of the result. */
    line(text: string): void;
    note(text: string): void;
    print(value: unknown, asTable: () => string): void;
  };
}

export function addMonitorCommands({ program, group, leaf, open }: CommandTools, clock: Clock): void {
  leaf(program, 'queues', 'What waits for which stage, since when, and who reads it')
    .option('--all', 'show queues too that are empty and that nobody reads')
    .action(async (options: GivenOptions & { all?: boolean }) => {
      const { api, print, note } = open(options);
      const listed = await api.json(QueueList, '/queues');
      if (listed.meta.problem !== null) note(`warning: ${listed.meta.problem}`);
      print(listed, () => shownQueues(listed.items, options.all ?? false));
    });

  const letters = group('dead-letters', 'Messages that were given up: list, show, requeue, drop');

  leaf(letters, 'list', 'Dead letters, the oldest first')
    .option('--limit <count>', 'at most so many', '50')
    .action(async (options: GivenOptions & { limit: string }) => {
      const { api, print } = open(options);
      const found = await listedLetters(api, options.limit);
      print(found, () => shownLetters(found, clock.now()));
    });

  leaf(letters, 'show <id>', 'One dead letter, with the message').action(async (id: string, options: GivenOptions) => {
    const { api, print } = open(options);
    const letter = await api.json(WholeLetter, letterPath(id));
    print(letter, () => shownLetter(letter));
  });

  const eachOf = async <T>(ids: readonly string[], options: GivenOptions, act: (api: Api, id: string) => Promise<T>, shown: (done: T) => string) => {
    const { api, isTable, line, print } = open(options);
    const items: T[] = [];
    try {
      for (const id of ids) {
        const done = await act(api, id);
        items.push(done);
        if (isTable) line(shown(done));
      }
    } finally {
      // What was done before one was refused is done, and wants to be known.
      if (!isTable && items.length > 0) print({ items }, () => '');
    }
  };

  leaf(letters, 'requeue <ids...>', 'Try again: a build that failed is retried from the stage that gave it up, any other message is published again').action(
    (ids: string[], options: GivenOptions) =>
      eachOf(
        ids,
        options,
        (api, id) => api.json(Requeued, `${letterPath(id)}/requeue`, { method: 'POST' }),
        ({ id, buildId }) => (buildId === null ? `${id} is published again` : `${id} is retried as build ${buildId}`),
      ),
  );

  leaf(letters, 'drop <ids...>', 'Forget dead letters').action((ids: string[], options: GivenOptions) =>
    eachOf(
      ids,
      options,
      async (api, id) => {
        await api.json(z.undefined(), letterPath(id), { method: 'DELETE' });
        return { id, dropped: true };
      },
      ({ id }) => `${id} is dropped`,
    ),
  );
}

const letterPath = (id: string) => `/dead-letters/${encodeURIComponent(id)}`;

async function listedLetters(api: Api, limitText: string): Promise<readonly ShownLetter[]> {
  const limit = Number(limitText);
  if (!/^\d+$/.test(limitText) || limit < 1 || limit > listMax) throw new UsageError(`--limit is a whole number from 1 to ${listMax}`);
  const found: ShownLetter[] = [];
  let cursor: string | null = '';
  while (cursor !== null && found.length < limit) {
    const query = new URLSearchParams({ limit: String(Math.min(pageMax, limit - found.length)), ...(cursor === '' ? {} : { cursor }) });
    const page: z.infer<typeof LetterPage> = await api.json(LetterPage, `/dead-letters?${query}`);
    found.push(...page.items);
    cursor = page.meta.nextCursor;
  }
  return found;
}

const known = (value: number | null) => (value === null ? '-' : String(value));

function shownQueues(queues: readonly z.infer<typeof ShownQueue>[], isAllShown: boolean): string {
  const isIdle = ({ depth, inHand, consumers }: (typeof queues)[number]) => (depth ?? 0) + (inHand ?? 0) + (consumers ?? 0) === 0;
  const shown = queues.filter((queue, place) => isAllShown || place === 0 || queue.stage === null || !isIdle(queue));
  const rest = queues.length - shown.length;
  const rows = shown.map(({ name, depth, inHand, oldestAgeSeconds, publishRate, ackRate, consumers }) => [
    name,
    known(depth),
    known(inHand),
    oldestAgeSeconds === null ? '-' : elapsed(oldestAgeSeconds * 1000),
    known(publishRate),
    known(ackRate),
    known(consumers),
  ]);
  return [
    table([['QUEUE', 'WAITING', 'IN HAND', 'OLDEST', 'IN/S', 'OUT/S', 'READERS'], ...rows]),
    ...(rest > 0 ? [`and ${rest} queues that are empty and that nobody reads (--all shows them)`] : []),
  ].join('\n');
}

function shownLetters(letters: readonly ShownLetter[], now: number): string {
  if (letters.length === 0) return 'there are no dead letters';
  const age = (at: string) => (Number.isNaN(Date.parse(at)) ? '-' : elapsed(now - Date.parse(at)));
  const short = (text: string) => (text.length > 80 ? `${text.slice(0, 79)}…` : text);
  const rows = letters.map(({ id, at, stage, code, attempts, buildId, reason }) => [id, age(at), stage, code, String(attempts), buildId ?? '-', short(reason)]);
  return table([['ID', 'AGE', 'STAGE', 'CODE', 'TRIES', 'BUILD', 'REASON'], ...rows]);
}

function shownLetter({ id, at, stage, queue, routingKey, code, reason, buildId, attempts, body, bodyLength }: z.infer<typeof WholeLetter>): string {
  const rows: readonly (readonly [string, string])[] = [
    ['id', id],
    ['given up', `${at}, by ${stage}, after ${attempts} ${attempts === 1 ? 'try' : 'tries'}`],
    ['queue', `${queue}, routing key ${routingKey}`],
    ['reason', `${code}: ${reason}`],
    ...(buildId === null ? [] : [['build', buildId] as const]),
  ];
  const rest = bodyLength > body.length ? [`… and ${bodyLength - body.length} more characters`] : [];
  return [table(rows), 'message', body, ...rest].join('\n');
}
