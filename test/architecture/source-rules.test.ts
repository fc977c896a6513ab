/** What every file keeps to: where the world is asked for time, chance and settings; names; opening comments; nothing of one machine. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { allFiles, readSources, root } from './sources.ts';

const sources = readSources();
const files = allFiles();
const product = sources.filter(({ path }) => /^(services|shared|clients)\//.test(path));

describe('effects', () => {
  test('process.env is read in one file of the service and one of the client', () => {
    const readers = product.filter(({ effects }) => effects.includes('process.env')).map(({ path }) => path);
    expect(readers.filter((path) => path !== 'shared/config/config.ts' && path !== 'clients/cli/settings.ts')).toEqual([]);
    expect(readers).toContain('shared/config/config.ts');
  });

  test('time, chance and timers come from the clock port', () => {
    const users = product.flatMap(({ path, effects }) =>
      effects.filter((name) => name !== 'process.env').map((name) => `${path} uses ${name}: take the clock port`),
    );
    expect(users.filter((sentence) => !sentence.startsWith('shared/clock/system.ts '))).toEqual([]);
    expect(users.length, 'the system clock itself was not seen').toBeGreaterThan(0);
  });
});

describe('names and openings', () => {
  test('files and folders are kebab-case, and none is called util, helper, common or misc', () => {
    const code = files.filter((path) => /^(services|shared|clients|examples|test|bin)\//.test(path) && /\.(ts|mjs|py)$/.test(path));
    const isBad = (name: string) => !/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9-]+)*$/.test(name) || /^(utils?|helpers?|commons?|misc)(\.|$)/.test(name);
    expect(code.filter((path) => path.split('/').some(isBad))).toEqual([]);
  });

  test('every TypeScript file opens with a sentence on its role', () => {
    const isShort = (opening: string) => opening.replace(/[^a-zA-Z]/g, '').length < 20;
    expect(sources.filter(({ opening }) => isShort(opening)).map(({ path }) => `${path} does not say what it is for`)).toEqual([]);
  });

  test('every service folder has its service.ts', () => {
    const services = new Set(files.flatMap((path) => /^services\/([^/]+)\//.exec(path)?.[1] ?? []));
    expect(services.size).toBeGreaterThan(5);
    expect([...services].filter((name) => !existsSync(join(root, 'services', name, 'service.ts'))).map((name) => `services/${name} has no service.ts`)).toEqual(
      [],
    );
  });
});

describe('nothing of one machine', () => {
  const texts = files.filter((path) => !/\.(png|iso|rpm|gz|zst|xz|bin)$/.test(path)).map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));

  test('no file names a directory of the machine that it was written on', () => {
    // Taken apart, so that this file does not break its own rule.
    const directories = ['work', 'root', 'home/[a-z]'].map((name) => `(?<![A-Za-z0-9_.}~-])/${name}/`).join('|');
    expect(
      texts.flatMap(({ path, text }) =>
        new RegExp(directories).exec(text) ? `${path} names ${new RegExp(`.{0,20}(?:${directories}).{0,20}`).exec(text)?.[0]}` : [],
      ),
    ).toEqual([]);
    const temporary = new RegExp(`(?<![A-Za-z0-9_.}~-])/${'tmp'}/`);
    expect(
      texts
        .filter(({ path, text }) => !/^(test|docs)\//.test(path) && temporary.test(text))
        .map(({ path }) => `${path} names a temporary directory: ask the system for one`),
    ).toEqual([]);
  });

  test('no file names the host of a package registry', () => {
    const hosts = [
      ['registry', 'npmjs', 'org'],
      ['pypi', 'org'],
      ['pythonhosted', 'org'],
      ['crates', 'io'],
      ['deb', 'debian', 'org'],
      ['archive', 'ubuntu', 'com'],
    ].map((parts) => parts.join('.'));
    expect(texts.flatMap(({ path, text }) => hosts.filter((host) => text.includes(host)).map((host) => `${path} names ${host}`))).toEqual([]);
  });

  test('the lock file and the licence are there', () => {
    for (const name of ['package-lock.json', 'LICENSE', 'README.md', '.ci/run']) expect(files).toContain(name);
  });
});
