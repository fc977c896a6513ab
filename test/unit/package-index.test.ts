/** Searching packages: against a search that is plainly right, and what is near to a mistyped name. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type IndexedPackage, readPackageIndex } from '../../shared/solver/package-index.ts';

const line = (name: string, summary = '') => [name, '1-1', 'noarch', 'stable', summary].join('\t');
const indexOf = (...packages: readonly (readonly [name: string, summary?: string])[]) => readPackageIndex(packages.map((each) => line(...each)).join('\n'));
const namesOf = (found: readonly IndexedPackage[]) => found.map(({ name }) => name);

describe('search', () => {
  const index = indexOf(['vim-enhanced', 'A text editor'], ['vim', 'The editor'], ['neovim', 'Vim, anew'], ['nano', 'A small Editor'], ['gvim-like', '']);

  it.each([
    ['vim', ['vim', 'vim-enhanced', 'neovim', 'gvim-like']],
    ['VIM editor', ['vim', 'vim-enhanced']],
    ['editor', ['vim-enhanced', 'vim', 'nano']],
    ['anew', ['neovim']],
    ['  ', []],
    ['', []],
    ['emacs', []],
    ['.*', []],
  ])('%j', (query, names) => {
    expect(namesOf(index.search(query, 10))).toEqual(names);
    expect(namesOf(index.search(query, 2))).toEqual(names.slice(0, 2));
    expect(index.search(query, 0)).toEqual([]);
  });

  it('tells all that is known of a package', () => {
    const text = 'bash\t5.2-1\tx86_64\tupdates\tThe GNU shell\n@core\t\t\t\tCore\nbroken line\nbad\t1\t2\t3\t4\t5\n';
    expect(readPackageIndex(text).size).toBe(1);
    expect(readPackageIndex(text).search('gnu', 5)).toEqual([{ name: 'bash', evr: '5.2-1', arch: 'x86_64', repository: 'updates', summary: 'The GNU shell' }]);
  });

  it('finds what a plain look at every package finds', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'A', '-'), minLength: 1, maxLength: 5 });
    const packages = fc.uniqueArray(fc.tuple(letters, fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'B', ' '), maxLength: 8 })), {
      selector: ([name]) => name,
      maxLength: 30,
    });
    const query = fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'B', ' ', '-'), maxLength: 5 });
    fc.assert(
      fc.property(packages, query, (drawn, text) => {
        const words = text.toLowerCase().split(/\s+/).filter(Boolean);
        const right = drawn.filter(([name, summary]) => words.length > 0 && words.every((word) => `${name}\n${summary}`.toLowerCase().includes(word)));
        const found = namesOf(indexOf(...drawn).search(text, 100));
        expect(found.toSorted()).toEqual(right.map(([name]) => name).toSorted());
        const exact = found.findIndex((name) => name.toLowerCase() === words[0]);
        if (exact >= 0) expect(found.slice(0, exact).every((name) => name.toLowerCase() === words[0])).toBe(true);
      }),
    );
  });
});

describe('what is near', () => {
  const index = readPackageIndex(
    [
      line('hello'),
      line('hello-doc'),
      line('help2man'),
      line('kernel-core'),
      line('python3-requests'),
      '@core\t\t\t\tCore',
      '@^workstation\t\t\t\tWorkstation',
    ].join('\n'),
  );
  it.each([
    ['helo', ['hello']],
    ['hello-docs', ['hello-doc', 'hello']],
    ['Hello', ['hello', 'hello-doc']],
    ['kernel', ['kernel-core']],
    ['python3-request', ['python3-requests']],
    ['@cor', ['@core']],
    ['@^workstations', ['@^workstation']],
    ['zzzz', []],
    ['x', []],
    ['/usr/bin/hello', []],
    ['', []],
  ])('%s', (spec, names) => {
    expect(index.nearest(spec)).toEqual(names);
  });

  it('is never more than three names, and quick for anything', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 400 }), (text) => {
        expect(index.nearest(text).length).toBeLessThanOrEqual(3);
      }),
    );
  });
});
