/** A solver's "no" in the requester's words: libsolv's sentences of each kind, in the order that libsolv gave them, and any text whatever. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { missingError, type TroubleContext, unsolvableError } from '../../shared/resolution/trouble.ts';

const context: TroubleContext = {
  releaseName: 'Fedora Linux 44',
  arch: 'x86_64',
  engine: 'kiwi',
  install: ['app', 'tool'],
  exclude: [],
  repositories: [
    { id: 'fedora', role: 'stable', isOn: true },
    { id: 'updates', role: 'updates', isOn: false },
    { id: 'updates-testing', role: 'updates-testing', isOn: false },
  ],
  sets: [{ label: 'mesa-2-1', what: 'the Koji build mesa-2-1', names: ['mesa', 'mesa-libs'] }],
  nearest: (spec) => (spec === 'helo' ? ['hello'] : []),
  known: new Map(),
};

type Unsolvable = Parameters<typeof unsolvableError>[0];
const unsolvable = (problems: readonly (readonly string[])[], more: Partial<Unsolvable> = {}): Unsolvable => ({
  outcome: 'unsolvable',
  problems: problems.map((lines) => [...lines]),
  hints: [],
  filtered: [],
  ...more,
});
const needs = (from: string, what: string) => `package ${from} requires ${what}, but none of the providers can be installed`;

describe('what cannot be installed together', () => {
  it.each<[string, readonly (readonly string[])[], Partial<TroubleContext>, Partial<Unsolvable>, string]>([
    [
      'a chain of two, out of order',
      [['nothing provides libz.so.9 needed by lib-1-1.x86_64', 'conflicting requests', needs('app-1-1.x86_64', 'lib = 1')]],
      {},
      {},
      'app needs lib, which needs libz.so.9, which nothing on Fedora Linux 44 for x86_64 provides; leave app out, or name a source that has it',
    ],
    [
      'a chain of five',
      [
        [
          needs('app-1-1.x86_64', 'a'),
          needs('c-1-1.x86_64', 'd'),
          needs('a-1-1.x86_64', 'b'),
          needs('b-1-1.x86_64', 'c'),
          'nothing provides end needed by d-1-1.x86_64',
        ],
      ],
      {},
      {},
      'app needs d (by way of 3 other packages), which needs end, which nothing on Fedora Linux 44 for x86_64 provides; leave app out, or name a source that has it',
    ],
    [
      'a chain that goes round',
      [[needs('app-1-1.x86_64', 'a'), needs('a-1-1.x86_64', 'app'), 'nothing provides end needed by a-1-1.x86_64']],
      {},
      {},
      'app needs a, which needs end, which nothing on Fedora Linux 44 for x86_64 provides; leave app out, or name a source that has it',
    ],
    [
      'what a repository that is off would have',
      [['nothing provides lib >= 2 needed by app-1-1.x86_64']],
      {},
      { hints: [{ requirement: 'lib >= 2', elsewhere: [{ repository: 'updates', nevra: 'lib-2-1.x86_64', advisories: [] }] }] },
      'app needs lib >= 2, which is not in the repositories of the request: updates has lib-2-1.x86_64; turn on sources.updates',
    ],
    [
      'one package in the place of another',
      [['package app-1-1.x86_64 obsoletes tool < 2 provided by tool-1-1.x86_64', 'conflicting requests']],
      {},
      {},
      'app replaces tool; leave app or tool out',
    ],
    [
      'a conflict two steps away',
      [
        [
          needs('app-1-1.x86_64', 'left'),
          'package left-1-1.x86_64 conflicts with right provided by right-1-1.x86_64',
          needs('tool-1-1.x86_64', 'right'),
          'conflicting requests',
        ],
      ],
      {},
      {},
      'left conflicts with right (app needs left; tool needs right); leave app or tool out',
    ],
    [
      'a conflict with a requested build',
      [['package app-1-1.x86_64 conflicts with mesa-libs >= 2 provided by mesa-libs-2-1.x86_64']],
      {},
      {},
      'app conflicts with mesa-libs of the Koji build mesa-2-1; leave app or the Koji build mesa-2-1 out',
    ],
    [
      'what a requested build takes away',
      [[needs('app-1-1.x86_64', 'libmesa.so.1'), 'package mesa-libs-1-1.x86_64 is filtered out by exclude filtering', 'conflicting requests']],
      {},
      { filtered: [{ nevra: 'mesa-libs-1-1.x86_64', reason: 'replaced', set: 'mesa-2-1' }] },
      'app needs libmesa.so.1, but the Koji build mesa-2-1 stands in the place of mesa-libs-1-1.x86_64; name a build of app that fits it too, or leave one of them out',
    ],
    [
      'a member of a group',
      [['nothing provides x needed by member-1-1.x86_64']],
      { install: ['@core'] },
      {},
      'member (of @core) needs x, which nothing on Fedora Linux 44 for x86_64 provides; leave member out, or name a source that has it',
    ],
    [
      'two versions',
      [['cannot install both app-1-1.x86_64 and app-2-1.x86_64', 'conflicting requests']],
      {},
      {},
      'app-1-1.x86_64 and app-2-1.x86_64 cannot be installed together; name one version of app',
    ],
    [
      'another architecture',
      [['package app-1-1.aarch64 does not have a compatible architecture', 'conflicting requests']],
      {},
      {},
      'app-1-1.aarch64 is not for x86_64; name a package of this architecture, or ask for another arch',
    ],
    [
      'a sentence that nobody knows',
      [['the moon is full', 'conflicting requests']],
      {},
      {},
      'the packages cannot be installed together on Fedora Linux 44 for x86_64: the moon is full',
    ],
    ['no sentence', [], {}, {}, 'the packages cannot be installed together; the solver gave no reason'],
    [
      'several problems, the one that the requester can change first',
      [['the moon is full'], ['nothing provides x needed by app-1-1.x86_64'], ['cannot install both tool-1-1.x86_64 and tool-2-1.x86_64']],
      {},
      {},
      'tool-1-1.x86_64 and tool-2-1.x86_64 cannot be installed together; name one version of tool (and 2 more problems, see the details)',
    ],
  ])('%s', (_, problems, changes, more, message) => {
    const error = unsolvableError(unsolvable(problems, more), { ...context, ...changes });
    expect(error).toMatchObject({ code: 'DEPENDENCIES_UNSOLVABLE', message });
    // Whatever is left out above, libsolv's own words are all there.
    for (const line of problems.flat()) expect(error.details).toContain(line);
  });
});

describe('what nobody has', () => {
  type Missing = Parameters<typeof missingError>[0]['missing'][number];
  const missing = (...list: readonly Partial<Missing>[]) => ({
    outcome: 'missing' as const,
    missing: list.map((each) => ({ spec: 'helo', reason: 'unknown' as const, askedBy: 'request' as const, set: null, elsewhere: [], ...each })),
  });
  const known = new Map([['helo', [{ nvr: 'helo-1-1.fc44', tag: 'f44-updates-candidate', advisory: 'FEDORA-2026-0123456789' }]]]);

  it.each<[string, readonly Partial<Missing>[], Partial<TroubleContext>, string, string]>([
    ['a name', [{}], {}, 'PACKAGE_UNKNOWN', 'Fedora Linux 44 for x86_64 has no package, file or capability helo; near to it: hello'],
    [
      'a name like none',
      [{ spec: 'zzz' }],
      {},
      'PACKAGE_UNKNOWN',
      'Fedora Linux 44 for x86_64 has no package, file or capability zzz; check how it is spelled, or name a source that has it',
    ],
    [
      'a name that Koji knows',
      [{}],
      { known },
      'PACKAGE_UNKNOWN',
      'Fedora Linux 44 for x86_64 has no package helo, but Koji has helo-1-1.fc44 in f44-updates-candidate: name it under sources.kojiBuilds, or the advisory FEDORA-2026-0123456789 under sources.advisories',
    ],
    [
      'what a repository that is off has',
      [{ reason: 'disabled', elsewhere: [{ repository: 'updates-testing', nevra: 'helo-2-1.noarch', advisories: ['FEDORA-2026-aa'] }] }],
      {},
      'PACKAGE_UNKNOWN',
      'helo is not in the repositories of the request: updates-testing has helo-2-1.noarch; turn on sources.updatesTesting, or name the advisory FEDORA-2026-aa under sources.advisories',
    ],
    [
      'what is left out too',
      [{ reason: 'excluded' }],
      {},
      'PACKAGE_UNKNOWN',
      'helo is named under packages and left out by excludePackages; take it off one of the two',
    ],
    [
      'another version than a build has',
      [{ spec: 'mesa-1', reason: 'replaced', set: 'mesa-2-1' }],
      {},
      'REQUESTED_BUILD_CONFLICT',
      'the request names mesa-1 and the Koji build mesa-2-1, which has another version of it; leave one of them out',
    ],
    [
      'what only the image tool needs',
      [{ spec: 'dracut-kiwi-live', askedBy: 'engine' }],
      {},
      'ENGINE_UNSUPPORTED',
      'the engine kiwi needs dracut-kiwi-live inside the image, and the repositories of Fedora Linux 44 for x86_64 have no such package; choose another engine',
    ],
  ])('%s', (_, list, changes, code, message) => {
    expect(missingError(missing(...list), { ...context, ...changes })).toMatchObject({ code, message });
  });
});

describe('any text whatever', () => {
  it('becomes one readable line of bounded length, without control characters', () => {
    const pieces = fc.constantFrom(
      'package ',
      ' requires ',
      ', but none of the providers can be installed',
      'nothing provides ',
      ' needed by ',
      ' conflicts with ',
      ' provided by ',
      'a-1-1.x86_64',
      ' ',
      '\u0007',
      '\u202e',
      '\n',
      '@',
    );
    const line = fc.oneof(
      fc.string({ maxLength: 2000 }),
      fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(fc.array(fc.array(line, { maxLength: 8 }), { maxLength: 6 }), (problems) => {
        const { message, details } = unsolvableError(unsolvable(problems), context);
        expect(message).toMatch(/^[^\p{Cc}\p{Cf}]{10,500}$/u);
        expect(details.length).toBeLessThanOrEqual(40);
        for (const each of details) expect(each).toMatch(/^[^\p{Cc}\p{Cf}]{0,500}$/u);
      }),
    );
  });

  it('is no matter how long the chain is', () => {
    const lines = Array.from({ length: 2000 }, (_, index) => needs(`p${index}-1-1.noarch`, `p${index + 1}`));
    const { message } = unsolvableError(unsolvable([[...lines.toReversed(), 'nothing provides end needed by p2000-1-1.noarch']]), {
      ...context,
      install: ['p0'],
    });
    expect(message).toContain('p0 needs p2000 (by way of 1999 other packages), which needs end');
  });
});
