/** What may be asked for: defaults, lists, and every kind of bad input. What passes here can be an argument of a tool or a file name. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BuildRequest, SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';

const least = { release: 'sample', imageType: 'live', packages: ['hello'] };

/** `path: message` of everything that is wrong; empty where nothing is. */
function problems(body: unknown): readonly string[] {
  return BuildRequest.safeParse(body).error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? [];
}
const problemsWith = (changes: Record<string, unknown>) => problems({ ...least, ...changes });

describe('a request', () => {
  test('needs a release, a kind of image and something to put into it; all else has a default', () => {
    const request = BuildRequest.parse(least);
    expect(request).toEqual({
      release: 'sample',
      arch: ['x86_64'],
      imageType: ['live'],
      packages: ['hello'],
      excludePackages: [],
      sources: {
        updates: true,
        updatesTesting: false,
        kojiBuilds: [],
        kojiTasks: [],
        kojiTags: [],
        advisories: [],
        repositories: [],
        rpms: [],
        debuginfo: false,
      },
      kickstart: null,
      engine: 'auto',
      locale: 'en_US.UTF-8',
      keyboard: 'us',
      timezone: 'UTC',
      liveUser: 'liveuser',
      bootTest: true,
      firmware: ['bios', 'uefi'],
      compression: 'fast',
      reuse: true,
      private: false,
      notify: { email: [], webhooks: [] },
      expiresInDays: 14,
      priority: 'normal',
    });
    expect(problems({ ...least, packages: [] })).toEqual(['packages: is empty: name packages, sources or a kickstart']);
    expect(problems({ release: 'sample', imageType: 'live', sources: { kojiBuilds: ['hello-1.1-1.sample'] } })).toEqual([]);
    expect(problems({ release: 'sample', imageType: 'live', kickstart: '%packages' })).toEqual([]);
  });

  test('takes a number for a release and one value for a list', () => {
    expect(BuildRequest.parse({ ...least, release: 44, arch: 'aarch64', firmware: 'uefi' })).toMatchObject({
      release: '44',
      arch: ['aarch64'],
      firmware: ['uefi'],
    });
  });

  test('for several architectures and kinds becomes one request for each pair, with a label that fits a volume', () => {
    const single = splitRequest(BuildRequest.parse({ ...least, arch: ['x86_64', 'aarch64'], imageType: ['live', 'boot'] }));
    expect(single.map(({ arch, imageType, label }) => [arch, imageType, label])).toEqual([
      ['x86_64', 'live', 'Spindle-sample-live'],
      ['x86_64', 'boot', 'Spindle-sample-boot'],
      ['aarch64', 'live', 'Spindle-sample-live'],
      ['aarch64', 'boot', 'Spindle-sample-boot'],
    ]);
    for (const each of single) expect(SingleBuildRequest.parse(each)).toEqual(each);
  });

  test('of any release name splits into requests that are valid themselves', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 64 }), (release) => {
        for (const single of splitRequest(BuildRequest.parse({ ...least, release })))
          expect(SingleBuildRequest.safeParse(single).error?.message).toBeUndefined();
      }),
    );
  });
});

describe('bad input', () => {
  test.each([
    ['--installroot=/'],
    ['-y'],
    ['../../etc/passwd'],
    ['/etc/../../etc/passwd'],
    ['a/../b'],
    [''],
    [' hello'],
    ['hello world'],
    ['hello\n'],
    ['hello\u0000'],
    ['hello\u001b[31m'],
    ['hello;reboot'],
    ['$(reboot)'],
    ['`reboot`'],
    ['hello|sh'],
    ['hello&'],
    ['"hello"'],
    ["'hello'"],
    ['hello\\'],
    ['@'],
    ['@-x'],
    ['@core;x'],
    ['!hello'],
    ['hé'],
    ['a'.repeat(257)],
    [7],
    [null],
    [{}],
    [['hello']],
  ])('the package %j is refused', (name) => {
    for (const key of ['packages', 'excludePackages']) {
      const found = problemsWith({ [key]: [name] });
      expect(found.length).toBeGreaterThan(0);
      for (const problem of found) expect(problem).toMatch(new RegExp(`^${key}\\.0: `));
    }
  });

  test.each([
    '@core',
    '@^kde-desktop',
    'hello',
    'hello-1.1',
    'hello.x86_64',
    'hello-1.1-1.fc44.x86_64',
    '2048-cli',
    'gtk*',
    'perl(Foo::Bar)',
    'libfoo.so.1()(64bit)',
    '/usr/bin/hello',
    'hello >= 1.1',
    'libstdc++',
    'python3dist(a[b])',
  ])('the package %j is taken', (name) => {
    expect(problemsWith({ packages: [name] })).toEqual([]);
  });

  test('whatever passes as a package can be an argument of a tool', () => {
    const odd = fc.string({ unit: fc.constantFrom(...'-/.@ ~^:=<>*?[]()abZ09_+\0\n\r\t;|&$`"\'\\!#%{}é'), maxLength: 20 });
    fc.assert(
      fc.property(odd, (name) => {
        if (problemsWith({ packages: [name] }).length > 0) return;
        expect(name).not.toMatch(/^[-\s]|[\0-\x1f\x7f;|&$`"'\\!#%{}é]|(^|\/)\.\.(\/|$)/);
      }),
      { seed: 20261122, numRuns: 5_000 },
    );
  });

  test('a label is at most 32 characters of a file name', () => {
    expect(problemsWith({ label: 'a'.repeat(32) })).toEqual([]);
    expect(problemsWith({ label: 'a'.repeat(33) })).toEqual(['label: is longer than the 32 characters of a volume label']);
    for (const label of ['', '-x', '.x', '../x', 'a/b', 'a b', 'a\u0000', 'a\nb', 'ä']) expect(problemsWith({ label }), JSON.stringify(label)).not.toEqual([]);
  });

  test('an unknown key is named, at every depth', () => {
    expect(problemsWith({ pakages: [] })).toEqual([': Unrecognized key: "pakages"']);
    expect(problemsWith({ sources: { kojibuilds: [] } })).toEqual(['sources: Unrecognized key: "kojibuilds"']);
    expect(problemsWith({ notify: { mail: [] } })).toEqual(['notify: Unrecognized key: "mail"']);
    expect(problemsWith({ sources: { repositories: [{ name: 'mine', baseurl: 'https://example.org/', enabled: true }] } })[0]).toContain('"enabled"');
    expect(problems(JSON.parse('{"release":"sample","imageType":"live","packages":["hello"],"__proto__":{"packages":[]}}'))).toEqual([
      ': Unrecognized key: "__proto__"',
    ]);
  });

  test('lists are bounded, and say nothing twice', () => {
    expect(problemsWith({ packages: Array.from({ length: 10_000 }, (_, index) => `p${index}`) })[0]).toMatch(/^packages: .*5000/);
    expect(problemsWith({ sources: { kojiBuilds: Array(501).fill(1) } })[0]).toMatch(/^sources\.kojiBuilds: .*500/);
    expect(problemsWith({ arch: ['x86_64', 'x86_64'] })).toEqual(['arch: names something twice']);
    expect(problemsWith({ arch: [] })).toHaveLength(1);
    expect(problemsWith({ kickstart: 'x'.repeat(262_145) })).toHaveLength(1);
  });

  test.each([
    ['release', ''],
    ['release', null],
    ['release', 'x'.repeat(65)],
    ['arch', 'x86-64; reboot'],
    ['imageType', 'floppy'],
    ['engine', 'gcc'],
    ['locale', '../../etc'],
    ['keyboard', 'us;reboot'],
    ['timezone', '../../etc/localtime'],
    ['timezone', '/etc/localtime'],
    ['liveUser', 'root:0'],
    ['liveUser', '-r'],
    ['firmware', 'coreboot'],
    ['expiresInDays', 0],
    ['expiresInDays', 1.5],
    ['expiresInDays', 366],
    ['priority', 'urgent'],
    ['bootTest', 'yes'],
    ['kickstart', 7],
    ['packages', 'hello'],
  ])('%s: %j is refused', (key, value) => {
    expect(problemsWith({ [key]: value }).map((text) => text.split(/[.:]/)[0])).toEqual([key]);
  });

  test.each([
    ['kojiBuilds', '../../etc/passwd'],
    ['kojiBuilds', 'hello-1.1'],
    ['kojiBuilds', -1],
    ['kojiBuilds', 1.5],
    ['kojiTasks', '7'],
    ['kojiTags', 'f44 build'],
    ['kojiTags', '--tag'],
    ['advisories', 'FEDORA-1'],
    ['rpms', '../x'],
    ['repositories', { name: 'mine', baseurl: 'file:///etc' }],
    ['repositories', { name: 'mine', baseurl: 'ftp://example.org/' }],
    ['repositories', { name: '../mine', baseurl: 'https://example.org/' }],
    ['repositories', { name: 'mine', baseurl: `https://example.org/${'x'.repeat(2048)}` }],
  ])('sources.%s: %j is refused', (key, value) => {
    expect(problemsWith({ sources: { [key]: [value] } }).length).toBeGreaterThan(0);
  });

  test.each(['me', 'me@', '@example.org', 'me@example.org\r\nBcc: you@example.org', 'a b@example.org', `${'x'.repeat(250)}@example.org`])(
    '%j is no address to write to',
    (address) => {
      expect(problemsWith({ notify: { email: [address] } }).length).toBeGreaterThan(0);
    },
  );

  test.each([null, undefined, 7, 'release: sample', [], [least]])('%j is no request', (body) => {
    expect(problems(body).length).toBeGreaterThan(0);
  });

  test('any JSON is answered with problems, never with an exception', () => {
    fc.assert(fc.property(fc.jsonValue(), (body) => void problems(body)));
    fc.assert(fc.property(fc.dictionary(fc.constantFrom(...Object.keys(BuildRequest.parse(least))), fc.jsonValue()), (body) => void problems(body)));
  });
});
