/** A process that makes a repository of stored RPMs, for a test that kills it meanwhile. Its first argument is a file with the state directory, the RPMs, and what to run for createrepo_c. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../shared/clock/system.ts';
import { localFiles } from '../../shared/files/local.ts';
import type { Programs } from '../../shared/programs/programs.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { localRpmStore } from '../../shared/rpm-store/local.ts';
import type { RepositoryFile } from '../../shared/rpm-store/rpm-store.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';

const { directory, rpms, createrepo } = JSON.parse(await readFile(process.argv[2] as string, 'utf8')) as {
  readonly directory: string;
  readonly rpms: readonly RepositoryFile[];
  readonly createrepo: string;
};
const clock = systemClock();
const files = localFiles({ directory: join(directory, 'files') });
const spawned = spawnedPrograms({ clock });
const programs: Programs = {
  ...spawned,
  run: (request) => spawned.run(request.args.includes('--version') ? request : { ...request, command: createrepo }),
};
const store = await localRpmStore({ directory: join(directory, 'rpms'), files, clock, bytesMax: Number.MAX_SAFE_INTEGER, onTrouble: () => {} });
const { signal } = new AbortController();
await store.check(rpms, signal);
const workspace = await localWorkspaces({ directory: join(directory, 'work'), files, owner: 'killed', programs }).create('make');
await store.makeRepository(rpms, { programs, workspace, log: () => {}, signal });
