/** KIWI's recipe, whole: what a reviewer must see when it changes. */
import { expect, it } from 'vitest';
import { kiwi } from '../../services/image-builder/engines/kiwi.ts';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { expectGolden } from '../support/golden.ts';
import { resolutionOf } from '../support/resolutions.ts';

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
