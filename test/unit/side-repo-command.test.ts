/** What `spindle side-repo create` takes for a request, and where it keeps things. */
import { describe, expect, it } from 'vitest';
import { defaultCacheDirectory, requestOfFile, shownSideRepos } from '../../clients/cli/side-repo.ts';

describe('a file of words', () => {
  it('is a list: names, builds, advisories, tasks and tags, told apart by their form', () => {
    const words =
      'hello @core kernel-core python3-dnf-plugins-core libfoo.so.1 hello-1.1-1.fc44 2345678 FEDORA-2026-0123456789 task:123456789 tag:f44-build-side-12345';
    expect(requestOfFile(words, { release: '44', arch: 'aarch64' })).toEqual({
      release: '44',
      arch: 'aarch64',
      packages: ['hello', '@core', 'kernel-core', 'python3-dnf-plugins-core', 'libfoo.so.1'],
      sources: {
        kojiBuilds: ['hello-1.1-1.fc44', 2345678],
        kojiTasks: [123456789],
        kojiTags: ['f44-build-side-12345'],
        advisories: ['FEDORA-2026-0123456789'],
      },
    });
    expect(requestOfFile(['hello', 12], { release: '44' })).toMatchObject({ packages: ['hello'], sources: { kojiBuilds: [12] } });
    expect(requestOfFile(12, { release: '44' })).toMatchObject({ packages: [], sources: { kojiBuilds: [12] } });
  });

  it('needs a release, and has an end', () => {
    expect(() => requestOfFile('hello', {})).toThrow('name their release with --release');
    expect(() => requestOfFile('a '.repeat(5001), { release: '44' })).toThrow('at most 5000');
  });
});

describe('a file of keys', () => {
  it('is a request; the command line fills in or changes release and architecture', () => {
    expect(requestOfFile({ release: '43', packages: ['x'] }, {})).toEqual({ release: '43', packages: ['x'] });
    expect(requestOfFile({ release: '43', packages: ['x'] }, { release: '44', arch: 'x86_64' })).toEqual({ release: '44', arch: 'x86_64', packages: ['x'] });
    expect(requestOfFile(null, {})).toBeNull();
  });
});

describe('what is kept for the next time', () => {
  it('lies where the system keeps such things', () => {
    expect(defaultCacheDirectory({ XDG_CACHE_HOME: '/var/cache/me', HOME: '/me' })).toBe('/var/cache/me/spindle');
    expect(defaultCacheDirectory({ XDG_CACHE_HOME: 'relative', HOME: '/me' })).toBe('/me/.cache/spindle');
    expect(() => defaultCacheDirectory({})).toThrow('--cache');
  });
});

it('shows what was made, or that nothing was needed', () => {
  expect(
    shownSideRepos([
      { arch: 'x86_64', directory: '/out', warnings: ['an odd one'], packages: [{ nevra: 'a-1-1.noarch', repository: 'koji', because: 'asked for' }] },
    ]),
  ).toBe('/out: 1 package for x86_64\nwarning: an odd one\nPACKAGE       REPOSITORY  BECAUSE\na-1-1.noarch  koji        asked for');
  expect(shownSideRepos([{ arch: 'x86_64', directory: '/out', warnings: [], packages: [] }])).toContain(
    '0 packages for x86_64\nthe stable repositories have everything',
  );
});
