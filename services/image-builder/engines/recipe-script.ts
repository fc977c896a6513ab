/** Writes a recipe as one shell script, so that people can read what was done and do it again by hand. Pure. */
import type { Recipe } from './engine.ts';

/** Stands for the workspace's path in recipes that are to be published: where one worker kept it says nothing to those who read it. */
export const anyWorkspace = '/@workspace@';

/** `recipe`: rendered for `anyWorkspace`. `about`: lines of a comment. */
export function recipeScript({ files, directories, steps }: Pick<Recipe, 'files' | 'directories' | 'steps'>, about: readonly string[]): string {
  const folders = [...new Set([...directories, ...files.map(({ path }) => path.slice(0, path.lastIndexOf('/')))])].sort();
  return [
    '#!/bin/sh',
    ...about.map((line) => `# ${line}`),
    '# Run it as root in a directory that holds repositories/stable and repositories/side. Each step has namespaces of its own and no network.',
    'set -eu',
    'here=$(pwd)',
    'export LC_ALL=C.UTF-8',
    'step() { unshare --mount --pid --ipc --fork --mount-proc --net -- "$@"; }',
    '',
    `mkdir -p ${folders.map(quoted).join(' ')}`,
    ...files.flatMap(({ path, content }) => fileLines(path, content)),
    ...steps.flatMap(({ what, run }) => [
      '',
      `# ${what}`,
      `${Object.entries(run.env)
        .map(([name, value]) => `${name}=${quoted(value)} `)
        .join('')}step ${[run.command, ...run.args].map(quoted).join(' ')}`,
    ]),
    '',
  ].join('\n');
}

function fileLines(path: string, content: string): readonly string[] {
  const lines = content.replace(/\n$/, '').split('\n');
  // The mark may be in the text: it can hold whatever the requester wrote.
  let mark = 'END';
  while (lines.includes(mark)) mark += '_';
  return ['', `sed "s|${anyWorkspace}|$here|g" > ${quoted(path)} << '${mark}'`, ...lines, mark];
}

/** As one word for the shell, in which only the workspace's path is filled in. */
function quoted(word: string): string {
  if (/^[A-Za-z0-9_./:=,+@%^-]+$/.test(word) && !word.includes(anyWorkspace)) return word;
  return word
    .split(anyWorkspace)
    .map((part) => (part === '' ? '' : `'${part.replaceAll("'", `'\\''`)}'`))
    .join('"$here"');
}
