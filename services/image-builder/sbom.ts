/** `sbom.spdx.json`: the image and every package in it, in SPDX 2.3. Pure. */
import { PackageURL } from 'packageurl-js';
import parseLicense from 'spdx-expression-parse';
import { v5 as uuidV5 } from 'uuid';
import { spindleVersion } from '../../shared/build/version.ts';
import { formatNevra, type Nevra } from '../../shared/fedora/nvr.ts';
import type { FileRef } from '../../shared/files/content-ref.ts';
import type { ImagePackage } from './image-reading.ts';
import type { Comparison } from './manifest.ts';
import type { SpdxDocument, SpdxPackage } from './spdx.ts';

export interface SbomOrder {
  readonly buildId: string;
  readonly release: string;
  readonly image: FileRef & { readonly name: string };
  /** What the image itself says of each package. */
  readonly contents: readonly ImagePackage[];
  /** The same packages as they were resolved; its order is the document's. */
  readonly comparison: Comparison;
}

/** The namespace of our documents' UUIDs: made once, kept for ever. */
const documents = 'c2f1b3a4-6f0e-5d57-9c1b-0d8e4b7a9f21';
const imageId = 'SPDXRef-Image';
const textMax = 20_000;
const lastSecond = Date.UTC(9999, 11, 31) / 1000;

/**
 * The same image of the same build gives the same bytes. SPDX demands a time of creation, and a clock's would change them, so it is that of the newest package's build.
 */
export function formatSbom({ buildId, release, image, contents, comparison }: SbomOrder): string {
  const details = new Map(contents.map((item) => [formatNevra(item), item]));
  const licenses = licenseReader();
  const nextId = idMaker();
  let newestS = 0;
  const packages = comparison.packages.map(({ nevra, from, repository, sha256 }): SpdxPackage => {
    const item = details.get(nevra);
    if (!item) throw new Error(`${nevra} is compared, but nothing is known of it`);
    newestS = Math.max(newestS, item.buildTimeS);
    const { declared, comment } = licenses.read(item.license);
    const version = `${item.version}-${item.release}`;
    return {
      SPDXID: nextId(`RPM-${nevra}`),
      name: item.name,
      versionInfo: item.epoch === 0 ? version : `${item.epoch}:${version}`,
      supplier: supplierOf(item.vendor),
      downloadLocation: 'NOASSERTION',
      filesAnalyzed: false,
      ...(sha256 === null ? {} : { checksums: [{ algorithm: 'SHA256', checksumValue: sha256 }] }),
      ...(item.sourceRpm === undefined ? {} : { sourceInfo: `built from ${oneLine(item.sourceRpm)}` }),
      licenseConcluded: 'NOASSERTION',
      licenseDeclared: declared,
      ...(comment === undefined ? {} : { licenseComments: comment }),
      copyrightText: 'NOASSERTION',
      comment:
        from === 'unknown'
          ? 'in the image, but not among the resolved packages'
          : `${from} repository, taken from ${oneLine(repository ?? 'an unnamed place')}`,
      externalRefs: [{ referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: packageUrl(item, release) }],
      builtDate: spdxTime(item.buildTimeS),
    };
  });
  const document: SpdxDocument = {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: image.name,
    documentNamespace: `urn:uuid:${uuidV5(`${buildId} ${image.sha256}`, documents)}`,
    creationInfo: {
      created: spdxTime(newestS),
      creators: [`Tool: Spindle-${spindleVersion}`],
      comment: `Build ${buildId}. The time is that of the newest package, so that the same image gives the same document.`,
    },
    ...(licenses.references.size === 0 ? {} : { hasExtractedLicensingInfos: [...licenses.references].sort().map(extractedLicense) }),
    packages: [
      {
        SPDXID: imageId,
        name: image.name,
        versionInfo: release,
        packageFileName: image.name,
        supplier: 'NOASSERTION',
        downloadLocation: 'NOASSERTION',
        filesAnalyzed: false,
        checksums: [{ algorithm: 'SHA256', checksumValue: image.sha256 }],
        licenseConcluded: 'NOASSERTION',
        licenseDeclared: 'NOASSERTION',
        copyrightText: 'NOASSERTION',
        primaryPackagePurpose: 'OPERATING_SYSTEM',
      },
      ...packages,
    ],
    relationships: [
      { spdxElementId: 'SPDXRef-DOCUMENT', relationshipType: 'DESCRIBES', relatedSpdxElement: imageId },
      ...packages.map(({ SPDXID }) => ({ spdxElementId: imageId, relationshipType: 'CONTAINS' as const, relatedSpdxElement: SPDXID })),
    ],
  };
  return `${JSON.stringify(document, undefined, 1)}\n`;
}

/** The release's distribution is Fedora where the release is called as Fedora calls its own; else it bears the release's name. */
function packageUrl({ name, epoch, version, release: rpmRelease, arch }: Nevra, release: string): string {
  const isFedora = /^(\d+|rawhide|eln)$/.test(release);
  const qualifiers = { arch, ...(epoch === 0 ? {} : { epoch: String(epoch) }), distro: isFedora ? `fedora-${release}` : release };
  const purl = new PackageURL('rpm', isFedora ? 'fedora' : release, name, `${version}-${rpmRelease}`, qualifiers, undefined);
  // The library leaves a plus sign in versions, which those who decode it as a form's value take for a blank.
  return purl.toString().replaceAll('+', '%2B');
}

interface LicenseReader {
  read(text: string | undefined): { readonly declared: string; readonly comment?: string };
  /** Every `LicenseRef-…` that was read so far. */
  readonly references: ReadonlySet<string>;
}

function licenseReader(): LicenseReader {
  const references = new Set<string>();
  return {
    references,
    read: (text) => {
      if (text === undefined || text.trim() === '') return { declared: 'NOASSERTION', comment: 'the RPM names no licence' };
      const license = oneLine(text);
      if (!isSpdxExpression(license)) return { declared: 'NOASSERTION', comment: `the RPM says: ${license}` };
      for (const [reference] of license.matchAll(/LicenseRef-[A-Za-z0-9.-]+/g)) references.add(reference);
      return { declared: license };
    },
  };
}

/**
 * Fedora's older names look much alike (`MIT and BSD`), but their words mean other licences: small operators give them away. References into other documents would need those documents.
 */
function isSpdxExpression(text: string): boolean {
  if (/(?:^|[\s()])(?:and|or|with)(?:[\s()]|$)/.test(text) || text.includes('DocumentRef-')) return false;
  try {
    parseLicense(text);
    return true;
  } catch {
    return false;
  }
}

function extractedLicense(licenseId: string) {
  return {
    licenseId,
    extractedText: 'The RPM names this licence by reference; its text is among the package’s files.',
    name: licenseId.replace('LicenseRef-', ''),
  };
}

/** An address in parentheses would be read as the organization's mail. */
function supplierOf(vendor: string | undefined): SpdxPackage['supplier'] {
  const name = oneLine(vendor ?? '')
    .replace(/[()]/g, ' ')
    .replace(/ +/g, ' ')
    .trim();
  return name === '' ? 'NOASSERTION' : `Organization: ${name}`;
}

/** Ids of elements, of the characters that SPDX allows; what then looks alike is numbered. */
function idMaker(): (text: string) => string {
  const taken = new Set<string>();
  return (text) => {
    const base = `SPDXRef-${text.replace(/[^A-Za-z0-9.-]/g, '-')}`;
    let id = base;
    for (let next = 2; taken.has(id); next += 1) id = `${base}-${next}`;
    taken.add(id);
    return id;
  };
}

function spdxTime(seconds: number): string {
  return new Date(Math.min(seconds, lastSecond) * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** What an RPM says is a stranger's: no control characters, no end of line, of bounded length. */
function oneLine(text: string): string {
  return text
    .slice(0, textMax)
    .replace(/[\p{Cc}\p{Cs}\u2028\u2029]+/gu, ' ')
    .trim();
}
