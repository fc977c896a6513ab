/** Metalinks, mirrorlists and repomd.xml: what is read of them, and what is refused. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MetalinkError, readMetalink } from '../../shared/repositories/metalink.ts';
import { readMirrorlist } from '../../shared/repositories/mirrorlist.ts';
import { RepomdError, readRepomd, writeRepomd } from '../../shared/repositories/repomd.ts';
import { XmlDocumentError } from '../../shared/repositories/xml-document.ts';

const sha256 = 'a'.repeat(64);
const sha512 = 'b'.repeat(128);

describe('metalinks', () => {
  const metalink = (urls: string, verification = `<hash type="sha256">${sha256}</hash><hash type="md5">x</hash>`, more = '') =>
    `<?xml version="1.0"?><metalink xmlns:mm0="x"><files><file name="repomd.xml"><mm0:timestamp>9</mm0:timestamp><verification>${verification}</verification>${more}<resources>${urls}</resources></file></files></metalink>`;
  const url = (address: string, preference = 1) => `<url protocol="https" preference="${preference}">${address}</url>`;

  it('name mirrors by https first, then by preference, and nothing that is no mirror', () => {
    const read = readMetalink(
      metalink(
        [
          url('http://a.example/x/repodata/repomd.xml', 100),
          url('https://b.example/x/repodata/repomd.xml', 10),
          url('https://c.example/x/repodata/repomd.xml', 90),
          url('rsync://d.example/x/repodata/repomd.xml', 99),
          url('https://e.example/x/repodata/other.xml', 99),
          url('https://user:secret@f.example/repodata/repomd.xml', 99),
          url('file:///etc/repodata/repomd.xml', 99),
          url('https://b.example/x/repodata/repomd.xml', 5),
        ].join(''),
      ),
    );
    expect(read).toEqual({ mirrors: ['https://c.example/x/', 'https://b.example/x/', 'http://a.example/x/'], accepted: [[{ type: 'sha256', value: sha256 }]] });
  });

  it('accept older states too, the newest first', () => {
    const alternate = (time: number, value: string) =>
      `<mm0:alternate><mm0:timestamp>${time}</mm0:timestamp><verification><hash type="sha256">${value}</hash></verification></mm0:alternate>`;
    const { accepted } = readMetalink(
      metalink(
        url('https://a.example/repodata/repomd.xml'),
        undefined,
        `<mm0:alternates>${alternate(1, '1'.repeat(64))}${alternate(5, '5'.repeat(64))}</mm0:alternates>`,
      ),
    );
    expect(accepted.map(([hash]) => hash?.value[0])).toEqual(['a', '5', '1']);
  });

  it.each([
    ['without a digest that counts', metalink(url('https://a.example/repodata/repomd.xml'), '<hash type="sha1">x</hash>'), MetalinkError],
    ['without a mirror', metalink(url('ftp://a.example/repodata/repomd.xml')), MetalinkError],
    ['of something else', '<metalink><files><file name="x.iso"/></files></metalink>', MetalinkError],
    ['that are HTML', '<html></html>', MetalinkError],
    ['with entities', '<!DOCTYPE x [<!ENTITY a "b">]><metalink/>', XmlDocumentError],
    ['cut in the middle', metalink('').slice(0, 100), XmlDocumentError],
    ['nested without end', '<a>'.repeat(1000), XmlDocumentError],
  ])('%s are refused', (_, text, kind) => {
    expect(() => readMetalink(text)).toThrow(kind);
  });
});

describe('mirrorlists', () => {
  it('are lines, of which http and https count', () => {
    const text =
      '# repo = x arch = y country = DE\r\nhttps://a.example/x\n\n  http://b.example/y/ \nftp://c.example/\nrsync://d.example/\nhttps://a.example/x/\nhttps://e.example/?q\n';
    expect(readMirrorlist(text)).toEqual(['https://a.example/x/', 'http://b.example/y/']);
    expect(readMirrorlist('<html><body>Busy</body></html>')).toEqual([]);
  });

  it('are anything without harm', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const base of readMirrorlist(text)) expect(base).toMatch(/^https?:\/\/.*\/$/);
      }),
    );
  });
});

describe('repomd.xml', () => {
  const data = (type: string, href: string, more = '') =>
    `<data type="${type}"><checksum type="sha256">${sha256.toUpperCase()}</checksum><open-checksum type="sha512">${sha512}</open-checksum><location href="${href}"/><size>12</size><open-size>34</open-size>${more}</data>`;
  const repomd = (...blocks: string[]) => `<repomd xmlns="x"><revision>1700000000</revision>${blocks.join('')}</repomd>`;

  it('names what the solver reads, compressed comps where there are no plain ones, and nothing else', () => {
    const read = readRepomd(
      repomd(data('group_gz', 'repodata/c.xml.gz'), data('modules', 'repodata/m'), data('primary', 'repodata/p.xml.zst'), data('primary_zck', 'p.zck')),
    );
    expect(read).toEqual({
      revision: '1700000000',
      files: [
        ['primary', 'repodata/p.xml.zst'],
        ['group', 'repodata/c.xml.gz'],
      ].map(([type, location]) => ({
        type,
        location,
        checksum: { type: 'sha256', value: sha256 },
        openChecksum: { type: 'sha512', value: sha512 },
        size: 12,
        openSize: 34,
      })),
    });
    expect(readRepomd(repomd(data('primary', 'p'), data('group_gz', 'c.gz'), data('group', 'c.xml'))).files[1]?.location).toBe('c.xml');
    expect(readRepomd(writeRepomd(read))).toEqual(read);
  });

  it.each([
    ['climbs', repomd(data('primary', '../p.xml'))],
    ['climbs in the middle', repomd(data('primary', 'repodata/../../p.xml'))],
    ['is absolute', repomd(data('primary', '/etc/passwd'))],
    ['is a URL', repomd(data('primary', 'file:///etc/passwd'))],
    ['is hidden', repomd(data('primary', 'repodata/.p.xml'))],
    ['is empty', repomd(data('primary', ''))],
    ['is encoded', repomd(data('primary', '%2e%2e/p.xml'))],
  ])('a location that %s is refused', (_, text) => {
    expect(() => readRepomd(text)).toThrow(/location that leads out/);
  });

  it.each([
    [
      'another base',
      repomd(`<data type="primary"><checksum type="sha256">${sha256}</checksum><location href="p" xml:base="https://x.example/"/></data>`),
      /another place/,
    ],
    ['MD5 only', repomd('<data type="primary"><checksum type="md5">x</checksum><location href="p"/></data>'), /only SHA-256/],
    ['no primary', repomd(data('filelists', 'f')), /no primary/],
    ['primary twice', repomd(data('primary', 'a'), data('primary', 'b')), /twice/],
  ])('with %s it is refused', (_, text, message) => {
    expect(() => readRepomd(text)).toThrow(message);
    expect(() => readRepomd(text)).toThrow(RepomdError);
  });
});
