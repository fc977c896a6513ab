/** What counts as code that a requester brings, and that it is refused wherever it is not allowed. */
import { describe, expect, test } from 'vitest';
import { checkRequest, type IntakeRules } from '../../services/intake/service.ts';
import { BuildRequest } from '../../shared/build/request.ts';
import { kickstartScripts, refuseUntrustedCode, untrustedCodeProblems } from '../../shared/build/untrusted-code.ts';
import { parseReleases } from '../../shared/releases/load.ts';

const none = { kickstartScripts: false, rpms: false };
const all = { kickstartScripts: true, rpms: true };
const id = '01a20273-7e0d-7625-bdbd-8a0f9df4dce6';
const asked = (kickstart: string | null, rpms: string[] = []) => ({ kickstart, sources: { rpms } });

describe('script sections of a kickstart', () => {
  test.each([
    [
      'every section that runs code',
      '%pre\n%end\n%pre-install\n%post --nochroot\n%onerror\n%traceback\n%addon org_x\n',
      '%pre %pre-install %post %onerror %traceback %addon',
    ],
    ['blanks before it', '  \t%post\n', '%post'],
    ['line ends of any kind', 'lang C\r%post\r\n\u2028%pre\u0085%addon x\v%onerror\f%traceback', '%post %pre %addon %onerror %traceback'],
    ['quotes and backslashes, which pykickstart takes away', `"%post"\n'%pre'\n%p"os"t\n%o\\nerror\n''%addon x`, '%post %pre %post %onerror %addon'],
    ['capitals', '%POST', '%post'],
    ['a byte order mark', '\ufeff%post', '%post'],
  ])('%s', (_what, text, sections) => {
    expect(kickstartScripts(text).join(' ')).toBe(sections);
  });

  test.each([
    '',
    'lang C\nrepo --name=x --baseurl=https://x.example/\n',
    '%packages\n@core\n%end\n',
    '# %post\n',
    'rootpw --lock %post\n',
    '%posture\n',
    '%certificate\n',
    'https://x.example/a.ks',
  ])('none in %j', (text) => {
    expect(kickstartScripts(text)).toEqual([]);
  });
});

test('each kind needs its own permission, and the sentence names the setting', () => {
  const request = asked('%post\ntrue\n%end\n%pre\n%end\n%post\n', [id]);
  expect(untrustedCodeProblems(request, none).map(({ field }) => field)).toEqual(['kickstart', 'sources.rpms']);
  expect(untrustedCodeProblems(request, { ...none, rpms: true }).map(({ message }) => message)).toEqual([
    expect.stringMatching(/^kickstart has %post, %pre, .*kickstart-scripts into SPINDLE_UNTRUSTED_CODE$/),
  ]);
  expect(untrustedCodeProblems(request, { ...none, kickstartScripts: true }).map(({ field }) => field)).toEqual(['sources.rpms']);
  expect(untrustedCodeProblems(request, all)).toEqual([]);
  expect(untrustedCodeProblems(asked(null), none)).toEqual([]);
});

test('a stage refuses what intake would have refused', () => {
  expect(() => refuseUntrustedCode(asked('%pre', [id]), none)).toThrow(
    expect.objectContaining({ code: 'UNTRUSTED_CODE_REFUSED', details: [expect.stringContaining('sources.rpms')] }),
  );
  expect(() => refuseUntrustedCode(asked('%pre', [id]), all)).not.toThrow();
});

test('intake says no to a build, not to a dry run', () => {
  const rules = (untrustedCode: IntakeRules['untrustedCode']): IntakeRules => ({
    engines: { kiwi: ['live'] },
    untrustedCode,
    releases: parseReleases(
      'releases:\n  - {id: plain, name: Plain, arches: [x86_64], repositories: [{id: f, role: stable, baseurl: "http://x/"}], engines: {live: kiwi}}',
      'releases.yaml',
    ).fill({}),
  });
  const request = BuildRequest.parse({ release: 'plain', imageType: 'live', sources: { rpms: [id] } });
  const codes = (untrustedCode: IntakeRules['untrustedCode'], purpose?: 'dry-run') => {
    const checked = checkRequest(request, rules(untrustedCode), purpose);
    return checked.isValid ? [] : checked.problems.map(({ field, code }) => `${field} ${code}`);
  };
  expect(codes(none)).toContain('sources.rpms UNTRUSTED_CODE_REFUSED');
  expect(codes(all)).not.toContain('sources.rpms UNTRUSTED_CODE_REFUSED');
  expect(codes(none, 'dry-run')).not.toContain('sources.rpms UNTRUSTED_CODE_REFUSED');
});
