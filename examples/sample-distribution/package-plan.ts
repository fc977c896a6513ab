/** One package on its way to being an RPM: how its files are staged, and the spec file that comes of it. */
import { type PackageDefinition, specOf } from './package-definition.ts';
import { type StagedPackage, stagedPackage } from './staging.ts';

/** The folders of the package `filesystem`: no other package owns them. */
export const sharedDirectories = [
  ...['boot', 'boot/grub', 'dev', 'etc', 'etc/default', 'etc/dracut.conf.d', 'etc/sysconfig', 'home', 'mnt', 'proc', 'root', 'run', 'sys', 'tmp'],
  ...['usr', 'usr/bin', 'usr/lib', 'usr/lib/dracut', 'usr/lib/modules', 'usr/lib/sysimage', 'usr/lib/x86_64-linux-gnu', 'usr/lib64', 'usr/sbin', 'usr/share'],
  ...['var', 'var/lib', 'var/log', 'var/tmp'],
];

/** Its definition is complete once its files are staged. */
export interface Plan {
  readonly definition: Omit<PackageDefinition, 'files' | 'subpackages'>;
  /** The files below a folder go to a subpackage. */
  readonly subpackages?: readonly { readonly suffix: string; readonly version?: string; readonly summary: string; readonly below: string }[];
  stage(stage: StagedPackage): Promise<void>;
}

/** The plan's files laid out below `stagingRoot`, and the spec file for them. */
export async function stagePlan(plan: Plan, stagingRoot: string): Promise<{ readonly specName: string; readonly spec: string }> {
  const { definition, subpackages = [] } = plan;
  const specName = `${definition.name}-${definition.version}-${definition.release}.spec`;
  const stage = stagedPackage(`${stagingRoot}/${definition.name}-${definition.version}-${definition.release}`);
  await stage.directory('');
  await plan.stage(stage);
  const entries = await stage.entries(definition.name === 'filesystem' ? undefined : new Set(sharedDirectories));
  const isBelow = (folder: string, path: string) => path === folder || path.startsWith(`${folder}/`);
  return {
    specName,
    spec: specOf(
      {
        ...definition,
        files: entries.filter(({ path }) => !subpackages.some(({ below }) => isBelow(below, path))),
        subpackages: subpackages.map(({ below, ...subpackage }) => ({ ...subpackage, files: entries.filter(({ path }) => isBelow(below, path)) })),
      },
      stage.root,
    ),
  };
}
