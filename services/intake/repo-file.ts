/** Writes the `.repo` file that dnf reads: how to install from the side repository of a build. Pure. */
import type { Build } from '../../shared/build/build.ts';
import type { Release } from '../../shared/releases/releases.ts';
import type { RepositorySet } from '../../shared/resolution/resolution.ts';

export interface RepoFileOrder {
  readonly build: Pick<Build, 'id' | 'request'>;
  /** Undefined where the releases file does not have it any more. */
  readonly release: Release | undefined;
  readonly side: RepositorySet['repositories'][number];
  /** Of the repository, as users reach it; with a slash at the end. */
  readonly baseUrl: string;
}

/** Comments cannot run on: a line of the file is one line. */
const oneLine = (text: string) => text.replace(/[\r\n\t]+/g, ' ');
const unsignedNamedMax = 20;

export function formatRepoFile({ build, release, side, baseUrl }: RepoFileOrder): string {
  const rpms = side.files.filter(({ path }) => path.endsWith('.rpm'));
  const unsigned = rpms.filter(({ signedBy }) => !signedBy);
  // A key that only this host has in a file says nothing to others: they have the keys of their own release.
  const keys = (release?.keys ?? []).filter((url) => /^https?:/.test(url));
  const isChecked = unsigned.length === 0 && rpms.length > 0;
  const name = `Side repository of ${build.request.label} (${release?.name ?? build.request.release}, ${build.request.arch})`;
  const lines = [
    `# What the image of the build ${build.id} has and its release has not: ${rpms.length} package${rpms.length === 1 ? '' : 's'}.`,
    ...rpms.map(({ path }) => `#   ${path.slice(path.lastIndexOf('/') + 1)}`).slice(0, 200),
    ...(rpms.length > 200 ? [`#   and ${rpms.length - 200} more`] : []),
    ...(unsigned.length > 0
      ? [
          `# Nobody has signed ${unsigned.length} of them, so signatures are not checked here:`,
          ...unsigned.slice(0, unsignedNamedMax).map(({ path }) => `#   ${path.slice(path.lastIndexOf('/') + 1)}`),
        ]
      : []),
    `[spindle-${build.id}]`,
    `name=${oneLine(name)}`,
    `baseurl=${baseUrl}`,
    'enabled=1',
    'type=rpm-md',
    `gpgcheck=${isChecked ? 1 : 0}`,
    'repo_gpgcheck=0',
    ...(isChecked && keys.length > 0 ? [`gpgkey=${keys.join('\n       ')}`] : []),
    // It never changes, and one day it is gone.
    'metadata_expire=-1',
    'skip_if_unavailable=1',
  ];
  return `${lines.join('\n')}\n`;
}
