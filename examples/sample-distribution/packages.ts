/** The packages that the sample system consists of, and the demo's: what each is made of. */

import { installer, packageChoice } from './installer-scripts.ts';
import { helloVersions, sampleRelease } from './known-names.ts';
import type { PackageDefinition } from './package-definition.ts';
import { type Plan, sharedDirectories } from './package-plan.ts';
import { dracutStandIn, initramfsStart, inittab, profile, systemStart } from './system-scripts.ts';

const release = `1${sampleRelease.distTag}`;

const filesystem: Plan = {
  definition: { name: 'filesystem', version: '1', release, arch: 'x86_64', summary: 'The folders that every package stands on', license: 'Public Domain' },
  async stage(stage) {
    for (const path of sharedDirectories) await stage.directory(path, path === 'tmp' || path === 'var/tmp' ? 0o1777 : path === 'root' ? 0o700 : 0o755);
    for (const name of ['bin', 'sbin', 'lib', 'lib64']) await stage.link(name, `usr/${name}`);
    await stage.link('var/run', '../run');
    await stage.text('etc/passwd', 'root::0:0:root:/root:/bin/sh\n');
    await stage.text('etc/group', 'root:x:0:\n');
    await stage.text('etc/hostname', 'sample\n');
  },
};

const sampleReleasePackage: Plan = {
  definition: {
    name: 'sample-release',
    version: sampleRelease.version,
    release,
    arch: 'noarch',
    summary: 'Says which distribution this is',
    license: 'MIT',
    provides: [`system-release = ${sampleRelease.version}`, `system-release(releasever) = ${sampleRelease.version}`],
  },
  async stage(stage) {
    const name = `Sample Linux ${sampleRelease.version}`;
    await stage.text('etc/os-release', `NAME="Sample Linux"\nID=sample\nVERSION_ID=${sampleRelease.version}\nPRETTY_NAME="${name}"\n`);
    await stage.text('etc/sample-release', `${name}\n`);
  },
};

const sampleInit: Plan = {
  definition: {
    name: 'sample-init',
    version: '1',
    release,
    arch: 'noarch',
    summary: 'Starts the system and tells what runs',
    license: 'MIT',
    requires: ['bash', 'busybox', 'rpm', 'sample-release'],
  },
  async stage(stage) {
    await stage.text('etc/rc.sysinit', systemStart, 0o755);
    await stage.text('etc/inittab', inittab);
    await stage.text('etc/profile', profile);
  },
};

const dracut: Plan = {
  definition: {
    name: 'dracut',
    version: '1',
    release,
    arch: 'noarch',
    summary: 'Stands in for dracut with an initramfs of busybox',
    license: 'MIT',
    requires: ['busybox'],
    provides: ['dracut-live'],
  },
  async stage(stage) {
    await stage.text('usr/bin/dracut', dracutStandIn, 0o755);
    await stage.text('usr/lib/dracut/initramfs-start', initramfsStart, 0o755);
  },
};

/** Is to Sample Linux what Anaconda is to Fedora, and provides its names, by which installation media are made. */
const sampleInstaller: Plan = {
  definition: {
    name: 'sample-installer',
    version: '1',
    release,
    arch: 'noarch',
    summary: 'Installs the system from a medium, as its kickstart says',
    license: 'MIT',
    requires: ['busybox', 'dosfstools', 'e2fsprogs', 'isomd5sum', 'kernel-core', 'rpm', 'sample-init'],
    provides: ['anaconda', 'anaconda-dracut'],
  },
  async stage(stage) {
    await stage.text('usr/sbin/sample-installer', installer, 0o755);
    await stage.text('usr/share/sample-installer/choose-packages', packageChoice, 0o755);
  },
};

/** KIWI refuses to make a live medium unless this package is asked for by name, in a version that is not much older than itself. */
const dracutKiwiLive: Plan = {
  definition: {
    name: 'dracut-kiwi-live',
    version: '9.24',
    release,
    arch: 'noarch',
    summary: 'Lets KIWI make live media',
    license: 'MIT',
    requires: ['dracut'],
    provides: ['dracut-kiwi-lib'],
  },
  stage: (stage) =>
    stage.text(
      'usr/lib/dracut/modules.d/90kiwi-live/about',
      "The initramfs of dracut, as Sample Linux has it, finds KIWI's live media without further parts.\n",
    ),
};

/** The package of the demo: the stable repository has the oldest version, Koji newer ones. */
export function hello(version: string, helloRelease: string = release): Plan {
  return {
    definition: {
      ...{ name: 'hello', version, release: helloRelease, arch: 'noarch' },
      ...{ summary: `Says hello, version ${version}`, license: 'MIT', requires: ['/bin/sh'] },
    },
    subpackages: [{ suffix: 'debuginfo', summary: 'What a debugger would want of hello', below: 'usr/lib/debug' }],
    async stage(stage) {
      await stage.text('usr/bin/hello', `#!/bin/sh\necho "Hello from hello-${version}"\n`, 0o755);
      await stage.text('usr/share/hello/version', `${version}\n`);
      await stage.text('usr/lib/debug/usr/bin/hello.debug', `hello ${version} is a shell script: there is nothing to debug\n`);
    },
  };
}

/** A package that is there to be asked for, and to need others. */
export function dataPackage(
  name: string,
  version: string,
  details: Partial<Omit<PackageDefinition, 'name' | 'version' | 'files' | 'subpackages'>> = {},
  subpackages: Plan['subpackages'] = [],
): Plan {
  return {
    definition: { name, version, release, arch: 'noarch', summary: `A package to depend on: ${name}`, license: 'MIT', ...details },
    subpackages,
    async stage(stage) {
      await stage.text(`usr/share/${name}/about`, `${name} ${version}\n`);
      for (const { below } of subpackages) await stage.text(`${below}/about`, `${name} ${version}\n`);
    },
  };
}

/** The small ones: they need nothing of the host. */
export const smallPackages: readonly Plan[] = [
  filesystem,
  sampleReleasePackage,
  sampleInit,
  dracut,
  dracutKiwiLive,
  sampleInstaller,
  hello(helloVersions.stable),
  dataPackage('greeting-common', '2.0'),
  dataPackage('greeting', '2.0', { requires: ['greeting-common = 2.0', 'hello >= 1.0'] }),
];

/** A package with programs of the host in it. */
export function hostPackage(
  definition: Pick<PackageDefinition, 'name' | 'version' | 'summary' | 'license'> &
    Partial<Pick<PackageDefinition, 'epoch' | 'release' | 'requires' | 'provides'>>,
  stage: Plan['stage'],
): Plan {
  return { definition: { release, arch: 'x86_64', ...definition }, stage };
}
