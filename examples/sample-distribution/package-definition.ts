/** What an RPM of the sample distribution is made of, and the spec file that says so to rpmbuild. Pure. */

/** One RPM. Its files are whatever was staged in the folder of its name. */
export interface PackageDefinition {
  readonly name: string;
  /** Only where it is not 0: most packages have none. */
  readonly epoch?: number;
  readonly version: string;
  readonly release: string;
  /** What is neither is built for the machine that rpmbuild is told of. */
  readonly arch: 'noarch' | 'x86_64' | 'aarch64';
  readonly summary: string;
  readonly license: string;
  readonly requires?: readonly string[];
  readonly provides?: readonly string[];
  readonly conflicts?: readonly string[];
  /** Paths below the package's root as `%files` lists them: folders only where this package owns them. */
  readonly files: readonly FileEntry[];
  /** Further RPMs out of the same spec file, with release and, unless they say otherwise, version of this one. */
  readonly subpackages?: readonly Subpackage[];
}

interface Subpackage {
  /** Behind the dash: `debuginfo` of `hello` is `hello-debuginfo`. */
  readonly suffix: string;
  readonly version?: string;
  readonly summary: string;
  readonly files: readonly FileEntry[];
}

export interface FileEntry {
  readonly path: string;
  readonly isDirectory: boolean;
}

const preambleOf = (arch: string, summary: string, license: string) => [
  `Summary: ${summary}`,
  `License: ${license}`,
  ...(arch === 'noarch' ? ['BuildArch: noarch'] : []),
];

const fileLines = (files: readonly FileEntry[]) => [
  '%defattr(-,root,root,-)',
  ...files.map(({ path, isDirectory }) => `${isDirectory ? '%dir ' : ''}"/${path}"`),
];

/** The spec file. Dependencies are only those that are written down: rpmbuild's generators would find Debian's names. */
export function specOf(definition: PackageDefinition, stagedRoot: string): string {
  const subpackages = definition.subpackages ?? [];
  return [
    `Name: ${definition.name}`,
    ...(definition.epoch === undefined ? [] : [`Epoch: ${definition.epoch}`]),
    `Version: ${definition.version}`,
    `Release: ${definition.release}`,
    ...preambleOf(definition.arch, definition.summary, definition.license),
    'AutoReqProv: no',
    ...(definition.requires ?? []).map((name) => `Requires: ${name}`),
    ...(definition.provides ?? []).map((name) => `Provides: ${name}`),
    ...(definition.conflicts ?? []).map((name) => `Conflicts: ${name}`),
    '%description',
    `${definition.summary}. Part of Sample Linux.`,
    ...subpackages.flatMap(({ suffix, version, summary }) => [
      `%package ${suffix}`,
      ...(version === undefined ? [] : [`Version: ${version}`]),
      `Summary: ${summary}`,
      'AutoReqProv: no',
      `%description ${suffix}`,
      `${summary}. Part of Sample Linux.`,
    ]),
    '%install',
    'mkdir -p "%{buildroot}"',
    `cp -a "${stagedRoot}/." "%{buildroot}/"`,
    '%files',
    ...fileLines(definition.files),
    ...subpackages.flatMap(({ suffix, files }) => [`%files ${suffix}`, ...fileLines(files)]),
    '',
  ].join('\n');
}
