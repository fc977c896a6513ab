/** The native engine done for real: images of Sample Linux made, looked into and started by the whole service. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { build, hasEnded, submit } from '../support/real-builds.ts';
import { freePort, mountsBelow, startRealService } from '../support/real-service.ts';
import { testDirectory } from '../support/temp-directory.ts';

const run = promisify(execFile);
const hello = { packages: ['@core', 'hello'], sources: { kojiBuilds: ['hello-1.1-1.sample'] } };

test('a live ISO starts by BIOS and UEFI with the package that only the side repository has', { timeout: 400_000 }, async () => {
  const stateDir = await testDirectory();
  const service = await startRealService(stateDir, await freePort());
  onTestFinished(() => service.kill());
  const id = await submit(service, {
    ...{ imageType: 'live', engine: 'native', label: 'NATIVE-LIVE' },
    ...hello,
  });
  const shown = await build(service, id, 'ended', hasEnded);
  expect(shown, service.output()).toMatchObject({ state: 'finished', verdict: 'booted', failure: null });
  expect(shown.verdictReason).toContain('hello-1.1-1.sample.noarch');
  expect(shown.artifacts.map(({ name }) => name)).toEqual(expect.arrayContaining(['NATIVE-LIVE-sample-x86_64.iso', 'recipe.sh', 'manifest.json']));
  expect(await mountsBelow(stateDir)).toEqual([]);
  expect(await service.stop()).toBe(0);
});

test('a boot ISO starts its installer; a DVD installs to a disk that starts with the requested build, and holds a whole tree with it in its repository', {
  timeout: 400_000,
}, async () => {
  const stateDir = await testDirectory();
  const service = await startRealService(stateDir, await freePort());
  onTestFinished(() => service.kill());
  const [boot, dvd] = await Promise.all([
    submit(service, { ...hello, imageType: 'boot', label: 'NATIVE-BOOT', firmware: ['bios'] }),
    submit(service, { ...hello, imageType: 'dvd', label: 'NATIVE-DVD' }),
  ]);
  const started = await build(service, boot, 'ended', hasEnded);
  expect(started, service.output()).toMatchObject({ state: 'finished', verdict: 'booted', failure: null });
  expect(started.verdictReason).toContain('hello-1.1-1.sample.noarch');
  const installed = await build(service, dvd, 'ended', hasEnded);
  expect(installed, service.output()).toMatchObject({ state: 'finished', verdict: 'booted', failure: null });
  for (const firmware of ['bios', 'uefi']) {
    expect(installed.verdictReason).toMatch(new RegExp(`installed and booted by ${firmware}: Sample Linux .* with hello-1\\.1-1\\.sample\\.noarch`));
  }

  const iso = join(stateDir, 'dvd.iso');
  const answer = await fetch(`${service.url}/api/v1/builds/${dvd}/artifacts/NATIVE-DVD-sample-x86_64.iso`);
  await writeFile(iso, Buffer.from(await answer.arrayBuffer()));
  await run('checkisomd5', [iso]);
  const { stdout } = await run('xorriso', ['-indev', iso, '-find', '/', '-type', 'f']);
  for (const path of [
    ...['.treeinfo', '.discinfo', 'ks.cfg', 'repodata/repomd.xml', 'EFI/BOOT/BOOTX64.EFI', 'boot/grub2/grub.cfg'],
    ...['images/install.img', 'images/pxeboot/vmlinuz', 'images/pxeboot/initrd.img', 'Packages/h/hello-1.1-1.sample.noarch.rpm'],
  ]) {
    expect(stdout).toContain(`'/${path}'`);
  }
  await run('xorriso', ['-osirrox', 'on', '-indev', iso, '-extract', '/', join(stateDir, 'dvd')]);
  // Every checksum of the tree, and every package of the set that a disk gets.
  await run('sh', ['-c', "sed -n 's/^\\(.*\\) = sha256:\\(.*\\)$/\\2  \\1/p' .treeinfo | sha256sum --check --strict --quiet"], { cwd: join(stateDir, 'dvd') });
  const { stdout: kickstart } = await run('cat', [join(stateDir, 'dvd', 'ks.cfg')]);
  expect(kickstart).toContain('hello-1.1-1.sample.noarch\n');
  expect(kickstart).not.toContain('sample-installer');
  const { stdout: groups } = await run('sh', ['-c', 'cat repodata/*-comps.xml'], { cwd: join(stateDir, 'dvd') });
  expect(groups).toContain('<packagereq type="mandatory">busybox</packagereq>');
  expect(await mountsBelow(stateDir)).toEqual([]);
  expect(await service.stop()).toBe(0);
});
