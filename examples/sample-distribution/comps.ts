/** Sample Linux's comps: groups and environments as its stable repository offers them. Pure. */

/** Mandatory in the group `core`: with these a system boots. What an image tool wants inside the image (GRUB's files) it asks for itself. */
const corePackages = ['filesystem', 'sample-release', 'sample-init', 'busybox', 'bash', 'rpm', 'kernel-core', 'dracut'];

interface Group {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly packages: readonly (readonly [type: 'mandatory' | 'default' | 'optional', name: string])[];
}

const groups: readonly Group[] = [
  { id: 'core', name: 'Core', description: 'The smallest system that boots', packages: corePackages.map((name) => ['mandatory', name] as const) },
  {
    id: 'sample-extras',
    name: 'Extras',
    description: 'What a system can do without',
    packages: [
      ['mandatory', 'sample-notes'],
      ['default', 'sample-tools'],
      // Comps outlive packages: an installer passes over a name that no repository has.
      ['default', 'sample-not-there'],
      ['optional', 'greeting'],
    ],
  },
];

interface Environment {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly groups: readonly string[];
  readonly options: readonly string[];
}

const environments: readonly Environment[] = [
  { id: 'sample-environment', name: 'Sample system', description: 'The core and nothing else', groups: ['core'], options: [] },
  {
    id: 'sample-live-environment',
    name: 'Sample live system',
    description: 'The core, and the extras for whoever asks',
    groups: ['core'],
    options: ['sample-extras'],
  },
];

const groupIds = (ids: readonly string[]) => ids.map((id) => `<groupid>${id}</groupid>`).join('');

export const comps = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
${groups
  .map(
    ({ id, name, description, packages }) => `  <group>
    <id>${id}</id>
    <name>${name}</name>
    <description>${description}</description>
    <default>false</default>
    <uservisible>true</uservisible>
    <packagelist>
${packages.map(([type, packageName]) => `      <packagereq type="${type}">${packageName}</packagereq>`).join('\n')}
    </packagelist>
  </group>`,
  )
  .join('\n')}
${environments
  .map(
    ({ id, name, description, groups: ids, options }, index) => `  <environment>
    <id>${id}</id>
    <name>${name}</name>
    <description>${description}</description>
    <display_order>${index + 1}</display_order>
    <grouplist>${groupIds(ids)}</grouplist>
    <optionlist>${groupIds(options)}</optionlist>
  </environment>`,
  )
  .join('\n')}
</comps>
`;
