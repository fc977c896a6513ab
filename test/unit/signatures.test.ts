/** What rpm says of signatures, as rpm 4.18 writes it, and what that means for a package of each kind of release. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { acceptSignature } from '../../services/side-repo/signature-policy.ts';
import { readChecksig, type SignatureVerdict } from '../../shared/rpm/checksig.ts';

const digests = ['    Header SHA256 digest: OK', '    Header SHA1 digest: OK', '    Payload SHA256 digest: OK', '    MD5 digest: OK'];

describe('checksig', () => {
  const output = [
    ...['good.rpm:', '    Header V4 RSA/SHA512 Signature, key ID 7dea6b27: OK', ...digests],
    ...['foreign.rpm:', '    Header V4 RSA/SHA512 Signature, key ID f5402d15: NOKEY', ...digests],
    ...['plain.rpm:', ...digests],
    ...['tampered.rpm:', '    Header V4 RSA/SHA512 Signature, key ID 7dea6b27: OK', '    Header SHA256 digest: OK'],
    ...['    Payload SHA256 digest: BAD (Expected 4b23 != e224)', '    RSA signature: NOTFOUND', '    MD5 digest: BAD (Expected 8960 != c72e)'],
    ...['header.rpm:', '    Header V4 RSA/SHA512 Signature, key ID 7dea6b27: BAD', '    Header SHA256 digest: BAD (Expected bb73 != d424)'],
    'none.rpm:',
    ...['rpm6.rpm:', '    Header OpenPGP V4 RSA/SHA512 signature, key fingerprint: 68612e6f3b44771771d90ea62f1141ae7dea6b27: OK', ...digests],
    '',
  ].join('\n');
  const names = ['good.rpm', 'foreign.rpm', 'plain.rpm', 'tampered.rpm', 'header.rpm', 'none.rpm', 'rpm6.rpm', 'unsaid.rpm'];

  it('is read file by file', () => {
    expect(Object.fromEntries(readChecksig(output, names))).toEqual({
      'good.rpm': { kind: 'signed', key: '7dea6b27' },
      'foreign.rpm': { kind: 'unknown-key', key: 'f5402d15' },
      'plain.rpm': { kind: 'unsigned' },
      'tampered.rpm': { kind: 'broken', line: 'Payload SHA256 digest: BAD (Expected 4b23 != e224)' },
      'header.rpm': { kind: 'broken', line: 'Header V4 RSA/SHA512 Signature, key ID 7dea6b27: BAD' },
      'none.rpm': { kind: 'broken', line: expect.stringContaining('no digest') },
      'rpm6.rpm': { kind: 'signed', key: '68612e6f3b44771771d90ea62f1141ae7dea6b27' },
      'unsaid.rpm': { kind: 'broken', line: expect.stringContaining('no digest') },
    });
  });

  it('never takes a file for signed of which rpm said something bad', () => {
    const line = fc.constantFrom(...output.split('\n'), 'x.rpm:', '    Header V4 RSA/SHA512 Signature, key ID 00: BAD');
    fc.assert(
      fc.property(fc.array(line, { maxLength: 20 }), (lines) => {
        const verdict = readChecksig(['x.rpm:', ...lines.filter((each) => !each.endsWith('.rpm:'))].join('\n'), ['x.rpm']).get('x.rpm');
        if (lines.some((each) => / BAD\b/.test(each))) expect(verdict?.kind).toBe('broken');
      }),
    );
  });
});

describe('policy', () => {
  const verdicts: Readonly<Record<string, SignatureVerdict>> = {
    signed: { kind: 'signed', key: 'k' },
    unsigned: { kind: 'unsigned' },
    unknown: { kind: 'unknown-key', key: 'u' },
    broken: { kind: 'broken', line: 'MD5 digest: BAD' },
  };
  const ok = 'ok';
  const [no, wrong, broken] = ['PACKAGE_UNSIGNED', 'PACKAGE_WRONGLY_SIGNED', 'PACKAGE_DIGEST_MISMATCH'];

  it.each([
    ['refuse', 'stable', true, { signed: ok, unsigned: no, unknown: wrong, broken }],
    ['refuse', 'side', true, { signed: ok, unsigned: no, unknown: wrong, broken }],
    ['refuse', 'side', false, { signed: ok, unsigned: no, unknown: no, broken }],
    ['side-repo', 'stable', true, { signed: ok, unsigned: no, unknown: wrong, broken }],
    ['side-repo', 'side', true, { signed: ok, unsigned: ok, unknown: wrong, broken }],
    ['side-repo', 'side', false, { signed: ok, unsigned: ok, unknown: ok, broken }],
    ['allow', 'stable', true, { signed: ok, unsigned: ok, unknown: wrong, broken }],
    ['allow', 'stable', false, { signed: ok, unsigned: ok, unknown: ok, broken }],
  ] as const)('%s, %s, with keys %s', (unsigned, from, hasKeys, expected) => {
    const found = Object.entries(verdicts).map(([name, verdict]) => {
      try {
        acceptSignature({ nevra: 'a-1-1.noarch', from, repository: 'r' }, verdict, { name: 'R', unsigned, hasKeys, takesUploads: false });
        return [name, ok];
      } catch (error) {
        return [name, (error as { code: string }).code];
      }
    });
    expect(Object.fromEntries(found)).toEqual(expected);
  });

  it.each(['refuse', 'side-repo', 'allow'] as const)(
    'an upload goes unsigned or foreign into a release with %s, but not broken, and only where uploads are taken',
    (unsigned) => {
      const upload = { nevra: 'a-1-1.noarch', from: 'side', repository: 'upload', untrusted: true } as const;
      const rules = { name: 'R', unsigned, hasKeys: true, takesUploads: true };
      const of = (name: string) => acceptSignature(upload, verdicts[name] as SignatureVerdict, rules);
      expect([of('signed'), of('unsigned'), of('unknown')]).toEqual([expect.any(String), null, null]);
      expect(() => of('broken')).toThrow(expect.objectContaining({ code: 'PACKAGE_WRONGLY_SIGNED' }));
      expect(() => acceptSignature(upload, { kind: 'unsigned' }, { ...rules, takesUploads: false })).toThrow(
        expect.objectContaining({ code: 'UNTRUSTED_CODE_REFUSED' }),
      );
    },
  );
});
