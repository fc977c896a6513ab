/** The repository of 60,000 packages that the resolver's benches look into: made once from the host's package index, served on loopback. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { note } from './figure.ts';

const script = fileURLToPath(new URL('./large-repository.py', import.meta.url));
/** Kept from one run to the next; its name changes with the index and with how it is made. */
const home = join(tmpdir(), `spindle-bench-repository-${process.getuid?.() ?? 0}`);

/** Resolves with the directory that has `repodata/`. */
export async function largeRepository(): Promise<string> {
  const index = await output('apt-cache', ['dumpavail']);
  const made = await output('cat', [script]);
  const directory = join(home, createHash('sha256').update(made).update(index).digest('hex').slice(0, 16));
  if (await stat(join(directory, 'repodata', 'repomd.xml')).catch(() => undefined)) return directory;
  await mkdir(home, { recursive: true, mode: 0o700 });
  for (const name of await readdir(home)) await rm(join(home, name), { recursive: true, force: true });
  const partial = `${directory}.partial`;
  const count = (await output('/usr/bin/python3', [script, partial], index)).toString().trim();
  await rename(partial, directory);
  note(`bench: a repository of ${count} packages was made from this host's package index`);
  return directory;
}

/** Serves a directory, files as they are. */
export async function serveDirectory(directory: string): Promise<{ readonly url: string; readonly destination: string; close(): Promise<void> }> {
  const server = createServer(async (request, response) => {
    const path = join(directory, new URL(request.url ?? '/', 'http://x').pathname);
    const found = await stat(path).catch(() => undefined);
    if (!found?.isFile()) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-length': found.size });
    await pipeline(createReadStream(path), response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const destination = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: `http://${destination}/`,
    destination,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function output(command: string, args: readonly string[], input?: Buffer): Promise<Buffer> {
  const child = spawn(command, [...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(`${command} ended with status ${code}`);
  return Buffer.concat(chunks);
}
