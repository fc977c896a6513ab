/** The files by which installers know a tree: read back by rules of productmd's format, and like those of a real tree of Fedora's. */
import { describe, expect, it } from 'vitest';
import { discinfo, treeinfo, treeTimestamp } from '../../services/image-builder/engines/treeinfo.ts';
import { childrenOf, readXmlDocument, textOf } from '../../shared/repositories/xml-document.ts';
import { compsOf, sideComps } from '../../shared/resolution/comps.ts';
import { resolutionOf } from '../support/resolutions.ts';

/** As configparser reads it. */
function read(text: string): Readonly<Record<string, Readonly<Record<string, string>>>> {
  const sections: Record<string, Record<string, string>> = {};
  let section: Record<string, string> | undefined;
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const name = /^\[(.+)\]$/.exec(line)?.[1];
    const [, key, value] = /^([^=\s]+) = (.*)$/.exec(line) ?? [];
    if (name !== undefined) {
      expect(sections).not.toHaveProperty([name]);
      section = {};
      sections[name] = section;
    } else if (section && key !== undefined && value !== undefined) section[key] = value;
    else throw new Error(`no line of an ini file: ${line}`);
  }
  return sections;
}

const fedora = { name: 'Fedora Linux', version: '44', arch: 'x86_64', timestamp: 1776865868, hasRepository: true };

describe('.treeinfo', () => {
  it('says what a tree of Fedora says', () => {
    expect(read(treeinfo(fedora))).toMatchObject({
      header: { type: 'productmd.treeinfo', version: '1.2' },
      release: { name: 'Fedora Linux', short: 'Fedora', version: '44' },
      tree: { arch: 'x86_64', build_timestamp: '1776865868', platforms: 'x86_64', variants: 'Everything' },
      'variant-Everything': { id: 'Everything', name: 'Everything', packages: 'Packages', repository: '.', type: 'variant', uid: 'Everything' },
      'images-x86_64': { kernel: 'images/pxeboot/vmlinuz', initrd: 'images/pxeboot/initrd.img' },
      stage2: { mainimage: 'images/install.img' },
      general: { family: 'Fedora Linux', name: 'Fedora Linux 44', version: '44' },
      checksums: {},
    });
  });

  it('names no repository where there is none, and ends where checksums are added', () => {
    const text = treeinfo({ ...fedora, hasRepository: false });
    expect(text).not.toContain('Packages');
    expect(text.endsWith('\n[checksums]\n')).toBe(true);
  });

  it('takes no name for lines of its own', () => {
    const evil = read(treeinfo({ ...fedora, name: 'Evil\n[tree]\narch = sparc' }));
    expect(evil['tree']?.['arch']).toBe('x86_64');
  });
});

it('.discinfo: time, name, architecture', () => {
  expect(discinfo(fedora)).toBe('1776865868.0\nFedora Linux 44\nx86_64\n');
});

it('the time of a tree is that of its newest repository', () => {
  const repositories = ['1700000000', '1700000009', 'not-a-time', '3'].map((revision) => ({ id: 'r', role: 'stable', revision }));
  expect(treeTimestamp(resolutionOf([], [], { repositories }))).toBe(1700000009);
  expect(treeTimestamp(resolutionOf([], [], { repositories: [] }))).toBe(0);
});

it('comps name groups and environments with the packages of the medium', () => {
  const groups = [{ id: 'core', name: 'Core <&>', packages: ['bash', 'hello'] }];
  const root = readXmlDocument(compsOf(resolutionOf([], [], { groups, environments: [{ id: 'all', name: 'All', groups: ['core'] }] })));
  const [group] = childrenOf(root, 'group');
  expect(textOf(group, 'name')).toBe('Core <&>');
  expect(childrenOf(childrenOf(group, 'packagelist')[0], 'packagereq').map(({ text }) => text)).toEqual(['bash', 'hello']);
  const [environment] = childrenOf(root, 'environment');
  expect(childrenOf(childrenOf(environment, 'grouplist')[0], 'groupid').map(({ text }) => text)).toEqual(['core']);
  expect(readXmlDocument(compsOf(resolutionOf(['bash-1-1.noarch']))).children).toEqual([]);
});

it('the side repository names those of the groups that its packages belong to', () => {
  const groups = [
    { id: 'core', name: 'Core', packages: ['bash'] },
    { id: 'greetings', name: 'Greetings', packages: ['bash', 'hello'] },
  ];
  const environments = [
    { id: 'all', name: 'All', groups: ['core', 'greetings'] },
    { id: 'small', name: 'Small', groups: ['core'] },
  ];
  const resolution = resolutionOf(['bash-1-1.noarch'], ['hello-2-1.noarch'], { groups, environments });
  const root = readXmlDocument(sideComps(resolution) ?? '');
  expect(childrenOf(root, 'group').map((group) => textOf(group, 'id'))).toEqual(['greetings']);
  expect(childrenOf(root, 'environment').map((environment) => textOf(environment, 'id'))).toEqual(['all']);
  expect(sideComps(resolutionOf(['bash-1-1.noarch'], ['hello-2-1.noarch']))).toBeUndefined();
  expect(sideComps(resolutionOf(['bash-1-1.noarch'], [], { groups, environments }))).toBeUndefined();
});
