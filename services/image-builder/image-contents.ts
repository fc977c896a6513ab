/** Opens a finished live ISO and asks its own RPM database what is installed. Nothing is mounted. */
import { SpindleError } from '../../shared/build/failure.ts';
import type { Nevra } from '../../shared/fedora/nvr.ts';
import type { ProgramRequest, ProgramResult, Programs } from '../../shared/programs/programs.ts';
import type { Workspace } from '../../shared/workspace/workspace.ts';
import { layout } from './engines/engine.ts';

export interface ImageReading {
  readonly programs: Programs;
  readonly workspace: Workspace;
  readonly signal: AbortSignal;
  readonly log: (tool: string, line: string) => void;
}

/** Where distributions keep the database, newest first. */
const databasePaths = ['usr/lib/sysimage/rpm', 'var/lib/rpm'] as const;
const databaseFiles: ReadonlySet<string> = new Set(['rpmdb.sqlite', 'Packages.db', 'Packages']);
const squashfsPath = 'LiveOS/squashfs.img';
/** Older live images hold a whole file system as one file in the squashfs. */
const rootImagePath = 'LiveOS/rootfs.img';
const packagesMax = 20_000;

/** Every installed package. Rejects with IMAGE_UNREADABLE where the image has no database that can be read. */
export async function readInstalledPackages(iso: string, reading: ImageReading): Promise<readonly Nevra[]> {
  const { workspace } = reading;
  const at = (name: string) => `${workspace.path}/${layout.inspection}/${name}`;
  await workspace.makeDirectory(layout.inspection);
  await runTool(reading, {
    command: 'xorriso',
    args: ['-osirrox', 'on', '-indev', `${workspace.path}/${iso}`, '-extract', `/${squashfsPath}`, at('squashfs.img')],
  });
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
    args: ['--dbpath', at(database), '-qa', '--qf', '%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\n'],
    outputBytesMax: 8 * 1024 * 1024,
  });
  const packages = parsePackages(stdout);
  if (truncated || packages.length > packagesMax)
    throw new SpindleError('IMAGE_UNREADABLE', `the image's RPM database lists more than ${packagesMax} packages`);
  if (packages.length === 0) throw new SpindleError('IMAGE_UNREADABLE', "the image's RPM database is empty");
  return packages;
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

/** One package a line, its parts with tabs between. */
function parsePackages(stdout: string): readonly Nevra[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [name, epoch, version, release, arch, ...rest] = line.split('\t');
      if (!name || !version || !release || !arch || rest.length > 0 || !/^\d{1,10}$/.test(epoch ?? '')) {
        throw new SpindleError('IMAGE_UNREADABLE', `rpm answered with a line that is no package: ${JSON.stringify(line.slice(0, 200))}`);
      }
      return { name, epoch: Number(epoch), version, release, arch };
    });
}

async function runTool(
  { programs, signal, log }: ImageReading,
  request: Pick<ProgramRequest, 'command' | 'args' | 'cwd' | 'outputBytesMax'>,
): Promise<ProgramResult> {
  const isListing = request.command === 'rpm';
  const result = await programs.run({
    ...request,
    // The content of an image is not trusted: whoever reads it has no network, and leaves no mount.
    isolation: 'private-no-network',
    deadlineMs: 15 * 60_000,
    signal,
    onLine: (line, stream) => {
      if (line !== '' && !(isListing && stream === 'stdout')) log(request.command, line);
    },
  });
  if (result.exitCode !== 0) {
    throw new SpindleError(
      'IMAGE_UNREADABLE',
      `${request.command} could not read the finished image: it ended with ${result.signal ?? `status ${result.exitCode}`}`,
      {
        details: result.stderr.split('\n').filter(Boolean).slice(-10),
      },
    );
  }
  return result;
}
