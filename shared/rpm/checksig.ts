/** Reads what `rpmkeys --checksig -v` says of RPM files, in its C locale. Pure. */

/** `key`: as rpm names it, the last 8 hex digits of the id or more. */
export type SignatureVerdict =
  | { readonly kind: 'signed'; readonly key: string }
  | { readonly kind: 'unsigned' }
  /** Signed, but by a key that is not in the keyring, so nothing is known of it. */
  | { readonly kind: 'unknown-key'; readonly key: string }
  /** A digest or a signature is wrong, or the file cannot be read. `line`: rpm's own words. */
  | { readonly kind: 'broken'; readonly line: string };

const heading = /^(\S.*):$/;
const finding = /^ {4}(.+): (OK|BAD|NOKEY|NOTTRUSTED|UNKNOWN)\b.*$/;
/** rpm 4 says `key ID 7dea6b27`, rpm 6 `key fingerprint: 6861…`. */
const signature = /signature, key (?:ID|fingerprint:?) ([0-9a-f]{8,64})/i;

/** By file name, as rpmkeys was given it. A file of which nothing is said is broken. */
export function readChecksig(output: string, names: readonly string[]): ReadonlyMap<string, SignatureVerdict> {
  const found = new Map<string, string[]>(names.map((name) => [name, []]));
  let lines: string[] | undefined;
  for (const line of output.split('\n')) {
    const name = heading.exec(line)?.[1];
    if (name !== undefined && found.has(name)) lines = found.get(name);
    else lines?.push(line);
  }
  return new Map([...found].map(([name, its]) => [name, verdictOf(its)]));
}

function verdictOf(lines: readonly string[]): SignatureVerdict {
  const findings = lines.flatMap((line) => {
    const [, what, state] = finding.exec(line) ?? [];
    return what !== undefined && state !== undefined ? [{ line: line.trim(), state, key: signature.exec(what)?.[1]?.toLowerCase() }] : [];
  });
  const bad = findings.find(({ state }) => state === 'BAD');
  if (bad) return { kind: 'broken', line: bad.line.slice(0, 300) };
  if (!findings.some(({ state, key }) => state === 'OK' && key === undefined)) return { kind: 'broken', line: 'rpm finds no digest in it that it can check' };
  const signatures = findings.filter(({ key }) => key !== undefined);
  const good = signatures.find(({ state }) => state === 'OK');
  if (good?.key !== undefined) return { kind: 'signed', key: good.key };
  const other = signatures[0];
  return other?.key === undefined ? { kind: 'unsigned' } : { kind: 'unknown-key', key: other.key };
}
