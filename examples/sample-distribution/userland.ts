/** Lays out the programs of the sample system, copied from this Debian machine: busybox, rpm, bash, GRUB, and the shared libraries that they need. */
import { readdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { SpindleError } from '../../shared/build/failure.ts';
import type { RunTool } from './host-programs.ts';
import type { StagedPackage } from './staging.ts';

/** The Debian packages that programs are copied from, each with the program that must be there. */
const copiedFrom = [
  'busybox-static',
  'rpm',
  'rpm-common',
  'bash',
  'grub-common',
  'grub-pc-bin',
  'grub-efi-amd64-bin',
  'e2fsprogs',
  'dosfstools',
  'isomd5sum',
] as const;
export type CopiedPackage = (typeof copiedFrom)[number];

const rpmPrograms = ['/usr/bin/rpm', '/usr/bin/rpmdb', '/usr/bin/rpmkeys'];
const grubPrograms = ['/usr/bin/grub-mkimage', '/usr/sbin/grub-mkconfig'];
const diskPrograms = { e2fsprogs: '/sbin/mke2fs', dosfstools: '/sbin/mkfs.vfat', isomd5sum: '/usr/bin/checkisomd5' } as const;
const dynamicPrograms = [...rpmPrograms, '/bin/bash', '/usr/bin/grub-mkimage', ...Object.values(diskPrograms)];

/** Which versions of Debian's packages this machine has, in full and as an RPM version can be written. */
export async function hostVersions(run: RunTool): Promise<Record<CopiedPackage, { readonly debian: string; readonly upstream: string }>> {
  const output = await run('dpkg-query', ['-W', `-f=\${Package}|\${Version}|\${source:Upstream-Version}\\n`, ...copiedFrom]);
  const versions = new Map(
    output
      .split('\n')
      .map((line) => line.split('|'))
      .map(([name = '', debian = '', upstream = '']) => [name, { debian, upstream: upstream.replaceAll(/[^A-Za-z0-9._+~^]/g, '.') }] as const),
  );
  const found = copiedFrom.map((name) => {
    const version = versions.get(name);
    if (version === undefined)
      throw new SpindleError('TOOL_MISSING', `the sample distribution is made from Debian's ${name}, which is not installed here; run node bin/set-up.mjs`);
    return [name, version] as const;
  });
  return Object.fromEntries(found) as Record<CopiedPackage, { readonly debian: string; readonly upstream: string }>;
}

/** Programs of busybox that would stand in the way of the real ones, which other packages bring. */
const notFromBusybox = new Set(['bash', 'busybox', 'dpkg', 'dpkg-deb', 'mke2fs', 'rpm', 'rpm2cpio']);
const systemPrograms = new Set([
  'blkid',
  'depmod',
  'halt',
  'init',
  'insmod',
  'losetup',
  'lsmod',
  'mdev',
  'modprobe',
  'poweroff',
  'reboot',
  'rmmod',
  'switch_root',
]);

export async function stageBusybox(run: RunTool, stage: StagedPackage): Promise<void> {
  await stage.copy('usr/bin/busybox', '/bin/busybox', 0o755);
  const names = (await run('/bin/busybox', ['--list'])).split('\n').filter((name) => /^[A-Za-z0-9[_.-]+$/.test(name) && !notFromBusybox.has(name));
  for (const name of names) {
    if (systemPrograms.has(name)) await stage.link(`usr/sbin/${name}`, '../bin/busybox');
    else await stage.link(`usr/bin/${name}`, 'busybox');
  }
}

const rpmMacros = `%_dbpath /usr/lib/sysimage/rpm
%_db_backend sqlite
`;

export async function stageRpm(stage: StagedPackage): Promise<void> {
  for (const program of rpmPrograms) await stage.copy(`usr/bin/${basename(program)}`, program, 0o755);
  const configuration = await readdir('/usr/lib/rpm');
  for (const name of configuration.filter((entry) => /^(macros|rpmrc|rpmpopt.*)$/.test(entry))) await stage.copy(`usr/lib/rpm/${name}`, `/usr/lib/rpm/${name}`);
  await stage.copyTree(
    'usr/lib/rpm/platform',
    '/usr/lib/rpm/platform',
    (name) => !name.includes('-') || name.startsWith('x86_64') || name.startsWith('noarch'),
  );
  await stage.text('usr/lib/rpm/macros.d/macros.sample', rpmMacros);
}

/** What KIWI and GRUB's own tools look for inside an image, so that its media boot with BIOS and UEFI. */
export async function stageGrub(stage: StagedPackage): Promise<void> {
  for (const program of grubPrograms) await stage.copy(program.slice(1), program, 0o755);
  for (const platform of ['i386-pc', 'x86_64-efi']) {
    await stage.copyTree(`usr/lib/grub/${platform}`, `/usr/lib/grub/${platform}`, (name) => name !== 'monolithic' && !name.endsWith('.module'));
  }
  await stage.copy('usr/share/grub/unicode.pf2', '/usr/share/grub/unicode.pf2');
  await stage.copy('usr/share/grub/grub-mkconfig_lib', '/usr/share/grub/grub-mkconfig_lib');
}

/** What an installer makes file systems and checks media with. */
export async function stageDiskProgram(name: keyof typeof diskPrograms, stage: StagedPackage): Promise<void> {
  const program = diskPrograms[name];
  await stage.copy(`usr/${name === 'isomd5sum' ? 'bin' : 'sbin'}/${basename(program)}`, program, 0o755);
  // Without it mke2fs knows no ext4.
  if (name === 'e2fsprogs') await stage.copy('etc/mke2fs.conf', '/etc/mke2fs.conf');
}

/** Copies every shared library that the programs load, with the loader where the programs expect it. */
export async function stageLibraries(run: RunTool, stage: StagedPackage): Promise<void> {
  const listed = await run('ldd', dynamicPrograms);
  const libraries = new Set([...listed.matchAll(/(\/(?:usr\/)?lib\S*\/[^\s/]+\.so[^\s/]*) \(0x/g)].map(([, path]) => path as string));
  if (libraries.size === 0) throw new SpindleError('ENGINE_FAILED', 'ldd names no libraries of the programs that the sample system holds');
  for (const library of libraries) {
    const isLoader = basename(library).startsWith('ld-linux');
    await stage.copy(`${isLoader ? 'usr/lib64' : 'usr/lib/x86_64-linux-gnu'}/${basename(library)}`, library, 0o755);
  }
}
