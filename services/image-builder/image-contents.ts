/**
 * Opens a finished image and tells which packages it brings, wherever its engine puts them: into the system that starts, into an installer, into a repository on the medium, or
 * into an archive that is installed as a whole. Nothing is mounted.
 */

import { SpindleError } from '../../shared/build/failure.ts';
import type { ImageType } from '../../shared/build/request.ts';
import { formatNevra } from '../../shared/fedora/nvr.ts';
import type { Workspace } from '../../shared/workspace/workspace.ts';
import { layout } from './engines/engine.ts';
import { extractFromImage, type FileSizes, type ImagePackage, type ImageReading, listImage, runTool } from './image-reading.ts';
import { readMediumRepository } from './medium-repository.ts';

export interface ImageContents {
  /** Each once. */
  readonly packages: readonly ImagePackage[];
  /** What says that they are in the image. */
  readonly source: string;
}

/** Where distributions keep the database, newest first. */
const databasePaths = ['usr/lib/sysimage/rpm', 'var/lib/rpm'] as const;
const databaseFiles: ReadonlySet<string> = new Set(['rpmdb.sqlite', 'Packages.db', 'Packages']);
/** Where the system that starts from the medium stands: lorax and Anaconda know both names, whatever file system it is. */
const liveSystem = 'LiveOS/squashfs.img';
const installers = ['images/install.img', liveSystem] as const;
/** Often that file system holds but one file, which is the whole one of the system. */
const innerSystems = ['LiveOS/rootfs.img', 'LiveOS/ext3fs.img'] as const;
/** What osbuild's installers copy to the disk, at the root of the medium. */
const systemArchives = ['liveimg.tar.gz', 'liveimg.tar.zst', 'liveimg.tar.xz', 'liveimg.tar'] as const;
/** Where mkksiso puts a build's side repository: the kickstart beside it names it to the installer. */
const sideRepository = 'side';
const packagesMax = 20_000;

/** Rejects with IMAGE_UNREADABLE where the image does not have what tells of its packages. `iso`: relative to the workspace. */
export async function readImageContents(iso: string, imageType: ImageType, reading: ImageReading): Promise<ImageContents> {
  await reading.workspace.makeDirectory(layout.inspection);
  if (imageType === 'live') return { packages: await readSystem(iso, liveSystem, reading), source: "the image's own RPM database" };
  const sizes = await listImage(iso, reading);
  return imageType === 'dvd' ? readMedium(iso, sizes, reading) : readInstaller(iso, sizes, reading);
}

/** A DVD: what it installs, not the installer. */
async function readMedium(iso: string, sizes: FileSizes, reading: ImageReading): Promise<ImageContents> {
  if (sizes.has('repodata/repomd.xml')) {
    return { packages: await readMediumRepository({ iso, at: '', sizes }, reading, packagesMax), source: "the medium's own repository" };
  }
  const archive = systemArchives.find((name) => sizes.has(name));
  if (archive === undefined) {
    throw new SpindleError(
      'IMAGE_UNREADABLE',
      `the medium holds nothing to install: neither a repository at its root nor a system as ${systemArchives[0]}; whether it is what was asked for cannot be told`,
    );
  }
  await extractFromImage(iso, archive, 'system.tar', reading);
  const at = (name: string) => `${reading.workspace.path}/${layout.inspection}/${name}`;
  await reading.workspace.makeDirectory(`${layout.inspection}/archive`);
  // One pattern for both places: tar complains of a name that it does not find. What else is called so is small.
  const options = ['--no-same-owner', '--no-same-permissions', '--wildcards'];
  await runTool(reading, { command: 'tar', args: ['--extract', '--file', at('system.tar'), '--directory', at('archive'), ...options, '*/rpm/*'] });
  return {
    packages: await queryDatabase(await findDatabase(reading.workspace, 'archive'), reading),
    source: 'the RPM database of the system that the medium installs',
  };
}

/** A boot ISO: its installer, and the repository that was added to it. */
async function readInstaller(iso: string, sizes: FileSizes, reading: ImageReading): Promise<ImageContents> {
  const path = installers.find((name) => sizes.has(name));
  if (path === undefined) throw new SpindleError('IMAGE_UNREADABLE', `the image holds no installer at ${installers.join(' or ')}`);
  const installed = await readSystem(iso, path, reading);
  const source = "the RPM database of the image's installer";
  if (!sizes.has(`${sideRepository}/repodata/repomd.xml`)) return { packages: installed, source };
  const added = await readMediumRepository({ iso, at: sideRepository, sizes }, reading, packagesMax);
  const known = new Set(installed.map(formatNevra));
  return {
    packages: [...installed, ...added.filter((item) => !known.has(formatNevra(item)))],
    source: `${source}, with the repository ${sideRepository} beside it,`,
  };
}

async function readSystem(iso: string, path: string, reading: ImageReading): Promise<readonly ImagePackage[]> {
  await extractFromImage(iso, path, 'squashfs.img', reading);
  return queryDatabase(await unpack('squashfs.img', 'tree', reading), reading);
}

/** Takes the database out of a file system, or out of the one that is a file in it. Names are below `inspection/`; resolves with the database's folder, or undefined. */
async function unpack(image: string, into: string, reading: ImageReading): Promise<string | undefined> {
  const { workspace } = reading;
  const at = (name: string) => `${workspace.path}/${layout.inspection}/${name}`;
  switch (fileSystemOf(await workspace.readRange(`${layout.inspection}/${image}`, 0, 4096))) {
    case 'squashfs': {
      const options = ['-no-progress', '-no-xattrs', '-quiet', '-dest', at(into)];
      await runTool(reading, { command: 'unsquashfs', args: [...options, at(image), ...innerSystems, ...databasePaths] });
      break;
    }
    case 'erofs':
      // It has no way to take a part.
      await runTool(reading, { command: 'fsck.erofs', args: [`--extract=${at(into)}`, '--no-preserve', at(image)] });
      break;
    case 'ext':
      await dumpDatabases(image, into, reading);
      break;
    case undefined:
      throw new SpindleError('IMAGE_UNREADABLE', `the image's system stands in a file system that is not read here: neither squashfs, EROFS nor ext4`);
  }
  const database = await findDatabase(workspace, into);
  if (database !== undefined || into !== 'tree') return database;
  for (const inner of innerSystems) {
    if ((await workspace.size(`${layout.inspection}/${into}/${inner}`)) !== undefined) return unpack(`${into}/${inner}`, 'inner', reading);
  }
  return undefined;
}

/** By its mark. `start`: its first 4096 bytes. */
function fileSystemOf(start: Uint8Array): 'squashfs' | 'erofs' | 'ext' | undefined {
  const bytes = Buffer.from(start.buffer, start.byteOffset, start.byteLength);
  if (bytes.toString('latin1', 0, 4) === 'hsqs') return 'squashfs';
  if (bytes.length < 2048) return undefined;
  if (bytes.readUInt32LE(1024) === 0xe0f5e1e2) return 'erofs';
  return bytes.readUInt16LE(1024 + 56) === 0xef53 ? 'ext' : undefined;
}

async function dumpDatabases(image: string, into: string, reading: ImageReading): Promise<void> {
  for (const path of databasePaths) {
    const target = `${into}/${path}`;
    const parent = target.slice(0, target.lastIndexOf('/'));
    await reading.workspace.makeDirectory(`${layout.inspection}/${parent}`);
    // debugfs splits its command at blanks, so it gets only names that are ours, relative to where it runs.
    await runTool(reading, {
      command: 'debugfs',
      args: ['-R', `rdump /${path} ${parent}`, image],
      cwd: `${reading.workspace.path}/${layout.inspection}`,
    });
  }
}

/** The folder of the database below `inspection/`. */
async function findDatabase(workspace: Workspace, below: string): Promise<string | undefined> {
  for (const path of databasePaths) {
    const names = await workspace.list(`${layout.inspection}/${below}/${path}`);
    if (names.some((name) => databaseFiles.has(name))) return `${below}/${path}`;
  }
  return undefined;
}

async function queryDatabase(database: string | undefined, reading: ImageReading): Promise<readonly ImagePackage[]> {
  if (database === undefined) {
    throw new SpindleError(
      'IMAGE_UNREADABLE',
      `the image holds no RPM database at ${databasePaths.join(' or ')}; whether it is what was asked for cannot be told`,
    );
  }
  const { stdout, truncated } = await runTool(reading, {
    command: 'rpm',
    args: ['--dbpath', `${reading.workspace.path}/${layout.inspection}/${database}`, '-qa', '--qf', queryFormat],
    outputBytesMax: 8 * 1024 * 1024,
  });
  const packages = truncated ? [] : parsePackages(stdout);
  if (truncated || packages.length > packagesMax)
    throw new SpindleError('IMAGE_UNREADABLE', `the image's RPM database lists more than ${packagesMax} packages`);
  if (packages.length === 0) throw new SpindleError('IMAGE_UNREADABLE', "the image's RPM database is empty");
  return packages;
}

/** Every text within quotes, so that none of them, whatever an RPM holds, can end its field or its line and pass for another package. */
const queryFormat = `${['%{NAME:shescape}', '%{EPOCHNUM}', ...['VERSION', 'RELEASE', 'ARCH', 'LICENSE', 'VENDOR', 'SOURCERPM'].map((tag) => `%{${tag}:shescape}`), '%{BUILDTIME}'].join('\\t')}\\n`;
/** What `shescape` writes: the text in single quotes, a quote within as `'\''`; `(none)` where there is none. */
const quoted = String.raw`(?:'([^']*(?:'\\''[^']*)*)'|\(none\))`;
const row = new RegExp(`${[quoted, String.raw`(\d{1,10})`, ...Array(6).fill(quoted), String.raw`(\d{1,10}|\(none\))`].join('\\t')}\\n`, 'y');

function parsePackages(stdout: string): readonly ImagePackage[] {
  const packages: ImagePackage[] = [];
  for (row.lastIndex = 0; row.lastIndex < stdout.length; ) {
    const at = row.lastIndex;
    const fields = row
      .exec(stdout)
      ?.slice(1)
      .map((field) => field?.replaceAll(String.raw`'\''`, "'"));
    const [name, epoch, version, release, arch, license, vendor, sourceRpm, builtAt] = fields ?? [];
    if (!name || !version || !release) {
      throw new SpindleError('IMAGE_UNREADABLE', `rpm answered with a line that is no package: ${JSON.stringify(stdout.slice(at, at + 200))}`);
    }
    // The keys that rpm keeps among the packages have no architecture.
    packages.push({
      name,
      epoch: Number(epoch),
      version,
      release,
      arch: arch ?? '(none)',
      license,
      vendor,
      sourceRpm,
      buildTimeS: /^\d+$/.test(builtAt ?? '') ? Number(builtAt) : 0,
    });
  }
  return packages;
}
