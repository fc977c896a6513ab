/** Who may import what. A broken rule says which file breaks it, and why the rule is there. */
import { describe, expect, test } from 'vitest';
import { importCycle, readSources, type Source } from './sources.ts';

const sources = readSources();
const byPath = new Map(sources.map((source) => [source.path, source]));
const isProduct = ({ path }: Source) => /^(services|shared|clients)\//.test(path);
const isPure = ({ opening }: Source) => /\bPure\b/.test(opening);

/** The sentences of every breach. */
function breaches(files: readonly Source[], rule: (target: string, source: Source, isTypeOnly: boolean) => string | undefined): readonly string[] {
  return files.flatMap((source) => source.imports.flatMap(({ target, isTypeOnly }) => rule(target, source, isTypeOnly) ?? []));
}

/** How a file gets at the outside: a sentence with the chain of imports; undefined where it does not. Other packages than ours are judged where ours import them. */
function wayOutside(path: string, trail: readonly string[] = []): string | undefined {
  const source = byPath.get(path);
  if (!source || trail.includes(path)) return undefined;
  const chain = [...trail, path];
  if (source.effects.length > 0) return `${chain.join(' → ')} uses ${source.effects.join(' and ')}`;
  for (const { target, isOurs, isTypeOnly } of source.imports) {
    if (isTypeOnly) continue;
    const found = isOurs
      ? wayOutside(target, chain)
      : pureNodeModules.test(target) || purePackages.test(target)
        ? undefined
        : `${[...chain, target].join(' → ')} is no pure package`;
    if (found) return found;
  }
  return undefined;
}

/** What reaches outside of the process, and the one file that each is for. */
const effectfulPackages: readonly (readonly [pattern: RegExp, allowed: RegExp])[] = [
  [/^amqplib$/, /^shared\/(bus|feed)\/(rabbitmq|amqp)\.ts$/],
  [/^mongodb$/, /^shared\/store\/mongodb\.ts$/],
  [/^@aws-sdk\//, /^shared\/files\/s3(\/[a-z-]+)?\.ts$/],
  [/^nodemailer(\/|$)/, /^shared\/mail\/(smtp|rfc822)\.ts$/],
  [/^undici(\/|$)/, /^shared\/egress\/undici-parts\.ts$|^clients\/cli\//],
  [/^(@photostructure\/sqlite|node:sqlite)$/, /^shared\/store\/embedded\.ts$/],
  [/^node:child_process$/, /^shared\/programs\/spawned\.ts$/],
  [/^node:(http|https|http2|tls|dgram|dns|dns\/promises)$/, /^shared\/egress\/checked-connector\.ts$|^services\/intake\//],
  [/^node:worker_threads$/, /^shared\/egress\/transfer-threads?\.ts$/],
  [/^node:(cluster|timers|timers\/promises)$/, /^$/],
];
const adapterFile =
  /^shared\/(bus|store|files|mail|egress|programs|workspace|downloads|rpm-store|clock|feed)\/(embedded|memory|local|file|http|simulated|spawned|system|virtual|rabbitmq|mongodb|s3|smtp|amqp)\.ts$/;
/** Where programs and threads start. */
const pickers = /^(shared\/stage\/start\.ts|shared\/egress\/transfer-thread\.ts|services\/embedded\.ts|clients\/cli\/main\.ts|test\/|examples\/|bin\/)/;
const pureNodeModules = /^node:(crypto|path|path\/posix|url|util|net|buffer|assert)$/;
const purePackages = /^(zod|uuid|fastest-levenshtein|js-yaml|packageurl-js|saxes|spdx-expression-parse|@fastify\/type-provider-zod)$/;

test('the rules see the repository', () => {
  expect(sources.length, 'fewer than 50 TypeScript files were found: the rules below would hold for nothing').toBeGreaterThan(50);
  expect(sources.reduce((sum, { imports }) => sum + imports.length, 0)).toBeGreaterThan(200);
  expect(sources.filter(isPure).length).toBeGreaterThan(20);
  expect(sources.filter(({ path }) => adapterFile.test(path)).length).toBeGreaterThan(8);
});

describe('imports', () => {
  test('every import of our own names a file that is there', () => {
    expect(
      sources.flatMap(({ path, imports }) =>
        imports
          .filter(({ isOurs, target }) => isOurs && target.endsWith('.ts') && !byPath.has(target))
          .map(({ target }) => `${path} imports ${target}, which is not there`),
      ),
    ).toEqual([]);
  });

  test('a service imports only shared/ and itself', () => {
    const services = sources.filter(({ path }) => /^services\/[^/]+\//.test(path));
    expect(
      breaches(services, (target, { path }) => {
        const own = path.split('/').slice(0, 2).join('/');
        const isForeign = /^(services|clients|examples|test|bin)\//.test(target) && !target.startsWith(`${own}/`);
        return isForeign ? `${path} imports ${target}: services know each other only by events` : undefined;
      }),
    ).toEqual([]);
  });

  test('shared/ imports nothing of services, clients, examples and tests', () => {
    const shared = sources.filter(({ path }) => path.startsWith('shared/'));
    expect(breaches(shared, (target, { path }) => (/^(services|clients|examples|test|bin)\//.test(target) ? `${path} imports ${target}` : undefined))).toEqual(
      [],
    );
  });

  test('clients talk to the REST interface: of ours they use only what reaches nothing outside', () => {
    const clients = sources.filter(({ path }) => path.startsWith('clients/'));
    expect(
      breaches(clients, (target, { path }, isTypeOnly) =>
        isTypeOnly || target.startsWith('clients/') || pickers.test(path) ? undefined : wayOutside(target, [path]),
      ),
    ).toEqual([]);
  });

  test('a file that calls itself pure reaches nothing outside, by whatever way', () => {
    expect(sources.filter(isPure).flatMap(({ path }) => wayOutside(path) ?? [])).toEqual([]);
  });

  test('what reaches outside is imported by its adapter only', () => {
    expect(
      breaches(sources.filter(isProduct), (target, { path }, isTypeOnly) => {
        const rule = effectfulPackages.find(([pattern]) => pattern.test(target));
        return rule && !isTypeOnly && !rule[1].test(path) ? `${path} imports ${target}: that belongs behind a port` : undefined;
      }),
    ).toEqual([]);
  });

  test('adapters are picked where programs and threads start: shared/stage/start.ts, services/embedded.ts, the client’s main.ts, the transfer thread', () => {
    // One adapter may stand on another.
    expect(
      breaches(sources, (target, { path }, isTypeOnly) =>
        adapterFile.test(target) && !isTypeOnly && !pickers.test(path) && !adapterFile.test(path)
          ? `${path} imports the adapter ${target}: take the port instead`
          : undefined,
      ),
    ).toEqual([]);
  });

  test('there is no cycle', () => {
    expect(importCycle(sources)?.join(' → ')).toBeUndefined();
  });

  test('there are no default exports to import by any name', () => {
    const bad = sources.filter(({ path, text }) => /^export default\b/m.test(text) && !/vitest\.config\.ts$/.test(path)).map(({ path }) => path);
    expect(bad).toEqual([]);
  });
});
