/** The RPM header reader: reads what is there, asks for more where it must, and refuses what lies. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { storeContent } from '../../shared/files/content.ts';
import { memoryFiles } from '../../shared/files/memory.ts';
import { climbingPath } from '../../shared/rpm/climbing-path.ts';
import { RpmHeaderError, readRpmContents, readRpmHeader } from '../../shared/rpm/header.ts';
import { readStoredHeader, storedPayloadHash } from '../../shared/rpm/stored-rpm.ts';
import { type RpmFileEntry, rpmFile } from '../support/rpm-file.ts';

const hello = { name: 'hello', epoch: 2, version: '1.1', release: '1.fc44', arch: 'x86_64' };

describe('header', () => {
  it('names the package', () => {
    const { bytes, payloadHash } = rpmFile(hello);
    expect(readRpmHeader(bytes)).toEqual({
      header: { ...hello, isSource: false, buildTimeS: 0, sourceRpm: 'hello-1.1-1.fc44.src.rpm', sigMd5: payloadHash, headerStart: expect.any(Number) },
    });
    expect(readRpmHeader(rpmFile({ ...hello, epoch: 0, arch: 'src' }).bytes)).toMatchObject({
      header: { arch: 'src', epoch: 0, isSource: true, sourceRpm: null },
    });
  });

  it('asks for more bytes until it has the whole header', () => {
    const { bytes } = rpmFile(hello);
    const whole = readRpmHeader(bytes);
    let length = 0;
    for (let round = 0; round < 5; round += 1) {
      const read = readRpmHeader(bytes.subarray(0, length));
      if ('header' in read) {
        expect(read).toEqual(whole);
        return;
      }
      expect(read.bytesNeeded).toBeGreaterThan(length);
      length = read.bytesNeeded;
    }
    throw new Error('was never content');
  });

  it('refuses what is no RPM, and whatever lies, without reading beyond', () => {
    expect(() => readRpmHeader(new Uint8Array(200))).toThrow(RpmHeaderError);
    const { bytes } = rpmFile(hello);
    fc.assert(
      fc.property(fc.array(fc.record({ at: fc.nat(bytes.length - 1), value: fc.nat(255) }), { minLength: 1, maxLength: 8 }), (changes) => {
        const broken = Uint8Array.from(bytes);
        for (const { at, value } of changes) broken[at] = value;
        try {
          const read = readRpmHeader(broken);
          expect('header' in read ? read.header.name.length : read.bytesNeeded).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(RpmHeaderError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('bounds what it asks for', () => {
    const bytes = Uint8Array.from(rpmFile(hello).bytes);
    bytes.set([0xff, 0xff, 0xff, 0xff], 96 + 12);
    expect(() => readRpmHeader(bytes)).toThrow(/too large/);
  });
});

const numbers = (...values: number[]) => {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [place, value] of values.entries()) bytes.writeUInt32BE(value, place * 4);
  return bytes;
};
const texts = (...values: string[]) => Buffer.from(values.map((value) => `${value}\0`).join(''));

describe('contents', () => {
  const contentsOf = (further: readonly RpmFileEntry[], files: readonly (readonly [string, string])[] = []) =>
    readRpmContents(rpmFile(hello, { further, files }).bytes);

  it('tells summary, installed size and files', () => {
    const { bytes } = rpmFile(hello, {
      summary: 'Says hello',
      installedBytes: 4711,
      files: [
        ['/usr/bin/', 'hello'],
        ['/usr/share/doc/', 'hello'],
        ['/usr/bin/', 'hallo'],
      ],
    });
    expect(readRpmContents(bytes)).toEqual({
      summary: 'Says hello',
      installedBytes: 4711,
      files: { directories: ['/usr/bin/', '/usr/share/doc/'], names: ['hello', 'hello', 'hallo'], directoryOf: [0, 1, 0] },
    });
    expect(readRpmContents(rpmFile(hello).bytes)).toEqual({
      summary: null,
      installedBytes: 1000,
      files: { directories: [], names: [], directoryOf: [] },
    });
  });

  it('takes the sum of the files where it is more than the size that is stated, and sizes beyond 4 GiB', () => {
    expect(contentsOf([[1028, 4, 2, numbers(3000, 4000)]]).installedBytes).toBe(7000);
    const long = Buffer.alloc(8);
    long.writeBigUInt64BE(5_000_000_000n);
    expect(contentsOf([[5009, 5, 1, long]]).installedBytes).toBe(5_000_000_000);
  });

  it.each<[string, readonly RpmFileEntry[]]>([
    ['more names than there are', [[1117, 8, 3, texts('a', 'b')]]],
    [
      'a name in no directory',
      [
        [1116, 4, 1, numbers(7)],
        [1117, 8, 1, texts('a')],
        [1118, 8, 1, texts('/')],
      ],
    ],
    [
      'names without places',
      [
        [1117, 8, 1, texts('a')],
        [1118, 8, 1, texts('/')],
      ],
    ],
    [
      'places beyond the header',
      [
        [1116, 4, 100_000, numbers(0)],
        [1117, 8, 1, texts('a')],
        [1118, 8, 1, texts('/')],
      ],
    ],
    ['millions of files', [[1117, 8, 4_000_000, texts('a')]]],
    ['names of the wrong type', [[1117, 6, 1, texts('a')]]],
    [
      'files in two ways',
      [
        [1027, 8, 1, texts('/a')],
        [1116, 4, 1, numbers(0)],
        [1117, 8, 1, texts('a')],
        [1118, 8, 1, texts('/')],
      ],
    ],
  ])('refuses %s', (_what, further) => {
    expect(() => contentsOf(further)).toThrow(RpmHeaderError);
  });

  it('refuses a tag that stands there twice, since two readers could take one each', () => {
    const { bytes } = rpmFile(hello, { further: [[1000, 6, 1, texts('other')]] });
    expect(() => readRpmHeader(bytes)).toThrow('has tag 1000 twice');
  });

  it('takes for a source package what calls itself one in its header, whatever its lead says', () => {
    expect(readRpmHeader(rpmFile(hello, { further: [[1106, 4, 1, numbers(1)]] }).bytes)).toMatchObject({ header: { isSource: true, arch: 'src' } });
  });

  it('refuses whatever lies about files, without reading beyond', () => {
    const { bytes } = rpmFile(hello, {
      files: [
        ['/usr/bin/', 'hello'],
        ['/etc/', 'hello.conf'],
      ],
    });
    fc.assert(
      fc.property(fc.array(fc.record({ at: fc.nat(bytes.length - 1), value: fc.nat(255) }), { minLength: 1, maxLength: 8 }), (changes) => {
        const broken = Uint8Array.from(bytes);
        for (const { at, value } of changes) broken[at] = value;
        try {
          expect(readRpmContents(broken).installedBytes).toBeGreaterThanOrEqual(0);
        } catch (error) {
          expect(error).toBeInstanceOf(RpmHeaderError);
        }
      }),
      { numRuns: 2000, seed: 20261122 },
    );
  });
});

describe('paths', () => {
  const climbing = (...files: (readonly [string, string])[]) => climbingPath(readRpmContents(rpmFile(hello, { files }).bytes).files);

  it.each<[readonly [string, string], string]>([
    [['/../etc/', 'passwd'], '/../etc/passwd'],
    [['/usr/share/../../../etc/', 'passwd'], '/usr/share/../../../etc/passwd'],
    [['etc/', 'passwd'], 'etc/passwd'],
    [['./etc/', 'passwd'], './etc/passwd'],
    [['/etc/', '..'], '/etc/..'],
    [['/etc/', '../passwd'], '/etc/../passwd'],
    [['/etc/', 'x/passwd'], '/etc/x/passwd'],
  ])('%j leaves its place', (file, path) => {
    expect(climbing(['/usr/bin/', 'hello'], file)).toBe(path);
  });

  it('whole paths of old packages are looked at too', () => {
    const old = (...paths: string[]) => climbingPath(readRpmContents(rpmFile(hello, { further: [[1027, 8, paths.length, texts(...paths)]] }).bytes).files);
    expect([old('/usr/bin/hello', '/etc/hello'), old('/usr/bin/hello', '../hello'), old('hello')]).toEqual([undefined, '../hello', 'hello']);
  });

  it('usual ones stay, the root directory among them, and dots in names', () => {
    expect(climbing(['/', ''], ['/', 'bin'], ['/usr/lib/..hidden/', '...'], ['/usr/bin/', '['])).toBeUndefined();
  });

  it('a directory without files counts, and many long ones cost little', () => {
    expect(climbingPath({ directories: ['/a/', '/../'], names: ['x'], directoryOf: [0] })).toBe('/../');
    const directory = `/${'d'.repeat(100_000)}/`;
    const names = Array.from({ length: 200_000 }, () => 'n');
    expect(climbingPath({ directories: [directory], names, directoryOf: names.map(() => 0) })).toBeUndefined();
  });
});

describe('stored', () => {
  it('reads a header larger than the usual first part', async () => {
    const files = memoryFiles();
    const file = rpmFile(hello, { headerPadding: 200_000 });
    const ref = await storeContent(files, file.bytes);
    const header = await readStoredHeader(files, ref, 'hello');
    expect(header).toMatchObject(hello);
    expect(await storedPayloadHash(files, ref, header)).toBe(file.payloadHash);
  });

  it('computes the same payload hash for a signed copy, and another for a changed payload', async () => {
    const files = memoryFiles();
    const plain = rpmFile(hello);
    const signed = rpmFile(hello, { signature: 'signed by somebody' });
    const tampered = Uint8Array.from(plain.bytes);
    tampered[tampered.length - 1] = 0;
    const hashOf = async (bytes: Uint8Array) => {
      const ref = await storeContent(files, bytes);
      return storedPayloadHash(files, ref, await readStoredHeader(files, ref, 'hello'));
    };
    expect(signed.sha256).not.toBe(plain.sha256);
    expect(await hashOf(signed.bytes)).toBe(plain.payloadHash);
    expect(await hashOf(tampered)).not.toBe(plain.payloadHash);
  });

  it('refuses a file that ends early, and one that is no RPM', async () => {
    const files = memoryFiles();
    const short = await storeContent(files, rpmFile(hello).bytes.subarray(0, 250));
    await expect(readStoredHeader(files, short, 'hello')).rejects.toMatchObject({ code: 'PACKAGE_MISMATCH', message: expect.stringContaining('ends before') });
    const page = await storeContent(files, '<html>'.repeat(50));
    await expect(readStoredHeader(files, page, 'hello')).rejects.toMatchObject({ code: 'PACKAGE_MISMATCH' });
    await expect(readStoredHeader(files, { sha256: '0'.repeat(64), size: 5 }, 'hello')).rejects.toMatchObject({ code: 'FILE_MISSING' });
  });
});
