/** RPMs as rpmbuild of this machine makes them, for tests that need what rpm itself takes. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../shared/clock/system.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { tempDirectory } from './temp-directory.ts';

export interface BuiltPackage {
  readonly name: string;
  readonly version: string;
  readonly arch: 'noarch' | 'x86_64' | 'aarch64';
  /** `1` where left out. */
  readonly release?: string;
  readonly requires?: readonly string[];
  readonly provides?: readonly string[];
  /** What its one file holds; different texts make different files of one NEVRA. */
  readonly content?: string;
  /** A second file of so many zeros: it takes this room where it is installed, and next to none in the package. */
  readonly zeroBytes?: number;
  /** Shell commands that run once it is installed. */
  readonly post?: string;
  /** Sections of the spec, such as `%pre -p <lua>` with what follows. */
  readonly scriptlets?: string;
}

/** The file of a package, and that of its source. */
export async function builtRpm({
  name,
  version,
  release = '1',
  arch,
  requires = [],
  provides = [],
  content = 'hello',
  zeroBytes = 0,
  post,
  scriptlets = '',
}: BuiltPackage): Promise<{ readonly rpm: Buffer; readonly source: Buffer }> {
  const directory = await tempDirectory();
  try {
    const top = directory.path;
    await mkdir(join(top, 'out'));
    const spec = [
      `Name: ${name}`,
      `Version: ${version}`,
      `Release: ${release}`,
      `Summary: Says hello, ${version}`,
      'License: MIT',
      ...(arch === 'noarch' ? ['BuildArch: noarch'] : []),
      ...requires.map((each) => `Requires: ${each}`),
      ...provides.map((each) => `Provides: ${each}`),
      '%description',
      'Says hello.',
      '%install',
      `mkdir -p %{buildroot}/usr/share/${name}`,
      `echo '${content}' > %{buildroot}/usr/share/${name}/text`,
      `truncate -s ${zeroBytes} %{buildroot}/usr/share/${name}/zeros`,
      ...(post === undefined ? [] : ['%post', post]),
      scriptlets,
      '%files',
      `/usr/share/${name}/text`,
      `/usr/share/${name}/zeros`,
      '',
    ].join('\n');
    await writeFile(join(top, 'x.spec'), spec);
    const macros = {
      _topdir: top,
      _rpmdir: join(top, 'out'),
      _srcrpmdir: join(top, 'out'),
      _rpmfilename: '%%{NAME}.rpm',
      _dbpath: join(top, 'db'),
      debug_package: '%{nil}',
    };
    const result = await spawnedPrograms({ clock: systemClock() }).run({
      command: 'rpmbuild',
      args: [
        '-ba',
        '--quiet',
        ...(arch === 'noarch' ? [] : ['--target', arch]),
        ...Object.entries(macros).flatMap(([key, value]) => ['--define', `${key} ${value}`]),
        'x.spec',
      ],
      cwd: top,
      env: { HOME: top, SOURCE_DATE_EPOCH: '1700000000' },
      deadlineMs: 60_000,
      signal: new AbortController().signal,
      isolation: 'host',
    });
    if (result.exitCode !== 0) throw new Error(`rpmbuild: ${result.stderr}`);
    return { rpm: await readFile(join(top, 'out', `${name}.rpm`)), source: await readFile(join(top, 'out', `${name}-${version}-${release}.src.rpm`)) };
  } finally {
    await directory.remove();
  }
}
