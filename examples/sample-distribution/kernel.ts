/** Lays out the sample system's kernel: Debian's kernel for virtual machines, with only the modules that a live system in one needs. */
import { cp, lstat, mkdir, readdir, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { SpindleError } from '../../shared/build/failure.ts';
import type { RunTool } from './host-programs.ts';
import type { StagedPackage } from './staging.ts';

/** Names the newest kernel package by depending on it. */
const kernelMetaPackage = 'linux-image-cloud-amd64';

/** With what they depend on. The kernel has no AHCI: the medium of a virtual machine is IDE, SCSI or virtio. */
const wantedModules = [
  ...['ata_generic', 'ata_piix', 'cdrom', 'sd_mod', 'sr_mod'],
  ...['virtio_blk', 'virtio_console', 'virtio_net', 'virtio_pci', 'virtio_scsi'],
  ...['ext4', 'isofs', 'loop', 'overlay', 'squashfs', 'vfat'],
  ...['nls_ascii', 'nls_cp437', 'nls_utf8'],
];

/** Downloads the newest kernel package that the package index knows, such as `linux-image-6.1.0-56-cloud-amd64`, and resolves with the file's path. */
export async function downloadKernel(run: RunTool, into: string): Promise<string> {
  await mkdir(into, { recursive: true });
  try {
    return await tryDownload(run, into);
  } catch (error) {
    // The archive replaces kernels often; an index of yesterday may name one that is gone. Only root can refresh it.
    if (!(error instanceof SpindleError) || error.code === 'TOOL_MISSING' || process.getuid?.() !== 0) throw error;
    await run('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=300', 'update']);
    return tryDownload(run, into);
  }
}

async function tryDownload(run: RunTool, into: string): Promise<string> {
  const cache = join(into, 'cache');
  await rm(cache, { recursive: true, force: true });
  await mkdir(cache);
  // Reading the index takes a second, and many machines do not keep the result: here the second call has it from the first.
  const options = ['-o', `Dir::Cache::pkgcache=${join(cache, 'packages')}`, '-o', `Dir::Cache::srcpkgcache=${join(cache, 'sources')}`];
  const depends = await run('apt-cache', [...options, 'depends', kernelMetaPackage]);
  const name = /^\s*Depends: (linux-image-[a-z0-9.+-]+)$/m.exec(depends)?.[1];
  if (name === undefined) throw new SpindleError('PACKAGE_UNKNOWN', `apt-cache knows no kernel behind ${kernelMetaPackage}; run apt-get update and try again`);
  await run('apt-get', ['-qq', ...options, '-o', 'APT::Sandbox::User=root', 'download', name], { cwd: into });
  const file = (await readdir(into)).find((entry) => entry.endsWith('.deb'));
  if (file === undefined) throw new SpindleError('PACKAGE_UNREACHABLE', `apt-get download ${name} left no file`);
  return join(into, file);
}

/** Fills the staged kernel package from the Debian one. Resolves with the kernel's release, as `uname -r` says it. */
export async function stageKernel(run: RunTool, deb: string, scratch: string, stage: StagedPackage): Promise<string> {
  const unpacked = join(scratch, 'unpacked');
  await mkdir(scratch, { recursive: true });
  await run('dpkg-deb', ['--extract', deb, unpacked]);
  const modules = join(unpacked, 'lib', 'modules');
  const kernel = (await readdir(modules)).find((entry) => !entry.startsWith('.'));
  if (kernel === undefined) throw new SpindleError('PACKAGE_MISMATCH', `${deb} holds no kernel modules`);

  await run('depmod', ['-b', unpacked, kernel]);
  const shown = await run('modprobe', ['-d', unpacked, '-S', kernel, '--show-depends', '--all', ...wantedModules]);
  const paths = new Set([...shown.matchAll(/^insmod (\S+)/gm)].map(([, path]) => path as string));
  for (const name of ['modules.order', 'modules.builtin', 'modules.builtin.modinfo']) paths.add(join(modules, kernel, name));
  const target = join(stage.root, 'usr', 'lib', 'modules', kernel);
  for (const path of paths) {
    const copy = join(target, relative(join(modules, kernel), path));
    await mkdir(dirname(copy), { recursive: true });
    await cp(path, copy);
  }
  // depmod looks below lib/, the system has its modules below usr/lib/.
  await symlink('usr/lib', join(stage.root, 'lib'));
  await run('depmod', ['-b', stage.root, kernel]);
  await rm(join(stage.root, 'lib'));

  const vmlinuz = `usr/lib/modules/${kernel}/vmlinuz`;
  await rename(join(unpacked, 'boot', `vmlinuz-${kernel}`), join(stage.root, vmlinuz));
  await stage.hardLink(`boot/vmlinuz-${kernel}`, vmlinuz);
  if (!(await lstat(join(stage.root, vmlinuz))).isFile()) throw new SpindleError('PACKAGE_MISMATCH', `${deb} holds no kernel image`);
  await rm(unpacked, { recursive: true, force: true });
  return kernel;
}
