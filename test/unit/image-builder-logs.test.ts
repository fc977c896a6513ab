/** The reasons and the progress of lorax, livemedia-creator, mkksiso and osbuild, found in what they and their users have shown of failed runs. */
import { describe, expect, it } from 'vitest';
import { osbuild } from '../../services/image-builder/engines/image-builder.ts';
import { loraxPhase, loraxProgress, relevantLoraxLines } from '../../services/image-builder/engines/lorax-log.ts';

describe('lorax and its kin', () => {
  it.each<readonly [string, readonly string[], string]>([
    [
      'a package of the template that no repository has',
      [
        '2022-07-05 05:17:35,161: running runtime-install.tmpl',
        '2022-07-05 05:17:35,165: installpkg anaconda-install-img-deps failed: no package matched: anaconda-install-img-deps',
        'installpkg anaconda-install-img-deps failed: no package matched: anaconda-install-img-deps',
        '2022-07-05 05:17:35,165: template command error in runtime-install.tmpl:',
        '2022-07-05 05:17:35,165:   Exception: Required installpkg failed.',
        'Traceback (most recent call last):',
        '  File "/sbin/lorax", line 226, in <module>',
      ],
      'installpkg anaconda-install-img-deps failed: no package matched: anaconda-install-img-deps',
    ],
    [
      'packages that conflict',
      [
        'dnf.exceptions.DepsolveError: ',
        ' Problem: package generic-logos-18.0.0-5.fc28.noarch conflicts with fedora-logos provided by fedora-logos-28.0.2-3.fc28.x86_64',
      ],
      'Problem: package generic-logos-18.0.0-5.fc28.noarch conflicts with fedora-logos provided by fedora-logos-28.0.2-3.fc28.x86_64',
    ],
    [
      'a file system that is too small',
      [
        'The transaction process has ended abruptly: installing package llvm-libs-17.0.6-2.fc40.x86_64 needs 107MB more space on the / filesystem',
        'Traceback (most recent call last):',
      ],
      'The transaction process has ended abruptly: installing package llvm-libs-17.0.6-2.fc40.x86_64 needs 107MB more space on the / filesystem',
    ],
    [
      'a template that fails, and why',
      [
        '2019-02-20 04:34:27,912: template command error in ppc64le.tmpl:',
        "2019-02-20 04:34:27,922:   FileNotFoundError: [Errno 2] No such file or directory: 'xorrisofs'",
      ],
      "template command error in ppc64le.tmpl: FileNotFoundError: [Errno 2] No such file or directory: 'xorrisofs'",
    ],
    [
      'a scriptlet, over which Anaconda gives up',
      [
        "2016-09-14 10:00:00,000: ERR packaging: Installation failed: PayloadInstallError('DNF error: Non-fatal POSTIN scriptlet failure in rpm package mlocate',)",
        '2016-09-14 10:00:01,000 ERROR pylorax: Image creation failed: The installer failed',
      ],
      "ERR packaging: Installation failed: PayloadInstallError('DNF error: Non-fatal POSTIN scriptlet failure in rpm package mlocate',)",
    ],
    [
      'an installer that fails, with its message on the next line',
      [
        '2024-09-09 11:38:15,481: The exact error message is: ',
        '2024-09-09 11:38:15,482: ',
        '2024-09-09 11:38:15,482: Failed to create directory "/mnt/sysroot/var": 2 - No such file or directory.',
        '2024-09-09 11:38:19,489: Running anaconda failed: process [unshare] exited with status 1',
      ],
      'The exact error message is: Failed to create directory "/mnt/sysroot/var": 2 - No such file or directory.',
    ],
    [
      'a part of Anaconda that does not start',
      [
        '2022-10-17 18:15:09,477: Service org.fedoraproject.Anaconda.Modules.Storage has failed to start: Process org.fedoraproject.Anaconda.Modules.Storage exited with status 1',
      ],
      'Service org.fedoraproject.Anaconda.Modules.Storage has failed to start: Process org.fedoraproject.Anaconda.Modules.Storage exited with status 1',
    ],
    ['a host that lacks something', ['2026-01-01 00:00:00,000: no-virt requires anaconda to be installed.'], 'no-virt requires anaconda to be installed.'],
    ['mkksiso', ['INFO:iso arch = x86_64', 'ERROR:/srv/x.iso is missing'], '/srv/x.iso is missing'],
    [
      'a check of the installed system',
      ['/usr/bin/perl, needed by /usr/bin/rxe_cfg, does not exist'],
      '/usr/bin/perl, needed by /usr/bin/rxe_cfg, does not exist',
    ],
    ['xorriso, which mkksiso calls', ['INFO:Running', 'xorriso : FAILURE : Cannot find in ISO image: -boot_image'], 'Cannot find in ISO image: -boot_image'],
    ['nothing at all', [], 'it printed nothing'],
  ])('%s', (_, lines, reason) => {
    const found = relevantLoraxLines(lines);
    expect(found.reason).toBe(reason);
    expect(new Set(found.lines).size).toBe(found.lines.length);
  });

  it('says a full disk before everything that follows from it', () => {
    const { reason, lines } = relevantLoraxLines([
      'installpkg a failed: no package matched: a',
      'OSError: [Errno 28] No space left on device',
      'Install failed: x',
    ]);
    expect(reason).toBe('OSError: [Errno 28] No space left on device');
    expect(lines).toContain('OSError: [Errno 28] No space left on device');
  });

  it('stays short, whatever comes', () => {
    const flood = Array.from({ length: 5000 }, (_, index) => `2024-01-01 00:00:00,000 ERROR pylorax: ${'x'.repeat(5000)} ${index}`);
    const { reason, lines } = relevantLoraxLines(flood);
    expect([reason.length <= 1000, lines.length <= 20]).toEqual([true, true]);
  });

  it.each([
    ['2017-01-30 10:04:06,130: (731/735) iwl100-firmware-39.31.5.1-69.fc26.noarch', { done: 731, total: 735, what: 'installing packages' }],
    ['2019-08-05 09:41:28,021 INFO pylorax: Installing rpm.x86_64 (585/1741)', { done: 585, total: 1741, what: 'installing packages' }],
    ['2019-02-20 04:34:27,396: running x86.tmpl', { done: 6, total: 7, what: 'writing the ISO' }],
    ['2019-02-20 04:34:27,396: something else', undefined],
  ])('%s', (line, progress) => expect(loraxPhase(line) ?? loraxProgress(line)).toEqual(progress));
});

describe('osbuild', () => {
  it('says which packages are missing', () => {
    const { reason } = osbuild.relevantLines([
      'No match for argument: lorax-templates-rhel error install_specs',
      'Error: cannot build manifest: cannot depsolve: DNF error occurred: MarkingErrors: Error occurred when marking packages for installation: Problems in request:',
      'missing packages: lorax-templates-rhel',
    ]);
    expect(reason).toBe('missing packages: lorax-templates-rhel');
  });

  it('says what a stage said, not where Python stood', () => {
    const { reason } = osbuild.relevantLines([
      'org.osbuild.rpm: 77f47c2ebc08669f6ee7192962c8286092da94ba567c5de90ad16e7577102d37 {}',
      'error: Failed dependencies:',
      '        /bin/sh is needed by hsa-rocr-1.15.0.60402-120.el9.x86_64',
      'Traceback (most recent call last):',
      '  File "/run/osbuild/bin/org.osbuild.rpm", line 260, in <module>',
    ]);
    expect(reason).toBe('/bin/sh is needed by hsa-rocr-1.15.0.60402-120.el9.x86_64');
    expect(osbuild.phase('org.osbuild.rpm: 77f47c2e {}')).toMatchObject({ what: 'installing packages' });
  });
});
