/** From what the consoles said to the verdict of the boot test. Pure. */
import type { Firmware } from '../../shared/build/request.ts';
import type { BootVerdict } from '../../shared/events/catalog.ts';
import { formatNevra, parseNevra } from '../../shared/fedora/nvr.ts';
import type { SerialFinding } from './serial.ts';

/** How watching the machine ended, besides what its console said. `silent`: neither console nor screen changed any more; `late`: they did, but for too long. */
export type Ending = 'conclusive' | 'turned-off' | 'silent' | 'late';

export interface Judgement {
  readonly verdict: BootVerdict;
  /** One sentence. */
  readonly reason: string;
}

/** True where nothing that may still come would change the verdict. A state that was recognised is not enough: the report may follow. */
export function isConclusive({ report, trouble, installation }: SerialFinding): boolean {
  return report !== undefined || trouble !== undefined || installation?.end?.outcome === 'failed';
}

/** The system got so far that only its report is missing, and that may come soon or never. `sure`: false where it may yet go on by itself. */
export function reached({ loginPrompt, graphicalTarget, installer }: SerialFinding): { readonly what: string; readonly isSure: boolean } | undefined {
  if (installer && installer.next !== 'installs') {
    return { what: `Anaconda's first screen came (${installer.line})`, isSure: installer.next === 'asks' };
  }
  if (installer) return undefined;
  if (loginPrompt !== undefined) return { what: `a login prompt came (${loginPrompt})`, isSure: true };
  return graphicalTarget === undefined ? undefined : { what: `the graphical target was reached (${graphicalTarget})`, isSure: true };
}

/** True where the machine installs by itself, and what is on the disk afterwards is the thing to start. */
export function installsItself({ installation, installer }: SerialFinding): boolean {
  return installation !== undefined || installer?.next === 'installs';
}

/** Of an installation from the medium: undefined where it went well, so that the installed disk is to be started. */
export function judgeInstallation(finding: SerialFinding, ending: Ending, timeoutMs: number): Judgement | undefined {
  const { installation, trouble } = finding;
  const installed = installation && installation.packages > 0 ? ` after ${installation.packages} packages` : '';
  if (installation?.end?.outcome === 'failed') return { verdict: 'failed', reason: `the installation failed${installed}: ${installation.end.reason}` };
  if (installation?.end?.outcome === 'done') return undefined;
  if (trouble !== undefined) return { verdict: 'failed', reason: `the installation failed${installed}: ${trouble}` };
  if (ending === 'turned-off') {
    // Anaconda says nothing at its end but turns the machine off.
    return installation === undefined
      ? undefined
      : { verdict: 'failed', reason: `the machine turned itself off${installed}, before the installation was done` };
  }
  return { verdict: 'no-verdict', reason: `the installation had not ended${installed} ${waited(ending, timeoutMs)}` };
}

const waited = (ending: Ending, timeoutMs: number) =>
  ending === 'silent' ? `when neither console nor screen had changed for ${Math.round(timeoutMs / 1000)} s` : `within ${Math.round(timeoutMs / 1000)} s`;

/** `timeoutMs`: how long the machine was silent, or had run, where it was given up. `screenText`: what a screen in text mode showed then. */
export function judge(finding: SerialFinding, requested: readonly string[], ending: Ending, timeoutMs: number, screenText?: string): Judgement {
  const { report, begun, trouble, isAlive } = finding;
  if (report) {
    const running = new Set(report.packages.map(normal));
    const missing = requested.filter((nevra) => !running.has(normal(nevra)));
    if (missing.length > 0) {
      return { verdict: 'failed', reason: `${report.os || 'the system'} started, but its RPM database lacks ${listed(missing)}` };
    }
    const holds = requested.length === 0 ? '' : `, with ${listed(requested)}`;
    return {
      verdict: 'booted',
      reason: `${report.os || 'the system'} started with kernel ${report.kernel || 'unknown'} and ${report.packages.length} packages${holds}`,
    };
  }
  if (trouble !== undefined) return { verdict: 'failed', reason: `the system did not start: ${trouble}` };
  const state = reached(finding);
  if (state) return { verdict: 'booted', reason: `${state.what}; the system gave no report of its packages, so those were not checked` };
  if (ending === 'turned-off') return { verdict: 'failed', reason: 'the machine turned itself off or reset before the system had started' };
  const shown = screenText === undefined ? undefined : screenTrouble.exec(screenText)?.[0];
  if (shown !== undefined) return { verdict: 'failed', reason: `the system did not start: the screen shows ${JSON.stringify(shown.trim())}` };
  if (begun) return { verdict: 'no-verdict', reason: `the system began to report its packages, but had not ended ${waited(ending, timeoutMs)}` };
  return {
    verdict: 'no-verdict',
    reason: isAlive
      ? `nothing on the serial console had told whether the system started ${waited(ending, timeoutMs)}`
      : `the serial console had stayed silent ${waited(ending, timeoutMs)}`,
  };
}

/** What a BIOS and a boot loader write to the screen only. */
const screenTrouble = /No bootable device|Boot failed: not a bootable disk|Operating System not found|Kernel panic - not syncing.{0,60}|grub rescue>/;

const severity: readonly BootVerdict[] = ['booted', 'no-verdict', 'failed'];

/** The worst of all firmwares counts, and each has its word. */
export function combine(judgements: readonly (Judgement & { readonly firmware: Firmware; readonly wasInstalled?: boolean })[]): Judgement {
  const worst = judgements.reduce((found, { verdict }) => Math.max(found, severity.indexOf(verdict)), 0);
  return {
    verdict: severity[worst] as BootVerdict,
    reason: judgements
      .map(
        ({ firmware, verdict, reason, wasInstalled }) =>
          `${wasInstalled ? `installed and ${verdict === 'booted' ? 'booted' : 'started'} by ` : ''}${firmware}: ${reason}`,
      )
      .join('; ')
      .slice(0, 2000),
  };
}

/** An epoch of 0 is the same as none. */
function normal(text: string): string {
  const nevra = parseNevra(text);
  return nevra ? formatNevra(nevra) : text;
}

function listed(names: readonly string[]): string {
  return `${names.slice(0, 5).join(', ')}${names.length > 5 ? ` and ${names.length - 5} more` : ''}`;
}
