/** The packages of Sample Linux: what each is made of, and which of them the group `core` installs. */
import { type PackageDefinition, specOf } from './package-definition.ts';
import { type StagedPackage, stagedPackage } from './staging.ts';
import { dracutStandIn, initramfsStart, inittab, profile, systemStart } from './system-scripts.ts';

/** The distribution's version and the tag that ends the release of each of its packages. */
export const sampleRelease = { version: '1', distTag: '.sample' } as const;
const release = `1${sampleRelease.distTag}`;

/** Mandatory in the group `core`: with these a system boots. What an image tool wants inside the image (GRUB's files) it asks for itself. */
const corePackages = ['filesystem', 'sample-release', 'sample-init', 'busybox', 'bash', 'rpm', 'kernel-core', 'dracut'];

export const comps = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
  <group>
    <id>core</id>
    <name>Core</name>
    <description>The smallest system that boots</description>
    <default>false</default>
    <uservisible>true</uservisible>
    <packagelist>
${corePackages.map((name) => `      <packagereq type="mandatory">${name}</packagereq>`).join('\n')}
    </packagelist>
  </group>
  <environment>
    <id>sample-environment</id>
    <name>Sample system</name>
    <description>The core and nothing else</description>
    <display_order>1</display_order>
    <grouplist><groupid>core</groupid></grouplist>
  </environment>
</comps>
`;

const sharedDirectories = [
  ...['boot', 'boot/grub', 'dev', 'etc', 'etc/default', 'etc/dracut.conf.d', 'etc/sysconfig', 'home', 'mnt', 'proc', 'root', 'run', 'sys', 'tmp'],
  ...['usr', 'usr/bin', 'usr/lib', 'usr/lib/dracut', 'usr/lib/modules', 'usr/lib/sysimage', 'usr/lib/x86_64-linux-gnu', 'usr/lib64', 'usr/sbin', 'usr/share'],
  ...['var', 'var/lib', 'var/log', 'var/tmp'],
];

/** One package on its way to being an RPM: its definition is complete once its files are staged. */
interface Plan {
  readonly definition: Omit<PackageDefinition, 'files' | 'subpackages'>;
  /** Files below this folder go to a subpackage. */
  readonly subpackage?: { readonly suffix: string; readonly summary: string; readonly below: string };
  stage(stage: StagedPackage): Promise<void>;
}

/** The plan's files laid out below `stagingRoot`, and the spec file for them. */
export async function stagePlan(plan: Plan, stagingRoot: string): Promise<{ readonly specName: string; readonly spec: string }> {
  const { definition, subpackage } = plan;
  const specName = `${definition.name}-${definition.version}.spec`;
  const stage = stagedPackage(`${stagingRoot}/${definition.name}-${definition.version}`);
  await stage.directory('');
  await plan.stage(stage);
  const entries = await stage.entries(definition.name === 'filesystem' ? undefined : new Set(sharedDirectories));
  const isBelow = ({ path }: { readonly path: string }) => subpackage !== undefined && (path === subpackage.below || path.startsWith(`${subpackage.below}/`));
  return {
    specName,
    spec: specOf(
      {
        ...definition,
        files: entries.filter((entry) => !isBelow(entry)),
        ...(subpackage ? { subpackages: [{ suffix: subpackage.suffix, summary: subpackage.summary, files: entries.filter(isBelow) }] } : {}),
      },
      stage.root,
    ),
  };
}

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

export const helloVersions = { stable: '1.0', testing: '1.1' } as const;

/** The package of the demo: the stable repository has the older version, Koji the newer one. */
export function hello(version: string): Plan {
  return {
    definition: { name: 'hello', version, release, arch: 'noarch', summary: `Says hello, version ${version}`, license: 'MIT', requires: ['/bin/sh'] },
    subpackage: { suffix: 'debuginfo', summary: 'What a debugger would want of hello', below: 'usr/lib/debug' },
    async stage(stage) {
      await stage.text('usr/bin/hello', `#!/bin/sh\necho "Hello from hello-${version}"\n`, 0o755);
      await stage.text('usr/share/hello/version', `${version}\n`);
      await stage.text('usr/lib/debug/usr/bin/hello.debug', `hello ${version} is a shell script: there is nothing to debug\n`);
    },
  };
}

function dataPackage(name: string, version: string, requires: readonly string[]): Plan {
  return {
    definition: { name, version, release, arch: 'noarch', summary: `A package to depend on: ${name}`, license: 'MIT', requires },
    stage: (stage) => stage.text(`usr/share/${name}/about`, `${name} ${version}\n`),
  };
}

/** The small packages: they need nothing of the host. */
export const smallPackages: readonly Plan[] = [
  filesystem,
  sampleReleasePackage,
  sampleInit,
  dracut,
  dracutKiwiLive,
  hello(helloVersions.stable),
  dataPackage('greeting-common', '2.0', []),
  dataPackage('greeting', '2.0', ['greeting-common = 2.0', 'hello >= 1.0']),
];

/** A package with programs of the host in it. */
export function hostPackage(
  definition: Pick<PackageDefinition, 'name' | 'version' | 'summary' | 'license'> &
    Partial<Pick<PackageDefinition, 'epoch' | 'release' | 'requires' | 'provides'>>,
  stage: Plan['stage'],
): Plan {
  return { definition: { release, arch: 'x86_64', ...definition }, stage };
}
