/** KIWI's recipe, whole: what a reviewer must see when it changes. */
import { expect, it } from 'vitest';
import { kiwi } from '../../services/image-builder/engines/kiwi.ts';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { expectGolden } from '../support/golden.ts';
import { resolutionOf } from '../support/resolutions.ts';
import { simulatedRelease } from '../support/simulated-fedora.ts';

const request = (change: object = {}) =>
  splitRequest(
    BuildRequest.parse({ release: 'sample', imageType: 'live', label: 'HELLO-LIVE', packages: ['@core', 'hello'], ...change }),
  )[0] as SingleBuildRequest;
const sample = ['bash-5.2-1.x86_64', 'busybox-1:1.35.0-1.sample.x86_64', 'dracut-1-1.noarch', 'grub2-2.06-1.x86_64', 'kernel-core-6.1.0-56.x86_64'];
const side = ['hello-1.1-1.sample.noarch'];

it.each([
  ['sample', request(), resolutionOf(sample, side), 'sample'],
  [
    'fedora',
    request({
      release: '44',
      label: 'F44-de',
      locale: 'de_DE.UTF-8',
      keyboard: 'de-nodeadkeys',
      timezone: 'Europe/Berlin',
      liveUser: 'anna',
      compression: 'small',
    }),
    resolutionOf(
      ['systemd-258-1.fc44.x86_64', 'shadow-utils-2:4.17.4-1.fc44.x86_64', 'kernel-core-6.17.1-300.fc44.x86_64', 'kernel-core-6.17.4-300.fc44.x86_64'],
      side,
      { release: '44' },
    ),
    '44',
  ],
  ['nothing-but-a-kernel', request({ locale: 'eo' }), resolutionOf(['kernel-core-6.1.0-56.x86_64', 'systemd-258-1.fc44.x86_64']), 'sample'],
] as const)('%s', (name, request, resolution, releasever) => {
  const recipe = kiwi.render({ request, resolution, releasever, root: '/workspaces/one' });
  for (const { path, content } of recipe.files) expectGolden(`test/golden/kiwi/${name}/${path.replace(/\/\./g, '/dot-')}`, content);
  expectGolden(`test/golden/kiwi/${name}/command.txt`, `${JSON.stringify({ ...recipe.steps[0]?.run, directories: recipe.directories }, undefined, 2)}\n`);
  expect(recipe.artifact.content).toBe(recipe.files[0]?.content.replaceAll('dir:///workspaces/one/', 'dir:///'));
});

const withProfile: Release = {
  ...simulatedRelease,
  id: '44',
  name: 'Fedora Linux 44',
  kiwi: { description: '/srv/fedora-kiwi-descriptions', file: 'Fedora.kiwi', profiles: { live: 'Workstation-Live' }, packages: ['@core'] },
};
const fedora = resolutionOf(['kernel-core-6.17.1-300.fc44.x86_64', 'kernel-core-6.17.4-300.fc44.x86_64', 'systemd-258-1.fc44.x86_64'], side, { release: '44' });

it.each([
  ['profile-9.24', '9.24.56'],
  ['profile-10', '10.3.9'],
  ['profile-11', '11.0.2'],
] as const)('%s: a profile of fedora-kiwi-descriptions', (name, toolVersion) => {
  const order = {
    request: request({ release: '44', label: 'F44', excludePackages: ['nano', '@games'] }),
    resolution: fedora,
    releasever: '44',
    release: withProfile,
    toolVersion,
  };
  const recipe = kiwi.render({ ...order, root: '/workspaces/one' });
  expectGolden(`test/golden/kiwi/${name}.sh`, recipe.artifact.content);
  expect(kiwi.render({ ...order, root: '/workspaces/two' }).artifact.content).toBe(recipe.artifact.content);
});

it('our own description differs between the versions in what they call dnf only', () => {
  const order = { request: request(), resolution: resolutionOf(sample, side), releasever: 'sample', root: '/workspaces/one' };
  const old = kiwi.render({ ...order, toolVersion: '9.24.56' });
  const new_ = kiwi.render({ ...order, toolVersion: '10.3.9' });
  expect(old.artifact.content).toContain('<packagemanager>dnf</packagemanager>');
  expect(new_.artifact.content).toBe(old.artifact.content.replace('<packagemanager>dnf<', '<packagemanager>dnf5<'));
  expect(new_.steps).toEqual(old.steps);
  expect(kiwi.render({ ...order, toolVersion: undefined })).toEqual(old);
});
