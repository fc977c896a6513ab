/** Which addresses the service may connect to: public ones, and what the operator names. Pure. */
import { BlockList, isIP } from 'node:net';

export interface AddressPolicy {
  /** True where the operator named this host and port: whatever it resolves to may be connected to. */
  isNamed(hostname: string, port: number): boolean;
  /** Why this address is refused, or undefined where it may be connected to. */
  refusal(address: string): string | undefined;
}

// IANA's special-purpose registries: everything in them is private, local, reserved, or stands for an IPv4 address that would have to be judged in its place.
const refusedV4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
];
/** Only this part of IPv6 is assigned to the public network at all: loopback, link-local, unique local, multicast and IPv4-mapped addresses lie outside. */
const publicV6 = '2000::/3';
const refusedV6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];

/**
 * `allow`: `host:port` (a name or an address, an IPv6 one in brackets) lets exactly that destination through; `address/bits` lets a network through. Throws an
 * Error that names the entry that is neither.
 */
export function addressPolicy(allow: readonly string[] = []): AddressPolicy {
  const named = new Set<string>();
  const allowed = new BlockList();
  for (const entry of allow) {
    if (entry.includes('/')) addNetwork(allowed, entry);
    else named.add(destinationOf(entry));
  }
  const refused = new BlockList();
  for (const network of [...refusedV4, ...refusedV6]) addNetwork(refused, network);
  const assigned = new BlockList();
  addNetwork(assigned, publicV6);

  return {
    isNamed: (hostname, port) => named.has(`${bare(hostname)}:${port}`),
    refusal: (address) => {
      const version = isIP(address);
      if (version === 0) return 'is not an IP address';
      const family = version === 6 ? 'ipv6' : 'ipv4';
      if (allowed.check(address, family)) return undefined;
      if (refused.check(address, family) || (version === 6 && !assigned.check(address, family))) return 'is not a public address';
      return undefined;
    },
  };
}

function addNetwork(list: BlockList, text: string): void {
  const [address = '', bits = '', ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > (version === 6 ? 128 : 32) || rest.length > 0) {
    throw new Error(`${JSON.stringify(text)} is not a network such as 10.1.0.0/16`);
  }
  list.addSubnet(address, Number(bits), version === 6 ? 'ipv6' : 'ipv4');
}

function destinationOf(entry: string): string {
  const match = /^(\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})$/i.exec(entry);
  if (!match?.[1]) throw new Error(`${JSON.stringify(entry)} is neither host:port nor a network such as 10.1.0.0/16`);
  return `${bare(match[1])}:${Number(match[2])}`;
}

const bare = (hostname: string) => hostname.toLowerCase().replace(/^\[|\]$/g, '');
