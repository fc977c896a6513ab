/** How a finished image is looked into: tools that read it, without network and without a mount. */
import { SpindleError } from '../../shared/build/failure.ts';
import type { Nevra } from '../../shared/fedora/nvr.ts';
import type { ProgramRequest, ProgramResult, Programs } from '../../shared/programs/programs.ts';
import type { Workspace } from '../../shared/workspace/workspace.ts';
import { layout } from './engines/engine.ts';
import { shortageOfRoom } from './tool-failure.ts';

export interface ImageReading {
  readonly programs: Programs;
  readonly workspace: Workspace;
  readonly signal: AbortSignal;
  readonly log: (tool: string, line: string) => void;
}

/** One package that the image brings, as its own database or repository has it; undefined where that does not say. */
export interface ImagePackage extends Nevra {
  readonly license: string | undefined;
  readonly vendor: string | undefined;
  readonly sourceRpm: string | undefined;
  /** When the RPM was built, in seconds since 1970; 0 where it does not say. */
  readonly buildTimeS: number;
}

/** Takes a file or folder out of an ISO. `as`: its name below `inspection/`. */
export async function extractFromImage(iso: string, path: string, as: string, reading: ImageReading): Promise<void> {
  const { workspace } = reading;
  await runTool(reading, {
    command: 'xorriso',
    args: ['-osirrox', 'on', '-indev', `${workspace.path}/${iso}`, '-extract', `/${path}`, `${workspace.path}/${layout.inspection}/${as}`],
  });
}

/** Bytes of each file, by its path without the first slash. */
export type FileSizes = ReadonlyMap<string, number>;

const listBytesMax = 16 * 1024 * 1024;

/** Every file of an ISO. */
export async function listImage(iso: string, reading: ImageReading): Promise<FileSizes> {
  const { stdout, truncated } = await runTool(reading, {
    command: 'xorriso',
    args: ['-indev', `${reading.workspace.path}/${iso}`, '-find', '/', '-type', 'f', '-exec', 'lsdl', '--'],
    outputBytesMax: listBytesMax,
  });
  if (truncated) throw new SpindleError('IMAGE_UNREADABLE', `the image holds so many files that their list has more than ${listBytesMax} bytes`);
  // -r--r--r--    1 0        0            6543 Jan  5 2026 '/Packages/h/hello-1.1-1.noarch.rpm'
  const lines = stdout.matchAll(/^-\S{9,10} +\d+ +\S+ +\S+ +(\d+) .* '\/([^'\n]+)'$/gm);
  return new Map([...lines].map(([, size, path]) => [path as string, Number(size)]));
}

/** Its output goes to the build's log, but for lists that are only read. Rejects with IMAGE_UNREADABLE where it fails. */
export async function runTool(
  { programs, workspace, signal, log }: ImageReading,
  request: Pick<ProgramRequest, 'command' | 'args' | 'cwd' | 'outputBytesMax'>,
): Promise<ProgramResult> {
  const isListing = request.outputBytesMax !== undefined;
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
    const lines = result.stderr.split('\n').filter(Boolean);
    const shortage = await shortageOfRoom(lines, workspace, 0);
    if (shortage !== undefined) {
      throw new SpindleError('DISK_FULL', `${request.command} could not read the finished image: no space was left (${shortage}); free some`, {
        details: lines.slice(-10),
      });
    }
    throw new SpindleError(
      'IMAGE_UNREADABLE',
      `${request.command} could not read the finished image: it ended with ${result.signal ?? `status ${result.exitCode}`}`,
      {
        details: lines.slice(-10),
      },
    );
  }
  return result;
}
