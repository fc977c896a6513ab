/** Fetches what a kickstart names by address, itself or in `%include` lines, and puts it together to one list of lines. */
import { SpindleError } from '../build/failure.ts';
import type { Egress } from '../egress/egress.ts';
import { includeOf, isInclude, isKickstartUrl, type KickstartLine, type KickstartProblem, kickstartLines, placeName, problemSentence } from './kickstart.ts';

export interface FetchOptions {
  readonly egress: Egress;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

const filesMax = 20;
const depthMax = 5;
const fileBytesMax = 256 * 1024;
const totalLengthMax = 1024 * 1024;
const deadlineMs = 30_000;

/**
 * All lines, those of included files in the place of the lines that name them. Rejects with KICKSTART_INVALID (an address that is not fetched from, too many files, too deep, too large, a circle), KICKSTART_UNREACHABLE
 * (worth another try) or the signal's reason.
 */
export async function flattenKickstart(kickstart: string, options: FetchOptions): Promise<readonly KickstartLine[]> {
  const state = { files: 0, length: 0 };
  if (isKickstartUrl(kickstart)) {
    const url = kickstart.trim();
    if (!/^https:\/\//i.test(url) || !URL.canParse(url))
      throw invalid('kickstart: is an address that is not fetched from; give an https one, or the text itself');
    return await fetched(new URL(url).href, [], state, options);
  }
  return await included(kickstart, undefined, [], state, options);
}

interface State {
  files: number;
  length: number;
}

async function included(
  text: string,
  url: string | undefined,
  trail: readonly string[],
  state: State,
  options: FetchOptions,
): Promise<readonly KickstartLine[]> {
  state.length += text.length;
  if (state.length > totalLengthMax) throw invalid(`kickstart: with all that it includes it has more than ${totalLengthMax} characters`);
  const { lines, problems } = kickstartLines(text, url);
  refuse(problems);
  const all: KickstartLine[] = [];
  for (const line of lines) {
    const include = includeOf(line);
    if (include === undefined) all.push(line);
    else if (!isInclude(include)) refuse([include]);
    else {
      if (trail.includes(include.url))
        throw invalid(`kickstart: ${placeName(line.place)} includes ${include.url.slice(0, 200)}, which includes this file: that never ends`);
      if (trail.length >= depthMax) throw invalid(`kickstart: ${placeName(line.place)} includes a file that is more than ${depthMax} files deep`);
      all.push(...(await fetched(include.url, trail, state, options)));
    }
  }
  return all;
}

async function fetched(url: string, trail: readonly string[], state: State, options: FetchOptions): Promise<readonly KickstartLine[]> {
  state.files += 1;
  if (state.files > filesMax) throw invalid(`kickstart: it includes more than ${filesMax} files`);
  const shown = url.slice(0, 200);
  const answer = await options.egress.fetchText({ url, bytesMax: fileBytesMax, deadlineMs, signal: options.signal }).catch((error: unknown) => {
    if (!(error instanceof SpindleError)) throw error;
    if (error.code === 'REMOTE_REFUSED' || error.code === 'REMOTE_TOO_LARGE') throw invalid(`kickstart: ${shown} is not fetched: ${error.message}`);
    throw error.code === 'REMOTE_UNREACHABLE' ? new SpindleError('KICKSTART_UNREACHABLE', `kickstart: ${shown} cannot be fetched: ${error.message}`) : error;
  });
  // What is read over an open line could be anybody's; the first address and all that it redirects to are held to the same rule.
  if (!answer.url.startsWith('https://')) throw invalid(`kickstart: ${shown} leads to ${answer.url.slice(0, 200)}, which is not https`);
  if (answer.status >= 500 || answer.status === 429)
    throw new SpindleError('KICKSTART_UNREACHABLE', `kickstart: ${shown} answers with status ${answer.status}`);
  if (answer.status !== 200) throw invalid(`kickstart: ${shown} answers with status ${answer.status}; check the address`);
  options.log(`kickstart: ${shown}: ${answer.text.length} characters`);
  return await included(answer.text, url, [...trail, url], state, options);
}

const invalid = (message: string) => new SpindleError('KICKSTART_INVALID', message);

function refuse(problems: readonly KickstartProblem[]): void {
  const [first, ...others] = problems;
  if (first) throw kickstartError([first, ...others]);
}

/** All problems in one error: the first is the message, all are the details. */
export function kickstartError(problems: readonly [KickstartProblem, ...KickstartProblem[]]): SpindleError {
  const [first] = problems;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more, see the details)` : '';
  return new SpindleError(
    'KICKSTART_INVALID',
    `kickstart: ${problemSentence(first)}${more}`,
    problems.length > 1 ? { details: problems.slice(0, 20).map(problemSentence) } : {},
  );
}
