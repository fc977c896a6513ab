/** The native engine's recipes, whole: what a reviewer must see when they change. */
import { expect, it } from 'vitest';
import { native } from '../../services/image-builder/engines/native.ts';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { expectGolden } from '../support/golden.ts';
import { resolutionOf } from '../support/resolutions.ts';

const request = (change: object = {}) =>
  splitRequest(
    BuildRequest.parse({ release: 'sample', imageType: 'live', label: 'HELLO-LIVE', packages: ['@core', 'hello'], ...change }),
  )[0] as SingleBuildRequest;
const sample = ['bash-5.2-1.x86_64', 'busybox-1:1.35.0-1.sample.x86_64', 'dracut-1-1.noarch', 'grub2-2.06-1.x86_64', 'kernel-core-6.1.0-56.x86_64'];
const side = ['hello-1.1-1.sample.noarch'];
const fedora = {
  release: '44',
  locale: 'de_DE.UTF-8',
  keyboard: 'de-nodeadkeys',
  timezone: 'Europe/Berlin',
  liveUser: 'anna',
  compression: 'small',
};
const fedoraPackages = [
  ...['systemd-258-1.fc44.x86_64', 'shadow-utils-2:4.17.4-1.fc44.x86_64', 'passwd-0.80-20.fc44.x86_64', 'kernel-core-6.17.1-300.fc44.x86_64'],
  ...['kernel-core-6.17.4-300.fc44.x86_64', 'selinux-policy-targeted-42.1-1.fc44.noarch', 'policycoreutils-3.9-1.fc44.x86_64'],
];

const installerOfSample = ['sample-installer-1-1.sample.noarch', 'isomd5sum-1.2.3-1.sample.x86_64'];
const anaconda = ['anaconda-core-44.30-1.fc44.x86_64', 'anaconda-dracut-44.30-1.fc44.noarch', 'anaconda-install-env-deps-44.30-1.fc44.x86_64'];
const grouped = {
  roots: ['bash', 'busybox', 'hello', 'kernel-core', 'sample-installer'],
  groups: [{ id: 'core', name: 'Core & more', packages: ['bash', 'busybox'] }],
  environments: [{ id: 'sample-environment', name: 'Sample system', groups: ['core'] }],
};

it.each([
  ['live-sample', request(), resolutionOf(sample, side), 'sample'],
  ['live-fedora', request({ ...fedora, label: 'F44-de' }), resolutionOf(fedoraPackages, side, { release: '44' }), '44'],
  ['boot-sample', request({ imageType: 'boot', label: 'HELLO-BOOT' }), resolutionOf([...sample, ...installerOfSample], side), 'sample'],
  ['dvd-sample', request({ imageType: 'dvd', label: 'HELLO-DVD' }), resolutionOf([...sample, ...installerOfSample], side, grouped), 'sample'],
  [
    'dvd-fedora',
    request({ ...fedora, imageType: 'dvd', label: 'F44-de' }),
    resolutionOf([...fedoraPackages, ...anaconda], side, { release: '44', ...grouped, roots: ['anaconda-core', 'hello', 'systemd'] }),
    '44',
  ],
] as const)('%s', (name, request, resolution, releasever) => {
  const releaseName = releasever === '44' ? 'Fedora Linux 44' : 'Sample Linux';
  const order = { request, resolution, releasever, releaseName, root: '/workspaces/one' };
  const recipe = native.render(order);
  expectGolden(`test/golden/native/${name}.sh`, recipe.artifact.content);
  // What is published is what runs, but for the workspace's path.
  expect(native.render({ ...order, root: '/workspaces/two' }).artifact.content).toBe(recipe.artifact.content);
  for (const { run } of recipe.steps) {
    expect(run).toMatchObject({ env: { HOME: '/workspaces/one/home' }, isolation: 'private-no-network' });
    for (const word of [run.command, ...run.args]) expect(recipe.artifact.content).toContain(word.replace('/workspaces/one', '').replace(/^--setopt=\w+=/, ''));
  }
});
