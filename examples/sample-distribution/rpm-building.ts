/** Builds Sample Linux's RPMs with rpmbuild, and reads what their headers say. What is built depends on nothing but what is staged and the given time. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunTool } from './host-programs.ts';
import type { BuiltRpm } from './koji-records.ts';

export interface RpmBuilding {
  readonly run: RunTool;
  /** A folder to work in; what is left there nobody needs. */
  readonly scratch: string;
  /** For rpmbuild's HOME: a person's own macros must not matter. */
  readonly home: string;
}

export interface RpmBatch {
  readonly specs: readonly { readonly specName: string; readonly spec: string }[];
  readonly arch: 'x86_64' | 'aarch64';
  /** Build time, in seconds since 1970: no file in the RPMs is newer. */
  readonly builtS: number;
  readonly into: string;
}

/** Builds RPMs and source RPMs from spec files whose content is staged, all in one folder. */
export async function buildRpms({ run, scratch, home }: RpmBuilding, { specs, arch, builtS, into }: RpmBatch): Promise<void> {
  const top = join(scratch, `rpmbuild-${randomBytes(4).toString('hex')}`);
  await mkdir(into, { recursive: true });
  await mkdir(join(top, 'SPECS'), { recursive: true });
  const paths = specs.map(({ specName }) => join(top, 'SPECS', specName));
  for (const [index, { spec }] of specs.entries()) {
    await writeFile(paths[index] as string, spec);
    // The spec file is in the source RPM.
    await utimes(paths[index] as string, builtS, builtS);
  }
  const macros: Record<string, string> = {
    _topdir: top,
    _rpmdir: into,
    _srcrpmdir: into,
    // Doubled, so that each subpackage's own values are put in, not the spec file's.
    _rpmfilename: '%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm',
    _dbpath: join(top, 'db'),
    _buildhost: 'sample.invalid',
    _buildshell: '/bin/bash',
    _binary_payload: 'w3.zstdio',
    _source_payload: 'w3.zstdio',
    _build_id_links: 'none',
    use_source_date_epoch_as_buildtime: '1',
    clamp_mtime_to_source_date_epoch: '1',
    debug_package: '%{nil}',
    // Debian's rpm would strip, compress and check what comes from finished packages.
    __os_install_post: '%{nil}',
    __spec_clean_cmd: 'true',
  };
  const defines = Object.entries(macros).flatMap(([name, value]) => ['--define', `${name} ${value}`]);
  await run('rpmbuild', ['-ba', '--quiet', '--target', arch, ...defines, ...paths], { env: { HOME: home, SOURCE_DATE_EPOCH: String(builtS) } });
  await rm(top, { recursive: true, force: true });
}

/** Sorted names of the RPMs in a folder. */
export const rpmsIn = async (directory: string) => (await readdir(directory)).filter((name) => name.endsWith('.rpm')).sort();

const header = '%{NAME} %{EPOCH} %{VERSION} %{RELEASE} %{ARCH} %{SOURCERPM} %{SIGMD5} %{BUILDTIME}\\n';

/** What the headers of a folder's RPMs say, in the order of their names. */
export async function readRpms(run: RunTool, directory: string): Promise<(BuiltRpm & { readonly path: string })[]> {
  const names = await rpmsIn(directory);
  const output = await run('rpm', ['-qp', '--nosignature', '--nodigest', '--qf', header, ...names], { cwd: directory });
  const lines = output.trim().split('\n');
  return Promise.all(
    names.map(async (fileName, index) => {
      const [name = '', epoch = '', version = '', release = '', headerArch = '', sourceRpm = '', payloadHash = '', buildTime = ''] =
        lines[index]?.split(' ') ?? [];
      const path = join(directory, fileName);
      // The header of a source RPM names the machine it was made for; Koji calls them all src.
      const isSource = sourceRpm === '(none)';
      return {
        ...{ name, epoch: epoch === '(none)' ? null : Number(epoch), version, release, arch: isSource ? 'src' : headerArch },
        nvrOfSource: isSource ? `${name}-${version}-${release}` : sourceRpm.replace(/\.src\.rpm$/, ''),
        ...{ size: (await stat(path)).size, payloadHash, buildTimeS: Number(buildTime), path },
      };
    }),
  );
}
