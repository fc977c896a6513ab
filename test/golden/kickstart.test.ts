/** Generated and merged kickstarts, whole; each is read by pykickstart, as the installer would read it. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { withKickstart } from '../../shared/kickstart/apply.ts';
import { readText } from '../../shared/kickstart/content.ts';
import { problemSentence } from '../../shared/kickstart/kickstart.ts';
import { type KickstartPurpose, renderKickstart } from '../../shared/kickstart/render.ts';
import { expectGolden } from '../support/golden.ts';
import { pythonTool, pythonToolMissing } from '../support/python-tools.ts';
import { resolutionOf } from '../support/resolutions.ts';
import { simulatedRelease } from '../support/simulated-fedora.ts';

const workstation = [
  'NetworkManager-1:1.54.0-2.fc44.x86_64',
  'dracut-live-108-3.fc44.x86_64',
  'firewalld-2.3.1-1.fc44.noarch',
  'gdm-1:49.0-1.fc44.x86_64',
  'glibc-2.42-4.fc44.i686',
  'glibc-2.42-4.fc44.x86_64',
  'kernel-6.17.4-300.fc44.x86_64',
  'openssh-server-10.0p1-5.fc44.x86_64',
  'selinux-policy-targeted-42.13-1.fc44.noarch',
  'shadow-utils-2:4.18.0-3.fc44.x86_64',
];
/** A downgrade: the release's own is newer. */
const side = ['bash-5.2.37-1.fc44.x86_64'];
const resolution = resolutionOf(workstation, side, { release: '44', installedBytes: 3_400_000_000 });

const own = `# mine
lang de_DE.UTF-8 --addsupport=en_US
timezone Europe/Berlin --utc
rootpw --iscrypted $y$j9T$saltsaltsaltsalt$0123456789
user --name=anna --groups=wheel --password=$6$salt$hash --iscrypted
services --enabled=chronyd
part / --size=9000 --fstype=xfs
repo --name=mine --baseurl=https://copr.example/f$releasever/$basearch/

%packages --inst-langs=de
@^workstation-product-environment
htop # a comment
-nano
-@games
%end

%post --log=/var/log/post.log
echo "100%" > /etc/motd
  %hello is no section
%end

%certificate --filename=mine.pem --dir=/etc/pki/mine
-----BEGIN CERTIFICATE-----
%end
`;

const cases: readonly (readonly [name: string, purpose: KickstartPurpose, imageType: string, request: object, own: string | undefined])[] = [
  ['live', 'live', 'live', { packages: ['@core', 'hello'], excludePackages: ['nano', '@games'] }, undefined],
  ['live-merged', 'live', 'live', { packages: ['hello'], locale: 'fr_FR.UTF-8' }, own],
  ['dvd', 'install', 'dvd', { packages: ['@core'], keyboard: 'de-nodeadkeys' }, undefined],
  ['dvd-merged', 'install', 'dvd', { packages: ['hello'] }, own],
  ['boot', 'assist', 'boot', { packages: ['hello'], excludePackages: ['nano'] }, undefined],
  ['boot-merged', 'assist', 'boot', {}, own],
];

it.each(cases)('%s', (name, purpose, imageType, change, text) => {
  const asked = splitRequest(
    BuildRequest.parse({ release: '44', imageType, label: 'F44-TEST', kickstart: text ?? null, packages: ['hello'], ...change }),
  )[0] as SingleBuildRequest;
  const read = text === undefined ? undefined : readText(text);
  expect(read?.problems.map(problemSentence) ?? []).toEqual([]);
  const request = read ? withKickstart(asked, read.content, { ...simulatedRelease, id: '44' }) : asked;
  const repositories = { stable: 'file:///w/repositories/stable', side: purpose === 'live' ? 'file:///w/repositories/side' : 'file:///run/install/repo/side' };
  expectGolden(`test/golden/kickstart/${name}.ks`, renderKickstart({ request, resolution, purpose, repositories, own: read?.content }));
});

it.for(cases.flatMap(([name]) => ['F43', 'F44', 'F45'].map((version) => [name, version] as const)))('%s is a kickstart of %s', ([name, version], { skip }) => {
  const ksvalidator = pythonTool('ksvalidator') ?? skip(pythonToolMissing);
  const path = fileURLToPath(new URL(`kickstart/${name}.ks`, import.meta.url));
  const { status, stdout, stderr } = spawnSync(ksvalidator, ['--firsterror', '--version', version, path], { encoding: 'utf8' });
  const said = `${stdout}${stderr}`.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Checking kickstart file'));
  expect({ status, said }).toEqual({ status: 0, said: [] });
});
