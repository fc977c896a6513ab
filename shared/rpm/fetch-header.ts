/** Fetches the start of an RPM, no more than its header: enough to know what the package is and what it needs, at a fraction of its size. */
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { Egress } from '../egress/egress.ts';
import { formatNevra, type Nevra, rpmFileName } from '../fedora/nvr.ts';
import type { Workspace } from '../workspace/workspace.ts';
import { isOfThisSource, type RpmSource } from './fetch-rpm.ts';
import { type RpmHeader, RpmHeaderError, readRpmHeader, usualHeaderBytes } from './header.ts';

export interface WantedHeader<Source extends RpmSource> {
  /** With `isFileName` its epoch is not known yet: the file's name and the header's have to agree otherwise. */
  readonly nevra: Nevra;
  readonly isFileName?: boolean;
  /** Best first. */
  readonly sources: readonly Source[];
  /** In the workspace; ends with `.rpm`, since libsolv reads no other name. */
  readonly path: string;
}

const roundsMax = 2;
const pauseMs = 1000;
const deadlineMs = 60_000;

/** Rejects with PACKAGE_MISMATCH where some address had another package and none the right one, PACKAGE_UNREACHABLE where none answered, or the signal's reason. */
export async function fetchRpmHeader<Source extends RpmSource>(
  { nevra, isFileName = false, sources, path }: WantedHeader<Source>,
  { egress, clock }: { readonly egress: Egress; readonly clock: Clock },
  workspace: Workspace,
  signal: AbortSignal,
): Promise<{ readonly header: RpmHeader; readonly source: Source }> {
  const name = formatNevra(nevra);
  const troubles: SpindleError[] = [];

  const take = async ({ url }: Source): Promise<RpmHeader> => {
    let bytes = usualHeaderBytes;
    for (;;) {
      const answer = await egress.fetchStart({ url, bytes, deadlineMs, signal });
      if (answer.status !== 200 && answer.status !== 206)
        throw new SpindleError('PACKAGE_UNREACHABLE', `${answer.url} answers with HTTP status ${answer.status}`);
      const read = readStart(answer.content, answer.url);
      if ('bytesNeeded' in read) {
        if (answer.content.byteLength < bytes) throw new SpindleError('PACKAGE_MISMATCH', `${answer.url} ends before its header does`);
        bytes = read.bytesNeeded;
        continue;
      }
      const { header } = read;
      const isRight = isFileName ? rpmFileName(header) === rpmFileName(nevra) : formatNevra(header) === name;
      if (!isRight || header.isSource)
        throw new SpindleError('PACKAGE_MISMATCH', `${answer.url} holds ${formatNevra(header).slice(0, 300)} instead of ${name}`);
      await workspace.write(path, answer.content);
      return header;
    }
  };

  for (let round = 0; round < roundsMax; round += 1) {
    if (round > 0) await clock.sleep(pauseMs, signal);
    for (const source of sources) {
      try {
        return { header: await take(source), source };
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof SpindleError) || !isOfThisSource(error)) throw error;
        troubles.push(error);
      }
    }
  }
  const details = [...new Set(troubles.map(({ message }) => message))].slice(0, 10);
  const wrong = troubles.find(({ code }) => code === 'PACKAGE_MISMATCH');
  if (wrong) throw new SpindleError('PACKAGE_MISMATCH', `${name} is not what its address holds: ${wrong.message}`, { details });
  const refused = troubles.find(({ code }) => code === 'REMOTE_REFUSED');
  if (refused && troubles.every(({ code }) => code === 'REMOTE_REFUSED')) throw refused;
  throw new SpindleError('PACKAGE_UNREACHABLE', `${name} could not be fetched from any of ${sources.length} addresses: ${details.at(-1) ?? 'none is known'}`, {
    details,
  });
}

function readStart(bytes: Uint8Array, url: string): ReturnType<typeof readRpmHeader> {
  try {
    return readRpmHeader(bytes);
  } catch (error) {
    if (error instanceof RpmHeaderError) throw new SpindleError('PACKAGE_MISMATCH', `${url} ${error.message}`, { cause: error });
    throw error;
  }
}
