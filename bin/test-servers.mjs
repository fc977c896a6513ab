/**
 * Builds the servers that tests talk to and that Debian does not have: FerretDB (MongoDB's protocol) and versitygw (S3), both Go programs. Once for each version: they stand in the user's
 * cache, outside of the repository, and .set-up/test-servers.json says where, or why not. Where Go is missing that is said, and the tests that need such a server are skipped by name.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lastLines, root, run, say, seconds, withLock } from './set-up.mjs';

const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'spindle', 'test-servers');
const recordPath = join(root, '.set-up', 'test-servers.json');
const ferretdbModule = join(root, 'test', 'support', 'servers', 'ferretdb');
const versitygwVersion = 'v1.8.0';
/** Go's own place first where the system's Go is too old or not in the path. */
const goPaths = ['/usr/local/go/bin', process.env.PATH ?? ''].join(':');
const buildMaxMs = 15 * 60_000;

const digestOf = (directory) => {
  const hash = createHash('sha256');
  for (const name of readdirSync(directory).sort()) hash.update(`${name}\n`).update(readFileSync(join(directory, name)));
  return hash.digest('hex').slice(0, 16);
};

const servers = {
  ferretdb: {
    version: () => `1.24.2-${digestOf(ferretdbModule)}`,
    // The other backends would double the time it takes to build.
    args: (output) => ['build', '-trimpath', '-tags', 'ferretdb_no_postgresql', '-o', join(output, 'ferretdb'), '.'],
    cwd: ferretdbModule,
  },
  versitygw: {
    version: () => versitygwVersion,
    args: () => ['install', '-trimpath', `github.com/versity/versitygw/cmd/versitygw@${versitygwVersion}`],
    cwd: root,
  },
};

/** Resolves with what was written to .set-up/test-servers.json: for each server `{ path }` or `{ missing: reason }`. Never rejects because of Go or its module proxy. */
export async function ensureTestServers() {
  const record = {};
  for (const [name, server] of Object.entries(servers)) record[name] = await ensureServer(name, server);
  mkdirSync(join(root, '.set-up'), { recursive: true });
  writeFileSync(recordPath, `${JSON.stringify(record, undefined, 2)}\n`);
  return record;
}

async function ensureServer(name, { version, args, cwd }) {
  const directory = join(cache, `${name}-${version()}-${process.platform}-${process.arch}`);
  const path = join(directory, name);
  if (existsSync(path)) return { path };
  const env = { ...process.env, PATH: goPaths, GOTOOLCHAIN: 'local', CGO_ENABLED: '0' };
  const { code, output: goVersion } = await run('go', ['version'], { env, cwd: '/' });
  if (code !== 0) return missing(name, 'Go is not installed (Go 1.25 or newer, in the path or in /usr/local/go)');
  return withLock(`test-server-${name}`, async () => {
    if (existsSync(path)) return { path };
    const since = performance.now();
    say(`building the test server ${name} with ${goVersion.trim().split(' ')[2]}`);
    const building = join(cache, `building-${name}-${process.pid}`);
    rmSync(building, { recursive: true, force: true });
    mkdirSync(building, { recursive: true });
    try {
      const built = await run('go', args(building), { cwd, env: { ...env, GOBIN: building }, timeoutMs: buildMaxMs });
      if (built.code !== 0 || !existsSync(join(building, name))) return missing(name, `go ${args('…')[0]} ended with status ${built.code}`, built.output);
      // Under its own name only when it is whole.
      rmSync(directory, { recursive: true, force: true });
      renameSync(building, directory);
    } finally {
      rmSync(building, { recursive: true, force: true });
    }
    say(`the test server ${name} is in place (${seconds(since)})`);
    return { path };
  });
}

function missing(name, why, output = '') {
  const lines = lastLines(output, 4);
  say(`the test server ${name} cannot be built, so tests that need it are skipped: ${why}${lines === '' ? '' : `\n${lines}`}`);
  return { missing: `the test server ${name} is not there: ${why}` };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const record = await ensureTestServers();
  process.exitCode = Object.values(record).every(({ path }) => path !== undefined) ? 0 : 1;
}
