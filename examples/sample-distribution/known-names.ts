/** The names in Sample Linux that tests, examples and the README rely on: they stay as they are. Pure. */

/** The distribution's version and the tag that ends the release of each of its packages. */
export const sampleRelease = { version: '1', distTag: '.sample' } as const;

/** 2026-01-05T06:00:00Z, in seconds since 1970: everything in Sample Linux has a time of its own, and none is that of the machine. */
export const stableBuiltS = 1_767_592_800;

export const helloVersions = { stable: '1.0', testing: '1.1' } as const;

/** Repositories by the `repo=` of the metalink, each with its public folder. */
export const sampleRepositories = {
  sample: 'repo',
  'sample-updates': 'updates',
  'sample-updates-testing': 'updates-testing',
  'sample-copr': 'copr',
} as const;
export type RepositoryName = keyof typeof sampleRepositories;

/** Koji's path name of the signed copies. Of a real key it would be the last 8 digits; this one is made anew with each generation, and only the path has to stay. */
export const sigkey = '5a3b1e00';

/** Builds in these tags have signed copies, as Fedora's have from the day on which they reach testing. */
export const signedTags: readonly string[] = ['sample', 'sample-updates', 'sample-updates-testing'];

/** In stable beside the signed packages: one that nobody signed, and one that a stranger did. */
export const badlySigned = { unsigned: 'sample-not-signed', stranger: 'sample-wrongly-signed' } as const;

export const sideTag = 'sample-build-side-101';

/** Bodhi's advisories, by what is special about each. */
export const advisoryAliases = {
  /** In updates-testing: hello 1.1. */
  testing: 'FEDORA-2026-5a3b1e0001',
  /** Made from the side tag, asked into testing, not yet in a repository: sample-lib 2.0 and sample-app 2.0, which need each other. */
  fromSideTag: 'FEDORA-2026-5a3b1e0002',
  obsolete: 'FEDORA-2026-5a3b1e0003',
  unpushed: 'FEDORA-2026-5a3b1e0004',
  /** Inside a push that does not end. */
  locked: 'FEDORA-2026-5a3b1e0005',
  /** Of the release OTHER. */
  otherRelease: 'FEDORA-2026-5a3b1e0006',
  pending: 'FEDORA-2026-5a3b1e0007',
  stable: 'FEDORA-2026-5a3b1e0008',
  /** In updates-testing: sample-tested 1.0, which no other repository has. */
  testedOnly: 'FEDORA-2026-5a3b1e0009',
} as const;

/** Koji's `build` tasks, by what is special about each. A scratch task's children have the next two numbers. */
export const kojiTaskIds = {
  /** Closed: left hello-1.5-0.scratch.noarch.rpm. */
  scratch: 120_501,
  scratchFailed: 120_511,
  scratchOpen: 120_521,
  /** Closed: left RPMs for aarch64 only. */
  scratchForeignArch: 120_531,
  /** No scratch: made the Koji build hello-1.1-1.sample. */
  ofBuild: 5002,
} as const;
