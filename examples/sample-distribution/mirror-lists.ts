/** The lists of mirrors of a repository, as MirrorManager writes them: metalink with the checksums of repomd.xml, and mirrorlist. Pure. */
import { createHash } from 'node:crypto';

/** A mirror that every list names first, and that has nothing: so that passing over one is an everyday thing. */
export const brokenMirror = 'broken-mirror';

/** `bases` have a slash at their end; the first is named as the best. */
export function metalinkOf(repomd: Uint8Array, bases: readonly string[]): string {
  const hashes = ['md5', 'sha1', 'sha256', 'sha512'].map((type) => `        <hash type="${type}">${createHash(type).update(repomd).digest('hex')}</hash>`);
  const revision = /<revision>(\d+)<\/revision>/.exec(Buffer.from(repomd).toString('utf8'))?.[1] ?? '0';
  const urls = bases.map(
    (base, place) => `        <url protocol="http" type="http" location="XX" preference="${100 - place}">${base}repodata/repomd.xml</url>`,
  );
  return [
    '<?xml version="1.0" encoding="utf-8"?>',
    '<metalink version="3.0" xmlns="http://www.metalinker.org/" type="dynamic" generator="mirrormanager" xmlns:mm0="http://fedorahosted.org/mirrormanager">',
    '  <files>',
    '    <file name="repomd.xml">',
    `      <mm0:timestamp>${revision}</mm0:timestamp>`,
    `      <size>${repomd.byteLength}</size>`,
    '      <verification>',
    ...hashes,
    '      </verification>',
    '      <resources maxconnections="1">',
    ...urls,
    '      </resources>',
    '    </file>',
    '  </files>',
    '</metalink>',
    '',
  ].join('\n');
}

export function mirrorlistOf(repo: string, arch: string, bases: readonly string[]): string {
  return [`# repo = ${repo} arch = ${arch} country = global`, ...bases, ''].join('\n');
}
