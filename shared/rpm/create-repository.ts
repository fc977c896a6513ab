/** Makes a folder of RPMs a repository: runs createrepo_c over `Packages/` in it. */
import { SpindleError } from '../build/failure.ts';
import type { Programs } from '../programs/programs.ts';
import type { Workspace } from '../workspace/workspace.ts';

export interface CreateRepositoryOptions {
  readonly programs: Programs;
  readonly workspace: Workspace;
  /** In the workspace; `repodata/` appears in it. */
  readonly directory: string;
  /** Digits. Also the time that the metadata's files carry, so that it does not depend on when they were made. */
  readonly revision: string;
  /** RPMs below `directory`, in the order that the metadata will have. All of them where left out. */
  readonly packages?: readonly string[];
  /** In the workspace: repositories whose metadata are taken over for packages of the same name, size and time, which are then not read. */
  readonly earlier?: readonly string[];
  /** In the workspace: a comps.xml. */
  readonly groups?: string | undefined;
  readonly log: (tool: string, line: string) => void;
  readonly signal: AbortSignal;
}

const deadlineMs = 30 * 60_000;

/** Rejects with REPOSITORY_METADATA_FAILED, TOOL_MISSING or the signal's reason. */
export async function createRepository({
  programs,
  workspace,
  directory,
  revision,
  packages,
  earlier = [],
  groups,
  log,
  signal,
}: CreateRepositoryOptions): Promise<void> {
  const list = `${directory}.packages`;
  await workspace.makeDirectory(`${directory}/Packages`);
  if (packages) await workspace.write(list, packages.map((path) => `${path}\n`).join(''));
  await workspace.makeDirectory('home');
  const result = await programs.run({
    command: 'createrepo_c',
    args: [
      '--no-database',
      `--revision=${revision}`,
      '--set-timestamp-to-revision',
      '--workers=2',
      ...(earlier.length > 0 ? ['--update', ...earlier.map((path) => `--update-md-path=${workspace.path}/${path}`)] : []),
      ...(groups === undefined ? [] : ['--groupfile', `${workspace.path}/${groups}`]),
      ...(packages ? [`--pkglist=${workspace.path}/${list}`] : []),
      `${workspace.path}/${directory}`,
    ],
    // Without a home of its own it would read macros of whoever runs the service.
    env: { HOME: `${workspace.path}/home` },
    deadlineMs,
    signal,
    onLine: (line, stream) => {
      if (stream === 'stderr') log('createrepo_c', line);
    },
    isolation: 'host',
  });
  // Status 2 is "some packages were left out": a repository without them is not the one that was resolved.
  if (result.exitCode !== 0) {
    const details = `${result.stdout}\n${result.stderr}`.trim().split('\n').slice(-10);
    throw new SpindleError(
      'REPOSITORY_METADATA_FAILED',
      `createrepo_c ended with ${result.exitCode === null ? result.signal : `status ${result.exitCode}`}: ${details.at(-1) ?? ''}`,
      {
        details,
      },
    );
  }
}
