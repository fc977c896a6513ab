/** Reads the repository that an installation medium carries: what its metadata lists, each package seen to stand on the medium in the size that it should have. */
import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { SaxesParser } from 'saxes';
import { SpindleError } from '../../shared/build/failure.ts';
import { type MetadataFile, readRepomd } from '../../shared/repositories/repomd.ts';
import { layout } from './engines/engine.ts';
import { extractFromImage, type FileSizes, type ImagePackage, type ImageReading } from './image-reading.ts';

const repomdBytesMax = 1024 * 1024;
const primaryBytesMax = 256 * 1024 * 1024;
const openBytesMax = 1024 * 1024 * 1024;

interface ListedPackage extends ImagePackage {
  /** Relative to the repository. */
  readonly location: string;
  /** Bytes; undefined where the metadata does not say. */
  readonly size: number | undefined;
}

/** One `package` of the list, as its text stands there. */
interface PackageText {
  name: string;
  arch: string;
  version: Record<string, string>;
  location: string;
  size: string;
  license: string;
  vendor: string;
  sourceRpm: string;
  builtAt: string;
}

export interface MediumRepository {
  /** The image, relative to the workspace. */
  readonly iso: string;
  /** The repository's folder on it; empty for its root. */
  readonly at: string;
  /** Of the image. */
  readonly sizes: FileSizes;
}

/** Rejects with IMAGE_UNREADABLE where the medium has no repository, its metadata is not what it says itself, or it names packages that are not there. */
export async function readMediumRepository({ iso, at, sizes }: MediumRepository, reading: ImageReading, packagesMax: number): Promise<readonly ImagePackage[]> {
  const { workspace } = reading;
  const onMedium = (path: string) => (at === '' ? path : `${at}/${path}`);
  await extractFromImage(iso, onMedium('repodata'), 'repodata', reading);
  const repomd = await workspace.readText(`${layout.inspection}/repodata/repomd.xml`, repomdBytesMax);
  const primary = (await refusingBadXml('repomd.xml', () => readRepomd(repomd))).files.find(({ type }) => type === 'primary');
  if (!primary) throw new SpindleError('IMAGE_UNREADABLE', "the medium's repomd.xml names no list of packages");
  const bytes = await workspace.read(`${layout.inspection}/${primary.location}`, primaryBytesMax);
  const packages = await refusingBadXml(primary.location, () => listPackages(open(bytes, primary), packagesMax));
  if (packages.length === 0) throw new SpindleError('IMAGE_UNREADABLE', "the medium's repository is empty");
  const absent = packages.filter(({ location, size }) => !sizes.has(onMedium(location)) || (size !== undefined && sizes.get(onMedium(location)) !== size));
  if (absent.length > 0) {
    throw new SpindleError('IMAGE_UNREADABLE', `the medium lists ${absent.length} packages that it does not hold in full, such as ${absent[0]?.location}`, {
      details: absent.slice(0, 20).map(({ location }) => location),
    });
  }
  return packages.map(({ location: _, size: __, ...item }) => item);
}

async function refusingBadXml<T>(name: string, read: () => T): Promise<T> {
  try {
    return read();
  } catch (error) {
    if (error instanceof SpindleError) throw error;
    throw new SpindleError('IMAGE_UNREADABLE', `the medium's ${name} cannot be read: it ${error instanceof Error ? error.message : String(error)}`);
  }
}

function open(bytes: Uint8Array, { checksum, location }: MetadataFile): string {
  if (createHash(checksum.type).update(bytes).digest('hex') !== checksum.value) throw new Error("is not what the medium's repomd.xml says");
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) throw new Error(`is not compressed with gzip, though ${location} should be`);
  return gunzipSync(bytes, { maxOutputLength: openBytesMax }).toString('utf8');
}

function listPackages(primary: string, packagesMax: number): readonly ListedPackage[] {
  const packages: ListedPackage[] = [];
  const parser = new SaxesParser({ xmlns: false });
  let path: string[] = [];
  let found: PackageText | undefined;
  parser.on('doctype', () => {
    throw new Error('holds a document type');
  });
  parser.on('error', (error) => {
    throw error;
  });
  parser.on('opentag', ({ name, attributes }) => {
    path = [...path, name];
    if (path.length === 2 && name === 'package')
      found = { name: '', arch: '', version: {}, location: '', size: '', license: '', vendor: '', sourceRpm: '', builtAt: '' };
    if (!found || path.length !== 3) return;
    if (name === 'version') found.version = attributes as Record<string, string>;
    if (name === 'location') found.location = String(attributes['href'] ?? '');
    if (name === 'time') found.builtAt = String(attributes['build'] ?? '');
    if (name === 'size') found.size = String(attributes['package'] ?? '');
  });
  parser.on('text', (text) => {
    if (found && path.length === 4 && path[2] === 'format') {
      if (path[3] === 'rpm:license') found.license += text;
      if (path[3] === 'rpm:vendor') found.vendor += text;
      if (path[3] === 'rpm:sourcerpm') found.sourceRpm += text;
    }
    if (!found || path.length !== 3) return;
    if (path[2] === 'name') found.name += text;
    if (path[2] === 'arch') found.arch += text;
  });
  parser.on('closetag', () => {
    if (path.length === 2 && found) {
      packages.push(packageOf(found));
      found = undefined;
      if (packages.length > packagesMax) throw new Error(`lists more than ${packagesMax} packages`);
    }
    path = path.slice(0, -1);
  });
  parser.write(primary).close();
  return packages;
}

function packageOf({ name, arch, version, location, size, license, vendor, sourceRpm, builtAt }: PackageText): ListedPackage {
  const { epoch = '0', ver = '', rel = '' } = version;
  if (name === '' || arch === '' || ver === '' || rel === '' || location === '' || !/^\d{1,10}$/.test(epoch)) throw new Error('names a package only in part');
  return {
    ...{ name, epoch: Number(epoch), version: ver, release: rel, arch, location },
    ...{ license: license || undefined, vendor: vendor || undefined, sourceRpm: sourceRpm || undefined },
    buildTimeS: /^\d{1,10}$/.test(builtAt) ? Number(builtAt) : 0,
    size: /^\d{1,15}$/.test(size) ? Number(size) : undefined,
  };
}
