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
  /** The line that says the start has failed for good: a panic, an emergency shell, nothing to start from. */
  readonly trouble: string | undefined;
  /** True once anything printable came. */
  readonly isAlive: boolean;
}

export const noFinding: SerialFinding = { report: undefined, begun: undefined, loginPrompt: undefined, trouble: undefined, isAlive: false };

/** More packages than any image has: a console that never stops must not fill the memory. */
const packagesMax = 20_000;
const textMax = 300;

const reportLine = /(?:^|\s)SPINDLE-BOOT (begin|os|kernel|rpm|end)(?: (.*))?$/;
const login = /(?:^|\s)login: ?$/i;
/** Only what is the end for certain. Warnings that a start survives, such as GRUB's of a missing font, must not fail a good image. */
const troubles: readonly RegExp[] = [
  /Kernel panic - not syncing/,
  /Entering emergency mode|You are in emergency mode|Give root password for maintenance/,
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

/** A prompt has no line's end: what stands at the end of the console for now. */
export function readSerialPrompt(finding: SerialFinding, text: string): SerialFinding {
  return login.test(text) || /^dracut:\/#|grub rescue>/.test(text) ? readSerialLine(finding, text) : finding;
}
