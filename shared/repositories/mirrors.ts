/** Finds a repository's mirrors: asks for its metalink or mirrorlist, or takes its one address. */
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { Egress } from '../egress/egress.ts';
import { MetalinkError, type RepomdHash, readMetalink } from './metalink.ts';
import { readMirrorlist } from './mirrorlist.ts';
import { type RepositorySource, shownName } from './repositories.ts';
import { XmlDocumentError } from './xml-document.ts';

export interface Mirrors {
  /** Base URLs, best first, each with a slash at its end. */
  readonly mirrors: readonly string[];
  /** What repomd.xml must hash to, one of them; undefined where only a metalink could say. */
  readonly accepted?: readonly (readonly RepomdHash[])[];
}

const listBytesMax = 4 * 1024 * 1024;
const deadlineMs = 30_000;
const attemptsMax = 3;
const pauseMs = 1000;

/** Rejects with REPOSITORY_UNREACHABLE, REMOTE_REFUSED, REPOSITORY_METADATA_REFUSED or the signal's reason. */
export async function findMirrors(
  source: RepositorySource,
  { egress, clock, signal }: { readonly egress: Egress; readonly clock: Clock; readonly signal: AbortSignal },
): Promise<Mirrors> {
  const { metalink, mirrorlist, baseurl } = source;
  const name = shownName(source);
  if (baseurl !== undefined) return { mirrors: [baseOf(name, baseurl)] };
  const url = metalink ?? mirrorlist ?? '';
  const kind = metalink === undefined ? 'mirrorlist' : 'metalink';
  const fetchList = async (): Promise<string> => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const answer = await egress.fetchText({ url, bytesMax: listBytesMax, deadlineMs, signal });
        if (answer.status !== 200) throw new SpindleError('REPOSITORY_UNREACHABLE', `${answer.url} answers with HTTP status ${answer.status}`);
        return answer.text;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof SpindleError) || (error.code !== 'REMOTE_UNREACHABLE' && error.code !== 'REPOSITORY_UNREACHABLE')) throw error;
        if (attempt === attemptsMax) {
          throw new SpindleError('REPOSITORY_UNREACHABLE', `the ${kind} of the repository ${name} could not be fetched: ${error.message}; try again later`, {
            cause: error,
          });
        }
        await clock.sleep(pauseMs * 2 ** attempt, signal);
      }
    }
  };
  const text = await fetchList();
  if (kind === 'mirrorlist') {
    const mirrors = readMirrorlist(text);
    if (mirrors.length === 0) throw new SpindleError('REPOSITORY_UNREACHABLE', `the mirrorlist of the repository ${name} names no mirror; try again later`);
    return { mirrors };
  }
  try {
    return readMetalink(text);
  } catch (error) {
    // A bot wall or a maintenance page is no metalink either: nothing is known of the repository then.
    if (error instanceof MetalinkError || error instanceof XmlDocumentError) {
      throw new SpindleError('REPOSITORY_UNREACHABLE', `the metalink of the repository ${name} ${error.message}; try again later`, { cause: error });
    }
    throw error;
  }
}

function baseOf(name: string, baseurl: string): string {
  const url = URL.canParse(baseurl) ? new URL(baseurl) : undefined;
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.search || url.hash) {
    throw new SpindleError('REMOTE_REFUSED', `the repository ${name} has an address that is no http or https URL of a folder`);
  }
  return url.href.endsWith('/') ? url.href : `${url.href}/`;
}
