/** Sets of RPMs: which belong to an image, which give way to which, and whether all of them fit. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SingleBuildRequest } from '../../shared/build/request.ts';
import { endOfLife } from '../../shared/releases/end-of-life.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { refuseBeyondMedium, refuseBeyondNode } from '../../shared/resolution/limits.ts';
import { hasForeignDist, isFitting, mainNames, type SourceRpm, type SourceSet, withoutOverlap } from '../../shared/resolution/source-set.ts';

const rpm = (name: string, version = '1'): SourceRpm => ({
  name,
  epoch: 0,
  version,
  release: '1',
  arch: 'noarch',
  sources: [],
  payloadHash: null,
  because: '',
});
const set = (label: string, rule: SourceSet['rule'], ...rpms: SourceRpm[]): SourceSet => ({ label, rule, what: `the build ${label}`, rpms, main: [] });
const shown = (sets: readonly SourceSet[]) => Object.fromEntries(sets.map(({ label, rpms }) => [label, rpms.map(({ name, version }) => `${name}-${version}`)]));

describe('sets that share packages', () => {
  it('keep what must be in the image, and take the newest of what the requester left open', () => {
    const sets = [
      set('tag', 'preferred', rpm('a', '3'), rpm('b', '1'), rpm('c', '1')),
      set('other tag', 'preferred', rpm('b', '2'), rpm('c', '1')),
      set('inherited', 'if-missing', rpm('a', '9'), rpm('d', '1')),
      set('build', 'in-image', rpm('a', '1')),
    ];
    expect(shown(withoutOverlap(sets))).toEqual({ build: ['a-1'], tag: ['c-1'], 'other tag': ['b-2'], inherited: ['d-1'] });
  });

  it('are a conflict where two versions must be in the image, and none where it is the same', () => {
    expect(() => withoutOverlap([set('one', 'in-image', rpm('a', '1')), set('two', 'in-image', rpm('a', '2'))])).toThrow(
      expect.objectContaining({ code: 'REQUESTED_BUILD_CONFLICT', message: expect.stringMatching('the build one and the build two both have the package a') }),
    );
    expect(shown(withoutOverlap([set('one', 'in-image', rpm('a')), set('two', 'in-image', rpm('a'), rpm('b'))]))).toEqual({ one: ['a-1'], two: ['b-1'] });
  });

  it('are a conflict where one is an upload and the other a build, be they called alike', () => {
    const upload = { ...set('mine', 'in-image', rpm('a')), isUploaded: true };
    expect(() => withoutOverlap([upload, set('one', 'in-image', rpm('a'))])).toThrow(expect.objectContaining({ code: 'REQUESTED_BUILD_CONFLICT' }));
    expect(shown(withoutOverlap([upload, set('tag', 'preferred', rpm('a'), rpm('b'))]))).toEqual({ mine: ['a-1'], tag: ['b-1'] });
  });

  it('leave exactly one of each name, whatever comes', () => {
    const rules = fc.constantFrom<SourceSet['rule']>('preferred', 'if-missing');
    const rpms = fc.uniqueArray(fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), version: fc.constantFrom('1', '2', '10') }), {
      selector: ({ name }) => name,
    });
    fc.assert(
      fc.property(fc.array(fc.record({ rule: rules, rpms }), { maxLength: 6 }), (drawn) => {
        const sets = drawn.map(({ rule, rpms: list }, index) => set(String(index), rule, ...list.map(({ name, version }) => rpm(name, version))));
        const names = withoutOverlap(sets).flatMap((each) => each.rpms.map(({ name }) => name));
        expect(names.toSorted()).toEqual([...new Set(sets.flatMap((each) => each.rpms.map(({ name }) => name)))].toSorted());
      }),
    );
  });
});

describe('an RPM', () => {
  const request = (debuginfo: boolean) => ({ arch: 'x86_64', sources: { debuginfo } }) as SingleBuildRequest;

  it.each([
    ['hello', 'x86_64', true, true],
    ['hello', 'noarch', true, true],
    ['hello', 'aarch64', false, false],
    ['hello', 'src', false, false],
    ['hello', 'i686', false, false],
    ['hello-debuginfo', 'x86_64', false, true],
    ['hello-debugsource', 'x86_64', false, true],
    ['hello-libs-debuginfo', 'x86_64', false, true],
    ['hello-debuginfo-common', 'x86_64', false, true],
    ['debuginfod', 'x86_64', true, true],
    ['hello-debug', 'x86_64', true, true],
  ])('%s for %s: %s, with debug information %s', (name, arch, isIn, isInWithDebug) => {
    expect([isFitting({ name, arch }, request(false)), isFitting({ name, arch }, request(true))]).toEqual([isIn, isInWithDebug]);
  });

  it('stands for its build where it is named like the source, else all do but those for debuggers', () => {
    const names = (...list: string[]) => list.map((name) => ({ name }));
    expect(mainNames(['hello'], names('hello', 'hello-libs', 'hello-debuginfo'))).toEqual(['hello']);
    expect(mainNames(['python-x'], names('python3-x', 'python-x-doc', 'python3-x-debuginfo'))).toEqual(['python3-x', 'python-x-doc']);
    expect(mainNames(['hello'], names('hello-debuginfo', 'hello-debugsource'))).toEqual(['hello-debuginfo', 'hello-debugsource']);
  });
});

describe('the mark of a distribution', () => {
  const release = (dist?: string) => ({ ...(dist ? { dist } : {}) }) as Release;
  it.each([
    ['1.fc44', 'fc44', false],
    ['1.fc43', 'fc44', true],
    ['1.fc44.1', 'fc44', false],
    ['0.3.rc1.fc44', 'fc44', false],
    ['1.el10', 'fc44', true],
    ['1', 'fc44', false],
    ['20260101.1', 'fc44', false],
    ['1.fc43', undefined, false],
    ['1.eln153', 'fc44', true],
  ])('of %s is foreign to %s: %s', (text, dist, isForeign) => {
    expect(hasForeignDist({ release: text }, release(dist))).toBe(isForeign);
  });
});

describe('bounds', () => {
  it.each([
    ['dvd', 8_000_000_000, 90_000_000_000, false],
    ['dvd', 9_000_000_000, 1, true],
    ['live', 9_000_000_000, 30_000_000_000, false],
    ['live', 1, 60_000_000_000, true],
    ['boot', 1, 60_000_000_000, true],
  ] as const)('a %s of %s bytes to fetch and %s installed is too large: %s', (imageType, downloadBytes, installedBytes, isTooLarge) => {
    const check = () => refuseBeyondMedium({ downloadBytes, installedBytes }, imageType);
    if (isTooLarge) expect(check).toThrow(expect.objectContaining({ code: 'IMAGE_TOO_LARGE', message: expect.stringContaining('8.5 GB') }));
    else expect(check).not.toThrow();
  });

  it('holds the working space to what the machine has', () => {
    expect(() => refuseBeyondNode({ downloadBytes: 1e9, installedBytes: 3e9 }, 7e9)).not.toThrow();
    expect(() => refuseBeyondNode({ downloadBytes: 1e9, installedBytes: 3e9 }, 6.9e9)).toThrow(
      expect.objectContaining({ code: 'DISK_FULL', message: expect.stringContaining('about 7.0 GB of working space, and this service has 6.9 GB free') }),
    );
  });

  it('lets a release live to the end of its last day', () => {
    const release = { name: 'Fedora Linux 43', eol: '2026-12-02' };
    expect(endOfLife(release, Date.parse('2026-12-02T23:59:59Z'))).toBeUndefined();
    expect(endOfLife(release, Date.parse('2026-12-03T00:00:00Z'))).toMatchObject({ code: 'RELEASE_ENDED' });
    expect(endOfLife({ name: 'Rawhide' }, Number.MAX_SAFE_INTEGER)).toBeUndefined();
  });
});
