/** What a serial console says, line by line, and the verdict that follows. */
import { describe, expect, it } from 'vitest';
import { serialConsole } from '../../services/boot-test/console.ts';
import type { SerialFinding } from '../../services/boot-test/serial.ts';
import { combine, installsItself, isConclusive, judge, reached } from '../../services/boot-test/verdict.ts';

const read = (text: string, chunkBytes = 7): SerialFinding => {
  const console = serialConsole(() => {});
  const bytes = Buffer.from(text, 'latin1');
  for (let at = 0; at < bytes.length; at += chunkBytes) console.push(bytes.subarray(at, at + chunkBytes));
  return console.finding;
};
const report = (packages: readonly string[], count = packages.length) =>
  ['begin', 'os Sample Linux 1', 'kernel 6.1.0-56', ...packages.map((nevra) => `rpm ${nevra}`), `end ${count}`]
    .map((line) => `SPINDLE-BOOT ${line}\r\n`)
    .join('');
const verdictOf = (text: string, requested: readonly string[] = ['hello-1.1-1.noarch'], ending: Parameters<typeof judge>[2] = 'late') =>
  judge(read(text), requested, ending, 180_000);

describe('a console', () => {
  it.each([1, 3, 1000])('with a whole report, in pieces of %i bytes', (chunkBytes) => {
    const finding = read(`[    0.0] Linux version 6.1\r\n${report(['bash-5.2-1.x86_64', 'hello-0:1.1-1.noarch'])}`, chunkBytes);
    expect(finding.report).toEqual({ os: 'Sample Linux 1', kernel: '6.1.0-56', packages: ['bash-5.2-1.x86_64', 'hello-0:1.1-1.noarch'] });
    expect(isConclusive(finding)).toBe(true);
  });

  it('with a report that counts wrong has none, until one comes that counts right', () => {
    expect(read(report(['a-1-1.noarch'], 2)).report).toBeUndefined();
    expect(read(report(['a-1-1.noarch']).replace('end 1', 'end one')).report).toBeUndefined();
    expect(read(report(['a-1-1.noarch'], 2) + report(['b-1-1.noarch'])).report?.packages).toEqual(['b-1-1.noarch']);
    expect(read('SPINDLE-BOOT rpm a-1-1.noarch\nSPINDLE-BOOT end 1\n').report).toBeUndefined();
  });

  it('keeps the first whole report', () => {
    expect(read(report(['a-1-1.noarch']) + report([])).report?.packages).toEqual(['a-1-1.noarch']);
  });

  it('sees a prompt without an end of its line', () => {
    expect(read('\r\nFedora Linux 44\r\nlocalhost login: ').loginPrompt).toBe('localhost login:');
    expect(read('the last login: yesterday\n').loginPrompt).toBeUndefined();
    expect(isConclusive(read('localhost login: '))).toBe(false);
  });

  it.each([
    '[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)',
    'Entering emergency mode. Exit the shell to continue.',
    "sample initramfs: there is no medium labelled 'X'",
    'BdsDxe: No bootable option or device was found.',
    'error: you need to load the kernel first.',
    'You are in emergency mode. After logging in, type "journalctl -xb" to view',
    '[  OK  ] Reached target Emergency Mode.',
    '[  OK  ] Reached target rescue.target - Rescue Mode.',
    'Cannot open access to console, the root account is locked.',
    'dracut-initqueue[512]: Warning: Could not boot.',
    'Pane is dead (status 1, Thu Nov 26 06:00:00 2026)',
    '12:29:32 X startup failed, aborting installation',
    'The following problem occurred on line 3 of the kickstart file:',
  ])('sees trouble: %s', (line) => {
    const finding = read(`\u001b[31m${line}\u001b[0m\r\n`);
    expect(finding.trouble).toBe(line.trim());
    expect(isConclusive(finding)).toBe(true);
  });

  it.each(["error: can't find command `serial'.", "error: file `/boot/grub/locale/de.mo' not found.", '[FAILED] Failed to start something small.'])(
    'takes what a start survives for no trouble: %s',
    (line) => expect(isConclusive(read(`${line}\r\n`))).toBe(false),
  );

  it('knows how far a system without a report came', () => {
    const boot = '[    5.799878] systemd[1]: Hostname set to <localhost>.\r\n';
    expect(reached(read(boot))).toBeUndefined();
    expect(reached(read(`${boot}[  OK  ] Reached target graphical.target - Graphical Interface.\r\n`))).toMatchObject({
      what: expect.stringContaining('graphical target'),
    });
    const started = `${boot}Starting installer, one moment...\r\nanaconda 34.25.2.10-1.el9_2 for Red Hat Enterprise Linux 9.2 started.\r\n`;
    expect(reached(read(started))).toMatchObject({ what: expect.stringContaining('anaconda 34.25.2.10-1.el9_2'), isSure: false });
    expect(reached(read(`${started}Installation\r\n\r\n 1) [x] Language settings                 2) [!] Time settings\r\n`))).toMatchObject({ isSure: true });
    const automatic = read(`${started}Starting automated install........\r\n`);
    expect([reached(automatic), installsItself(automatic)]).toEqual([undefined, true]);
    expect(installsItself(read(started))).toBe(false);
  });

  it('follows an installation', () => {
    const lines = (...texts: readonly string[]) => read(texts.map((text) => `SPINDLE-INSTALL ${text}\r\n`).join('')).installation;
    expect(lines('begin', 'package a-1-1.noarch', 'package b-1-1.noarch', 'done')).toEqual({ packages: 2, end: { outcome: 'done' } });
    expect(lines('begin', 'package a-1-1.noarch')).toEqual({ packages: 1, end: undefined });
    expect(lines('begin', 'failed mke2fs: no disk', 'done')).toEqual({ packages: 0, end: { outcome: 'failed', reason: 'mke2fs: no disk' } });
    expect(isConclusive(read('SPINDLE-INSTALL begin\r\nSPINDLE-INSTALL failed\r\n'))).toBe(true);
  });

  it('shows no frames of boot menus', () => {
    const console = serialConsole(() => {});
    console.push(Buffer.from(`\xda${'\xc4'.repeat(80)}${' '.repeat(70)}entry\n`, 'latin1'));
    expect(console.lines).toEqual(['\ufffd … entry']);
  });

  it('stays bounded under a flood, and keeps its lines printable', () => {
    const lines: string[] = [];
    const console = serialConsole((line) => lines.push(line));
    console.push(Buffer.from('\u0007\u001b[2Jbell\u0000\n'));
    for (let index = 0; index < 30; index += 1) console.push(Buffer.from('y\n'.repeat(1000)));
    console.push(Buffer.alloc(1_000_000, 0x78));
    console.end();
    expect(console.lines).toHaveLength(20_001);
    expect(console.lines[0]).toBe('\ufffdbell\ufffd');
    expect(console.lines.at(-1)).toContain('left out');
    expect(lines.length).toBeLessThan(20_000);
  });
});

describe('the verdict', () => {
  it('booted: a whole report with every requested build', () => {
    expect(verdictOf(report(['hello-1.1-1.noarch']))).toEqual({
      verdict: 'booted',
      reason: 'Sample Linux 1 started with kernel 6.1.0-56 and 1 packages, with hello-1.1-1.noarch',
    });
    expect(verdictOf(report(['hello-0:1.1-1.noarch'])).verdict).toBe('booted');
    expect(verdictOf(report(['hello-1.1-1.noarch']), ['hello-0:1.1-1.noarch']).verdict).toBe('booted');
    expect(verdictOf(report([]), []).verdict).toBe('booted');
  });

  it('failed: the running system lacks a requested build', () => {
    expect(verdictOf(report(['hello-1.0-1.noarch']))).toEqual({
      verdict: 'failed',
      reason: 'Sample Linux 1 started, but its RPM database lacks hello-1.1-1.noarch',
    });
    expect(verdictOf(report(['hello-1:1.1-1.noarch'])).verdict).toBe('failed');
  });

  it('failed: a panic, or the machine turned itself off', () => {
    expect(verdictOf('Kernel panic - not syncing: no init found\n')).toEqual({
      verdict: 'failed',
      reason: 'the system did not start: Kernel panic - not syncing: no init found',
    });
    expect(verdictOf('GRUB\n', [], 'turned-off').verdict).toBe('failed');
  });

  it('a whole report counts more than trouble or an end that follow', () => {
    expect(verdictOf(`${report(['hello-1.1-1.noarch'])}Kernel panic - not syncing\n`, ['hello-1.1-1.noarch'], 'turned-off').verdict).toBe('booted');
  });

  it('booted, with the doubt said: only a login prompt', () => {
    const { verdict, reason } = verdictOf('localhost login: ');
    expect(verdict).toBe('booted');
    expect(reason).toContain('were not checked');
  });

  it('no verdict: nothing recognised, silence, a report that never ends', () => {
    expect(verdictOf('Welcome to GRUB!\n')).toMatchObject({ verdict: 'no-verdict', reason: expect.stringContaining('within 180 s') });
    expect(verdictOf('')).toMatchObject({ verdict: 'no-verdict', reason: expect.stringContaining('stayed silent') });
    expect(judge(read(''), [], 'silent', 120_000).reason).toBe('the serial console had stayed silent when neither console nor screen had changed for 120 s');
    expect(verdictOf('SPINDLE-BOOT begin\nSPINDLE-BOOT rpm a-1-1.noarch\n')).toMatchObject({
      verdict: 'no-verdict',
      reason: expect.stringContaining('had not ended'),
    });
  });

  it('the worst firmware decides', () => {
    const booted = { verdict: 'booted', reason: 'well', firmware: 'bios' } as const;
    expect(combine([booted])).toEqual({ verdict: 'booted', reason: 'bios: well' });
    expect(combine([booted, { verdict: 'no-verdict', reason: 'silent', firmware: 'uefi' }])).toEqual({
      verdict: 'no-verdict',
      reason: 'bios: well; uefi: silent',
    });
    expect(
      combine([
        { verdict: 'failed', reason: 'panic', firmware: 'uefi' },
        { verdict: 'no-verdict', reason: 'silent', firmware: 'bios' },
      ]).verdict,
    ).toBe('failed');
  });
});
