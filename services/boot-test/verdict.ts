/** From what the consoles said to the verdict of the boot test. Pure. */
import type { Firmware } from '../../shared/build/request.ts';
import type { BootVerdict } from '../../shared/events/catalog.ts';
import { formatNevra, parseNevra } from '../../shared/fedora/nvr.ts';
import type { SerialFinding } from './serial.ts';

/** How watching the machine ended, besides what its console said. */
export type Ending = 'conclusive' | 'timed-out' | 'turned-off';

export interface Judgement {
  readonly verdict: BootVerdict;
  /** One sentence. */
  readonly reason: string;
}

/** True where nothing that may still come would change the verdict. A login prompt alone is not: the report may follow. */
export function isConclusive({ report, trouble }: SerialFinding): boolean {
  return report !== undefined || trouble !== undefined;
}

export function judge(finding: SerialFinding, requested: readonly string[], ending: Ending, timeoutMs: number): Judgement {
  const { report, begun, trouble, loginPrompt, isAlive } = finding;
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
  if (loginPrompt !== undefined) {
    return { verdict: 'booted', reason: `a login prompt came (${loginPrompt}); the system gave no report of its packages, so those were not checked` };
  }
  if (ending === 'turned-off') return { verdict: 'failed', reason: 'the machine turned itself off or reset before the system had started' };
  const within = `within ${Math.round(timeoutMs / 1000)} s`;
  if (begun) return { verdict: 'no-verdict', reason: `the system began to report its packages, but did not end ${within}` };
  return {
    verdict: 'no-verdict',
    reason: isAlive ? `nothing on the serial console told ${within} whether the system had started` : `the serial console stayed silent ${within}`,
  };
}

const severity: readonly BootVerdict[] = ['booted', 'no-verdict', 'failed'];

/** The worst of all firmwares counts, and each has its word. */
export function combine(judgements: readonly (Judgement & { readonly firmware: Firmware })[]): Judgement {
  const worst = judgements.reduce((found, { verdict }) => Math.max(found, severity.indexOf(verdict)), 0);
  return {
    verdict: severity[worst] as BootVerdict,
    reason: judgements
      .map(({ firmware, reason }) => `${firmware}: ${reason}`)
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
