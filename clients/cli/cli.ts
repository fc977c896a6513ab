/** The commands of `spindle`: what is asked of the service and what is shown of its answer. */

import { Command, CommanderError, Option } from 'commander';
import { z } from 'zod';
import type { Clock } from '../../shared/clock/clock.ts';
import { megabytes } from '../../shared/log/byte-size.ts';
import { type Api, connectApi, isEnded, ShownBuild } from './api.ts';
import { downloadArtifacts } from './download.ts';
import { addMonitorCommands } from './monitor.ts';
import { endOf, exitStatus, RefusedError, UnreachableError, UsageError } from './outcome.ts';
import { readRequest, withChanges } from './request-file.ts';
import { type GivenOptions, outputs, readSettings, type Settings } from './settings.ts';
import { type CreateSideRepository, defaultCacheDirectory, requestOfFile, shownSideRepos } from './side-repo.ts';
import { elapsed, formatted, openTerminal, type Streams, type Terminal, table, took } from './terminal.ts';
import { ShownRpm, uploadRpm } from './upload.ts';
import { printLog, watchBuild } from './watch.ts';

/** A dry run asks other hosts: it may take its time. */
const resolveTimeoutMs = 150_000;
const listMax = 1000;

export interface CliHost extends Streams {
  readonly clock: Clock;
  readonly stdin: NodeJS.ReadableStream;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where this machine has what it takes. */
  readonly createSideRepository?: CreateSideRepository;
}

interface Session {
  readonly api: Api;
  readonly settings: Settings;
  readonly terminal: Terminal;
  readonly clock: Clock;
}

interface WaitOptions extends GivenOptions {
  readonly wait?: boolean;
  readonly follow?: boolean;
}

const Group = z.looseObject({ id: z.string(), items: z.array(ShownBuild) });
const Page = z.looseObject({ meta: z.looseObject({ nextCursor: z.string().nullable() }), items: z.array(ShownBuild) });
const ResolvedItems = z.looseObject({
  items: z.array(
    z.looseObject({
      arch: z.string(),
      imageType: z.string(),
      resolution: z.looseObject({
        packages: z.array(z.looseObject({ nevra: z.string(), from: z.string(), repository: z.string(), because: z.string() })),
        warnings: z.array(z.string()).default([]),
        downloadBytes: z.number(),
        installedBytes: z.number(),
      }),
    }),
  ),
});

const FoundPackages = z.looseObject({
  items: z.array(z.looseObject({ name: z.string(), evr: z.string(), arch: z.string(), repository: z.string(), summary: z.string() })),
});

const RpmList = z.looseObject({
  meta: z.looseObject({ count: z.number(), bytes: z.number(), countMax: z.number(), bytesMax: z.number() }),
  items: z.array(ShownRpm),
});

const ShownWorker = z.looseObject({
  id: z.string(),
  host: z.string(),
  arch: z.string(),
  state: z.string(),
  draining: z.boolean(),
  slots: z.number(),
  freeBytes: z.number().nullable(),
  engines: z.array(z.looseObject({ name: z.string(), state: z.string(), version: z.string().nullable(), missing: z.array(z.string()) })),
  builds: z.array(z.looseObject({ buildId: z.string(), what: z.string().nullable(), since: z.string() })),
});
const WorkerList = z.looseObject({ items: z.array(ShownWorker) });

/** Runs one command line (without the program's name) and resolves with the exit status. */
export async function runCli(args: readonly string[], host: CliHost): Promise<number> {
  const terminal = openTerminal(host);
  let status = 0;
  const program = commands(host, terminal, (code) => {
    status = code;
  });
  try {
    await program.parseAsync([...args], { from: 'user' });
    return status;
  } catch (error) {
    terminal.live('');
    // Commander has printed its message already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitStatus.usage;
    const end = endOf(error);
    if (!end) throw error;
    for (const [index, line] of end.lines.entries()) terminal.note(index === 0 ? `spindle: ${line}` : line);
    return end.status;
  }
}

function commands(host: CliHost, terminal: Terminal, exitWith: (code: number) => void): Command {
  const { clock } = host;
  const program = new Command('spindle').description('Ask a Spindle service for images').helpCommand(false);
  const setUp = (command: Command): Command =>
    command
      .exitOverride()
      .configureOutput({ writeOut: host.stdout, writeErr: host.stderr, getOutHelpWidth: () => host.columns ?? 80, getErrHelpWidth: () => host.columns ?? 80 })
      .showHelpAfterError('(--help shows what is possible)');
  const leaf = (parent: Command, usage: string, description: string): Command =>
    setUp(parent.command(usage))
      .description(description)
      .option('--url <url>', 'address of the service (SPINDLE_URL; http://127.0.0.1:8080)')
      .option('--token <token>', 'access token (SPINDLE_TOKEN)')
      .addOption(new Option('--output <format>', 'how the result is written').choices(outputs).default('table'));
  const session = (options: GivenOptions): Session => {
    const settings = readSettings(options, host.environment);
    return { settings, terminal, clock, api: connectApi(settings, clock) };
  };
  const withWaiting = (command: Command): Command =>
    command.option('--wait', 'wait for the end; exit status 1 where the build or its boot test fails').option('--follow', 'as --wait, and show the log');
  const withFile = (command: Command): Command =>
    command
      .requiredOption('-f, --file <file>', 'the build request, YAML or JSON; - is standard input')
      .option(
        '--set <key=value>',
        'change a key of the request, such as sources.updates=false; may be given again',
        (value: string, earlier: string[]) => [...earlier, value],
        [],
      );

  setUp(program);
  const build = setUp(program.command('build')).description('Builds: submit, list, show, log, cancel, retry, download').helpCommand(false);

  withWaiting(withFile(leaf(build, 'submit', 'Ask for an image, or for one of each architecture and type named'))).action(
    async (options: WaitOptions & { file: string; set: string[] }) => {
      const opened = session(options);
      const request = await readRequest(options.file, options.set, host.stdin);
      exitWith(await submitted(opened, '/builds', request, options));
    },
  );

  leaf(build, 'list', 'Builds, the newest first')
    .option('--state <state>', 'only those in this state')
    .option('--release <release>', 'only those of this release')
    .option('--owner <owner>', 'only those of this owner')
    .option('--limit <count>', 'at most so many', '50')
    .action(async (options: GivenOptions & { state?: string; release?: string; owner?: string; limit: string }) => {
      const opened = session(options);
      const builds = await listedBuilds(opened.api, options);
      print(opened, builds, () => table([['ID', 'STATE', 'RELEASE', 'ARCH', 'TYPE', 'LABEL', 'CREATED'], ...builds.map(listRow)]));
    });

  leaf(build, 'show <id>', 'One build').action(async (id: string, options: GivenOptions) => {
    const opened = session(options);
    const shown = await opened.api.json(ShownBuild, buildPath(id));
    print(opened, shown, () => shownBuild(shown, clock.now()));
  });

  leaf(build, 'log <id>', "A build's log")
    .option('--follow', 'go on until the build has ended')
    .action(async (id: string, options: GivenOptions & { follow?: boolean }) => {
      const { api } = session(options);
      // A follower is patient with a service that is away; a first request finds out at once whether there is one.
      await api.json(ShownBuild, buildPath(id));
      await printLog(api, id, options.follow ?? false, (line) => terminal.line(line));
    });

  leaf(build, 'cancel <id>', 'End a build').action(async (id: string, options: GivenOptions) => {
    const opened = session(options);
    const canceled = await opened.api.json(ShownBuild, `${buildPath(id)}/cancel`, { method: 'POST' });
    print(opened, canceled, () => (isEnded(canceled.state) ? `build ${id} is canceled` : `build ${id} is asked to end; it is still ${canceled.state}`));
  });

  withWaiting(leaf(build, 'retry <id>', 'Build again what has ended'))
    .option('--same', 'with exactly the same packages')
    .action(async (id: string, options: WaitOptions & { same?: boolean }) => {
      exitWith(await submitted(session(options), `${buildPath(id)}/retry`, { same: options.same ?? false }, options));
    });

  leaf(build, 'download <id> [names...]', 'The files of a build, checked; all of them, or those named')
    .option('-o, --directory <directory>', 'where to', '.')
    .action(async (id: string, names: string[], options: GivenOptions & { directory: string }) => {
      const opened = session(options);
      const shown = await opened.api.json(ShownBuild, buildPath(id));
      const onFile = (name: string, size: number) => terminal.note(`downloading ${name}, ${size} bytes`);
      const paths = await downloadArtifacts(opened.api, clock, shown, { directory: options.directory, names, onFile });
      print(opened, { files: paths }, () => paths.join('\n') || 'the build has no files');
    });

  withFile(leaf(program, 'resolve', 'A dry run: what the image would hold, and where from'))
    .option('--all', 'show every package, not only those of the side repository')
    .action(async (options: GivenOptions & { file: string; set: string[]; all?: boolean }) => {
      const opened = session(options);
      const body = await readRequest(options.file, options.set, host.stdin);
      const resolved = await opened.api.json(ResolvedItems, '/resolve', { method: 'POST', body, timeoutMs: resolveTimeoutMs });
      print(opened, resolved, () => resolved.items.map((item) => shownResolution(item, options.all ?? false)).join('\n\n'));
    });

  const sideRepo = setUp(program.command('side-repo')).description('Side repositories: create').helpCommand(false);
  setUp(sideRepo.command('create'))
    .description('Make the side repository of a request or a package list: no image, no service')
    .requiredOption('-f, --file <file>', 'a build request, or a list of packages, Koji builds, advisories, task:ID, tag:NAME; - is standard input')
    .requiredOption('-o, --directory <directory>', 'where to: a directory that is not there yet, or is empty')
    .option('--release <release>', 'the release, for a list')
    .option('--arch <arch>', 'the architecture, x86_64 where left out')
    .option(
      '--set <key=value>',
      'change a key of the request, such as sources.updates=false; may be given again',
      (value: string, earlier: string[]) => [...earlier, value],
      [],
    )
    .option('--cache <directory>', 'what is kept for the next time (XDG_CACHE_HOME/spindle)')
    .addOption(new Option('--output <format>', 'how the result is written').choices(outputs).default('table'))
    .action(async (options: SideRepoOptions) => {
      exitWith(await createdSideRepo(host, terminal, options));
    });

  leaf(program, 'packages <query...>', 'Packages of a release whose name or summary holds these words')
    .requiredOption('--release <release>', 'the release to look in')
    .option('--arch <arch>', 'the architecture, x86_64 where left out')
    .option('--limit <count>', 'at most so many', '20')
    .action(async (words: string[], options: GivenOptions & { release: string; arch?: string; limit: string }) => {
      const opened = session(options);
      const query = new URLSearchParams({ release: options.release, q: words.join(' '), limit: options.limit });
      if (options.arch !== undefined) query.set('arch', options.arch);
      const found = await opened.api.json(FoundPackages, `/packages?${query}`, { timeoutMs: resolveTimeoutMs });
      print(opened, found, () =>
        found.items.length === 0
          ? 'nothing found'
          : table([
              ['PACKAGE', 'VERSION', 'ARCH', 'REPOSITORY', 'SUMMARY'],
              ...found.items.map(({ name, evr, arch, repository, summary }) => [name, evr, arch, repository, summary]),
            ]),
      );
    });

  const rpms = setUp(program.command('rpms')).description('RPMs of your own, for sources.rpms of a request: upload, list, delete').helpCommand(false);

  leaf(rpms, 'upload <files...>', 'Send RPMs; prints the id of each').action(async (files: string[], options: GivenOptions) => {
    const opened = session(options);
    const items: ShownRpm[] = [];
    try {
      for (const file of files) {
        const uploaded = await uploadRpm(opened.api, file, (name, sent, size) => terminal.live(`${name}: ${sent} of ${size} bytes`)).finally(() =>
          terminal.live(''),
        );
        items.push(uploaded);
        if (opened.settings.output === 'table') terminal.line(`${uploaded.id}  ${uploaded.nevra}`);
      }
    } finally {
      // What was taken before one was refused is there, and its id is wanted.
      if (opened.settings.output !== 'table' && items.length > 0) print(opened, { items }, () => '');
    }
  });

  leaf(rpms, 'list', 'Uploaded RPMs, the newest first, and how much room is left').action(async (options: GivenOptions) => {
    const opened = session(options);
    const found = await opened.api.json(RpmList, '/rpms');
    print(opened, found, () => {
      const { count, countMax, bytes, bytesMax } = found.meta;
      const rows = found.items.map(({ id, nevra, size, expiresAt }) => [id, nevra, String(size), expiresAt.replace(/\.\d+Z$/, 'Z')]);
      return `${table([['ID', 'PACKAGE', 'BYTES', 'EXPIRES'], ...rows])}\n${count} of ${countMax} RPMs, ${bytes} of ${bytesMax} bytes`;
    });
  });

  leaf(rpms, 'delete <id>', 'Delete an uploaded RPM').action(async (id: string, options: GivenOptions) => {
    const opened = session(options);
    await opened.api.json(z.undefined(), `/rpms/${encodeURIComponent(id)}`, { method: 'DELETE' });
    print(opened, { id, deleted: true }, () => `the RPM ${id} is deleted`);
  });

  addMonitorCommands(
    {
      program,
      group: (usage, description) => setUp(program.command(usage)).description(description).helpCommand(false),
      leaf,
      open: (options) => {
        const opened = session(options);
        return {
          api: opened.api,
          isTable: opened.settings.output === 'table',
          line: (text) => terminal.line(text),
          note: (text) => terminal.note(text),
          print: (value, asTable) => print(opened, value, asTable),
        };
      },
    },
    clock,
  );

  const workers = setUp(program.command('workers')).description('Build nodes: list, drain').helpCommand(false);

  leaf(workers, 'list', 'Build nodes: what each can make, and what it does').action(async (options: GivenOptions) => {
    const opened = session(options);
    const listed = await opened.api.json(WorkerList, '/workers');
    print(opened, listed, () => shownWorkers(listed.items, clock.now()));
  });

  leaf(workers, 'drain <id>', 'Let a build node finish what it has and take nothing new')
    .option('--undo', 'let it take builds again')
    .action(async (id: string, options: GivenOptions & { undo?: boolean }) => {
      const opened = session(options);
      const body = { drain: !(options.undo ?? false) };
      const worker = await opened.api.json(ShownWorker, `/workers/${encodeURIComponent(id)}/drain`, { method: 'POST', body });
      print(opened, worker, () => {
        if (!worker.draining) return `worker ${id} takes builds`;
        const { length } = worker.builds;
        return `worker ${id} takes nothing new; ${length === 0 ? 'nothing runs on it' : `${length} ${length === 1 ? 'build runs' : 'builds run'} on it to the end`}`;
      });
    });
  return program;
}

interface SideRepoOptions extends GivenOptions {
  readonly file: string;
  readonly directory: string;
  readonly set: string[];
  readonly release?: string;
  readonly arch?: string;
  readonly cache?: string;
}

/** Resolves with the exit status. */
async function createdSideRepo(host: CliHost, terminal: Terminal, options: SideRepoOptions): Promise<number> {
  const { output } = readSettings({ ...(options.output === undefined ? {} : { output: options.output }) }, {});
  if (!host.createSideRepository) throw new UsageError('this installation of the client cannot make repositories itself; use it on a machine with the service');
  const request = withChanges(requestOfFile(await readRequest(options.file, [], host.stdin), options), options.set);
  const made = await host.createSideRepository({
    request,
    directory: options.directory,
    cacheDirectory: options.cache ?? defaultCacheDirectory(host.environment),
    environment: host.environment,
    onLine: (line) => terminal.note(line),
  });
  switch (made.outcome) {
    case 'made':
      terminal.line(formatted(output, { items: made.repositories }, () => shownSideRepos(made.repositories)));
      return 0;
    case 'refused':
      throw new RefusedError(422, made.code, made.message, made.errors);
    case 'unusable':
      throw new UsageError(made.message);
    case 'failed':
      for (const [index, line] of [`${made.message} (${made.code})`, ...made.details.map((detail) => `  ${detail}`)].entries())
        terminal.note(index === 0 ? `spindle: ${line}` : line);
      return exitStatus.buildFailed;
  }
}

const buildPath = (id: string) => `/builds/${encodeURIComponent(id)}`;

function print({ terminal, settings }: Session, value: unknown, asTable: () => string): void {
  terminal.line(formatted(settings.output, value, asTable));
}

/** Posts, then waits where that was asked for. Resolves with the exit status. */
async function submitted(opened: Session, path: string, body: unknown, options: WaitOptions): Promise<number> {
  const { api, clock, terminal, settings } = opened;
  // With the key, sending again after a broken connection cannot make a second build.
  const headers = { 'idempotency-key': clock.id() };
  const send = () => api.json(z.union([Group, ShownBuild]), path, { method: 'POST', body, headers });
  const answer = await send().catch(async (error: unknown) => {
    if (!(error instanceof UnreachableError)) throw error;
    await clock.sleep(300);
    return send();
  });
  const builds = 'items' in answer ? (answer.items as ShownBuild[]) : [ShownBuild.parse(answer)];
  for (const warning of new Set(builds.flatMap(({ warnings = [] }) => warnings))) terminal.note(`warning: ${warning}`);
  if (!options.wait && !options.follow) {
    print(opened, answer, () => builds.map(({ id }) => id).join('\n'));
    return 0;
  }
  for (const { id } of builds) terminal.note(`build ${id}`);
  const onLogLine = (line: string) => (settings.output === 'table' ? terminal.line(line) : terminal.note(line));
  const ended = await Promise.all(
    builds.map((build) => {
      const label = builds.length === 1 ? '' : `${build.request.arch} ${build.request.imageType}`;
      return watchBuild(api, clock, terminal, build.id, { label, isLogShown: options.follow ?? false, onLogLine });
    }),
  );
  print(opened, ended.length === 1 ? ended[0] : { items: ended }, () => ended.map((build) => shownEnd(build)).join('\n'));
  return ended.every(isGood) ? 0 : exitStatus.buildFailed;
}

function isGood({ state, verdict }: ShownBuild): boolean {
  return state !== 'failed' && state !== 'canceled' && verdict !== 'failed';
}

async function listedBuilds(
  api: Api,
  options: { readonly state?: string; readonly release?: string; readonly owner?: string; readonly limit: string },
): Promise<readonly ShownBuild[]> {
  const limit = Number(options.limit);
  if (!/^\d+$/.test(options.limit) || limit < 1 || limit > listMax) throw new UsageError(`--limit is a whole number from 1 to ${listMax}`);
  const builds: ShownBuild[] = [];
  let cursor: string | null = '';
  while (cursor !== null && builds.length < limit) {
    const query = new URLSearchParams({ limit: String(Math.min(200, limit - builds.length)) });
    for (const name of ['state', 'release', 'owner'] as const) if (options[name] !== undefined) query.set(name, options[name]);
    if (cursor !== '') query.set('cursor', cursor);
    const page: z.infer<typeof Page> = await api.json(Page, `/builds?${query}`);
    builds.push(...page.items);
    cursor = page.meta.nextCursor;
  }
  return builds.slice(0, limit);
}

function listRow({ id, state, request, createdAt }: ShownBuild): readonly string[] {
  return [id, state, request.release, request.arch, request.imageType, request.label, createdAt.replace(/\.\d+Z$/, 'Z')];
}

function shownBuild(build: ShownBuild, now: number): string {
  const { request, stage } = build;
  const until = build.endedAt ? Date.parse(build.endedAt) : now;
  const place = build.queue ? `, place ${build.queue.place}` : '';
  const rows: readonly (readonly [string, string])[] = [
    ['id', build.id],
    ['state', `${build.state}${place}`],
    ...(stage
      ? [['stage', `${stage.name}, ${stage.startedAt ? `running on ${stage.worker ?? 'some worker'}` : 'waiting'}, attempt ${stage.attempt}`] as const]
      : []),
    ...(stage?.problem ? [['waits', `${stage.problem.code}: ${stage.problem.message}`] as const] : []),
    ['image', `${request.imageType} of ${request.release} for ${request.arch}, label ${request.label}`],
    ['created', build.createdAt],
    ['elapsed', elapsed(until - Date.parse(build.createdAt))],
    ...(build.verdict ? [['boot test', `${build.verdict}${build.verdictReason ? `: ${build.verdictReason}` : ''}`] as const] : []),
    ...(build.failure ? [['failure', shownFailure(build.failure)] as const] : []),
    ...(build.failure?.details ?? []).map((line) => ['', line] as const),
    ...build.artifacts.map(({ name, size }) => ['artifact', `${name}, ${size} bytes`] as const),
  ];
  const timeline = build.timeline.map(({ at, state, message }) => `  ${at}  ${state}${message === undefined ? '' : `: ${message}`}`);
  const runs = shownRuns(build, now);
  return [table(rows), 'timeline', ...timeline, ...(runs === '' ? [] : ['stages', ...runs.split('\n').map((line) => `  ${line}`)])].join('\n');
}

function shownFailure({ code, stage, phase, message }: NonNullable<ShownBuild['failure']>): string {
  return `${code} in ${stage}${phase === undefined ? '' : ` (${phase})`}: ${message}`;
}

/** A line for each run of a stage, and one for each of its phases; empty where there was none. */
function shownRuns({ runs = [], endedAt }: ShownBuild, now: number): string {
  if (runs.length === 0) return '';
  const time = (startedAt: string, durationMs: number | null | undefined, isOver: boolean) =>
    durationMs === null || durationMs === undefined ? (isOver ? 'not known' : `${took(now - Date.parse(startedAt))} so far`) : took(durationMs);
  const rows = runs.flatMap(({ stage, attempt, startedAt, durationMs, outcome, phases }) => {
    const isOver = Boolean(outcome) || Boolean(endedAt);
    return [
      [`${stage}${attempt > 1 ? `, attempt ${attempt}` : ''}`, startedAt, time(startedAt, durationMs, isOver), outcome ?? ''],
      ...phases.map((phase) => [`  ${phase.name}`, phase.startedAt, time(phase.startedAt, phase.durationMs, isOver), '']),
    ];
  });
  return table([['STAGE', 'BEGAN', 'TOOK', 'OUTCOME'], ...rows]);
}

function shownEnd(build: ShownBuild): string {
  const { failure, verdict, verdictReason } = build;
  const lines = [`build ${build.id} is ${build.state}${verdict ? `; boot test: ${verdict}` : ''}`];
  if (failure) lines.push(`  ${shownFailure(failure)}`, ...(failure.details ?? []).map((line) => `  ${line}`));
  if (verdict && verdict !== 'booted' && verdictReason) lines.push(`  ${verdictReason}`);
  for (const { name, size } of build.artifacts) lines.push(`  ${name}, ${size} bytes`);
  return lines.join('\n');
}

function shownResolution({ arch, imageType, resolution }: z.infer<typeof ResolvedItems>['items'][number], isAllShown: boolean): string {
  const { packages, downloadBytes, installedBytes, warnings } = resolution;
  const side = packages.filter(({ from }) => from === 'side');
  const shown = isAllShown ? [...side, ...packages.filter(({ from }) => from !== 'side')] : side;
  const rest = packages.length - shown.length;
  return [
    `${imageType} for ${arch}: ${packages.length} packages, ${side.length} of them from the side repository; ${megabytes(downloadBytes)} to download, ${megabytes(installedBytes)} once installed`,
    ...warnings.map((warning) => `warning: ${warning}`),
    ...(shown.length > 0
      ? [table([['PACKAGE', 'FROM', 'REPOSITORY', 'BECAUSE'], ...shown.map(({ nevra, from, repository, because }) => [nevra, from, repository, because])])]
      : []),
    ...(rest > 0 ? [`and ${rest} packages that the stable repositories have (--all shows them)`] : []),
  ].join('\n');
}

function shownWorkers(workers: readonly z.infer<typeof ShownWorker>[], now: number): string {
  if (workers.length === 0) return 'there are no build nodes';
  const rows = workers.map(({ id, host, arch, state, slots, freeBytes, engines, builds }) => [
    id,
    host,
    arch,
    engines.flatMap(({ name, state, version }) => (state === 'present' ? [version === null ? name : `${name} ${version}`] : [])).join(', ') || 'none',
    `${builds.length} of ${slots}`,
    freeBytes === null ? 'unknown' : `${(freeBytes / 1e9).toFixed(1)} GB`,
    builds.map(({ buildId, what, since }) => `${buildId} ${what ?? 'starting'} ${elapsed(now - Date.parse(since))}`).join('; ') || '-',
    state,
  ]);
  const absent = workers.flatMap(({ id, engines }) =>
    engines.filter(({ state }) => state === 'absent').map(({ name, missing }) => `${id} has no ${name}: it lacks ${missing.join(', ')}`),
  );
  return [table([['ID', 'HOST', 'ARCH', 'ENGINES', 'SLOTS', 'FREE', 'DOING', 'STATE'], ...rows]), ...absent].join('\n');
}
