/** Docs and code say the same: generated pages are up to date, settings and commands are documented, links lead somewhere. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { failureKinds } from '../../shared/build/failure.ts';
import { catalog } from '../../shared/events/catalog.ts';
import { problemKinds } from '../../shared/http/problem.ts';
import { expectGolden } from '../support/golden.ts';
import { asyncApi, errorsPage, eventsPage } from './generated-docs.ts';
import { allFiles, root } from './sources.ts';

const read = (path: string) => readFileSync(join(root, path), 'utf8');
const pages = allFiles().filter((path) => path.endsWith('.md'));

describe('generated pages', () => {
  test('docs/events.md is what the catalog says', async () => {
    expectGolden('docs/events.md', await eventsPage());
    for (const { type } of catalog) expect(read('docs/events.md')).toContain(`## ${type}, version`);
  });

  test('docs/errors.md has every code with its fault and its retry', () => {
    expectGolden('docs/errors.md', errorsPage());
    for (const code of [...Object.keys(failureKinds), ...Object.keys(problemKinds)]) expect(read('docs/errors.md')).toContain(`| \`${code}\` |`);
  });

  test('docs/asyncapi.yaml is made from the schemas', async () => {
    expectGolden('docs/asyncapi.yaml', await asyncApi());
  });
});

describe('written pages', () => {
  test('docs/running.md names every setting, and none that is not there', () => {
    const inCode = new Set(read('shared/config/config.ts').match(/\bSPINDLE_[A-Z_]+[A-Z]\b/g));
    const client = existsSync(join(root, 'clients/cli/settings.ts')) ? read('clients/cli/settings.ts') : '';
    for (const name of client.match(/\bSPINDLE_[A-Z_]+[A-Z]\b/g) ?? []) inCode.add(name);
    inCode.delete('SPINDLE_TEST');
    const inDocs = new Set(read('docs/running.md').match(/\bSPINDLE_[A-Z_]+[A-Z]\b/g));
    expect([...inCode].filter((name) => !inDocs.has(name)).map((name) => `docs/running.md does not explain ${name}`)).toEqual([]);
    expect([...inDocs].filter((name) => !inCode.has(name)).map((name) => `docs/running.md explains ${name}, which the code does not know`)).toEqual([]);
  });

  test('every command of the service is a script of package.json, and the README names it', () => {
    const { scripts } = JSON.parse(read('package.json')) as { readonly scripts: Readonly<Record<string, string>> };
    const readme = read('README.md');
    for (const name of ['demo', 'test', 'start', 'check', 'bench', 'sim']) {
      expect(Object.keys(scripts), `package.json has no script ${name}`).toContain(name);
      expect(readme, `README.md does not name ${name}`).toMatch(new RegExp(`npm (run )?${name}\\b`));
    }
    for (const [, name] of readme.matchAll(/npm run ([a-z-]+)/g)) expect(Object.keys(scripts), `README.md names npm run ${name}`).toContain(name);
  });

  test('links between pages lead to files that are there', () => {
    expect(pages.length).toBeGreaterThan(8);
    const dead = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)]
        .map((match) => match[1] ?? '')
        .filter((target) => !existsSync(join(root, dirname(page), target)))
        .map((target) => `${page} links to ${target}, which is not there`),
    );
    expect(dead).toEqual([]);
  });

  test('files that pages and sources name are there', () => {
    const writings = [...pages, ...allFiles().filter((path) => /\.(ts|mjs|yaml)$/.test(path) && !path.startsWith('test/'))];
    const named = writings.flatMap((page) =>
      [...read(page).matchAll(/(?<![A-Za-z0-9_-])((?:shared|services|test|examples|clients|bin|docs)\/[A-Za-z0-9._/-]+\.(?:ts|mjs|md|yaml|json))\b/g)].map(
        (match) => ({
          page,
          path: match[1] ?? '',
        }),
      ),
    );
    expect(named.filter(({ path }) => !existsSync(join(root, path))).map(({ page, path }) => `${page} names ${path}, which is not there`)).toEqual([]);
  });
});
