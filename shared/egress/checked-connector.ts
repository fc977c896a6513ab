/** Connects to hosts by their names, and only to addresses that it has checked. */
import { lookup as dnsLookup } from 'node:dns/promises';
import { isIP, type Socket } from 'node:net';
import type { buildConnector as Connecting } from 'undici';
import { SpindleError } from '../build/spindle-error.ts';
import { addressPolicy } from './address-policy.ts';
import type { LentReads } from './lent-reads.ts';
import { buildConnector } from './undici-parts.ts';

export interface ConnectorOptions {
  /** What may be connected to besides public addresses: see addressPolicy. */
  readonly allow?: readonly string[];
  readonly connectTimeoutMs?: number;
  /** Every address of a name; the system's own way of finding them where left out. */
  readonly lookup?: (hostname: string) => Promise<readonly string[]>;
}

const systemLookup = async (hostname: string): Promise<readonly string[]> => (await dnsLookup(hostname, { all: true })).map(({ address }) => address);

/** Resolves a name itself, checks every address of it, and connects to one that it checked: a name that changes between check and connect gains nothing. */
export function checkedConnector({ allow, connectTimeoutMs = 10_000, lookup = systemLookup }: ConnectorOptions, reads: LentReads): Connecting.connector {
  const policy = addressPolicy(allow);
  // Node's types know `onread` of net.connect only.
  const connect = buildConnector({ timeout: connectTimeoutMs, onread: reads.onread } as Connecting.BuildOptions) as (
    ...args: Parameters<Connecting.connector>
  ) => Socket;

  const addressesOf = async (hostname: string, port: number): Promise<readonly string[]> => {
    const literal = hostname.replace(/^\[|\]$/g, '');
    const addresses = isIP(literal) ? [literal] : await lookup(literal);
    if (policy.isNamed(hostname, port)) return addresses;
    for (const address of addresses) {
      const refusal = policy.refusal(address);
      if (refusal) {
        const which = address === literal ? address : `${literal} (${address})`;
        throw new SpindleError('REMOTE_REFUSED', `${which} ${refusal}, and the operator has not allowed ${literal}:${port}`);
      }
    }
    return addresses;
  };

  return (target, callback) => {
    const port = Number(target.port || (target.protocol === 'https:' ? 443 : 80));
    const attempt = (addresses: readonly string[]): void => {
      const [address, ...others] = addresses;
      if (address === undefined) {
        callback(new SpindleError('REMOTE_UNREACHABLE', `${target.hostname} has no address`), null);
        return;
      }
      // `host` stays the name, so that a certificate is checked against it.
      const socket = connect({ ...target, hostname: address }, (...[error, connected]) => {
        if (error && others.length > 0) attempt(others);
        else if (error) callback(error, null);
        else callback(null, connected as never);
      });
      reads.adopt(socket);
    };
    addressesOf(target.hostname, port).then(attempt, (error: Error) => callback(error, null));
  };
}
