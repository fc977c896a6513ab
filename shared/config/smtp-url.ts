/** `smtp[s]://[USER:PASSWORD@]HOST[:PORT]?from=ADDRESS`: the mail server that letters are handed to. Pure. */
import { Secret } from './secret.ts';

export interface MailServer {
  readonly host: string;
  readonly port: number;
  /** TLS from the first byte. Otherwise the connection is turned to TLS where the server offers it. */
  readonly isSecure: boolean;
  readonly credentials?: { readonly user: Secret; readonly password: Secret };
  /** The sender: `Name <address>` or an address. */
  readonly from?: string;
}

/** The server, or what is wrong with the URL, without anything of it. */
export function parseSmtpUrl(text: string): MailServer | { readonly problem: string } {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^smtps?:$/.test(url.protocol) || url.hostname === '' || url.hash !== '' || !/^\/?$/.test(url.pathname)) {
    return { problem: 'is not of the form smtp://user:password@host:587?from=address' };
  }
  if ([...url.searchParams.keys()].some((name) => name !== 'from')) return { problem: 'has a parameter other than from' };
  if ((url.username === '') !== (url.password === '')) return { problem: 'has only one of user and password before the host' };
  const user = decoded(url.username);
  const password = decoded(url.password);
  if (user === undefined || password === undefined) return { problem: 'has a user or password that is no percent-encoded text' };
  const from = url.searchParams.get('from');
  if (from !== null && !/^(?:[^<>\r\n"]{0,100}<[^\s<>@]+@[^\s<>@]+>|[^\s<>@]+@[^\s<>@]+)$/.test(from)) {
    return { problem: 'has a sender (from) that is neither an address nor of the form Name <address>' };
  }
  const isSecure = url.protocol === 'smtps:';
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (isSecure ? 465 : 587) : Number(url.port),
    isSecure,
    ...(user === '' ? {} : { credentials: { user: new Secret(user), password: new Secret(password) } }),
    ...(from === null ? {} : { from }),
  };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
