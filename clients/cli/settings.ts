/** The client's settings: options first, then the environment. The only file of the client that reads `process.env`. */
import { Secret } from '../../shared/config/secret.ts';
import { UsageError } from './outcome.ts';

export const outputs = ['table', 'json', 'yaml'] as const;
export type Output = (typeof outputs)[number];

export interface Settings {
  /** Without a slash at the end. */
  readonly url: string;
  readonly token?: Secret;
  readonly output: Output;
}

export interface GivenOptions {
  readonly url?: string;
  readonly token?: string;
  readonly output?: string;
}

const defaultUrl = 'http://127.0.0.1:8080';

/** Throws a UsageError that names the setting which is wrong. */
export function readSettings(options: GivenOptions, environment: Readonly<Record<string, string | undefined>>): Settings {
  const text = options.url ?? (environment['SPINDLE_URL'] || defaultUrl);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) {
    throw new UsageError(`the service's address (--url or SPINDLE_URL) is an http or https URL without user, query and fragment`);
  }
  const token = options.token ?? environment['SPINDLE_TOKEN'];
  // Anything else could not stand in a header.
  if (token && !/^[\x21-\x7e]+$/.test(token)) throw new UsageError('the token (--token or SPINDLE_TOKEN) holds characters that no token has');
  const output = outputs.find((known) => known === (options.output ?? 'table'));
  if (!output) throw new UsageError(`--output is one of ${outputs.join(', ')}`);
  return { url: url.href.replace(/\/+$/, ''), output, ...(token ? { token: new Secret(token) } : {}) };
}

/** The process's environment, for the entry point to hand over. */
export function environment(): Readonly<Record<string, string | undefined>> {
  return process.env;
}
