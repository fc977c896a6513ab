/** Downloads one RPM: tries its addresses in turn, goes on where a connection was cut, and takes nothing that is not the package that was asked for. */
import { createHash } from 'node:crypto';
import { failureKinds, SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { PartialFiles } from '../downloads/partial-files.ts';
import type { Egress } from '../egress/egress.ts';
import { formatNevra, type Nevra } from '../fedora/nvr.ts';
import type { FileRef } from '../files/content-ref.ts';
import type { HostSlots } from '../parallel/host-slots.ts';
import { PaceError, type PaceLimits, watchPace } from './transfer-pace.ts';
import { hostOf, type TroubledHosts } from './troubled-hosts.ts';

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
  /** What the repository's metadata says, where there is metadata. Then all addresses have the same file. */
  readonly sha256?: string;
  /** What Koji says: the MD5 of header and payload. */
  readonly payloadHash?: string | null;
}

/** Where whole files go. */
export interface RpmTarget {
  /**
   * Stores the file, which has this digest and must not be written to afterwards; `start` reads its first bytes. Rejects with PACKAGE_MISMATCH or PACKAGE_DIGEST_MISMATCH where it is not the wanted
   * package. Harmless to repeat.
   */
  take(
    rpm: Pick<WantedRpm<RpmSource>, 'nevra' | 'payloadHash'>,
    file: { readonly path: string; readonly ref: FileRef; readonly url: string; readonly start: (bytes: number) => Promise<Uint8Array> },
    signal: AbortSignal,
  ): Promise<void>;
}

export interface FetchPorts {
  readonly egress: Egress;
  readonly clock: Clock;
  readonly partials: PartialFiles;
  readonly target: RpmTarget;
  readonly slots: HostSlots;
  readonly hosts: TroubledHosts;
  readonly pace: PaceLimits;
}

export interface Fetched<Source extends RpmSource> {
  readonly ref: FileRef;
  readonly source: Source;
  /** Over the network, all tries together. */
  readonly bytesFetched: number;
  /** Left by an earlier download that did not come to its end. */
  readonly bytesKept: number;
}

const roundsMax = 3;
const pauseMs = 1000;
/** Of one address in one round, as long as each brings more of the file. */
const resumesMax = 20;
const stallsMax = 2;
const resumePauseMs = 100;
const resumePauseMsMax = 3000;
/** Far beyond what the pace allows to go on. */
const bytesPerMsMin = 4;

/** `cut`: the rest may still come. `stalled`: likewise, but waiting for it has cost time already. `wrong`: it came, and is not what was asked for. `refused`: there is nothing to come. */
interface Trouble {
  readonly kind: 'cut' | 'stalled' | 'wrong' | 'refused';
  readonly error: SpindleError;
}

/**
 * Rejects with PACKAGE_DIGEST_MISMATCH or PACKAGE_MISMATCH where some address had a wrong file and none the right one, PACKAGE_UNREACHABLE where none answered with a file; with failures
 * of the host (DISK_FULL) and the signal's reason at once. Nobody else may download the same RPM at the same time: see rpm-downloads.ts. `onBytes`: how many of the file are here.
 */
export async function fetchRpm<Source extends RpmSource>(
  rpm: WantedRpm<Source>,
  ports: FetchPorts,
  { signal, onBytes }: { readonly signal: AbortSignal; readonly onBytes?: (bytes: number) => void },
): Promise<Fetched<Source>> {
  const { egress, clock, partials, target, slots, hosts } = ports;
  const name = formatNevra(rpm.nevra);
  const troubles: SpindleError[] = [];
  /** Of the parts that are there: whose they are, as the host told it. */
  const origins = new Map<string, { readonly url: string; readonly validator: string | undefined }>();
  let bytesFetched = 0;
  let bytesKept = 0;
  const kept = new Set<string>();

  const download = async (source: Source, key: string, bytesBefore: number) => {
    const origin = origins.get(key);
    const pace = watchPace(source.url, ports.pace, clock, signal);
    let bytes = bytesBefore;
    const saw = (now: number) => {
      bytesFetched += now - bytes;
      pace.saw(now - bytes);
      bytes = now;
      onBytes?.(now);
    };
    const onAnswer = ({ validator, from }: { readonly validator: string | undefined; readonly from: number }) => {
      origins.set(key, { url: source.url, validator });
      if (from === 0) bytesKept = 0;
      bytes = from;
    };
    try {
      return await egress.download(
        {
          url: source.url,
          bytesMax: source.size,
          deadlineMs: 60_000 + Math.ceil(source.size / bytesPerMsMin),
          signal: pace.signal,
          onBytes: saw,
          resume: {
            validator: origin?.url === source.url ? origin.validator : undefined,
            onAnswer,
          },
        },
        partials.pathOf(key),
      );
    } finally {
      pace.stop();
    }
  };

  /** One connection to one address. */
  const attempt = async (source: Source, key: string, bytesBefore: number): Promise<FileRef | Trouble> => {
    const wrong = (code: SpindleError['code'], message: string): Trouble => ({ kind: 'wrong', error: new SpindleError(code, message) });
    try {
      const answer = await slots.use(hostOf(source.url), signal, () => download(source, key, bytesBefore));
      if (answer.status !== 200 && answer.status !== 206) {
        const isHosts = answer.status >= 500 || answer.status === 429;
        if (isHosts) hosts.broke(source.url);
        return { kind: 'refused', error: new SpindleError('PACKAGE_UNREACHABLE', `${answer.url} answers with HTTP status ${answer.status}`) };
      }
      if (source.isSizeExact && answer.size !== source.size) {
        const trouble = wrong('PACKAGE_DIGEST_MISMATCH', `${answer.url} has ${answer.size} bytes instead of ${source.size}`);
        // Without an announced length a cut connection looks like the end of the file.
        return answer.headers['content-length'] === undefined ? { ...trouble, kind: 'cut' } : trouble;
      }
      if (rpm.sha256 !== undefined && answer.sha256 !== rpm.sha256) {
        return wrong('PACKAGE_DIGEST_MISMATCH', `${answer.url} has the SHA-256 ${answer.sha256} instead of ${rpm.sha256}`);
      }
      const ref = { sha256: answer.sha256, size: answer.size };
      await target.take(rpm, { path: partials.pathOf(key), ref, url: answer.url, start: (bytes) => partials.start(key, bytes) }, signal);
      await partials.remove(key);
      hosts.worked(source.url);
      return ref;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof SpindleError) || !isOfThisSource(error)) throw error;
      if (error.code === 'PACKAGE_DIGEST_MISMATCH' || error.code === 'PACKAGE_MISMATCH') return { kind: 'wrong', error };
      if (error.code === 'REMOTE_TOO_LARGE' && source.isSizeExact) return wrong('PACKAGE_DIGEST_MISMATCH', `${error.message}, the size of what was resolved`);
      if (error.code !== 'REMOTE_UNREACHABLE') return { kind: 'refused', error };
      hosts.broke(source.url);
      return { kind: error instanceof PaceError ? 'stalled' : 'cut', error };
    }
  };

  /** One address: gone on with as long as each connection brings more, and begun anew once where what was put together is wrong. */
  const fromSource = async (source: Source): Promise<FileRef | Trouble> => {
    const key = partialKey(rpm, source);
    let mostBytes = await partials.size(key);
    if (mostBytes > 0 && !mayGoOn(rpm, origins.get(key))) {
      await partials.remove(key);
      mostBytes = 0;
    }
    if (mostBytes > 0 && !origins.has(key) && !kept.has(key)) bytesKept += mostBytes;
    kept.add(key);
    let hasBegunAnew = false;
    let stalls = 0;
    let bytesBefore = mostBytes;
    for (let resumes = 0; ; ) {
      const outcome = await attempt(source, key, bytesBefore);
      if (!('kind' in outcome)) return outcome;
      if (outcome.kind === 'wrong') {
        await partials.remove(key);
        origins.delete(key);
        if (bytesBefore === 0 || hasBegunAnew) return outcome;
        hasBegunAnew = true;
        bytesKept = 0;
        mostBytes = 0;
        bytesBefore = 0;
        continue;
      }
      const bytesNow = await partials.size(key);
      if (outcome.kind === 'stalled') stalls += 1;
      if (outcome.kind === 'refused' || bytesNow <= mostBytes || resumes >= resumesMax || stalls >= stallsMax) return outcome;
      mostBytes = bytesNow;
      bytesBefore = bytesNow;
      await clock.sleep(backoff(clock, resumePauseMs, resumes, resumePauseMsMax), signal);
      resumes += 1;
    }
  };

  for (let round = 0; round < roundsMax; round += 1) {
    if (round > 0) await clock.sleep(backoff(clock, pauseMs, round - 1), signal);
    // The order tells which copy is wanted most, unless all are the same.
    for (const source of rpm.sha256 === undefined ? rpm.sources : hosts.last(rpm.sources)) {
      const outcome = await fromSource(source);
      if (!('kind' in outcome)) return { ref: outcome, source, bytesFetched, bytesKept };
      troubles.push(outcome.error);
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

/** Tells downloads of the same file from others. Without the digest of the file, its copies at other addresses may differ. */
export function downloadKey({ nevra, sha256, payloadHash, sources }: WantedRpm<RpmSource>): string {
  return keyOf(sha256 === undefined ? [formatNevra(nevra), payloadHash ?? null, ...sources.map(({ url }) => url)] : [formatNevra(nevra), sha256]);
}

function partialKey(rpm: WantedRpm<RpmSource>, { url }: RpmSource): string {
  return rpm.sha256 === undefined ? keyOf([downloadKey(rpm), url]) : downloadKey(rpm);
}

function keyOf(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

/** A part may be gone on with where something tells at the end, or the host at once, whether both halves belong together. */
function mayGoOn({ sha256, payloadHash }: WantedRpm<RpmSource>, origin: { readonly validator: string | undefined } | undefined): boolean {
  return sha256 !== undefined || typeof payloadHash === 'string' || origin?.validator !== undefined;
}

/** Twice as long each time, and never at the same moment as all the others that broke off together. */
function backoff(clock: Pick<Clock, 'random'>, firstMs: number, times: number, msMax = Number.POSITIVE_INFINITY): number {
  return Math.min(firstMs * 2 ** times, msMax) * (0.5 + clock.random());
}
