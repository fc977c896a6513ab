/** One bucket of an S3 server: a client with bounds on every wait, and the server's answers as errors of ours. */
import { HeadObjectCommand, type HeadObjectCommandOutput, S3Client, S3ServiceException } from '@aws-sdk/client-s3';
import { SpindleError } from '../../build/failure.ts';
import type { Clock } from '../../clock/clock.ts';
import type { S3Place } from '../../config/s3-url.ts';

export interface Bucket {
  readonly client: S3Client;
  readonly name: string;
  /** For messages: without keys. */
  readonly where: string;
  /** The object's whole key in the bucket. */
  objectKey(key: string): string;
  /** What the server says of an object; undefined where there is none. */
  head(key: string, signal?: AbortSignal): Promise<HeadObjectCommandOutput | undefined>;
  /** A signal that fires after so long; call `forget` when it is no longer needed. */
  deadline(ms: number): { readonly signal: AbortSignal; readonly forget: () => void };
  /** Runs calls; what they reject with becomes an error of ours, or the signal's reason where that fired. */
  guard<T>(doing: string, task: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

const connectionsMax = 64;
const attemptsMax = 4;
/** To connect, until the answer begins (putting together a large upload takes a server its time), and between two chunks. */
const timeouts = { connectionTimeout: 5000, requestTimeout: 300_000, socketTimeout: 60_000 };

export function openBucket({ bucket: name, prefix, endpoint, region, credentials }: S3Place, clock: Pick<Clock, 'after'>): Bucket {
  const client = new S3Client({
    region,
    ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
    // Without keys in the settings the usual places of AWS's tools are looked at: its variables, files, and the host's role.
    ...(credentials === undefined ? {} : { credentials: { accessKeyId: credentials.accessKey.reveal(), secretAccessKey: credentials.secretKey.reveal() } }),
    maxAttempts: attemptsMax,
    requestHandler: {
      ...timeouts,
      throwOnRequestTimeout: true,
      httpAgent: { keepAlive: true, maxSockets: connectionsMax },
      httpsAgent: { keepAlive: true, maxSockets: connectionsMax },
    },
  });
  const where = `bucket ${name}${endpoint === undefined ? '' : ` at ${new URL(endpoint).host}`}`;
  const objectKey = (key: string) => (prefix === '' ? key : `${prefix}/${key}`);
  const guard = async <T>(doing: string, task: () => Promise<T>, signal?: AbortSignal): Promise<T> => {
    try {
      return await task();
    } catch (error) {
      if (signal?.aborted === true && !(error instanceof SpindleError)) throw signal.reason;
      throw asFilesError(error, `${doing} in ${where}`);
    }
  };
  return {
    client,
    name,
    where,
    objectKey,
    guard,
    deadline: (ms) => {
      const controller = new AbortController();
      return {
        signal: controller.signal,
        forget: clock.after(ms, () => controller.abort(new SpindleError('FILES_UNAVAILABLE', `${where} did not answer in ${ms} ms`))),
      };
    },
    head: (key, signal) =>
      guard(
        `looking at ${key}`,
        async () => {
          try {
            return await client.send(new HeadObjectCommand({ Bucket: name, Key: objectKey(key) }), signal ? { abortSignal: signal } : {});
          } catch (error) {
            if (isMissing(error)) return undefined;
            throw error;
          }
        },
        signal,
      ),
  };
}

export function statusCodeOf(error: unknown): number | undefined {
  return error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
}

/** No such object. A missing bucket is the operator's matter, not an absent file. */
export function isMissing(error: unknown): boolean {
  return statusCodeOf(error) === 404 && (error as Error).name !== 'NoSuchBucket' && (error as Error).name !== 'NoSuchUpload';
}

/** A condition of the call did not hold. */
export function isRefused(error: unknown): boolean {
  return statusCodeOf(error) === 412;
}

/** Two conditional writes of one key met: it has to be done again. */
export function isConflict(error: unknown): boolean {
  return statusCodeOf(error) === 409 && (error as Error).name === 'ConditionalRequestConflict';
}

export function isNoUpload(error: unknown): boolean {
  return error instanceof S3ServiceException && error.name === 'NoSuchUpload';
}

const fullNames: ReadonlySet<string> = new Set(['InsufficientStorage', 'QuotaExceeded', 'XMinioStorageFull', 'XMinioAdminBucketQuotaExceeded']);
/** Servers that keep objects as files cannot have one that is a folder too. */
const clashNames: ReadonlySet<string> = new Set([
  'ObjectParentIsFile',
  'DirectoryObjectContainsData',
  'ObjectExistsAsDirectory',
  'XMinioParentIsObject',
  'XMinioObjectExistsAsDirectory',
]);

function asFilesError(error: unknown, doing: string): unknown {
  if (error instanceof SpindleError) return error;
  const { name, message } = error as Error;
  // The cause is left out: the request that it may hold has the signature in it.
  if (error instanceof S3ServiceException) {
    const said = `${doing} failed: ${name} (${error.$metadata.httpStatusCode ?? 'no status'})${message === '' || message === 'UnknownError' ? '' : `, ${message}`}`;
    if (error.$metadata.httpStatusCode === 507 || fullNames.has(name)) return new SpindleError('DISK_FULL', `${said}; free some space there`);
    if (clashNames.has(name)) return new SpindleError('PATH_REFUSED', `${doing} failed: another file or folder has that name (${name})`);
    return new SpindleError('FILES_UNAVAILABLE', `${said}; it is tried again`);
  }
  const code = (error as NodeJS.ErrnoException).code;
  if (code !== undefined || name === 'TimeoutError' || name === 'AbortError' || name === 'CredentialsProviderError') {
    return new SpindleError('FILES_UNAVAILABLE', `${doing} failed: ${code ?? name}, ${message}; it is tried again`);
  }
  return error;
}
