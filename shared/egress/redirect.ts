/** Which URLs are fetched, and what becomes of a redirect. Pure. */
import { SpindleError } from '../build/spindle-error.ts';
import type { EgressAnswer, EgressRequest } from './egress.ts';

export const redirectsMax = 5;

/** What is asked of one host: a request, without its bounds. */
export interface Hop {
  readonly url: URL;
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Throws REMOTE_REFUSED where the URL is not one that is fetched. */
export function firstHop(request: EgressRequest): Hop {
  return {
    url: checkedUrl(request.url),
    method: request.method ?? 'GET',
    headers: Object.fromEntries(Object.entries(request.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value])),
    ...(request.body === undefined ? {} : { body: request.body }),
  };
}

/** Where the answer sends the request on to, or undefined where it is final. Throws REMOTE_REFUSED for a redirect that is not followed. */
export function nextHop(hop: Hop, { status, headers }: Pick<EgressAnswer, 'status' | 'headers'>): Hop | undefined {
  const location = headers['location'];
  if (![301, 302, 303, 307, 308].includes(status) || location === undefined) return undefined;
  const refused = (why: string) => new SpindleError('REMOTE_REFUSED', `${display(hop.url)} redirects ${why}`);
  // Only these two keep method and body; with the others a call would silently become another one.
  if (hop.method === 'POST' && status !== 307 && status !== 308) throw refused(`a POST with status ${status}, which would lose its body`);
  if (!URL.canParse(location, hop.url.href)) throw refused('to something that is not a URL');
  const url = checkedUrl(new URL(location, hop.url).href);
  if (hop.url.protocol === 'https:' && url.protocol === 'http:') throw refused(`from https to http, to ${display(url)}`);
  const { authorization: _authorization, cookie: _cookie, ...harmless } = hop.headers;
  return { ...hop, url, headers: url.origin === hop.url.origin ? hop.headers : harmless };
}

function checkedUrl(text: string): URL {
  if (!URL.canParse(text)) throw new SpindleError('REMOTE_REFUSED', `${JSON.stringify(text.slice(0, 200))} is not a URL`);
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new SpindleError('REMOTE_REFUSED', `${url.protocol} URLs are not fetched, only http and https`);
  if (url.username !== '' || url.password !== '') throw new SpindleError('REMOTE_REFUSED', `the URL of ${url.host} holds a user name or password`);
  return url;
}

/** A URL as messages show it: a query may hold a secret. */
export function display(url: URL): string {
  return `${url.origin}${url.pathname}`.slice(0, 300);
}
