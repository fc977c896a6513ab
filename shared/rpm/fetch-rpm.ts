/** Fetches one RPM into the content store: tries its addresses in turn, and takes nothing that is not the package that was asked for. */
import { failureKinds, SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { Egress } from '../egress/egress.ts';
import { formatNevra, type Nevra, rpmFileName } from '../fedora/nvr.ts';
import type { FileRef } from '../files/content-ref.ts';
import type { Files } from '../files/files.ts';
import type { Workspace } from '../workspace/workspace.ts';
import { readStoredHeader, storedPayloadHash } from './stored-rpm.ts';

export interface RpmSource {
  readonly url: string;
  /** Bytes that the file has here, or has at most. */
  readonly size: number;
  readonly isSizeExact: boolean;
}

export interface WantedRpm<Source extends RpmSource> {
  readonly nevra: Nevra;
  /** Best first. */
  readonly sources: readonly Source[];
  /** What the repository's metadata says, where there is metadata. */
  readonly sha256?: string;
  /** What Koji says: the MD5 of header and payload. */
  readonly payloadHash?: string | null;
}

export interface FetchPorts {
  readonly egress: Egress;
  readonly files: Files;
  readonly clock: Clock;
}

const roundsMax = 2;
const pauseMs = 1000;
/** Slower than this for a whole file is as good as down. */
const bytesPerMsMin = 50;

/**
 * Rejects with PACKAGE_DIGEST_MISMATCH or PACKAGE_MISMATCH where some address had a wrong file and none the right one, PACKAGE_UNREACHABLE where none answered with a file; with failures
 * of the host (DISK_FULL) and the signal's reason at once.
 */
export async function fetchRpm<Source extends RpmSource>(
  rpm: WantedRpm<Source>,
  { egress, files, clock }: FetchPorts,
  workspace: Workspace,
  signal: AbortSignal,
): Promise<{ readonly ref: FileRef; readonly source: Source }> {
  const name = formatNevra(rpm.nevra);
  const path = `downloads/${rpmFileName(rpm.nevra)}`;
  await workspace.makeDirectory('downloads');
  const troubles: SpindleError[] = [];
  const trouble = (code: SpindleError['code'], message: string) => new SpindleError(code, message);

  const take = async (source: Source): Promise<FileRef> => {
    const deadlineMs = 60_000 + Math.ceil(source.size / bytesPerMsMin);
    const answer = await egress.download({ url: source.url, bytesMax: source.size, deadlineMs, signal }, `${workspace.path}/${path}`);
    if (answer.status !== 200) throw trouble('PACKAGE_UNREACHABLE', `${answer.url} answers with HTTP status ${answer.status}`);
    try {
      if (source.isSizeExact && answer.size !== source.size) {
        throw trouble('PACKAGE_DIGEST_MISMATCH', `${answer.url} has ${answer.size} bytes instead of ${source.size}`);
      }
      if (rpm.sha256 !== undefined && answer.sha256 !== rpm.sha256) {
        throw trouble('PACKAGE_DIGEST_MISMATCH', `${answer.url} has the SHA-256 ${answer.sha256} instead of ${rpm.sha256}`);
      }
      // Under its own digest a wrong file does no harm in the store: nothing will name it.
      const ref = await workspace.store(path, signal);
      await checkStored(rpm, ref, answer.url, files, signal);
      return ref;
    } finally {
      await workspace.remove(path);
    }
  };

  for (let round = 0; round < roundsMax; round += 1) {
    if (round > 0) await clock.sleep(pauseMs, signal);
    for (const source of rpm.sources) {
      try {
        return { ref: await take(source), source };
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof SpindleError) || !isOfThisSource(error)) throw error;
        const isLarger = error.code === 'REMOTE_TOO_LARGE' && source.isSizeExact;
        troubles.push(isLarger ? trouble('PACKAGE_DIGEST_MISMATCH', `${error.message}, the size of what was resolved`) : error);
      }
    }
  }
  const wrong = troubles.find(({ code }) => code === 'PACKAGE_DIGEST_MISMATCH' || code === 'PACKAGE_MISMATCH');
  const details = [...new Set(troubles.map(({ message }) => message))].slice(0, 10);
  if (wrong) throw new SpindleError(wrong.code, `${name} was fetched, but is not what was resolved: ${wrong.message}`, { details });
  const refused = troubles.find(({ code }) => code === 'REMOTE_REFUSED');
  if (refused && troubles.every(({ code }) => code === 'REMOTE_REFUSED')) throw refused;
  throw new SpindleError(
    'PACKAGE_UNREACHABLE',
    `${name} could not be fetched from any of ${rpm.sources.length} addresses: ${details.at(-1) ?? 'none is known'}`,
    { details },
  );
}

/** True where another address may do better. */
export function isOfThisSource({ code }: SpindleError): boolean {
  return failureKinds[code].retry === 'remote' || code === 'REMOTE_TOO_LARGE' || code === 'REMOTE_REFUSED';
}

/** The file's header names the wanted package, and its payload is the one that Koji knows. Rejects with PACKAGE_MISMATCH or PACKAGE_DIGEST_MISMATCH. */
export async function checkStored(
  { nevra, payloadHash }: Pick<WantedRpm<RpmSource>, 'nevra' | 'payloadHash'>,
  ref: FileRef,
  from: string,
  files: Files,
  signal: AbortSignal,
): Promise<void> {
  const name = formatNevra(nevra);
  const header = await readStoredHeader(files, ref, name);
  if (formatNevra(header) !== name) throw new SpindleError('PACKAGE_MISMATCH', `${from} holds ${formatNevra(header).slice(0, 300)} instead of ${name}`);
  // RPM 6 leaves the MD5 out of its headers; then Koji has none of the file either.
  if (!payloadHash || header.sigMd5 === null) return;
  const computed = await storedPayloadHash(files, ref, header, signal);
  if (computed !== payloadHash) throw new SpindleError('PACKAGE_DIGEST_MISMATCH', `${from} has the payload hash ${computed} instead of Koji's ${payloadHash}`);
}
