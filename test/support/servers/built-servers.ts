/** Where the servers stand that bin/test-servers.mjs builds for the tests. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const recordPath = fileURLToPath(new URL('../../../.set-up/test-servers.json', import.meta.url));

/** The program's path, or why it is not there: then skip with that. */
export function builtServer(name: 'ferretdb' | 'versitygw'): { readonly path: string } | { readonly missing: string } {
  let record: Readonly<Record<string, { readonly path: string } | { readonly missing: string }>>;
  try {
    record = JSON.parse(readFileSync(recordPath, 'utf8'));
  } catch {
    return { missing: 'the test servers are not built: node bin/test-servers.mjs does it' };
  }
  return record[name] ?? { missing: `the test server ${name} is not built: node bin/test-servers.mjs does it` };
}
