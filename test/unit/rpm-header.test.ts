/** The RPM header reader: reads what is there, asks for more where it must, and refuses what lies. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { storeContent } from '../../shared/files/content.ts';
import { memoryFiles } from '../../shared/files/memory.ts';
import { RpmHeaderError, readRpmHeader } from '../../shared/rpm/header.ts';
import { readStoredHeader, storedPayloadHash } from '../../shared/rpm/stored-rpm.ts';
import { rpmFile } from '../support/rpm-file.ts';

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
