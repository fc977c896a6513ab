/**
 * What the tools that several engines run say of their progress and of their failures. The outputs are real ones: dnf 4.14, rpm 4.18, dracut 059, mksquashfs 4.5.1, xorriso 1.5.4,
 * GRUB 2.06 and mtools 4, each made to fail.
 */
import { describe, expect, it } from 'vitest';
import { relevantToolLines, tellsFullDisk, tellsWhy, toolProgress } from '../../services/image-builder/engines/tool-lines.ts';

const reasonOf = (output: string) => relevantToolLines(output.split('\n')).reason;

describe('progress', () => {
  it.each([
    ['  Installing       : good-1-1.noarch                                        3/17 ', { done: 3, total: 17, what: 'installing packages' }],
    ['  Running scriptlet: shpost-1-1.noarch                                      2/2 ', { done: 2, total: 2, what: 'installing packages' }],
    ['  Verifying        : fakesh-1-1.noarch                                      1/2 ', { done: 1, total: 2, what: 'verifying packages' }],
    ['(1/2): big-1-1.noarch.rpm                       106 MB/s | 8.0 MB     00:00    ', { done: 1, total: 2, what: 'downloading packages' }],
    ['[=====================================/] 918/918 100%', { done: 918, total: 918, what: 'compressing the root file system' }],
    ['[===============================================================\\] 12/918 1%', { done: 12, total: 918, what: 'compressing the root file system' }],
    ['xorriso : UPDATE :   5.72% done', { done: 6, total: 100, what: 'writing the ISO' }],
    ['xorriso : UPDATE :  48.04% done, estimate finish Thu Nov 26 05:10:53 2026', { done: 48, total: 100, what: 'writing the ISO' }],
    ['%% 33.333333', { done: 33, total: 100, what: 'installing packages' }],
    ['   1:good-1-1                         ################################# [ 50%]', { done: 50, total: 100, what: 'installing packages' }],
    ['[ 3/19] Installing bash-0:5.2.15-1.fc44 100% | 120.0 MiB/s |   8.2 MiB |  00m00s', { done: 3, total: 19, what: 'installing packages' }],
    ['[ 1/10] bash-0:5.2.15-1.fc44.x86_64     100% |  12.0 MiB/s |   1.8 MiB |  00m00s', { done: 1, total: 10, what: 'downloading packages' }],
  ])('%s', (line, progress) => {
    expect(toolProgress(line)).toEqual(progress);
  });

  it.each([
    '  Preparing        :                                                        1/1 ',
    'xorriso : UPDATE :       1 files added in 1 seconds',
    'Verifying...                          ########################################',
    '  Installing       : liar-1-1.noarch      9/3 ',
    'Installing:',
    '100.00% of uncompressed filesystem size (12288.59 Kbytes)',
    '',
  ])('nothing in %j', (line) => {
    expect(toolProgress(line)).toBeUndefined();
  });
});

describe('the reason of a failure', () => {
  it.each([
    ['dnf: a package that no repository has', 'No match for argument: nosuch\nError: Unable to find a match: nosuch', 'Unable to find a match: nosuch'],
    [
      'dnf: nothing provides',
      "Last metadata expiration check: 0:00:01 ago on Thu Nov 26 04:59:24 2026.\nError: \n Problem: conflicting requests\n  - nothing provides libnothing.so.7 needed by needs-1-1.noarch\n(try to add '--skip-broken' to skip uninstallable packages)",
      'nothing provides libnothing.so.7 needed by needs-1-1.noarch',
    ],
    [
      'dnf: a conflict',
      "Error: \n Problem: package clash-1-1.noarch conflicts with good provided by good-1-1.noarch\n  - conflicting requests\n(try to add '--allowerasing' to command line to replace conflicting packages or '--skip-broken' to skip uninstallable packages)",
      'Problem: package clash-1-1.noarch conflicts with good provided by good-1-1.noarch',
    ],
    [
      'dnf: two packages with one file',
      'Running transaction test\nError: Transaction test error:\n  file /usr/share/good/f conflicts between attempted installs of good-1-1.noarch and samefile-1-1.noarch\n',
      'file /usr/share/good/f conflicts between attempted installs of good-1-1.noarch and samefile-1-1.noarch',
    ],
    [
      'dnf: a %pre that fails',
      '  Running scriptlet: badpre-1-1.noarch                                      1/1 \nerror: lua script failed: [string "%prein(badpre-1-1.noarch)"]:1: will not be installed\n\nError in PREIN scriptlet in rpm package badpre\n  Verifying        : badpre-1-1.noarch                                      1/1 \n\nFailed:\n  badpre-1-1.noarch                                                             \n\nError: Transaction failed',
      'lua script failed: [string "%prein(badpre-1-1.noarch)"]:1: will not be installed',
    ],
    [
      'dnf: only a %post that fails',
      '/var/tmp/rpm-tmp.Xih6nG: line 1: /bin/false: not found\nwarning: %post(shpost-1-1.noarch) scriptlet failed, exit status 3\n\nError in POSTIN scriptlet in rpm package shpost\nError: Transaction failed',
      '/var/tmp/rpm-tmp.Xih6nG: line 1: /bin/false: not found',
    ],
    [
      'dnf: a full disk',
      'Error: Transaction test error:\n  installing package big-1-1.noarch needs 3MB more space on the / filesystem\n\nError Summary\n-------------\nDisk Requirements:\n   At least 3MB more space needed on the / filesystem.\n',
      'installing package big-1-1.noarch needs 3MB more space on the / filesystem',
    ],
    [
      'dnf: no repository',
      "Errors during downloading metadata for repository 'stable':\n  - Curl error (37): Couldn't read a file:// file for file:///w/norepo/repodata/repomd.xml [Couldn't open file /w/norepo/repodata/repomd.xml]\nError: Failed to download metadata for repo 'stable': Cannot download repomd.xml: Cannot download repodata/repomd.xml: All mirrors were tried",
      "Curl error (37): Couldn't read a file:// file for file:///w/norepo/repodata/repomd.xml [Couldn't open file /w/norepo/repodata/repomd.xml]",
    ],
    [
      'dnf: a package with another content',
      "[MIRROR] good-1-1.noarch.rpm: Downloading successful, but checksum doesn't match. Calculated: b6(sha256)  Expected: 51(sha256) \n(1/2): big-1-1.noarch.rpm                       106 MB/s | 8.0 MB     00:00    \n[FAILED] good-1-1.noarch.rpm: No more mirrors to try - All mirrors were already tried without success\nError: Error downloading packages:\n  good-1-1.noarch: Cannot download, all mirrors were already tried without success",
      "[MIRROR] good-1-1.noarch.rpm: Downloading successful, but checksum doesn't match. Calculated: b6(sha256)  Expected: 51(sha256)",
    ],
    [
      'dnf 5 and rpm 6: a %post that fails',
      '>>> Running %post scriptlet: Package-post-fail-0:1.0-1.x86_64\n>>> Non-critical error in %post scriptlet: Package-post-fail-0:1.0-1.x86_64\n>>> [RPM] lua script failed: [string "%post(Package-post-fail-0:1.0-1.x86_64)"]:1: failing on post scriptlet\nTransaction failed: Rpm transaction failed.',
      'lua script failed: [string "%post(Package-post-fail-0:1.0-1.x86_64)"]:1: failing on post scriptlet',
    ],
    [
      'dnf 5 and rpm 6: a %post whose program is refused something',
      '>>> Running %post scriptlet: udisks2-0:2.11.2-1.fc44.x86_64\n>>> Failed to scan devices: Permission denied\n>>> [RPM] %post(udisks2-2.11.2-1.fc44.x86_64) scriptlet failed, exit status 1\nTransaction failed: Rpm transaction failed.',
      '%post(udisks2-2.11.2-1.fc44.x86_64) scriptlet failed, exit status 1',
    ],
    [
      'dnf 5: a %pre that fails',
      '>>> Running %pre scriptlet: badpre-0:1-1.noarch\n>>> Error in %pre scriptlet: badpre-0:1-1.noarch\n>>> Scriptlet output:\n>>> no such user\nTransaction failed: Rpm transaction failed.',
      'Error in %pre scriptlet: badpre-0:1-1.noarch',
    ],
    [
      'dnf 5: two packages with one file',
      'Running transaction\nTransaction failed: Rpm transaction failed.\n  - file /usr/bin/erb conflicts between attempted installs of ruby4-1-1.noarch and ruby3-1-1.noarch',
      'file /usr/bin/erb conflicts between attempted installs of ruby4-1-1.noarch and ruby3-1-1.noarch',
    ],
    [
      'dnf 5: a full disk',
      'Running transaction\nTransaction failed: Rpm transaction failed.\n  - installing package cowsay needs 376KB more space on the / filesystem',
      'installing package cowsay needs 376KB more space on the / filesystem',
    ],
    [
      'dnf 5: a file that cannot be unpacked',
      '>>> [RPM] unpacking of archive failed on file /opt/rocm-7.2.4: cpio: mkdir failed - No such file or directory\nTransaction failed: Rpm transaction failed.',
      'unpacking of archive failed on file /opt/rocm-7.2.4: cpio: mkdir failed - No such file or directory',
    ],
    [
      'dnf 5: an address that has nothing',
      '>>> Status code: 404 for file:///w/stable/Packages/a/a-1-1.noarch.rpm\n>>> No more mirrors to try - All mirrors were already tried without success\nFailed to download packages',
      'Status code: 404 for file:///w/stable/Packages/a/a-1-1.noarch.rpm',
    ],
    ['dnf 5: only that rpm failed', 'Running transaction\nTransaction failed: Rpm transaction failed.', 'Transaction failed: Rpm transaction failed.'],
    [
      'dracut 10x: a module that cannot be installed, not the logger that is always missing',
      "dracut[E]: No '/dev/log' or 'logger' included for syslog logging\ndracut[E]: Module 'dmsquash-live' cannot be installed.",
      "dracut[E]: Module 'dmsquash-live' cannot be installed.",
    ],
    [
      'dracut: a kernel module that is not there',
      "dracut-install: Failed to find module 'pcie_qcom'\ndracut[E]: FAILED:  /usr/lib/dracut/dracut-install -D /var/tmp/dracut.w1jxAo/initramfs -N ^i2o_scsi$ -m gpio_regulator",
      "dracut-install: Failed to find module 'pcie_qcom'",
    ],
    ['rpm: a dependency', 'error: Failed dependencies:\n\t/bin/sh is needed by shpost-1-1.noarch', '/bin/sh is needed by shpost-1-1.noarch'],
    [
      'rpm: a file that cannot be written',
      'error: unpacking of archive failed on file /usr/share/big/f;6b07bf2e: cpio: write failed - Inappropriate ioctl for device\nerror: big-1-1.noarch: install failed',
      'unpacking of archive failed on file /usr/share/big/f;6b07bf2e: cpio: write failed - Inappropriate ioctl for device',
    ],
    [
      'rpm: half a package',
      'error: trunc.rpm: hdr blob(1445): BAD, read returned 0\nerror: trunc.rpm cannot be installed',
      'trunc.rpm: hdr blob(1445): BAD, read returned 0',
    ],
    [
      'dracut: no modules of that kernel',
      'dracut: Cannot find module directory /lib/modules/9.9.9/\ndracut: and --no-kernel was not specified',
      'dracut: Cannot find module directory /lib/modules/9.9.9/',
    ],
    [
      'dracut: a module that is not there',
      "dracut: dracut module 'mksh' will not be installed, because command 'mksh' could not be found!\ndracut: memstrack is not available\ndracut: dracut module 'nosuchmodule' cannot be found or installed.",
      "dracut: dracut module 'nosuchmodule' cannot be found or installed.",
    ],
    [
      'dracut: a program that is not there',
      "dracut: *** Including modules done ***\ndracut-install: ERROR: installing 'nosuchprogram'\ndracut: FAILED: /usr/lib/dracut/dracut-install -D /var/tmp/dracut.IIydkF/initramfs -a nosuchprogram",
      "dracut-install: ERROR: installing 'nosuchprogram'",
    ],
    [
      'dracut: a full disk',
      "dracut: Using auto-determined compression method 'gzip'\ncp: error writing '/w/i4.img': No space left on device\ndracut: Creation of /w/i4.img failed",
      "cp: error writing '/w/i4.img': No space left on device",
    ],
    [
      'mksquashfs: a full disk',
      'Write failed because No space left on device\nFATAL ERROR: Failed to write to output filesystem\nParallel mksquashfs: Using 2 processors\nCreating 4.0 filesystem on full/x.img, block size 131072.',
      'Write failed because No space left on device',
    ],
    [
      'mksquashfs: nothing to pack',
      'Cannot stat source directory "nowhere" because No such file or directory',
      'Cannot stat source directory "nowhere" because No such file or directory',
    ],
    [
      'mksquashfs: an unknown compressor',
      'mksquashfs: Compressor "nope" is not supported!\nmksquashfs: Compressors available:\n\tgzip (default)',
      'mksquashfs: Compressor "nope" is not supported!',
    ],
    [
      'xorriso: a missing file',
      "xorriso 1.5.4 : RockRidge filesystem manipulator, libburnia project.\n\nMedia status : is blank\nxorriso : FAILURE : Cannot determine attributes of source file '/w/nowhere' : No such file or directory\nxorriso : aborting : -abort_on 'FAILURE' encountered 'FAILURE'",
      "Cannot determine attributes of source file '/w/nowhere' : No such file or directory",
    ],
    [
      'xorriso: no boot image',
      "Added to ISO image: directory '/'='/w/src'\nxorriso : UPDATE :       1 files added in 1 seconds\nxorriso : FAILURE : Cannot find in ISO image: -boot_image ... bin_path='/nope.img'\nxorriso : NOTE : -return_with SORRY 32 triggered by problem severity FAILURE",
      "Cannot find in ISO image: -boot_image ... bin_path='/nope.img'",
    ],
    [
      'xorriso: a full disk',
      'xorriso : FAILURE : Image size 6327s exceeds free space on media 2048s\nlibisofs: MISHAP : Image write cancelled\nxorriso : NOTE : -return_with SORRY 32 triggered by problem severity FAILURE',
      'Image size 6327s exceeds free space on media 2048s',
    ],
    [
      'GRUB: a module that is not there',
      "grub-mkimage: error: cannot open `/usr/lib/grub/x86_64-efi/nosuchmod.mod': No such file or directory.",
      "grub-mkimage: error: cannot open `/usr/lib/grub/x86_64-efi/nosuchmod.mod': No such file or directory.",
    ],
    [
      'mtools: no image',
      "Can't open nowhere.img: No such file or directory\nCannot initialize '::'\nBad target ::",
      "Can't open nowhere.img: No such file or directory",
    ],
    ['implantisomd5: no room', 'ERROR: Application data has been used - not implanting md5sum!', 'Application data has been used - not implanting md5sum!'],
  ])('%s', (_, output, reason) => {
    expect(reasonOf(output)).toBe(reason);
  });

  it('a %post that failed before is not taken for the reason of what failed later', () => {
    const output =
      'error: lua script failed: [string "%post(badpost-1-1.noarch)"]:1: no such thing here\n\nError in POSTIN scriptlet in rpm package badpost\nFATAL ERROR: Failed to write to output filesystem';
    expect(reasonOf(output)).toBe('Failed to write to output filesystem');
    expect(reasonOf('warning: %post(shpost-1-1.noarch) scriptlet failed, exit status 3\nError in POSTIN scriptlet in rpm package shpost')).toBe(
      'warning: %post(shpost-1-1.noarch) scriptlet failed, exit status 3',
    );
  });

  it('knows a full disk in the words of each tool', () => {
    for (const line of [
      'Write failed because No space left on device',
      '  installing package big-1-1.noarch needs 3MB more space on the / filesystem',
      '   At least 3MB more space needed on the / filesystem.',
      'xorriso : FAILURE : Image size 6327s exceeds free space on media 2048s',
      'Disk full',
    ]) {
      expect(tellsFullDisk(line)).toBe(true);
      expect(tellsWhy(line)).toBe(true);
    }
    expect(tellsFullDisk('Media summary: 0 sessions, 0 data blocks, 0 data, 4032k free')).toBe(false);
  });

  it('output without any error, and none at all', () => {
    expect(reasonOf('one\ntwo\n\n')).toBe('two');
    expect(relevantToolLines([])).toEqual({ reason: 'it printed nothing', lines: [] });
  });

  it('stays short whatever comes, and keeps the reason among the lines', () => {
    const flood = ['nothing provides libx needed by y', ...Array.from({ length: 5000 }, (_, index) => `Error: ${'x'.repeat(5000)} ${index}`)];
    const { reason, lines } = relevantToolLines(flood);
    expect(reason).toBe('nothing provides libx needed by y');
    expect(lines).toHaveLength(20);
    expect(lines).toContain(reason);
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(1000);
  });
});
