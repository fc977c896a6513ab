/** Sandboxed programs that misbehave, for real: each is stopped by its bound, is told apart in words, and leaves nothing; with control groups and without. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { localFiles } from '../../shared/files/local.ts';
import { allProcesses } from '../../shared/programs/processes.ts';
import type { Bounds, ProgramRequest, Sandbox } from '../../shared/programs/programs.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';
import { tempDirectory, testDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';

const clock = systemClock();
const isRoot = process.getuid?.() === 0;
const MiB = 2 ** 20;
const bounds: Bounds = { memoryBytesMax: 256 * MiB, processesMax: 200, diskBytesMax: 64 * MiB };
let made = 0;
/** A time to sleep that no other process sleeps. */
const uniqueSleep = () => `700.${process.pid}${made++}`;

async function commandLines(): Promise<readonly string[]> {
  return Promise.all(
    allProcesses()
      .filter(({ state }) => state !== 'Z' && state !== 'X')
      .map(({ pid }) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
}
const alive = async (marker: string) => (await commandLines()).filter((line) => line.includes(marker));

async function groupsNamed(name: string, directory = '/sys/fs/cgroup', depth = 5): Promise<readonly string[]> {
  const entries = depth === 0 ? [] : (await readdir(directory, { withFileTypes: true }).catch(() => [])).filter((entry) => entry.isDirectory());
  const found = await Promise.all(
    entries.map(async (entry) =>
      entry.name === `spindle-${name}` ? [join(directory, entry.name)] : groupsNamed(name, join(directory, entry.name), depth - 1),
    ),
  );
  return found.flat();
}

/** A state directory with a secret and one workspace, and a run of a shell script in its sandbox. */
async function setUp(controlGroups: string | undefined) {
  const root = await tempDirectory();
  const state = join(root.path, 'state');
  const directory = join(state, 'work', 'build');
  await mkdir(directory, { recursive: true });
  await writeFile(join(state, 'secret'), 'the secret');
  const programs = spawnedPrograms({ killAfterMs: 300, bounds, hides: [state], ...(controlGroups ? { controlGroups } : {}) });
  const run = (script: string, more: Partial<ProgramRequest> & { readonly view?: Partial<Sandbox> } = {}) => {
    const { view, ...request } = more;
    return programs.run({
      command: 'sh',
      args: ['-c', script],
      isolation: 'private-no-network',
      sandbox: { directory, ...view },
      cwd: directory,
      deadlineMs: 30_000,
      ...request,
    });
  };
  const close = async () => {
    await programs.close();
    await root.remove();
  };
  return { state, directory, programs, run, close };
}

/** Some containers have none that may be made; there looking is all that there is. */
async function hasControlGroups(): Promise<boolean> {
  const probe = spawnedPrograms({ controlGroups: `test-${process.pid}-probe` });
  const { memory, processes } = await probe.enforcement();
  await probe.close();
  return memory === 'control group' && processes === 'control group';
}

const kinds = [
  ...((await hasControlGroups()) ? [{ by: 'control groups', controlGroups: `test-${process.pid}` }] : []),
  { by: 'looking', controlGroups: undefined },
];

describe.runIf(isRoot).each(kinds)('a sandbox bounded by $by', ({ controlGroups, by }) => {
  let at: Awaited<ReturnType<typeof setUp>>;
  let mountsBefore = '';
  beforeAll(async () => {
    at = await setUp(controlGroups);
    mountsBefore = await readFile('/proc/self/mountinfo', 'utf8');
  });
  afterAll(async () => {
    await at.close();
    // Others mount too; what is ours would name our directory.
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => !mountsBefore.includes(line));
    expect(mounts.filter((line) => line.includes(at.state))).toEqual([]);
    if (controlGroups) expect(await groupsNamed(controlGroups)).toEqual([]);
  });

  it('says what holds its bounds', async () => {
    const held = by === 'looking' ? 'looking' : 'control group';
    expect(await at.programs.enforcement()).toEqual({ memory: held, processes: held, problem: undefined });
  });

  it('stops a program that starts others without end', async () => {
    const time = uniqueSleep();
    const failure = at.run(`f() { f | f & sleep ${time}; }; f; wait`);
    await expect(failure).rejects.toMatchObject({ code: 'RESOURCE_LIMIT', message: expect.stringContaining('more than 200 processes') });
    await expect(failure).rejects.toThrow('SPINDLE_BUILD_PROCESSES_MAX');
    expect(await alive(time)).toEqual([]);
  });

  it('stops a program that takes ever more memory', async () => {
    const failure = at.run('x=0123456789abcdef; while :; do x=$x$x; done');
    await expect(failure).rejects.toMatchObject({
      code: 'RESOURCE_LIMIT',
      message: expect.stringMatching(/more than 256 MiB of memory.*SPINDLE_BUILD_MEMORY_MAX/),
    });
  });

  it('stops a program that writes too much, in one file or in many', async () => {
    const wrote = { code: 'RESOURCE_LIMIT', message: expect.stringMatching(/wrote more than 64 MiB.*SPINDLE_BUILD_DISK_MAX/) };
    await expect(at.run('dd if=/dev/zero of=one bs=1M count=200')).rejects.toMatchObject(wrote);
    await expect(at.run(`i=0; while :; do i=$((i+1)); dd if=/dev/zero of=/var/tmp/many$i bs=1M count=8 2>&1; sleep 0.05; done`)).rejects.toMatchObject(wrote);
    await rm(at.directory, { recursive: true });
    await mkdir(at.directory);
  });

  it('ends what calls itself a session of its own and ignores every signal', async () => {
    const time = uniqueSleep();
    const script = `trap "" TERM HUP INT; setsid sh -c 'trap "" TERM; (setsid sleep ${time} &) ; sleep ${time}' & sleep ${time} & wait; sleep ${time}`;
    await expect(at.run(script, { deadlineMs: 500 })).rejects.toMatchObject({ code: 'TOOL_TIMED_OUT' });
    expect(await alive(time)).toEqual([]);
  });

  it('leaves no daemon behind when its program ends', async () => {
    const time = uniqueSleep();
    expect(await at.run(`setsid -f sleep ${time}; setsid -f sh -c 'sleep ${time} & sleep ${time}'; exit 3`)).toMatchObject({ exitCode: 3 });
    expect(await alive(time)).toEqual([]);
  });

  it('lives on when it kills everything that it can see', async () => {
    // Its own shell goes first or last; the outer processes are not in its sight, and the first of its namespace cannot be killed from inside.
    const result = await at.run('kill -9 1; kill -9 -1; kill -9 $PPID; kill -9 $$');
    expect(result).toMatchObject({ exitCode: null, signal: 'SIGKILL' });
    expect(await at.run('echo still here')).toMatchObject({ stdout: 'still here\n' });
  });

  it('passes a crash on, with what it said', async () => {
    const result = await at.run('echo before; echo complaint >&2; kill -SEGV $$');
    expect(result).toMatchObject({ exitCode: null, signal: 'SIGSEGV', stdout: 'before\n', stderr: expect.stringContaining('complaint') });
  });

  it('runs behind the service, and is the first that the kernel takes where the host is out of memory', async () => {
    const { stdout } = await at.run('nice; cat /proc/self/oom_score_adj; ulimit -Hn; ulimit -f; ulimit -c');
    const [nice, score, files, blocks, core] = stdout.split('\n').map(Number);
    expect([nice, score, core]).toEqual([10, 500, 0]);
    expect(files).toBeLessThanOrEqual(16_384);
    expect(blocks).toBe((64 * MiB) / 512);
  });
});

describe.runIf(isRoot)('what a sandboxed program sees', () => {
  let at: Awaited<ReturnType<typeof setUp>>;
  beforeAll(async () => {
    at = await setUp(undefined);
  });
  afterAll(() => at.close());

  it('the host is read-only, the state directory and homes are empty, and its own directory is its own', async () => {
    const tree = join(at.state, 'repositories', 'shared');
    await mkdir(tree, { recursive: true });
    await writeFile(join(tree, 'package.rpm'), 'shared');
    await symlink(tree, join(at.directory, 'linked'));
    const script = [
      'for place in /usr /etc /var/lib /sys/kernel /proc/sys/kernel; do touch $place/spindle-probe 2>/dev/null && echo wrote $place; done',
      'echo 1 2>/dev/null > /proc/sys/vm/overcommit_memory && echo wrote sysctl',
      `cat ${at.state}/secret 2>/dev/null && echo read the secret; touch ${at.state}/probe 2>/dev/null && echo wrote state`,
      `echo changed > linked/package.rpm; rm -f linked/package.rpm; touch linked/new; cat linked/package.rpm`,
      'echo; echo mine > own && cat own; echo tmp > /tmp/x && echo cache > /var/cache/x && echo log > /var/log/x && cat /tmp/x /var/cache/x /var/log/x',
      'ls -A /root /home /run; ls /dev | grep -E "^(sd|vd|nvme|loop|mem|kmsg|kvm)"; hostname; ls /proc | grep -c "^[0-9]"',
    ].join('\n');
    const { stdout } = await at.run(script, { view: { readOnly: [tree] } });
    const lines = stdout.split('\n');
    expect(lines.slice(0, 6)).toEqual(['shared', 'mine', 'tmp', 'cache', 'log', '/home:']);
    expect(stdout).not.toMatch(/wrote|secret|vda|loop|kmsg/);
    expect(Number(lines.at(-2))).toBeLessThan(10);
    expect(await readdir(tree)).toEqual(['package.rpm']);
    expect(await readFile(join(tree, 'package.rpm'), 'utf8')).toBe('shared');
    expect(await readFile(join(at.directory, 'own'), 'utf8')).toBe('mine\n');
  });

  it('has no way to the network, not even to this host, unless it is to have it', async () => {
    const server = createServer((socket) => socket.end('hello'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as { port: number };
    const probe = `/usr/bin/python3 -c 'import socket; print(socket.create_connection(("127.0.0.1", ${port}), 5).recv(9))'`;
    expect((await at.run(probe)).stderr).toContain('Connection refused');
    expect((await at.run(probe, { isolation: 'private' })).stdout).toContain('hello');
  });

  it('keeps the documented capabilities and gains none; as a user it has none', async () => {
    const names = [
      'chown',
      'dac_override',
      'fowner',
      'fsetid',
      'setfcap',
      'setuid',
      'setgid',
      'kill',
      'mknod',
      'sys_chroot',
      'sys_admin',
      'audit_write',
      'mac_admin',
    ];
    const { stdout } = await at.run('cat /proc/self/status');
    expect(stdout).toMatch(/^NoNewPrivs:\s*1$/m);
    const effective = BigInt(`0x${/^CapEff:\s*(\w+)/m.exec(stdout)?.[1]}`);
    const bits = [0, 1, 3, 4, 31, 7, 6, 5, 27, 18, 21, 29, 33];
    expect(names).toHaveLength(bits.length);
    expect(effective & ~bits.reduce((all, bit) => all | (1n << BigInt(bit)), 0n)).toBe(0n);
    expect((effective >> 21n) & 1n).toBe(1n);
    const asUser = await at.run('cat /proc/self/status; id -u; touch own-of-user', { user: { uid: 64_123, gid: 64_123 } });
    expect(asUser.stdout).toMatch(/^CapEff:\s*0+$/m);
    expect(asUser.stdout).toMatch(/^CapBnd:\s*0+$/m);
    expect(asUser.stdout).toMatch(/^64123$/m);
    expect(asUser.stderr).toContain('Permission denied');
  });

  it('mounts, changes roots and makes nodes as image tools do, and nothing of it is left', async () => {
    const script = [
      'mkdir -p root/dev root/proc root/bin && mount -t tmpfs none root/dev && mknod -m 666 root/dev/null c 1 3',
      'mount --bind /proc root/proc && cp "$(command -v busybox)" root/bin/busybox',
      "chroot root /bin/busybox sh -c 'echo in the root > /dev/null && /bin/busybox test -e /proc/1/status && /bin/busybox chown 7:8 /bin'",
    ].join(' && ');
    const result = await at.run(script);
    expect(result, result.stderr).toMatchObject({ exitCode: 0 });
    expect((await stat(join(at.directory, 'root', 'bin'))).uid).toBe(7);
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(at.directory);
    expect(await readdir(join(at.directory, 'root', 'dev'))).toEqual([]);
  });

  it('shows loop devices to those that need them', async () => {
    await writeFile(join(at.directory, 'disk'), new Uint8Array(MiB));
    const { exitCode, stderr } = await at.run('mkfs.ext4 -q disk && mkdir -p m && mount -o loop disk m && touch m/x && umount m', {
      view: { loopDevices: true },
    });
    expect(exitCode, stderr).toBe(0);
  });

  it('says what was wrong where it cannot be made', async () => {
    const gone = at.run('true', { view: { readOnly: [join(at.state, 'no-such-tree')] } });
    await expect(gone).rejects.toMatchObject({ code: 'ISOLATION_FAILED', message: expect.stringContaining('no-such-tree') });
    await expect(
      at.programs.run({ command: 'no-such-tool', args: [], isolation: 'private', sandbox: { directory: at.directory }, deadlineMs: 1000 }),
    ).rejects.toMatchObject({ code: 'TOOL_MISSING', message: expect.stringContaining('no-such-tool') });
  });

  it('adds little to the time of a program', async () => {
    const times: number[] = [];
    for (let round = 0; round < 9; round += 1) times.push((await at.run('true')).durationMs);
    // Far below what other work on this machine adds now and then: the median of a quiet one is some 20 ms.
    expect(times.sort((a, b) => a - b)[0]).toBeLessThan(100);
  });
});

describe.runIf(isRoot)('a full disk', () => {
  it('ends a build when too little is left, and not for its own fault', async () => {
    const root = await testDirectory();
    const disk = join(root, 'disk');
    await mkdir(disk);
    const host = spawnedPrograms();
    const mounted = await host.run({ command: 'mount', args: ['-t', 'tmpfs', '-o', 'size=48m', 'none', disk], deadlineMs: 5000 });
    expect(mounted.exitCode, mounted.stderr).toBe(0);
    onTestFinished(async () => {
      await host.run({ command: 'umount', args: ['-l', disk], deadlineMs: 5000 });
    });
    const files = localFiles({ directory: join(disk, 'files') });
    onTestFinished(() => files.close());
    const workspace = await localWorkspaces({ directory: join(disk, 'work'), files, owner: 'test', programs: host }).create('full');
    const programs = spawnedPrograms({ killAfterMs: 300, hides: [disk], bounds: { diskBytesMax: 1024 * MiB, diskFreeBytesMin: 16 * MiB } });
    const fill = { command: 'sh', args: ['-c', 'dd if=/dev/zero of=fill bs=1M; sleep 600'], cwd: workspace.path, deadlineMs: 30_000 };
    await expect(programs.run({ ...fill, isolation: 'private-no-network', sandbox: { directory: workspace.path } })).rejects.toMatchObject({
      code: 'DISK_FULL',
      message: expect.stringContaining('less than 16 MiB left'),
    });
    await workspace.dispose();
    expect(await readdir(join(disk, 'work'))).toEqual([]);
  });
});

describe.runIf(isRoot)('a service that is killed', () => {
  it.each(kinds)('takes its sandboxed programs with it, and its successor sweeps the rest ($by)', async ({ controlGroups }) => {
    const root = await testDirectory();
    const directory = join(root, 'work', 'spindle-dead');
    await mkdir(directory, { recursive: true });
    const [inside, outside] = [uniqueSleep(), uniqueSleep()];
    const name = controlGroups && `${controlGroups}-killed`;
    const options = { bounds, ...(name ? { controlGroups: name } : {}) };
    const script = join(root, 'service.mts');
    const module = new URL('../../shared/programs/spawned.ts', import.meta.url).href;
    await writeFile(
      script,
      `const { spawnedPrograms } = await import(${JSON.stringify(module)});
       const programs = spawnedPrograms(${JSON.stringify(options)});
       // Of a program without namespaces a session of its own escapes: what the sweep is for.
       await programs.run({ command: 'sh', args: ['-c', 'setsid -f sh -c ": > out; exec sleep ${outside}" >/dev/null 2>&1 </dev/null; until [ -e out ]; do sleep 0.01; done'], cwd: ${JSON.stringify(directory)}, deadlineMs: 600000 });
       await programs.run({ command: 'sh', args: ['-c', 'setsid sleep ${inside} & sleep ${inside}'], isolation: 'private-no-network',
         sandbox: { directory: ${JSON.stringify(directory)} }, deadlineMs: 600000 });`,
    );
    const service = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), script], { stdio: 'ignore' });
    try {
      await until(async () => (await alive(inside)).length >= 3 && (await alive(outside)).length === 1, { timeoutMs: 20_000, what: 'both programs run' });
    } finally {
      const exited = once(service, 'exit');
      service.kill('SIGKILL');
      await exited;
    }
    await until(async () => (await alive(inside)).length === 0, { timeoutMs: 10_000, what: 'the sandboxed programs to be gone' });
    const successor = spawnedPrograms(options);
    expect(await successor.sweep()).toBe(name ? (await groupsNamed(name)).length : 0);
    const files = localFiles({ directory: join(root, 'files') });
    onTestFinished(() => files.close());
    expect(await localWorkspaces({ directory: join(root, 'work'), files, owner: 'spindle', programs: successor }).sweep()).toBe(1);
    await until(async () => (await alive(outside)).length === 0, { timeoutMs: 10_000, what: 'what escaped to be gone' });
    expect(await readdir(join(root, 'work'))).toEqual([]);
    // The next build works, in the groups of the same name, and the last one leaves none.
    await mkdir(directory);
    const next = { command: 'echo', args: ['works'], isolation: 'private-no-network', sandbox: { directory }, deadlineMs: 10_000 } as const;
    expect((await successor.run(next)).stdout).toBe('works\n');
    await successor.close();
    if (name) expect(await groupsNamed(name)).toEqual([]);
  });
});

describe.runIf(isRoot)('a loop device that a sandboxed program leaves', () => {
  it.each(['.', '/var/tmp'])('goes with the workspace, its file in %s', async (place) => {
    const root = await testDirectory();
    const programs = spawnedPrograms({ hides: [root] });
    const files = localFiles({ directory: join(root, 'files') });
    onTestFinished(() => files.close());
    const workspace = await localWorkspaces({ directory: join(root, 'work'), files, owner: 'test', programs }).create('loops');
    const script = `truncate -s 4M ${place}/disk && losetup --find --show ${place}/disk`;
    const sandbox = { directory: workspace.path, loopDevices: true };
    const { stdout, stderr } = await programs.run({
      ...{ command: 'sh', args: ['-c', script], cwd: workspace.path, isolation: 'private-no-network', sandbox },
      deadlineMs: 10_000,
    });
    const backing = `/sys/block/${stdout.trim().replace('/dev/', '')}/loop/backing_file`;
    expect(await readFile(backing, 'utf8'), stderr).toMatch(/disk\n$/);
    await workspace.dispose();
    await expect(stat(backing)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await readdir(join(root, 'work'))).toEqual([]);
  });
});

describe.runIf(isRoot)('a program that prints without end', () => {
  it('1 GB of output is read in bounded memory, while this process goes on with its other work', async () => {
    const at = await setUp(undefined);
    onTestFinished(at.close);
    const before = process.memoryUsage().rss;
    let [lines, told] = [0, 0];
    let longestMs = 0;
    let lastAt = clock.now();
    let isOver = false;
    const beat = () => {
      longestMs = Math.max(longestMs, clock.now() - lastAt);
      lastAt = clock.now();
      if (!isOver) clock.after(10, beat);
    };
    beat();
    const result = await at.run('yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 1000000000', {
      onLine: (line) => {
        lines += 1;
        told += Number(/^-- (\d+) bytes in /.exec(line)?.[1] ?? 0);
      },
      outputBytesMax: 4096,
      deadlineMs: 120_000,
    });
    isOver = true;
    expect(result).toMatchObject({ exitCode: 0, truncated: true });
    // All of it is read; what comes too fast is told, not shown.
    expect(told).toBeGreaterThan(500_000_000);
    expect(lines).toBeGreaterThan(1000);
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * MiB);
    expect(longestMs).toBeLessThan(1000);
  }, 150_000);

  it('random bytes become lines that a terminal can show', async () => {
    const at = await setUp(undefined);
    onTestFinished(at.close);
    const lines: string[] = [];
    await at.run('head -c 2000000 /dev/urandom', { onLine: (line) => lines.push(line) });
    expect(lines.length).toBeGreaterThan(100);
    expect(lines.filter((line) => /[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/.test(line))).toEqual([]);
  });
});
