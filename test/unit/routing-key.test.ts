/** The topic rules against a plain model. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isRoutingKey, routingKeyMatches } from '../../shared/bus/routing-key.ts';

/** The rules as they are written down, without a thought for speed. */
function model(binding: readonly string[], key: readonly string[]): boolean {
  const [word, ...rest] = binding;
  if (word === undefined) return key.length === 0;
  if (word === '#') return model(rest, key) || (key.length > 0 && model(binding, key.slice(1)));
  return key.length > 0 && (word === '*' || word === key[0]) && model(rest, key.slice(1));
}

describe('routing keys', () => {
  test.each([
    ['build.requested', 'build.requested', true],
    ['build.requested', 'build.requeste', false],
    ['build.*', 'build.requested', true],
    ['build.*', 'build', false],
    ['build.*', 'build.a.b', false],
    ['build.#', 'build', true],
    ['build.#', 'build.a.b', true],
    ['#', '', true],
    ['*', '', false],
    ['#.kiwi', 'side-repo.ready.x86_64.live.kiwi', true],
    ['side-repo.ready.*.live.#', 'side-repo.ready.x86_64.live.kiwi', true],
    ['#.#.#', 'a', true],
    ['a.*.c', 'a..c', true],
    ['a.b', 'a.b.', false],
  ])('%s and %s: %s', (binding, key, expected) => {
    expect(routingKeyMatches(binding, key)).toBe(expected);
  });

  test('agree with a plain model', () => {
    const word = fc.constantFrom('a', 'b', 'ab', '');
    fc.assert(
      fc.property(fc.array(fc.oneof(word, fc.constantFrom('*', '#')), { maxLength: 6 }), fc.array(word, { maxLength: 6 }), (binding, key) => {
        // One empty word and no word at all are written alike.
        fc.pre(binding.join() !== '' && key.join() !== '');
        expect(routingKeyMatches(binding.join('.'), key.join('.'))).toBe(model(binding, key));
      }),
      { numRuns: 3000, seed: 7 },
    );
  });

  test('no binding is slow', () => {
    const startedAt = performance.now();
    expect(
      routingKeyMatches(
        Array.from({ length: 60 }, () => '#')
          .join('.')
          .concat('.z'),
        Array.from({ length: 60 }, () => 'a').join('.'),
      ),
    ).toBe(false);
    expect(performance.now() - startedAt).toBeLessThan(200);
  });

  test('are at most 255 bytes long', () => {
    expect(isRoutingKey('k'.repeat(255))).toBe(true);
    expect(isRoutingKey('ü'.repeat(128))).toBe(false);
  });
});
