/** Sample Linux's packages beyond the system itself, in sets: each is built in one go, at one time, and says which repository has it. */
import { badlySigned, helloVersions, type RepositoryName, stableBuiltS } from './known-names.ts';
import type { Plan } from './package-plan.ts';
import { dataPackage, hello } from './packages.ts';

export interface PackageSet {
  /** Names the folder that it is built in. */
  readonly name: string;
  /** None: only Koji has it. */
  readonly repository?: RepositoryName;
  readonly arch: 'x86_64' | 'aarch64';
  /** When it was built, in seconds since 1970. */
  readonly builtS: number;
  readonly plans: readonly Plan[];
}

const dayS = 86_400;

const library = (version: string, soname: string) => dataPackage('sample-lib', version, { arch: 'x86_64', provides: [soname] });
const application = (version: string, soname: string) => dataPackage('sample-app', version, { arch: 'x86_64', requires: [soname, `sample-lib >= ${version}`] });

/** In stable beside the system. Nobody gets them who does not ask. */
export const stablePlans: readonly Plan[] = [
  dataPackage('sample-notes', '1.0'),
  dataPackage('sample-tools', '1.0'),
  library('1.0', 'libsample.so.1'),
  application('1.0', 'libsample.so.1'),
  // Signed otherwise than the rest.
  dataPackage(badlySigned.unsigned, '1.0'),
  dataPackage(badlySigned.stranger, '1.0'),
  // None of these can be installed, each for another reason.
  dataPackage('sample-broken-needs', '1.0', { requires: ['sample-capability-of-nobody'] }),
  dataPackage('sample-needs-testing', '1.0', { requires: ['sample-tested'] }),
  dataPackage('sample-chain-a', '1.0', { requires: ['sample-chain-b'] }),
  dataPackage('sample-chain-b', '1.0', { requires: ['sample-chain-c'] }),
  dataPackage('sample-chain-c', '1.0', { requires: ['sample-chain-end'] }),
  // Each of these can, but not both.
  dataPackage('sample-left', '1.0', { conflicts: ['sample-right'] }),
  dataPackage('sample-right', '1.0', { conflicts: ['sample-left'] }),
];

export const packageSets: readonly PackageSet[] = [
  {
    name: 'updates',
    repository: 'sample-updates',
    arch: 'x86_64',
    builtS: stableBuiltS + 30 * dayS,
    plans: [dataPackage('sample-notes', '1.1'), dataPackage('sample-tools', '1.2')],
  },
  {
    name: 'updates-testing',
    repository: 'sample-updates-testing',
    arch: 'x86_64',
    builtS: stableBuiltS + 60 * dayS,
    plans: [hello(helloVersions.testing), dataPackage('sample-tested', '1.0')],
  },
  {
    name: 'copr',
    repository: 'sample-copr',
    arch: 'x86_64',
    builtS: stableBuiltS + 61 * dayS,
    plans: [hello('3.0'), dataPackage('sample-extra', '1.0')],
  },
  {
    name: 'koji',
    arch: 'x86_64',
    builtS: stableBuiltS + 62 * dayS,
    plans: [
      library('2.0', 'libsample.so.2'),
      application('2.0', 'libsample.so.2'),
      dataPackage('sample-notes', '1.2'),
      dataPackage('sample-notes', '1.3'),
      dataPackage('sample-tools', '1.1'),
      dataPackage('sample-tools', '1.3'),
      hello('0.9', '1.other'),
      hello('1.6'),
      dataPackage('sample-native', '1.0', { arch: 'x86_64' }, [
        { suffix: 'debuginfo', summary: 'What a debugger would want of sample-native', below: 'usr/lib/debug' },
        { suffix: 'debugsource', summary: 'The source of sample-native, for a debugger', below: 'usr/src/debug' },
      ]),
      dataPackage('sample-split', '3.0', { epoch: 1 }, [
        { suffix: 'data', version: '20260101', summary: 'Data with a version of its own', below: 'usr/share/sample-split-data' },
      ]),
    ],
  },
  {
    name: 'koji-aarch64',
    arch: 'aarch64',
    builtS: stableBuiltS + 63 * dayS,
    plans: [dataPackage('sample-arm', '1.0', { arch: 'aarch64' })],
  },
  { name: 'scratch', arch: 'x86_64', builtS: stableBuiltS + 64 * dayS, plans: [hello('1.5', '0.scratch')] },
  {
    name: 'scratch-aarch64',
    arch: 'aarch64',
    builtS: stableBuiltS + 64 * dayS,
    plans: [dataPackage('sample-arm', '1.1', { arch: 'aarch64', release: '0.scratch' })],
  },
];
