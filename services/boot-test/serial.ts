/** Reads a serial console: a fold over its lines, so that the same text always gives the same finding. Pure. */

/** What the booted sample system tells about itself; complete only where its last line counts right. */
interface BootReport {
  readonly os: string;
  readonly kernel: string;
  /** NEVRAs. */
  readonly packages: readonly string[];
}

export interface SerialFinding {
  /** The first complete report. */
  readonly report: BootReport | undefined;
  /** A report that has begun and not ended. */
  readonly begun: BootReport | undefined;
  /** The line in which a system asks who wants to log in. */
  readonly loginPrompt: string | undefined;
  /** The line with which a desktop's start was reached: systemd's graphical target. */
  readonly graphicalTarget: string | undefined;
  /** The line in which Anaconda says that it started, and whether it then asks (its first screen) or goes on by itself (an automatic installation). */
  readonly installer: { readonly line: string; readonly next: 'nothing yet' | 'asks' | 'installs' } | undefined;
  /** What an installation from the medium says of itself. */
  readonly installation: Installation | undefined;
  /** The line that says the start has failed for good: a panic, an emergency shell, nothing to start from. */
  readonly trouble: string | undefined;
  /** True once anything printable came. */
  readonly isAlive: boolean;
}

interface Installation {
  /** How many packages it says are installed. */
  readonly packages: number;
  readonly end: { readonly outcome: 'done' } | { readonly outcome: 'failed'; readonly reason: string } | undefined;
}

export const noFinding: SerialFinding = {
  ...{
    report: undefined,
    begun: undefined,
    loginPrompt: undefined,
    graphicalTarget: undefined,
    installer: undefined,
    installation: undefined,
    trouble: undefined,
  },
  isAlive: false,
};

/** More packages than any image has: a console that never stops must not fill the memory. */
const packagesMax = 20_000;
const textMax = 300;

const reportLine = /(?:^|\s)SPINDLE-BOOT (begin|os|kernel|rpm|end)(?: (.*))?$/;
const installLine = /(?:^|\s)SPINDLE-INSTALL (begin|package|done|failed)(?: (.*))?$/;
/** `anaconda 34.25.2.10-1.el9_2 for Red Hat Enterprise Linux 9.2 started.` */
const anacondaStarted = /^anaconda \S+ for .+ started\.$/i;
/** Its menu in text mode (` 1) [x] Language settings   2) [!] Time settings`), and the line below it. */
const anacondaAsks = /^\s*\d+\) \[[x! ]\] \S|Please make (?:your choice|a selection) from|Use text mode|Start (?:VNC|RDP)/;
const anacondaInstalls = /^Starting automated install/;
const graphical = /Reached target (?:graphical\.target|Graphical Interface)/;
const login = /(?:^|\s)login: ?$/i;
/** Only what is the end for certain. Warnings that a start survives, such as GRUB's of a missing font, must not fail a good image. */
const troubles: readonly RegExp[] = [
  /Kernel panic - not syncing/,
  /Entering emergency mode|You are in (?:emergency|rescue) mode|Give root password for maintenance/,
  /Reached target (?:emergency\.target|Emergency Mode|rescue\.target|Rescue Mode)/,
  /Cannot open access to console, the root account is locked/,
  /X startup failed, aborting installation|Pane is dead \(status [1-9]/,
  /The following problem occurred on line \d+ of the kickstart file/,
  /dracut.*(?:Could not boot|FATAL|Refusing to continue)/,
  /^dracut:\/#/,
  /sample initramfs: /,
  /BdsDxe: No bootable option/,
  /No bootable device|not a bootable disk/,
  /grub rescue>|error: you need to load the kernel first/,
];

/** `line`: printable, without its end. */
export function readSerialLine(finding: SerialFinding, line: string): SerialFinding {
  if (line.trim() === '') return finding;
  const alive = finding.isAlive ? finding : { ...finding, isAlive: true };
  const match = reportLine.exec(line.trimEnd());
  if (match) return readReportLine(alive, match[1] as string, (match[2] ?? '').trim().slice(0, textMax));
  const install = installLine.exec(line.trimEnd());
  if (install) return { ...alive, installation: readInstallLine(alive.installation, install[1] as string, (install[2] ?? '').trim().slice(0, textMax)) };
  const text = line.trim().slice(0, textMax);
  if (alive.installer === undefined) {
    if (anacondaStarted.test(text)) return { ...alive, installer: { line: text, next: 'nothing yet' } };
  } else if (alive.installer.next !== 'installs') {
    if (anacondaInstalls.test(text)) return { ...alive, installer: { ...alive.installer, next: 'installs' } };
    if (anacondaAsks.test(line)) return { ...alive, installer: { ...alive.installer, next: 'asks' } };
  }
  if (alive.graphicalTarget === undefined && graphical.test(text)) return { ...alive, graphicalTarget: text };
  if (alive.loginPrompt === undefined && login.test(line)) return { ...alive, loginPrompt: line.trim().slice(0, textMax) };
  if (alive.trouble === undefined && troubles.some((pattern) => pattern.test(line))) return { ...alive, trouble: line.trim().slice(0, textMax) };
  return alive;
}

function readReportLine(finding: SerialFinding, word: string, text: string): SerialFinding {
  // A report that starts again, after a garbled one or on a second console, is read from its start.
  if (word === 'begin') return { ...finding, begun: { os: '', kernel: '', packages: [] } };
  const { begun } = finding;
  if (!begun) return finding;
  if (word === 'os') return { ...finding, begun: { ...begun, os: text } };
  if (word === 'kernel') return { ...finding, begun: { ...begun, kernel: text } };
  if (word === 'rpm') return begun.packages.length >= packagesMax ? finding : { ...finding, begun: { ...begun, packages: [...begun.packages, text] } };
  const isComplete = /^\d{1,6}$/.test(text) && Number(text) === begun.packages.length;
  return { ...finding, begun: undefined, report: finding.report ?? (isComplete ? begun : undefined) };
}

function readInstallLine(before: Installation | undefined, word: string, text: string): Installation {
  // Begun again, it is another installation; but one that has ended stays ended.
  if (word === 'begin' || !before) return before?.end ? before : { packages: word === 'package' ? 1 : 0, end: endOf(word, text) };
  if (before.end) return before;
  return word === 'package' ? { ...before, packages: before.packages + 1 } : { ...before, end: endOf(word, text) };
}

function endOf(word: string, text: string): Installation['end'] {
  if (word === 'done') return { outcome: 'done' };
  return word === 'failed' ? { outcome: 'failed', reason: text || 'it gave no reason' } : undefined;
}

/** A prompt has no line's end: what stands at the end of the console for now. */
export function readSerialPrompt(finding: SerialFinding, text: string): SerialFinding {
  return login.test(text) || /^dracut:\/#|grub rescue>/.test(text) ? readSerialLine(finding, text) : finding;
}
