/** The SBOM says of an image what its own database and the resolution say, and is SPDX 2.3 by our schema and by the SPDX project's own tool. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ImagePackage } from '../../services/image-builder/image-reading.ts';
import { compareContents } from '../../services/image-builder/manifest.ts';
import { formatSbom } from '../../services/image-builder/sbom.ts';
import { SpdxDocument } from '../../services/image-builder/spdx.ts';
import { spindleVersion } from '../../shared/build/version.ts';
import { type Nevra, parseNevra } from '../../shared/fedora/nvr.ts';
import { pythonTool, pythonToolMissing } from '../support/python-tools.ts';
import { resolutionOf } from '../support/resolutions.ts';
import { tempDirectory } from '../support/temp-directory.ts';

const resolution = resolutionOf(['bash-5.2-1.x86_64', 'busybox-1:1.35-1.x86_64', 'c++-a_b-1.0~rc1+git-1.x86_64'], ['hello-1.1-1.fc44.noarch']);
const sha256 = 'a'.repeat(64);

const installed = (nevra: string, change: Partial<ImagePackage> = {}): ImagePackage => ({
  ...(parseNevra(nevra) as Nevra),
  license: 'MIT',
  vendor: 'Fedora Project',
  sourceRpm: 'source-1-1.src.rpm',
  buildTimeS: 1_772_776_800,
  ...change,
});

function sbom(packages: readonly ImagePackage[], release = '44'): SpdxDocument {
  const order = {
    buildId: '0197f7b0-0000-7000-8000-000000000001',
    release,
    image: { name: 'X-44-x86_64.iso', sha256, size: 7 },
    contents: packages,
    comparison: compareContents(packages, resolution),
  };
  expect(formatSbom(order)).toBe(formatSbom(order));
  return SpdxDocument.parse(JSON.parse(formatSbom(order)));
}

const many = [
  installed('bash-5.2-1.x86_64', { license: 'GPL-3.0-or-later WITH Bison-exception-2.2 AND (MIT OR LicenseRef-Fedora-Public-Domain)' }),
  installed('busybox-1:1.35-1.x86_64', { license: 'GPLv2+ and MIT', vendor: 'Somebody (mail@example.org)' }),
  installed('c++-a_b-1.0~rc1+git-1.x86_64', { license: undefined, vendor: undefined, sourceRpm: undefined, buildTimeS: 1_772_776_900 }),
  installed('hello-1.1-1.fc44.noarch'),
  installed('extra-1-1.noarch', { license: 'Public\nDomain', buildTimeS: 0 }),
  installed('gpg-pubkey-a-b.noarch', { buildTimeS: 1_900_000_000 }),
];

describe('SBOM', () => {
  it('describes the image, which contains every package', () => {
    const { packages, relationships, creationInfo, documentNamespace } = sbom(many);
    expect(packages[0]).toMatchObject({
      name: 'X-44-x86_64.iso',
      primaryPackagePurpose: 'OPERATING_SYSTEM',
      checksums: [{ algorithm: 'SHA256', checksumValue: sha256 }],
    });
    expect(packages.slice(1).map(({ name, versionInfo }) => `${name} ${versionInfo}`)).toEqual([
      'bash 5.2-1',
      'busybox 1:1.35-1',
      'c++-a_b 1.0~rc1+git-1',
      'extra 1-1',
      'hello 1.1-1.fc44',
    ]);
    expect(relationships[0]).toEqual({ spdxElementId: 'SPDXRef-DOCUMENT', relationshipType: 'DESCRIBES', relatedSpdxElement: packages[0]?.SPDXID });
    expect(relationships.slice(1).map(({ relatedSpdxElement }) => relatedSpdxElement)).toEqual(packages.slice(1).map(({ SPDXID }) => SPDXID));
    expect(creationInfo).toMatchObject({ created: '2026-03-06T06:01:40Z', creators: [`Tool: Spindle-${spindleVersion}`] });
    expect(documentNamespace).toBe('urn:uuid:d815380a-effe-5e1f-a912-a035141ec1b6');
  });

  it('names each package as package URLs do', () => {
    const locators = (release: string) =>
      sbom(many, release).packages.flatMap(({ externalRefs = [] }) => externalRefs.map(({ referenceLocator }) => referenceLocator));
    expect(locators('44')).toEqual([
      'pkg:rpm/fedora/bash@5.2-1?arch=x86_64&distro=fedora-44',
      'pkg:rpm/fedora/busybox@1.35-1?arch=x86_64&distro=fedora-44&epoch=1',
      'pkg:rpm/fedora/c%2B%2B-a_b@1.0~rc1%2Bgit-1?arch=x86_64&distro=fedora-44',
      'pkg:rpm/fedora/extra@1-1?arch=noarch&distro=fedora-44',
      'pkg:rpm/fedora/hello@1.1-1.fc44?arch=noarch&distro=fedora-44',
    ]);
    expect(locators('sample')[0]).toBe('pkg:rpm/sample/bash@5.2-1?arch=x86_64&distro=sample');
  });

  it('takes a licence only where it is an SPDX expression, and keeps what the RPM says', () => {
    const { packages, hasExtractedLicensingInfos } = sbom(many);
    expect(packages.slice(1).map(({ name, licenseDeclared, licenseComments }) => [name, licenseDeclared, licenseComments])).toEqual([
      ['bash', 'GPL-3.0-or-later WITH Bison-exception-2.2 AND (MIT OR LicenseRef-Fedora-Public-Domain)', undefined],
      ['busybox', 'NOASSERTION', 'the RPM says: GPLv2+ and MIT'],
      ['c++-a_b', 'NOASSERTION', 'the RPM names no licence'],
      ['extra', 'NOASSERTION', 'the RPM says: Public Domain'],
      ['hello', 'MIT', undefined],
    ]);
    expect(hasExtractedLicensingInfos?.map(({ licenseId }) => licenseId)).toEqual(['LicenseRef-Fedora-Public-Domain']);
  });

  it.each(['MIT and ISC', 'MIT or ISC', 'DocumentRef-a:LicenseRef-b', `${'('.repeat(19_000)}MIT`, 'MIT AND', '+', 'LicenseRef-'])(
    '%.30s is no expression',
    (license) => {
      expect(sbom([installed('bash-5.2-1.x86_64', { license })]).packages[1]?.licenseDeclared).toBe('NOASSERTION');
    },
  );

  it('says where a package came from, and of what nobody resolved that it is there', () => {
    const { packages } = sbom(many);
    expect(packages.slice(1).map(({ checksums, comment, supplier, sourceInfo }) => [checksums?.length ?? 0, comment, supplier, sourceInfo])).toEqual([
      [1, 'stable repository, taken from sample', 'Organization: Fedora Project', 'built from source-1-1.src.rpm'],
      [1, 'stable repository, taken from sample', 'Organization: Somebody mail@example.org', 'built from source-1-1.src.rpm'],
      [1, 'stable repository, taken from sample', 'NOASSERTION', undefined],
      [0, 'in the image, but not among the resolved packages', 'Organization: Fedora Project', 'built from source-1-1.src.rpm'],
      [1, 'side repository, taken from koji', 'Organization: Fedora Project', 'built from source-1-1.src.rpm'],
    ]);
  });

  it('gives elements that look alike ids of their own', () => {
    const ids = sbom([installed('a_b-1-1.noarch'), installed('a+b-1-1.noarch'), installed('a-b-1-1.noarch')]).packages.map(({ SPDXID }) => SPDXID);
    expect(new Set(ids).size).toBe(4);
  });

  it('holds our schema whatever an RPM says of itself', () => {
    const text = fc.option(fc.string({ unit: 'binary', maxLength: 60 }), { nil: undefined });
    fc.assert(
      fc.property(text, text, text, fc.integer({ min: 0, max: 9_999_999_999 }), (license, vendor, sourceRpm, buildTimeS) => {
        sbom([installed('bash-5.2-1.x86_64', { license, vendor, sourceRpm, buildTimeS })]);
      }),
      { seed: 1, numRuns: 100 },
    );
  });

  it("is valid for the SPDX project's own tool", { timeout: 60_000 }, async ({ skip }) => {
    const validator = pythonTool('pyspdxtools') ?? skip(pythonToolMissing);
    const directory = await tempDirectory();
    try {
      const path = join(directory.path, 'sbom.spdx.json');
      await writeFile(path, JSON.stringify(sbom(many)));
      const good = spawnSync(validator, ['--infile', path], { encoding: 'utf8', timeout: 50_000 });
      expect({ status: good.status, said: good.stdout + good.stderr }).toEqual({ status: 0, said: '' });
      // What it refuses, so that its silence means something.
      await writeFile(path, JSON.stringify({ ...sbom(many), documentNamespace: 'no address' }));
      const bad = spawnSync(validator, ['--infile', path], { encoding: 'utf8', timeout: 50_000 });
      expect([bad.status, bad.stdout + bad.stderr]).toEqual([1, expect.stringContaining('RFC-3986')]);
    } finally {
      await directory.remove();
    }
  });
});

it('Spindle calls itself by the version of package.json', () => {
  expect(JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version).toBe(spindleVersion);
});
