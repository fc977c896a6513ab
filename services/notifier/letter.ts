/** The letter about the end of a build: subject and text. Pure, golden-tested. */
import type { Build } from '../../shared/build/build.ts';
import { printable } from '../../shared/programs/printable.ts';

const verdictWords = { booted: 'boots', failed: 'does not boot', 'no-verdict': 'no boot verdict' } as const;

/** `logTail`: the last lines of the build's log, shown where the failure itself brought none. Control characters have no place in a letter. */
export function letterOf(build: Build, publicUrl: string, logTail: readonly string[]): { readonly subject: string; readonly text: string } {
  const { request } = build;
  const what = `${request.label} (${request.release} ${request.arch} ${request.imageType})`;
  const links = `${publicUrl}/api/v1/builds/${build.id}`;
  switch (build.state) {
    case 'finished':
    case 'expired':
      return {
        subject: clean(`[Spindle] ${what}: ${build.verdict ? verdictWords[build.verdict] : 'finished, not boot-tested'}`),
        text: success(build, what, links),
      };
    case 'canceled':
      return {
        subject: clean(`[Spindle] ${what}: canceled`),
        text: lines([`The build of ${what} was canceled.`, '', `Log: ${links}/log`, `Status: ${links}`]),
      };
    default:
      return { subject: clean(`[Spindle] ${what}: failed, ${build.failure?.code ?? build.state}`), text: trouble(build, what, links, logTail) };
  }
}

function success(build: Build, what: string, links: string): string {
  const image = build.artifacts.find(({ name }) => name.endsWith('.iso'));
  return lines([
    build.verdict === 'failed' ? `Your image ${what} is built, but it does not boot.` : `Your image ${what} is ready.`,
    '',
    `Boot test: ${build.verdict ? `${verdictWords[build.verdict]}. ${build.verdictReason ?? ''}` : 'not asked for.'}`,
    '',
    ...(image ? [`Image:    ${links}/artifacts/${image.name}`, `          ${mebibytes(image.size)}, SHA-256 ${image.sha256}`] : []),
    `Manifest: ${links}/manifest`,
    `Checksum: ${links}/artifacts/CHECKSUM`,
    `Log:      ${links}/log`,
    '',
    ...(build.expiresAt ? [`The files stay until ${build.expiresAt.slice(0, 10)}.`] : []),
    `Build ${build.id}`,
  ]);
}

function trouble(build: Build, what: string, links: string, logTail: readonly string[]): string {
  const failure = build.failure;
  const details = failure?.details && failure.details.length > 0 ? failure.details : logTail;
  return lines([
    `Your image ${what} could not be built.`,
    '',
    `Reason: ${failure?.message ?? 'unknown'}`,
    `Code:   ${failure?.code ?? 'INTERNAL'}, in ${failure?.stage ?? 'an unknown stage'}${failure?.phase === undefined ? '' : `, ${failure.phase}`}`,
    failure?.fault === 'requester'
      ? 'To mend it, change the request and send it again.'
      : `This is not your request’s fault, and the operator can see it too.${failure?.retryable ? ' The same request may succeed later.' : ''}`,
    '',
    ...(details.length > 0 ? ['The last lines that matter:', ...details.slice(-15).map((line) => `  ${line}`), ''] : []),
    `Log:    ${links}/log`,
    `Status: ${links}`,
    `Build ${build.id}`,
  ]);
}

const mebibytes = (bytes: number) => `${(bytes / 1_048_576).toFixed(1)} MiB`;
const clean = (text: string) => printable(text).replaceAll('\t', ' ');
const lines = (all: readonly string[]) => `${all.map(clean).join('\n')}\n`;
