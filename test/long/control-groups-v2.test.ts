/** Bounds by control groups of version 2, for real also where this host has version 1: in a virtual machine with Sample Linux's kernel, this machine's programs, and this code. */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, readdir, readFile, realpath, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { generateSampleDistribution } from '../../examples/sample-distribution/sample-distribution.ts';
import { findProgram } from '../../shared/programs/command-line.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { testDirectory } from '../support/temp-directory.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const programs = spawnedPrograms();
const tools = ['bwrap', 'setpriv', 'prlimit', 'env', 'sh', 'sleep', 'true', 'cat', 'busybox'];
const applets = ['mount', 'mkdir', 'poweroff', 'ip'];

/** First in a root of its own in memory: bubblewrap cannot change the root that a kernel starts with. */
const init = `#!/bin/busybox sh
/bin/busybox mount -t tmpfs -o size=1500m none /new
/bin/busybox tar -C /new -xf /root.tar
/bin/busybox rm /root.tar
exec /bin/busybox switch_root /new /start
`;
/** Version 2 at its top, where only a root group may have processes and children with bounds; then as a service manager makes it with Delegate=yes. */
const start = `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts; mount -t devpts pts /dev/pts; ip link set lo up
mount -t cgroup2 none /sys/fs/cgroup
node /srv/test/support/guest-main.js
echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/spindle.service
sh -c 'echo $$ > /sys/fs/cgroup/spindle.service/cgroup.procs; exec node /srv/test/support/guest-main.js /spindle.service'
poweroff -f
`;

/** The program, and the libraries that it names. */
async function copyProgram(path: string, as: string, into: string): Promise<void> {
  const { stdout } = await run('ldd', [path]).catch(() => ({ stdout: '' }));
  for (const file of stdout.match(/\/\S+/g) ?? []) await copy(await realpath(file), join(into, file));
  await copy(await realpath(path), join(into, 'usr/bin', as));
}

async function copy(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await copyFile(from, to);
}

/** shared/ and the guest's own program as JavaScript, and the packages that they import. */
async function copyCode(into: string): Promise<void> {
  const shared = (await readdir(join(root, 'shared'), { recursive: true })).filter((name) => name.endsWith('.ts')).map((name) => join('shared', name));
  const main = fileURLToPath(new URL('../support/guest-main.ts', import.meta.url)).slice(root.length);
  for (const file of [...shared, main]) {
    const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, rewriteRelativeImportExtensions: true, verbatimModuleSyntax: true };
    const { outputText } = ts.transpileModule(await readFile(join(root, file), 'utf8'), { fileName: file, compilerOptions });
    const to = join(into, file.replace(/\.ts$/, '.js'));
    await mkdir(dirname(to), { recursive: true });
    await writeFile(to, outputText);
  }
  await writeFile(join(into, 'package.json'), '{ "type": "module" }');
  await mkdir(join(into, 'node_modules'));
  for (const name of ['zod', 'uuid']) await run('cp', ['-r', join(root, 'node_modules', name), join(into, 'node_modules')]);
}

async function kernelInto(directory: string): Promise<string> {
  const sample = await generateSampleDistribution({ directory: join(tmpdir(), `spindle-sample-${process.getuid?.() ?? 0}`, 'distribution'), programs });
  const packages = join(sample.directory, 'repo/x86_64/Packages/k');
  const name = (await readdir(packages)).find((each) => each.startsWith('kernel-core-'));
  await run('sh', ['-c', 'rpm2cpio "$1" | cpio -idm --quiet', 'sh', join(packages, name ?? 'no kernel')], { cwd: directory });
  const modules = join(directory, 'usr/lib/modules');
  return join(modules, (await readdir(modules))[0] ?? '', 'vmlinuz');
}

test('a service at the top of the hierarchy, and one in a group of its own, bound their programs, sweep and leave nothing', { timeout: 300_000 }, async () => {
  const directory = await testDirectory();
  const [guest, medium, unpacked] = ['guest', 'medium', 'kernel'].map((name) => join(directory, name)) as [string, string, string];
  for (const name of ['usr/bin', 'tmp', 'var/tmp', 'proc', 'sys', 'dev', 'run', 'root', 'home', 'etc', 'srv'])
    await mkdir(join(guest, name), { recursive: true });
  for (const name of ['bin', 'new']) await mkdir(join(medium, name), { recursive: true });
  await mkdir(unpacked);
  await symlink('usr/bin', join(guest, 'bin'));
  for (const name of tools) await copyProgram(await findProgram(name, process.env.PATH ?? ''), name, guest);
  await copyProgram(process.execPath, 'node', guest);
  for (const name of applets) await symlink('busybox', join(guest, 'usr/bin', name));
  await copyCode(join(guest, 'srv'));
  await writeFile(join(guest, 'start'), start, { mode: 0o755 });
  await copy(join(guest, 'usr/bin/busybox'), join(medium, 'bin/busybox'));
  await run('tar', ['-C', guest, '-cf', join(medium, 'root.tar'), '.']);
  await writeFile(join(medium, 'init'), init, { mode: 0o755 });
  await run('sh', ['-c', 'find . | cpio -o -H newc --quiet > ../initramfs'], { cwd: medium });

  const said = new Map<string, unknown>();
  const lines: string[] = [];
  await programs.run({
    command: 'qemu-system-x86_64',
    args: [
      ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '3000', '-nographic', '-no-reboot', '-nic', 'none'],
      ...['-kernel', await kernelInto(unpacked), '-initrd', join(directory, 'initramfs'), '-append', 'console=ttyS0 quiet loglevel=0 panic=-1'],
    ],
    deadlineMs: 240_000,
    onLine: (line) => {
      lines.push(line);
      const found = /GUEST (\{.*\})$/.exec(line)?.[1];
      if (found === undefined) return;
      const { base, what, said: text } = JSON.parse(found) as { readonly base: string; readonly what: string; readonly said: unknown };
      said.set(`${base} ${what}`, text);
    },
  });
  const output = lines.join('\n');
  for (const base of ['', '/spindle.service']) {
    expect(said.get(`${base} enforcement`), output).toEqual({ memory: 'control group', processes: 'control group' });
    expect(said.get(`${base} plain`), output).toMatch(new RegExp(`^0 0::${base}/spindle-guest/\\d+-\\d+$`));
    expect(said.get(`${base} forks`), output).toMatch(/^RESOURCE_LIMIT sh had more than 100 processes/);
    expect(said.get(`${base} grows`), output).toMatch(/^RESOURCE_LIMIT sh used more than 100 MiB of memory/);
    expect(said.get(`${base} next`), output).toBe('0 works');
    expect(said.get(`${base} swept`), output).toEqual([1, 'SIGKILL']);
  }
  expect(said.get(' left')).toEqual([]);
  // The service itself stands aside in it, and is the only one there.
  expect(said.get('/spindle.service own')).toBe('0::/spindle.service/spindle-service');
  expect(said.get('/spindle.service left')).toEqual(['/spindle.service/spindle-service']);
});
