/** Artifacts: names that are safe everywhere, CHECKSUM as Fedora writes it, and lists that grow without doubles. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Artifact, checksumFile, mergeArtifacts } from '../../shared/build/artifact.ts';
import { isFileKey } from '../../shared/files/file-key.ts';
import { publicKey } from '../../shared/files/public-key.ts';
import { buildId } from '../support/build-records.ts';
import { testDirectory } from '../support/temp-directory.ts';

const artifact = (name: string, text: string): Artifact => ({
  name,
  mediaType: 'text/plain',
  size: Buffer.byteLength(text),
  sha256: createHash('sha256').update(text).digest('hex'),
});

describe('CHECKSUM', () => {
  test('has Fedora’s two lines for each file: its size as a comment, and its digest', () => {
    const sha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';
    expect(checksumFile([{ name: 'Test-44-x86_64.iso', mediaType: 'x', size: 4, sha256 }])).toBe(
      `# Test-44-x86_64.iso: 4 bytes\nSHA256 (Test-44-x86_64.iso) = ${sha256}\n`,
    );
    expect(checksumFile([])).toBe('');
  });

  test('is what sha256sum checks', async () => {
    const directory = await testDirectory();
    for (const name of ['one.iso', 'two.txt']) writeFileSync(join(directory, name), name);
    writeFileSync(join(directory, 'CHECKSUM'), checksumFile(['one.iso', 'two.txt'].map((name) => artifact(name, name))));
    expect(execFileSync('sha256sum', ['--check', '--strict', 'CHECKSUM'], { cwd: directory, encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } })).toBe(
      'one.iso: OK\ntwo.txt: OK\n',
    );
  });
});

describe('artifacts', () => {
  test('have names that are one file and one line everywhere', () => {
    const good = artifact('a.iso', '');
    for (const name of ['', '.', '..', '.hidden', '-x', 'a/b', 'a b', 'a\n', 'ä', 'a'.repeat(129)])
      expect(Artifact.safeParse({ ...good, name }).success, JSON.stringify(name)).toBe(false);
    fc.assert(
      fc.property(fc.string({ maxLength: 20 }), (name) => {
        if (!Artifact.safeParse({ ...good, name }).success) return;
        expect(isFileKey(publicKey(buildId, { ...good, name }))).toBe(true);
        expect(checksumFile([{ ...good, name }]).split('\n')).toHaveLength(3);
      }),
    );
  });

  test('of later stages replace those of the same name, and keep the others', () => {
    const merged = mergeArtifacts([artifact('a', '1'), artifact('b', '1')], [artifact('b', '2'), artifact('c', '2')]);
    expect(merged.map(({ name, sha256 }) => [name, sha256])).toEqual([
      ['a', artifact('', '1').sha256],
      ['b', artifact('', '2').sha256],
      ['c', artifact('', '2').sha256],
    ]);
  });

  test('merged twice are merged once', () => {
    const list = fc
      .uniqueArray(fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), text: fc.string() }), { selector: ({ name }) => name })
      .map((all) => all.map(({ name, text }) => artifact(name, text)));
    fc.assert(
      fc.property(list, list, (earlier, later) => {
        const merged = mergeArtifacts(earlier, later);
        expect(new Set(merged.map(({ name }) => name)).size).toBe(merged.length);
        expect(mergeArtifacts(merged, later).length).toBe(merged.length);
        expect(merged).toEqual(expect.arrayContaining([...later]));
      }),
    );
  });
});
