/** Who may talk to a service without sign-in: programs of this machine and its own pages, never a page of another site. Pure. */
import { Problem, quoted } from './problem.ts';

export interface OriginRules {
  /** Host names without port, lower case, IPv6 in brackets, that this service answers for besides the loopback names. */
  readonly hosts: readonly string[];
  /** Origins of pages that may talk to it besides that of the Host header. */
  readonly origins: readonly string[];
}

export function originRules(publicUrl: string, listenHost: string): OriginRules {
  const url = new URL(publicUrl);
  return { hosts: [url.hostname, listenHost.includes(':') ? `[${listenHost}]` : listenHost.toLowerCase()], origins: [url.origin] };
}

const header = (value: string | readonly string[] | undefined) => (typeof value === 'string' ? value : value?.join(', '));

/**
 * Throws HOST_REFUSED or ORIGIN_REFUSED. A foreign Host header means that a name of somebody else's was pointed at this machine (DNS rebinding); a foreign Origin or
 * Sec-Fetch-Site, that a page of another site sent the request. Following a link from elsewhere is allowed.
 */
export function checkOrigin(method: string, headers: Readonly<Record<string, string | string[] | undefined>>, rules: OriginRules): void {
  const host = header(headers['host']) ?? '';
  const name = /^(\[[0-9a-f:.]+\]|[^:]+)(?::\d{1,5})?$/.exec(host.toLowerCase())?.[1];
  const isOurs = name !== undefined && (/^(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])$/.test(name) || rules.hosts.includes(name));
  if (!isOurs) throw new Problem('HOST_REFUSED', `this service does not answer for the host ${quoted(host)}`);
  const origin = header(headers['origin']);
  if (origin !== undefined && origin !== `http://${host}` && !rules.origins.includes(origin)) {
    throw new Problem('ORIGIN_REFUSED', `pages of ${quoted(origin)} may not use this service`);
  }
  const site = header(headers['sec-fetch-site']);
  const isNavigation = header(headers['sec-fetch-mode']) === 'navigate' && (method === 'GET' || method === 'HEAD');
  if ((site === 'cross-site' || site === 'same-site') && !isNavigation) {
    throw new Problem('ORIGIN_REFUSED', 'pages of other sites may not use this service');
  }
}
