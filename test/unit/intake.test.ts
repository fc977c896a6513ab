/** The pure parts of intake: bodies, ranges, and what becomes of a request, for any input. */
import fc from 'fast-check';
import { dump } from 'js-yaml';
import { describe, expect, test } from 'vitest';
import { namesTag, parseRange } from '../../services/intake/range.ts';
import { checkRequest, type IntakeRules } from '../../services/intake/service.ts';
import { failureKinds } from '../../shared/build/failure.ts';
import { parseBody } from '../../shared/http/body.ts';
import { detailsOf, Problem, problemKinds, quoted } from '../../shared/http/problem.ts';
import { parseReleases } from '../../shared/releases/load.ts';

const encode = (text: string) => new TextEncoder().encode(text);
const seed = 20261122;

const rules: IntakeRules = {
  engines: { kiwi: ['live'], native: ['live', 'dvd'] },
  untrustedCode: { kickstartScripts: false, rpms: false },
  releases: parseReleases(
    `releases:
  - {id: "44", name: Fedora 44, arches: [x86_64, aarch64], repositories: [{id: f, role: stable, baseurl: "http://x/"}], koji: {hub: "http://x/h", files: "http://x/f"}, engines: {live: kiwi, dvd: native, boot: lorax}}
  - {id: plain, name: Plain, arches: [x86_64], repositories: [{id: f, role: stable, baseurl: "http://x/"}], engines: {live: kiwi}}`,
    'releases.yaml',
  ).fill({}),
};

const plainText = fc.string({ unit: fc.constantFrom(...'abcXYZ 019-_.:{}[]"\\/,#\n\täß€😀') });
const plainKey = plainText.filter((key) => !['__proto__', 'constructor', 'prototype', ''].includes(key));
const { value: plainValue } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    plainText,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(plainKey, tie('value'), { maxKeys: 4, noNullPrototype: true }),
  ),
}));

describe('bodies', () => {
  test('any plain value comes through JSON and YAML as it was', () => {
    fc.assert(
      fc.property(plainValue, (value) => {
        expect(parseBody(encode(JSON.stringify(value)), 'application/json')).toEqual(value);
        expect(parseBody(encode(dump(value, { noRefs: true })), 'application/yaml')).toEqual(value);
      }),
      { seed, numRuns: 300 },
    );
  });

  test('any text is a value or a problem, never another error', () => {
    const text = fc.oneof(fc.string({ unit: 'binary' }), plainText, fc.json(), fc.string({ unit: fc.constantFrom(...'{}[]:,-?*&!|>%@`"\'\n ab1') }));
    fc.assert(
      fc.property(text, fc.constantFrom('application/json', 'application/yaml'), (body, type) => {
        try {
          parseBody(encode(body), type);
        } catch (error) {
          expect(error).toBeInstanceOf(Problem);
          expect((error as Problem).status).toBe(400);
        }
      }),
      { seed, numRuns: 1000 },
    );
  });

  test('1 MiB of anything takes no longer than a moment', () => {
    const size = 1024 * 1024 - 16;
    for (const [type, unit, end] of [
      ['application/yaml', '- ', ''],
      ['application/yaml', 'a: {', ''],
      ['application/yaml', '? ', ''],
      ['application/yaml', '"', ''],
      ['application/yaml', '# \n', 'a: 1'],
      ['application/yaml', '&a ', ''],
      ['application/json', '[', ''],
      ['application/json', '{"a":', ''],
      ['application/json', '"\\\\', ''],
    ] as const) {
      const startedAt = performance.now();
      try {
        parseBody(encode(unit.repeat(size / unit.length) + end), type);
      } catch (error) {
        expect(error).toBeInstanceOf(Problem);
      }
      expect(performance.now() - startedAt, `${type} ${unit}`).toBeLessThan(3000);
    }
  });
});

describe('requests', () => {
  const base = { release: '44', imageType: 'live', packages: ['hello'] };
  const problems = (body: object) => {
    const checked = checkRequest(body, rules);
    return checked.isValid ? [] : checked.problems.map(({ field, code }) => `${field} ${code}`);
  };

  test('engines and kinds of images fit together', () => {
    expect(problems({ ...base, imageType: ['live', 'dvd'] })).toEqual([]);
    expect(problems({ ...base, imageType: 'live', engine: 'native' })).toEqual([]);
    expect(problems({ ...base, imageType: 'dvd', engine: 'kiwi' })).toEqual(['engine ENGINE_UNSUPPORTED']);
    expect(problems({ ...base, imageType: 'boot' })).toEqual(['imageType IMAGE_TYPE_UNSUPPORTED']);
    expect(problems({ ...base, imageType: 'boot', engine: 'lorax' })).toEqual(['engine ENGINE_UNSUPPORTED']);
    expect(problems({ ...base, release: 'plain', imageType: 'dvd', engine: 'native' })).toEqual(['imageType IMAGE_TYPE_UNSUPPORTED']);
    expect(problems({ ...base, release: 'plain', arch: 'aarch64', sources: { kojiBuilds: [1] } })).toEqual([
      'arch ARCH_UNSUPPORTED',
      'sources.kojiBuilds FEATURE_UNSUPPORTED',
    ]);
  });

  test('kickstarts are read before anything is accepted; what they include is not known yet', () => {
    const withText = (kickstart: string, more: object = {}) => problems({ ...base, kickstart, ...more });
    expect(withText('lang de_DE.UTF-8\n%packages\nhtop\n%end\n%include https://a.example/more.ks\n')).toEqual([]);
    expect(withText('https://a.example/x.ks')).toEqual([]);
    expect(withText('http://a.example/x.ks')).toEqual(['kickstart KICKSTART_INVALID']);
    expect(withText('langg x\nkeyboardd y\n')).toEqual(['kickstart KICKSTART_INVALID', 'kickstart KICKSTART_INVALID']);
    expect(withText('%include /etc/passwd\n')).toEqual(['kickstart KICKSTART_INVALID']);
    expect(withText('firewall --enabled\n')).toEqual(['kickstart RECIPE_UNSUPPORTED']);
    expect(withText('%post\ntrue\n%end\n')).toEqual(['kickstart UNTRUSTED_CODE_REFUSED']);
    expect(withText('rootpw hunter2\n')).toEqual(['kickstart KICKSTART_INVALID']);
  });

  test('a code that all problems share is the code of the whole', () => {
    const code = (body: object) => {
      const checked = checkRequest(body, rules);
      return checked.isValid ? undefined : checked.code;
    };
    expect(code({ ...base, private: true, priority: 'high' })).toBe('FEATURE_UNSUPPORTED');
    expect(code({ ...base, release: '4', private: true })).toBe('REQUEST_INVALID');
    expect(code({ ...base, private: 'yes' })).toBe('REQUEST_INVALID');
  });

  test('any value is accepted or refused with problems that name a code and say something', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          plainValue,
          fc.record({ release: plainValue, imageType: plainValue, packages: plainValue, sources: plainValue, notify: plainValue }, { requiredKeys: [] }),
        ),
        (body) => {
          const checked = checkRequest(body, rules);
          if (checked.isValid) return;
          expect(checked.problems.length).toBeGreaterThan(0);
          for (const { code, message } of checked.problems) {
            expect(code).toMatch(/^[A-Z_]+$/);
            expect(message).toMatch(/\w/);
          }
          const problem = detailsOf(new Problem(checked.code, 'x', { errors: checked.problems }));
          expect(problem.status).toBe(422);
        },
      ),
      { seed, numRuns: 500 },
    );
  });
});

test('a range lies within the file and is what was asked for', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 100 }), fc.option(fc.nat(120)), fc.option(fc.nat(120)), (size, first, last) => {
      const range = parseRange(`bytes=${first ?? ''}-${last ?? ''}`, size);
      if (range === undefined || range === 'unsatisfiable') return;
      expect(range.start).toBeGreaterThanOrEqual(0);
      expect(range.end).toBeLessThan(size);
      expect(range.start).toBeLessThanOrEqual(range.end);
      if (first !== null) expect(range.start).toBe(first);
    }),
    { seed, numRuns: 1000 },
  );
  expect([namesTag('*', '"a"'), namesTag('"b", W/"a"', '"a"'), namesTag(undefined, '"a"'), namesTag('a', '"a"')]).toEqual([true, true, false, false]);
});

test('every code is in one table only, and quoted text is short and printable', () => {
  for (const code of Object.keys(problemKinds)) expect(Object.keys(failureKinds)).not.toContain(code);
  expect(quoted('x'.repeat(500)).length).toBeLessThan(100);
  expect(quoted('\u001b[2J\u202e\u0085\n')).toBe('"\\u001b[2J\ufffd\ufffd\\n"');
});
