/** What a kickstart asks of a build: packages, repositories, language; and everything in it that no build takes. Pure. */
import { SingleBuildRequest } from '../build/request.ts';
import {
  includeOf,
  isInclude,
  type Kickstart,
  type KickstartCommand,
  type KickstartLine,
  type KickstartProblem,
  type KickstartSection,
  kickstartLines,
  optionNames,
  optionValue,
  readKickstart,
} from './kickstart.ts';
import { type PackagesSection, readPackages } from './packages-section.ts';
import { secretProblem } from './secrets.ts';

interface RepoLine {
  readonly name: string;
  /** As written: `$releasever` and `$basearch` may stand in it. */
  readonly baseurl: string;
}

/** A kickstart in which nothing is wrong by itself. */
export interface KickstartContent {
  readonly kickstart: Kickstart;
  readonly packages: PackagesSection;
  readonly repositories: readonly RepoLine[];
  /** In the request's words; absent where the kickstart does not say. */
  readonly locale?: string;
  readonly keyboard?: string;
  readonly timezone?: string;
  /** Sections that run on the machine that builds, or on the one that is installed. */
  readonly code: readonly KickstartSection[];
}

const codeSections: ReadonlySet<string> = new Set(['%pre', '%pre-install', '%post', '%onerror', '%traceback', '%addon']);

/** Of a text without includes, or with some that are passed over: those are only known once they are fetched. */
export function readText(text: string): { readonly content: KickstartContent; readonly problems: readonly KickstartProblem[] } {
  const { lines, problems } = kickstartLines(text);
  if (problems.length > 0) return { content: emptyContent, problems };
  const includes = lines.map((line) => includeOf(line)).filter((found) => found !== undefined);
  const read = readContent(lines);
  return { ...read, problems: [...includes.flatMap((found) => (isInclude(found) ? [] : [found])), ...read.problems] };
}

/** Of flattened lines. */
export function readContent(lines: readonly KickstartLine[]): { readonly content: KickstartContent; readonly problems: readonly KickstartProblem[] } {
  const { kickstart, problems } = readKickstart(lines);
  const packages = readPackages(kickstart.sections);
  const settings = { locale: localeOf(kickstart), keyboard: keyboardOf(kickstart), timezone: timezoneOf(kickstart) };
  const found = kickstart.commands.flatMap((command) => [repoProblem(command), secretProblem(command), settingProblem(command, settings)]);
  const repositories = kickstart.commands.flatMap((command) => repoLine(command) ?? []);
  return {
    content: {
      kickstart,
      packages: packages.packages,
      repositories,
      ...(settings.locale === undefined ? {} : { locale: settings.locale }),
      ...(settings.keyboard === undefined ? {} : { keyboard: settings.keyboard }),
      ...(settings.timezone === undefined ? {} : { timezone: settings.timezone }),
      code: kickstart.sections.filter(({ name }) => codeSections.has(name)),
    },
    problems: [...problems, ...packages.problems, ...found.filter((problem) => problem !== undefined)],
  };
}

const emptyContent: KickstartContent = {
  kickstart: { commands: [], sections: [] },
  packages: { install: [], exclude: [], options: [] },
  repositories: [],
  code: [],
};

// ---- Repositories

function repoLine({ name, words }: KickstartCommand): RepoLine | undefined {
  if (name !== 'repo') return undefined;
  const [alias, baseurl] = [optionValue(words, 'name'), optionValue(words, 'baseurl')];
  return typeof alias === 'string' && typeof baseurl === 'string' ? { name: alias, baseurl } : undefined;
}

const repositoryName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

function repoProblem(command: KickstartCommand): KickstartProblem | undefined {
  if (command.name !== 'repo') return undefined;
  const { words, place } = command;
  const further = optionNames(words).find((option) => option !== 'name' && option !== 'baseurl');
  if (further === 'mirrorlist' || further === 'metalink') {
    return {
      place,
      what: `names a repository by its --${further}; the release's own repositories are there already, and of another one name a mirror: repo --name=… --baseurl=https://…`,
    };
  }
  if (further)
    return {
      place,
      what: `has --${further} for a repository, which cannot be kept: packages are resolved before the image is made; write repo --name=… --baseurl=https://… alone`,
    };
  const repo = repoLine(command);
  if (!repo)
    return {
      place,
      what: 'names a repository without an address; the release has its own repositories already, and another one is written repo --name=… --baseurl=https://…',
    };
  if (!repositoryName.test(repo.name)) return { place, what: 'has a repository name that is none: letters, digits, ".", "_" and "-", at most 64' };
  const url = URL.canParse(repo.baseurl) ? new URL(repo.baseurl) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || repo.baseurl.length > 2048)
    return { place, what: 'names a repository that is not fetched from: its --baseurl begins with https:// or http://' };
  if (url.username !== '' || url.password !== '')
    return { place, what: 'has a user name or password in the address of a repository, which would become public' };
  return undefined;
}

// ---- Language, keyboard, time zone

const last = ({ commands }: Kickstart, name: string) => commands.findLast((command) => command.name === name);

/** The words that belong to no option; `withValue`: options that are followed by their value. */
function plainWords(words: readonly string[], withValue: readonly string[]): readonly string[] {
  return words.filter((word, index) => !word.startsWith('-') && !withValue.includes(words[index - 1] ?? ''));
}

const localeOf = (kickstart: Kickstart) => plainWords(last(kickstart, 'lang')?.words ?? [], ['--addsupport'])[0];

function keyboardOf(kickstart: Kickstart): string | undefined {
  const command = last(kickstart, 'keyboard');
  if (!command) return undefined;
  const [vckeymap, xlayouts] = [optionValue(command.words, 'vckeymap'), optionValue(command.words, 'xlayouts')];
  if (typeof vckeymap === 'string') return vckeymap;
  // `'us','cz (qwerty)'`: the first one, with its variant as console keymaps write it.
  if (typeof xlayouts === 'string')
    return xlayouts
      .split(',')[0]
      ?.replace(/['"]/g, '')
      .trim()
      .replace(/^(\S+) \((\S+)\)$/, '$1-$2');
  return plainWords(command.words, ['--switch'])[0];
}

const timezoneOf = (kickstart: Kickstart) => plainWords(last(kickstart, 'timezone')?.words ?? [], ['--ntpservers'])[0];

const fieldOf = { lang: 'locale', keyboard: 'keyboard', timezone: 'timezone' } as const;

function settingProblem(
  command: KickstartCommand,
  settings: Readonly<Record<'locale' | 'keyboard' | 'timezone', string | undefined>>,
): KickstartProblem | undefined {
  if (!Object.hasOwn(fieldOf, command.name)) return undefined;
  const field = fieldOf[command.name as keyof typeof fieldOf];
  const value = settings[field];
  if (value === undefined) return field === 'timezone' ? undefined : { place: command.place, what: `gives ${command.name} no value` };
  const parsed = SingleBuildRequest.shape[field].safeParse(value);
  return parsed.success ? undefined : { place: command.place, what: `has a value of ${command.name} that ${parsed.error.issues[0]?.message ?? 'is none'}` };
}
