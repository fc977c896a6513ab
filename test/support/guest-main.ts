/** Runs inside a virtual machine whose control groups are of version 2: programs that go beyond their bounds, and what a dead predecessor left. One line of JSON each. */
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';

const hierarchy = '/sys/fs/cgroup';
const MiB = 2 ** 20;
const [base = ''] = process.argv.slice(2);
const directory = '/srv/build';
const tell = (what: string, said: unknown) => console.log(`GUEST ${JSON.stringify({ base, what, said })}`);

const programs = spawnedPrograms({
  killAfterMs: 1000,
  bounds: { memoryBytesMax: 100 * MiB, processesMax: 100 },
  controlGroups: 'guest',
});
const run = (script: string) =>
  programs
    .run({ command: 'sh', args: ['-c', script], isolation: 'private-no-network', sandbox: { directory }, cwd: directory, deadlineMs: 60_000 })
    .then(({ exitCode, stdout }) => `${exitCode} ${stdout.trim()}`)
    .catch((error: Error & { readonly code?: string }) => `${error.code} ${error.message}`);
/** Groups of ours, relative to the hierarchy. */
async function groups(): Promise<readonly string[]> {
  const all = await readdir(hierarchy, { recursive: true, withFileTypes: true });
  return all
    .filter((entry) => entry.isDirectory() && entry.name.startsWith('spindle-'))
    .map((entry) => join(entry.parentPath, entry.name).slice(hierarchy.length));
}

await mkdir(directory, { recursive: true });
tell('enforcement', await programs.enforcement());
tell('own', (await readFile('/proc/self/cgroup', 'utf8')).trim());
tell('plain', await run('cat /proc/self/cgroup'));
tell('forks', await run('f() { f | f & sleep 700; }; f; wait'));
tell('grows', await run('x=0123456789abcdef; while :; do x=$x$x; done'));
tell('next', await run('echo works'));
const dead = `${hierarchy}${base}/spindle-guest/99999-1`;
await mkdir(dead);
const stray = spawn('sleep', ['700'], { detached: true, stdio: 'ignore' });
const ended = new Promise((resolve) => stray.once('exit', (_, signal) => resolve(signal)));
await writeFile(join(dead, 'cgroup.procs'), String(stray.pid));
tell('swept', [await programs.sweep(), await ended]);
await programs.close();
tell('left', await groups());
