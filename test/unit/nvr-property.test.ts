/** Names of packages: written and read back alike; versions in a total order, which is rpm's own where rpm is installed. */
import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareEvr, compareVersions, formatNevra, formatNvr, parseNevra, parseNvr, rpmFileName } from '../../shared/fedora/nvr.ts';

const word = (alphabet: string, min: number, max: number) => fc.string({ unit: fc.constantFrom(...alphabet), minLength: min, maxLength: max });
const lower = 'abcxyz';
const name = fc.tuple(word(`${lower}AZ09_`, 1, 1), word(`${lower}AZ09_+.-`, 0, 12)).map((parts) => parts.join(''));
const part = word(`${lower}AZ0129._+~^`, 1, 10);
const arch = fc.constantFrom('x86_64', 'aarch64', 'noarch', 'i686', 'src');
const nvr = fc.record({ name, version: part, release: part });
const nevra = fc.record({ name, version: part, release: part, epoch: fc.integer({ min: 0, max: 99 }), arch });
/** Few characters, so that equal beginnings, empty segments and odd ends are common. */
const version = word('ab01.~^+_', 0, 8);
const seeded = { seed: 20261122, numRuns: 2_000 } as const;

describe('names', () => {
  test('NVRs are read back as they were written', () => {
    fc.assert(
      fc.property(nvr, (value) => void expect(parseNvr(formatNvr(value))).toEqual(value)),
      seeded,
    );
  });

  test('NEVRAs are read back as they were written, with and without an epoch', () => {
    fc.assert(
      fc.property(nevra, (value) => void expect(parseNevra(formatNevra(value))).toEqual(value)),
      seeded,
    );
  });

  test('no text whatever breaks the reader, and what it takes cannot leave a directory or be an option', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary', maxLength: 40 }), word('a1.-_/:~^ \u0000', 0, 30)), (text) => {
        const read = parseNevra(text);
        const parts = read ?? parseNvr(text);
        if (parts) expect(formatNvr(parts)).not.toMatch(/^[-.]|[/\s\0]/);
        if (read) expect(rpmFileName(read)).not.toMatch(/^[-.]|[/\s\0]/);
      }),
      seeded,
    );
  });

  test.each([
    '',
    '-',
    '--',
    'hello',
    'hello-1',
    '-1-1',
    'hello--1',
    'hello-1-',
    '--installroot=/-1-1',
    '../../etc/passwd',
    'a/b-1-1',
    'hello-1 1-1',
    'héllo-1-1',
  ])('%j is no NVR', (text) => {
    expect(parseNvr(text)).toBeUndefined();
  });

  test('Fedora’s own odd names are read', () => {
    expect(parseNvr('gtk-doc-1.34.0-3.fc44')).toEqual({ name: 'gtk-doc', version: '1.34.0', release: '3.fc44' });
    expect(parseNevra('perl-libs-4:5.42.0-520.fc44.x86_64')).toEqual({ name: 'perl-libs', epoch: 4, version: '5.42.0', release: '520.fc44', arch: 'x86_64' });
    expect(parseNevra('kernel-core-6.18.0~rc4-1.fc44.x86_64')).toMatchObject({ name: 'kernel-core', version: '6.18.0~rc4' });
    expect(parseNevra('java-25-openjdk-headless-1:25.0.1.0.8^20261001git-2.fc44.aarch64')).toMatchObject({ name: 'java-25-openjdk-headless', epoch: 1 });
  });
});

describe('the order of versions', () => {
  const sign = (value: number) => Math.sign(value) + 0;

  test('is total: reflexive, antisymmetric, transitive', () => {
    fc.assert(
      fc.property(version, version, version, (a, b, c) => {
        expect(compareVersions(a, a)).toBe(0);
        expect(sign(compareVersions(a, b))).toBe(sign(-compareVersions(b, a)));
        const [first, second, third] = [a, b, c].sort(compareVersions) as [string, string, string];
        expect(compareVersions(first, second)).toBeLessThanOrEqual(0);
        expect(compareVersions(second, third)).toBeLessThanOrEqual(0);
        expect(compareVersions(first, third), `${first} ≤ ${second} ≤ ${third}`).toBeLessThanOrEqual(0);
      }),
      seeded,
    );
  });

  test.each([
    ['1.0', '1.0.1'],
    ['1.0~rc1', '1.0'],
    ['1.0', '1.0^git1'],
    ['1.0^git1', '1.0.1'],
    ['1.0~rc1', '1.0~rc1^git1'],
    ['9', '10'],
    ['a', '1'],
    ['1.a', '1.1'],
    ['1.0a', '1.0b'],
    ['5.fc43', '5.fc44'],
  ])('%s is older than %s', (older, newer) => {
    expect(compareVersions(older, newer)).toBe(-1);
    expect(compareVersions(newer, older)).toBe(1);
  });

  test.each([
    ['1.0', '1_0'],
    ['1.0', '1.00'],
    ['1.0', '1..0'],
    ['1.0', '1.0.'],
  ])('%s and %s are the same version', (left, right) => {
    expect(compareVersions(left, right)).toBe(0);
  });

  test('puts the epoch before the version and the version before the release', () => {
    const evr = (epoch: number, v: string, release: string) => ({ epoch, version: v, release });
    expect(compareEvr(evr(1, '1', '1'), evr(0, '9', '9'))).toBeGreaterThan(0);
    expect(compareEvr(evr(0, '2', '1'), evr(0, '1', '9'))).toBeGreaterThan(0);
    expect(compareEvr(evr(0, '1', '1'), evr(0, '1', '2'))).toBeLessThan(0);
  });

  const asked = spawnSync('rpm', ['--eval', '%{lua: print(rpm.vercmp("1", "2"))}'], { encoding: 'utf8' });
  const isRpmHere = asked.status === 0 && asked.stdout.trim() === '-1';
  test.skipIf(!isRpmHere)(`is that of rpm itself${isRpmHere ? '' : ' (skipped: rpm is not installed here)'}`, () => {
    // rpm's own function wants a version, not the empty text.
    const some = version.filter((text) => text !== '');
    const pairs = fc.sample(fc.tuple(some, some), { seed: 20261122, numRuns: 2_500 });
    const script = 'for line in io.lines() do local a, b = line:match("^(%S+) (%S+)$") print(rpm.vercmp(a, b) .. " ") end';
    const { stdout, stderr } = spawnSync('rpm', ['--eval', `%{lua: ${script}}`], {
      encoding: 'utf8',
      input: pairs.map((pair) => `${pair.join(' ')}\n`).join(''),
    });
    const answers = stdout.trim().split(/\s+/).map(Number);
    expect(answers.length, stderr.slice(0, 500)).toBe(pairs.length);
    const wrong = pairs.flatMap(([a, b], index) =>
      sign(compareVersions(a, b)) === answers[index] ? [] : `${a} against ${b}: rpm says ${answers[index]}, we say ${compareVersions(a, b)}`,
    );
    expect(wrong).toEqual([]);
  });
});
