/**
 * What in a request would run as root on a build node without anybody having vouched for it, and whether this service allows that. The one place where this is
 * decided: intake asks when a request is submitted, stages ask again before they act, since a setting can change while a build waits. Pure.
 */
import { SpindleError } from './failure.ts';
import type { BuildRequest } from './request.ts';

/** What the operator allows (`SPINDLE_UNTRUSTED_CODE`). */
export interface UntrustedCode {
  /** Scripts in a requester's kickstart. */
  readonly kickstartScripts: boolean;
  /** Uploaded RPMs, whose scriptlets run when they are installed. */
  readonly rpms: boolean;
}

export const nothingUntrusted: UntrustedCode = { kickstartScripts: false, rpms: false };

/** The names in the setting, with the key of UntrustedCode that each turns on. */
export const untrustedCodeNames = { 'kickstart-scripts': 'kickstartScripts', rpms: 'rpms' } as const satisfies Record<string, keyof UntrustedCode>;

/** Sections of a kickstart that hold scripts, or are handed to code of add-ons that runs as root. */
const scriptSection = /^%(pre-install|pre|post|onerror|traceback|addon)(?![a-z0-9_-])/i;

/**
 * The script sections of a kickstart, in order, each as `%post`. pykickstart splits lines and words as Python does: more line ends than two, quotes and
 * backslashes within words. What might be read as a section counts as one; a line in a script that looks like one only adds to what is found anyway.
 * What the text includes by `%include` or `%ksappend` is not seen: give the text with everything merged into it.
 */
export function kickstartScripts(text: string): readonly string[] {
  return text.split(/[\n\r\v\f\u001c-\u001e\u0085\u2028\u2029]/).flatMap((line) => {
    const section = scriptSection.exec(line.replace(/["'\\]/g, '').trimStart())?.[1];
    return section === undefined ? [] : [`%${section.toLowerCase()}`];
  });
}

export interface UntrustedCodeProblem {
  readonly field: 'kickstart' | 'sources.rpms';
  readonly message: string;
}

type Asked = Pick<BuildRequest, 'kickstart'> & { readonly sources: Pick<BuildRequest['sources'], 'rpms'> };

/** Everything that the request brings and `allowed` does not. A kickstart that is a URL brings nothing yet: ask again with its text. */
export function untrustedCodeProblems({ kickstart, sources }: Asked, allowed: UntrustedCode): readonly UntrustedCodeProblem[] {
  const sections = allowed.kickstartScripts ? [] : [...new Set(kickstartScripts(kickstart ?? ''))];
  const problems: UntrustedCodeProblem[] = [];
  if (sections.length > 0) {
    problems.push({
      field: 'kickstart',
      message: `kickstart has ${sections.join(', ')}, which would run as root on the build node; this service allows that only where its operator has put kickstart-scripts into SPINDLE_UNTRUSTED_CODE`,
    });
  }
  if (sources.rpms.length > 0 && !allowed.rpms) {
    problems.push({
      field: 'sources.rpms',
      message:
        'sources.rpms names uploaded RPMs, whose scriptlets would run as root on the build node; this service allows that only where its operator has put rpms into SPINDLE_UNTRUSTED_CODE',
    });
  }
  return problems;
}

/** Throws UNTRUSTED_CODE_REFUSED where the request brings what is not allowed. */
export function refuseUntrustedCode(request: Asked, allowed: UntrustedCode): void {
  const [first, ...others] = untrustedCodeProblems(request, allowed);
  if (first) throw new SpindleError('UNTRUSTED_CODE_REFUSED', first.message, { details: others.map(({ message }) => message) });
}
