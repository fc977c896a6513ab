/** `s3://[KEY:SECRET@]BUCKET[/PREFIX]?endpoint=…&region=…&links=SECONDS`: where files are kept in S3. Pure. */
import { isFileKey } from '../files/file-key.ts';
import { Secret } from './secret.ts';

export interface S3Place {
  readonly bucket: string;
  /** Before every key, without slashes at its ends; empty for none. */
  readonly prefix: string;
  /** Absent: AWS itself. */
  readonly endpoint?: string;
  readonly region: string;
  /** Absent: from the usual places of AWS's tools. */
  readonly credentials?: { readonly accessKey: Secret; readonly secretKey: Secret };
  /** How long a link for reading past the service is good. Absent: none are given. */
  readonly linkSeconds?: number;
}

const linkSecondsMax = 7 * 24 * 3600;
const parameters: ReadonlySet<string> = new Set(['endpoint', 'region', 'links']);

/** The place, or what is wrong with the URL, without anything of it. */
export function parseS3Url(text: string): S3Place | { readonly problem: string } {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 's3:' || url.hash !== '') return { problem: 'is not of the form s3://bucket/prefix?endpoint=https://host&region=name' };
  const { hostname: bucket, searchParams, username, password } = url;
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) || url.port !== '')
    return { problem: 'names no bucket: 3 to 63 lower-case letters, digits, dots and hyphens' };
  const prefix = url.pathname.replace(/^\/+|\/+$/g, '');
  if (prefix !== '' && (!isFileKey(prefix) || prefix.length > 200)) return { problem: 'has a prefix that is no path of letters, digits and "._+~@-"' };
  const unknown = [...searchParams.keys()].find((name) => !parameters.has(name));
  if (unknown !== undefined) return { problem: 'has a parameter other than endpoint, region and links' };
  const endpoint = searchParams.get('endpoint') ?? undefined;
  const at = endpoint !== undefined && URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (endpoint !== undefined && (!at || !/^https?:$/.test(at.protocol) || at.username !== '' || at.search !== '' || at.hash !== '')) {
    return { problem: 'has an endpoint that is not an http or https URL without user, query and fragment' };
  }
  if ((username === '') !== (password === '')) return { problem: 'has only one of access key and secret key before the bucket' };
  const accessKey = decoded(username);
  const secretKey = decoded(password);
  if (accessKey === undefined || secretKey === undefined) return { problem: 'has keys before the bucket that are no percent-encoded text' };
  const links = searchParams.get('links');
  if (links !== null && !(/^\d{1,6}$/.test(links) && Number(links) >= 1 && Number(links) <= linkSecondsMax)) {
    return { problem: `has links that are no number of seconds from 1 to ${linkSecondsMax}` };
  }
  return {
    bucket,
    prefix,
    region: searchParams.get('region') ?? 'us-east-1',
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(username === '' ? {} : { credentials: { accessKey: new Secret(accessKey), secretKey: new Secret(secretKey) } }),
    ...(links === null ? {} : { linkSeconds: Number(links) }),
  };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
