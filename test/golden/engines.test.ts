/** The recipes of the engines that Debian has no tools for, whole: command lines, kickstarts and blueprints as they would be run. Their kickstarts are read by pykickstart. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EngineOrder, ImageEngine } from '../../services/image-builder/engines/engine.ts';
import { osbuild } from '../../services/image-builder/engines/image-builder.ts';
import { livemediaCreator } from '../../services/image-builder/engines/livemedia-creator.ts';
import { lorax } from '../../services/image-builder/engines/lorax.ts';
import { mkksiso } from '../../services/image-builder/engines/mkksiso.ts';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { readText } from '../../shared/kickstart/content.ts';
import { recipeProblems } from '../../shared/kickstart/recipe-support.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { expectGolden } from '../support/golden.ts';
import { pythonTool, pythonToolMissing } from '../support/python-tools.ts';
import { resolutionOf } from '../support/resolutions.ts';
import { simulatedRelease } from '../support/simulated-fedora.ts';

function order(fedora: string, imageType: string, change: object = {}, kickstart?: string): EngineOrder {
  const release: Release = {
    ...simulatedRelease,
    id: fedora,
    name: `Fedora Linux ${fedora}`,
    dist: `fc${fedora}`,
    baseIsos: { x86_64: `/srv/isos/Fedora-Everything-netinst-x86_64-${fedora}.iso` },
  };
  const request = splitRequest(
    BuildRequest.parse({
      release: fedora,
      imageType,
      label: `F${fedora}-TEST`,
      packages: ['@core', 'bash'],
      excludePackages: ['nano', '@games'],
      locale: 'de_DE.UTF-8',
      keyboard: 'de',
      ...change,
    }),
  )[0] as SingleBuildRequest;
  const stable = [
    'anaconda-44.1-1',
    'dracut-live-108-3',
    'firewalld-2.3.1-1',
    'kernel-6.17.4-300',
    'selinux-policy-targeted-42.13-1',
    'shadow-utils-2:4.18.0-3',
  ];
  // An older bash than the release's own, as a requester may ask for.
  const resolution = resolutionOf(
    stable.map((name) => `${name}.fc${fedora}.x86_64`),
    [`bash-5.2.37-1.fc${fedora}.x86_64`],
    { release: fedora, roots: ['anaconda', 'bash'], installedBytes: 2_500_000_000 },
  );
  return {
    request,
    resolution,
    releasever: fedora,
    release,
    root: '/workspaces/one',
    kickstart: kickstart === undefined ? undefined : readText(kickstart).content,
  };
}

const ownBlueprint = `lang de_DE.UTF-8
user --name=anna --groups=wheel,audio --password=$6$salt$hash --iscrypted --uid=1001
sshkey --username=anna "ssh-ed25519 AAAA anna@example"
bootloader --append="console=ttyS0 quiet"
services --enabled=sshd,chronyd --disabled=cups
firewall --enabled --port=80:tcp --service=https
network --hostname=box.example
`;

const cases: readonly (readonly [name: string, engine: ImageEngine, order: EngineOrder])[] = [
  ...['43', '44'].flatMap((fedora): readonly (readonly [string, ImageEngine, EngineOrder])[] => [
    [`lorax/boot-${fedora}`, lorax, order(fedora, 'boot')],
    [`livemedia-creator/live-${fedora}`, livemediaCreator, order(fedora, 'live')],
    [`mkksiso/dvd-${fedora}`, mkksiso, order(fedora, 'dvd')],
    [`mkksiso/boot-${fedora}`, mkksiso, order(fedora, 'boot')],
    [`image-builder/dvd-${fedora}`, osbuild, order(fedora, 'dvd')],
  ]),
  [
    'livemedia-creator/live-kickstart',
    livemediaCreator,
    order('44', 'live', {}, 'timezone Europe/Berlin\nfirewall --disabled\npart / --size=9000\n%post\ntouch /etc/mine\n%end\n'),
  ],
  ['mkksiso/dvd-kickstart', mkksiso, order('44', 'dvd', {}, 'autopart --type=plain\nclearpart --all\nreboot\nrootpw --iscrypted $6$salt$hash\n')],
  ['image-builder/dvd-kickstart', osbuild, order('44', 'dvd', {}, ownBlueprint)],
];

it.each(cases)('%s', (name, engine, given) => {
  const recipe = engine.render(given);
  const { steps, directories, files } = recipe;
  expectGolden(`test/golden/${name}/steps.json`, `${JSON.stringify({ directories, steps }, undefined, 2)}\n`);
  for (const { path, content } of files) expectGolden(`test/golden/${name}/${path.replaceAll('/', '-')}`, content);
  // What is published names no workspace and shows no hash.
  expect(recipe.artifact.content).not.toMatch(/workspaces\/one|\$6\$/);
  expect(given.kickstart === undefined ? [] : recipeProblems(given.kickstart, engine.name, given.request.imageType)).toEqual([]);
});

it.for(cases.filter(([, engine]) => engine === livemediaCreator || engine === mkksiso))(
  '%s has a kickstart that pykickstart takes',
  ([name, engine, given], { skip }) => {
    const ksvalidator = pythonTool('ksvalidator') ?? skip(pythonToolMissing);
    const directory = mkdtempSync(join(tmpdir(), 'spindle-kickstart-'));
    try {
      const path = join(directory, 'x.ks');
      writeFileSync(path, engine.render(given).files.find(({ path: each }) => each.endsWith('.ks'))?.content ?? '');
      const { status, stdout } = spawnSync(ksvalidator, ['--firsterror', '--version', `F${given.releasever}`, path], { encoding: 'utf8' });
      expect({ name, status, stdout: stdout.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Checking')) }).toEqual({
        name,
        status: 0,
        stdout: [],
      });
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
);

describe('what only one of them can', () => {
  it('mkksiso needs a boot ISO that the operator names', () => {
    const { release, ...rest } = order('44', 'dvd');
    expect(() => mkksiso.render(rest)).toThrow(/releases file names none under baseIsos/);
    expect(() => mkksiso.render({ ...rest, release: { ...(release as Release), baseIsos: { aarch64: '/srv/x.iso' } } })).toThrow(/for x86_64/);
  });

  it('image-builder calls Rawhide by the number that its packages carry', () => {
    const given = order('44', 'dvd');
    const rawhide = osbuild.render({ ...given, releasever: 'rawhide', release: { ...(given.release as Release), dist: 'fc46' } });
    expect(rawhide.steps[0]?.run.args).toContain('fedora-46');
  });

  it('each finds its own image, and says what it needs', () => {
    expect(lorax.findImages(['.treeinfo', 'EFI', 'images'])).toEqual(['images/boot.iso']);
    expect(lorax.findImages(['.treeinfo'])).toEqual([]);
    expect(livemediaCreator.findImages(['image.iso'])).toEqual(['image.iso']);
    expect(mkksiso.findImages([])).toEqual([]);
    expect(osbuild.findImages(['image.buildlog', 'image.iso', 'image.osbuild-manifest.json'])).toEqual(['image.iso']);
    for (const { needs } of [lorax, livemediaCreator, mkksiso, osbuild])
      expect(needs).toMatchObject({ install: { debian: [], fedora: expect.arrayContaining([expect.any(String)]) } });
    expect(lorax.version.read('46.0-1\n')).toBe('46.0-1');
    expect(osbuild.version.read('image-builder:\n  version: 83.0.0\n')).toBe('83.0.0');
  });
});
