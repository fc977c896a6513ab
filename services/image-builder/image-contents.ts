/**
 * Opens a finished image and tells which packages it brings: of a live ISO those of the system that starts, of a boot ISO those of its installer, of an installation DVD
 * those in its own repository. Nothing is mounted.
 */

import { SpindleError } from '../../shared/build/failure.ts';
import type { ImageType } from '../../shared/build/request.ts';
import type { Workspace } from '../../shared/workspace/workspace.ts';
import { layout } from './engines/engine.ts';
import { extractFromImage, type ImagePackage, type ImageReading, runTool } from './image-reading.ts';
import { readMediumRepository } from './medium-repository.ts';

/** What says that a package is in an image. */
export const contentsSource: Readonly<Record<ImageType, string>> = {
  live: "the image's own RPM database",
  boot: "the RPM database of the image's installer",
  dvd: "the medium's own repository",
};

/** Where distributions keep the database, newest first. */
const databasePaths = ['usr/lib/sysimage/rpm', 'var/lib/rpm'] as const;
const databaseFiles: ReadonlySet<string> = new Set(['rpmdb.sqlite', 'Packages.db', 'Packages']);
/** Where the system that starts from the medium stands: lorax and Anaconda know both names. */
const squashfsPaths = { live: ['LiveOS/squashfs.img'], boot: ['images/install.img', 'LiveOS/squashfs.img'] } as const;
/** Older live images hold a whole file system as one file in the squashfs. */
const rootImagePath = 'LiveOS/rootfs.img';
const packagesMax = 20_000;

/** Every package. Rejects with IMAGE_UNREADABLE where the image does not have what tells of them. `iso`: relative to the workspace. */
export async function readImagePackages(iso: string, imageType: ImageType, reading: ImageReading): Promise<readonly ImagePackage[]> {
  await reading.workspace.makeDirectory(layout.inspection);
  return imageType === 'dvd' ? readMediumRepository(iso, reading, packagesMax) : readInstalledPackages(iso, squashfsPaths[imageType], reading);
}

async function readInstalledPackages(iso: string, squashfs: readonly string[], reading: ImageReading): Promise<readonly ImagePackage[]> {
  const { workspace } = reading;
  const at = (name: string) => `${workspace.path}/${layout.inspection}/${name}`;
  await extractFirst(iso, squashfs, 'squashfs.img', reading);
  await runTool(reading, {
    command: 'unsquashfs',
    args: ['-no-progress', '-no-xattrs', '-quiet', '-dest', at('tree'), at('squashfs.img'), rootImagePath, ...databasePaths],
  });
  const database = (await findDatabase(workspace, 'tree')) ?? (await readRootImage(reading));
  if (database === undefined) {
    throw new SpindleError(
      'IMAGE_UNREADABLE',
      `the image holds no RPM database at ${databasePaths.join(' or ')}; whether it is what was asked for cannot be told`,
    );
  }
  const { stdout, truncated } = await runTool(reading, {
    command: 'rpm',
    args: ['--dbpath', at(database), '-qa', '--qf', queryFormat],
    outputBytesMax: 8 * 1024 * 1024,
  });
  const packages = truncated ? [] : parsePackages(stdout);
  if (truncated || packages.length > packagesMax)
    throw new SpindleError('IMAGE_UNREADABLE', `the image's RPM database lists more than ${packagesMax} packages`);
  if (packages.length === 0) throw new SpindleError('IMAGE_UNREADABLE', "the image's RPM database is empty");
  return packages;
}

/** The first of the names that the image has. */
async function extractFirst(iso: string, names: readonly string[], as: string, reading: ImageReading): Promise<void> {
  for (const [index, name] of names.entries()) {
    try {
      return await extractFromImage(iso, name, as, reading);
    } catch (error) {
      if (index === names.length - 1 || !(error instanceof SpindleError) || error.code !== 'IMAGE_UNREADABLE') throw error;
    }
  }
}

async function readRootImage(reading: ImageReading): Promise<string | undefined> {
  const { workspace } = reading;
  if ((await workspace.size(`${layout.inspection}/tree/${rootImagePath}`)) === undefined) return undefined;
  for (const path of databasePaths) {
    const target = `database/${path}`;
    const parent = target.slice(0, target.lastIndexOf('/'));
    await workspace.makeDirectory(`${layout.inspection}/${parent}`);
    // debugfs splits its command at blanks, so it gets only names that are ours, relative to where it runs.
    await runTool(reading, {
      command: 'debugfs',
      args: ['-R', `rdump /${path} ${parent}`, `tree/${rootImagePath}`],
      cwd: `${workspace.path}/${layout.inspection}`,
    });
  }
  return findDatabase(workspace, 'database');
}

/** The folder of the database below `inspection/`. */
async function findDatabase(workspace: Workspace, below: string): Promise<string | undefined> {
  for (const path of databasePaths) {
    const names = await workspace.list(`${layout.inspection}/${below}/${path}`);
    if (names.some((name) => databaseFiles.has(name))) return `${below}/${path}`;
  }
  return undefined;
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
