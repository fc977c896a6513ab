/** The letters about the end of a build, as people get them. */
import { describe, expect, test } from 'vitest';
import { letterOf } from '../../services/notifier/letter.ts';
import { type Build, cancelRequested, failed } from '../../shared/build/build.ts';
import { failureOf, SpindleError } from '../../shared/build/failure.ts';
import { BuildFailed, BuildFinished } from '../../shared/events/catalog.ts';
import { buildIn, endStage, startMs } from '../support/build-records.ts';
import { expectGolden } from '../support/golden.ts';

const now = startMs + 1_800_000;
const publicUrl = 'https://spindle.example.org';
const finishedWith = (verdict: 'failed' | 'no-verdict' | null, reason: string) => endStage(buildIn('uploading'), [BuildFinished({ verdict, reason })], now);

const unknownPackage = failureOf(new SpindleError('PACKAGE_UNKNOWN', 'No repository of this request has “helo”. Did you mean “hello”?'), 'resolver');
const kojiDown = failureOf(new SpindleError('KOJI_UNREACHABLE', 'koji.example.org did not answer within 30 s; Spindle asked 8 times.'), 'resolver');
const engine = failureOf(
  new SpindleError('ENGINE_FAILED', 'KIWI could not install the packages: file /usr/bin/hello conflicts between hello and hello-other.', {
    details: [
      '[ DEBUG ]: 09:00:00 | looking for packages',
      '[ ERROR ]: 09:00:01 | file /usr/bin/hello conflicts \u001b[31mbetween\u001b[0m attempted installs',
    ],
  }),
  'image-builder',
);
const logTail = Array.from({ length: 20 }, (_, index) => `2026-11-22T00:10:${String(index).padStart(2, '0')}.000Z resolver line ${index + 1} of the log`);

const cases: readonly (readonly [name: string, build: Build | undefined, logTail: readonly string[]])[] = [
  ['success', buildIn('finished'), []],
  ['boot-failed', finishedWith('failed', 'The kernel panicked after 4 s.'), []],
  ['no-verdict', finishedWith('no-verdict', 'Nothing was seen on the serial console within 180 s.'), []],
  ['not-boot-tested', finishedWith(null, 'not asked for'), []],
  ['failed-by-requester', endStage(buildIn('resolving'), [BuildFailed({ failure: unknownPackage, artifacts: [] })], now), []],
  [
    'failed-by-engine',
    failed(buildIn('building'), { stage: 'image-builder', failure: { ...engine, phase: 'installing packages' }, now, isDeadLetter: false }),
    [],
  ],
  ['failed-by-operator', failed(buildIn('resolving'), { stage: 'resolver', failure: kojiDown, now, isDeadLetter: true }), logTail],
  ['canceled', cancelRequested(buildIn('building'), now), []],
];

describe('the letter', () => {
  test.each(cases)('%s', (name, build, tail) => {
    if (!build) throw new Error(`there is no build for ${name}`);
    const { subject, text } = letterOf(build, publicUrl, tail);
    expect(subject, 'a subject is one line').toMatch(/^[^\r\n]{1,250}$/);
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f]/);
    expectGolden(`test/golden/letters/${name}.txt`, `Subject: ${subject}\n\n${text}`);
  });
});
