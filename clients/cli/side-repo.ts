/** `spindle side-repo create`: what the command takes and shows. The work is done by whoever the program's entry hands in; no service is asked. Pure. */
import type { MadeSideRepo, SideRepoOrder, SideRepoOutcome } from '../../services/side-repo-create.ts';
import { parseNvr } from '../../shared/fedora/nvr.ts';
import { UsageError } from './outcome.ts';
import { table } from './terminal.ts';

/** The program's entry ends it by a signal of its own. */
export type CreateSideRepository = (order: Omit<SideRepoOrder, 'signal'>) => Promise<SideRepoOutcome>;

type ShownSideRepo = Pick<MadeSideRepo, 'arch' | 'directory' | 'warnings'> & {
  readonly packages: readonly Pick<MadeSideRepo['packages'][number], 'nevra' | 'repository' | 'because'>[];
};

/** `XDG_CACHE_HOME`, or what stands for it. Throws a UsageError where neither it nor HOME is set. */
export function defaultCacheDirectory(environment: Readonly<Record<string, string | undefined>>): string {
  const { XDG_CACHE_HOME: cache, HOME: home } = environment;
  if (cache?.startsWith('/')) return `${cache}/spindle`;
  if (home?.startsWith('/')) return `${home}/.cache/spindle`;
  throw new UsageError('neither XDG_CACHE_HOME nor HOME is set: name a directory with --cache');
}

const listWordsMax = 5000;

/**
 * A file that holds a request is one already. One that holds words is a list: of packages (`hello`, `@core`), Koji builds (`hello-1.1-1.fc44`, or their ids), advisories
 * (`FEDORA-2026-0123456789`), `task:ID` and `tag:NAME`. Throws a UsageError.
 */
export function requestOfFile(content: unknown, given: { readonly release?: string; readonly arch?: string }): unknown {
  const words =
    typeof content === 'string' || typeof content === 'number' ? String(content).split(/\s+/) : Array.isArray(content) ? content.map(String) : undefined;
  const more = { ...(given.release === undefined ? {} : { release: given.release }), ...(given.arch === undefined ? {} : { arch: given.arch }) };
  if (words === undefined) return typeof content === 'object' && content !== null ? { ...content, ...more } : content;
  if (given.release === undefined) throw new UsageError('the file is a list of packages: name their release with --release');
  if (words.length > listWordsMax) throw new UsageError(`the file names ${words.length} packages; at most ${listWordsMax} are taken`);
  const packages: string[] = [];
  const sources = { kojiBuilds: [] as (string | number)[], kojiTasks: [] as number[], kojiTags: [] as string[], advisories: [] as string[] };
  for (const word of words.filter((each) => each !== '')) {
    const [, kind = '', value = ''] = /^(task|tag):(.+)$/.exec(word) ?? [];
    if (kind === 'task' && /^\d{1,15}$/.test(value)) sources.kojiTasks.push(Number(value));
    else if (kind === 'tag') sources.kojiTags.push(value);
    else if (/^FEDORA-/.test(word)) sources.advisories.push(word);
    else if (/^\d{1,15}$/.test(word)) sources.kojiBuilds.push(Number(word));
    // The release of a build begins with a number and ends with the distribution's mark; a package's own name has no such end.
    else if (/^\d[^-]*\.[A-Za-z]/.test(parseNvr(word)?.release ?? '')) sources.kojiBuilds.push(word);
    else packages.push(word);
  }
  return { ...more, packages, sources };
}

export function shownSideRepos(repositories: readonly ShownSideRepo[]): string {
  return repositories
    .map(({ arch, directory, packages, warnings }) =>
      [
        `${directory}: ${packages.length} package${packages.length === 1 ? '' : 's'} for ${arch}`,
        ...warnings.map((warning) => `warning: ${warning}`),
        packages.length === 0
          ? 'the stable repositories have everything that was asked for'
          : table([['PACKAGE', 'REPOSITORY', 'BECAUSE'], ...packages.map(({ nevra, repository, because }) => [nevra, repository, because])]),
      ].join('\n'),
    )
    .join('\n\n');
}
