/** The programs contract on real processes, and what only real processes can break. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ProgramRequest } from '../../shared/programs/programs.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { programsContract } from './programs.contract.ts';

const sh = (script: string) => ({ command: 'sh', args: ['-c', script] });
const tools = {
  speaks: sh('echo one; echo two; printf three; echo four >&2; exit 3'),
  echoes: { command: 'cat', args: [] },
  hangs: { command: 'sleep', args: ['600'] },
  floods: sh('head -c 3000000 /dev/zero | tr "\\0" x; echo; echo end'),
  prints: sh("printf '\\377\\000\\033[31mred\\007a\\rb\\r\\n'"),
};
programsContract('spawned', () => ({ programs: spawnedPrograms({ killAfterMs: 300 }), tools }));

const isRoot = process.getuid?.() === 0;
const isolations: readonly NonNullable<ProgramRequest['isolation']>[] = isRoot ? ['host', 'private', 'private-no-network'] : ['host'];

/** Processes that carry a marker on their command line, zombies left out. */
async function alive(marker: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const [commandLine, stat] = await Promise.all(['cmdline', 'stat'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '')));
    if (commandLine?.includes(marker) && !/\) [ZX] /.test(stat ?? '')) found.push(pid);
  }
  return found;
}
async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  const lastAt = Date.now() + 10_000;
  while (!(await holds())) {
    if (Date.now() > lastAt) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
let made = 0;
/** A time to sleep that no other process sleeps: what `alive` looks for. */
const uniqueSleep = () => `600.${process.pid}${made++}`;

describe.each(isolations)('spawned, isolation %s', (isolation) => {
  const programs = spawnedPrograms({ killAfterMs: 300 });

  it('passes exit statuses and deaths by signal through', async () => {
    expect(await programs.run({ ...sh('exit 0'), isolation, deadlineMs: 5000 })).toMatchObject({ exitCode: 0, signal: null });
    expect(await programs.run({ ...sh('exit 124'), isolation, deadlineMs: 5000 })).toMatchObject({ exitCode: 124, signal: null });
    expect(await programs.run({ ...sh('kill -KILL $$'), isolation, deadlineMs: 5000 })).toMatchObject({ exitCode: null, signal: 'SIGKILL' });
    expect(await programs.run({ ...sh('kill -SEGV $$'), isolation, deadlineMs: 5000 })).toMatchObject({ exitCode: null, signal: 'SIGSEGV' });
  });

  it('of a hundred megabytes of lines the first and the last are read, and they slow nothing', async () => {
    const lines: string[] = [];
    let turns = 0;
    const turning = setInterval(() => {
      turns += 1;
    }, 20);
    const request = { ...sh('echo the first; yes | head -c 100000000; echo the last'), isolation, deadlineMs: 60_000 };
    const { durationMs } = await programs.run({ ...request, onLine: (line) => lines.push(line) });
    clearInterval(turning);
    expect(lines[0]).toBe('the first');
    expect(lines.at(-1)).toBe('the last');
    const missing = lines.flatMap((line) => /^-- \d+ bytes in (\d+) lines came too fast/.exec(line)?.[1] ?? []).map(Number);
    expect(lines.length - missing.length + missing.reduce((sum, count) => sum + count, 0)).toBe(50_000_002);
    expect(lines.length).toBeLessThan(150_000 + 15 * durationMs);
    // Others had their turns: at the least one in half a second.
    expect(turns).toBeGreaterThan(durationMs / 500);
  });

  it('a tool without a handler ends at SIGTERM, long before SIGKILL', async () => {
    const running = await spawnedPrograms({ killAfterMs: 20_000 }).start({ ...tools.hangs, isolation, deadlineMs: 20_000 });
    const startedAt = Date.now();
    await running.stop();
    expect(Date.now() - startedAt).toBeLessThan(3000);
  });

  it('lets a tool end in its own way on SIGTERM', async () => {
    let isReady = () => {};
    const ready = new Promise<void>((resolve) => {
      isReady = resolve;
    });
    const running = await spawnedPrograms({ killAfterMs: 5000 }).start({
      ...sh('trap "echo bye; exit 7" TERM; echo ready; while :; do sleep 0.02; done'),
      isolation,
      deadlineMs: 20_000,
      onLine: (line) => line === 'ready' && isReady(),
    });
    await ready;
    const result = await running.stop();
    expect(result).toMatchObject({ exitCode: 7, signal: null });
    expect(result.stdout).toContain('bye');
  });

  it('at the deadline the whole tree is gone, SIGTERM ignored or not', async () => {
    const time = uniqueSleep();
    const script = `trap "" TERM; sleep ${time} & (sleep ${time}; :) & sh -c 'trap "" TERM; sleep ${time}; :' & sleep ${time}; :`;
    await expect(programs.run({ ...sh(script), isolation, deadlineMs: 300 })).rejects.toMatchObject({ code: 'TOOL_TIMED_OUT' });
    expect(await alive(time)).toEqual([]);
  });

  it('what a tool leaves in its group when it ends goes too', async () => {
    const time = uniqueSleep();
    const result = await programs.run({ ...sh(`sleep ${time} >/dev/null 2>&1 & exit 5`), isolation, deadlineMs: 5000 });
    expect(result.exitCode).toBe(5);
    expect(await alive(time)).toEqual([]);
  });

  it('shows the tool a bare environment', async () => {
    const result = await programs.run({ command: 'env', args: [], env: { HOME: '/nowhere', PATH: '/evil' }, isolation, deadlineMs: 5000 });
    expect(result.stdout.trim().split('\n').sort()).toEqual(['HOME=/nowhere', 'LC_ALL=C.UTF-8', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin']);
  });
});

describe.each(isolations.filter((isolation) => isolation !== 'host'))('spawned in namespaces, isolation %s', (isolation) => {
  const programs = spawnedPrograms({ killAfterMs: 300 });

  it('what left the group and the session goes too', async () => {
    const time = uniqueSleep();
    const script = `setsid sh -c 'trap "" TERM; sleep ${time}; :' >/dev/null 2>&1 & setsid -f sleep ${time} >/dev/null 2>&1; sleep 0.05; exit 0`;
    expect(await programs.run({ ...sh(script), isolation, deadlineMs: 5000 })).toMatchObject({ exitCode: 0 });
    expect(await alive(time)).toEqual([]);
    await expect(programs.run({ ...sh(`setsid -f sleep ${time}; sleep ${time}`), isolation, deadlineMs: 300 })).rejects.toMatchObject({
      code: 'TOOL_TIMED_OUT',
    });
    expect(await alive(time)).toEqual([]);
  });

  it('is ended at once also while its guards still start', async () => {
    const slow: number[] = [];
    // In one of ten runs SIGTERM came before anybody in the namespace heard it, and the run took all its time to SIGKILL.
    for (let delayMs = 0; delayMs < 40; delayMs += 1) {
      const running = await spawnedPrograms({ killAfterMs: 20_000 }).start({ command: 'sleep', args: [uniqueSleep()], isolation, deadlineMs: 20_000 });
      await new Promise((resolve) => setTimeout(resolve, delayMs % 8));
      const startedAt = Date.now();
      await running.stop();
      if (Date.now() - startedAt > 5000) slow.push(delayMs);
    }
    expect(slow).toEqual([]);
  });

  it('mounts and names end with the run', async () => {
    const before = await readFile('/proc/self/mountinfo', 'utf8');
    const result = await programs.run({ ...sh('mount -t tmpfs none /mnt && grep -c " /mnt " /proc/self/mountinfo'), isolation, deadlineMs: 5000 });
    expect(result).toMatchObject({ exitCode: 0, stdout: '1\n' });
    expect(await readFile('/proc/self/mountinfo', 'utf8')).toBe(before);
  });
});

describe.runIf(isRoot).each(isolations)('spawned as another user, isolation %s', (isolation) => {
  const programs = spawnedPrograms({ killAfterMs: 300 });
  const user = { uid: 64_123, gid: 64_124, groups: [64_125] };

  it('has that user and its groups, no capability, and no way to get one', async () => {
    const { stdout } = await programs.run({ command: 'cat', args: ['/proc/self/status'], isolation, user, deadlineMs: 5000 });
    const status = Object.fromEntries(stdout.split('\n').map((line) => line.split(/:\s*/)));
    expect(status).toMatchObject({ Uid: Array(4).fill(64_123).join('\t'), Gid: Array(4).fill(64_124).join('\t'), NoNewPrivs: '1' });
    expect(status.Groups?.trim()).toBe('64125');
    expect(['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((name) => status[name])).toEqual(Array(5).fill('0000000000000000'));
    const { groups, ...alone } = user;
    expect((await programs.run({ command: 'id', args: ['-G'], isolation, user: alone, deadlineMs: 5000 })).stdout).toBe('64124\n');
  });

  it('reaches its working directory below folders that are closed to it, and nothing else of them', async () => {
    const closed = await mkdtemp(join(tmpdir(), 'spindle-programs-user-'));
    try {
      const own = join(closed, 'own');
      await mkdir(own);
      await chown(own, user.uid, user.gid);
      await writeFile(join(closed, 'secret'), 'secret');
      const result = await programs.run({ ...sh('echo mine > file; cat file; cat ../secret'), cwd: own, isolation, user, deadlineMs: 5000 });
      expect(result).toMatchObject({ exitCode: 1, stdout: 'mine\n', stderr: expect.stringContaining('Permission denied') });
      expect((await stat(join(own, 'file'))).uid).toBe(user.uid);
    } finally {
      await rm(closed, { recursive: true, force: true });
    }
  });

  it('is ended as root’s tools are', async () => {
    const running = await spawnedPrograms({ killAfterMs: 20_000 }).start({ ...tools.hangs, isolation, user, deadlineMs: 20_000 });
    const startedAt = Date.now();
    await running.stop();
    expect(Date.now() - startedAt).toBeLessThan(3000);
    const time = uniqueSleep();
    await expect(programs.run({ ...sh(`trap "" TERM; sleep ${time}; :`), isolation, user, deadlineMs: 200 })).rejects.toMatchObject({ code: 'TOOL_TIMED_OUT' });
    expect(await alive(time)).toEqual([]);
  });
});

describe.runIf(isRoot)('spawned without network', () => {
  const isolation = 'private-no-network';
  const programs = spawnedPrograms();

  it('has no network but a dead loopback', async () => {
    const result = await programs.run({ command: 'cat', args: ['/proc/net/dev'], isolation, deadlineMs: 5000 });
    const names = [...result.stdout.matchAll(/^\s*(\w+):/gm)].map(([, device]) => device);
    expect(names).toContain('lo');
    expect(names).not.toContain('eth0');
    const route = await programs.run({ command: 'cat', args: ['/proc/net/route'], isolation, deadlineMs: 5000 });
    expect(route.stdout.trim().split('\n')).toHaveLength(1);
  });
});

describe('spawned', () => {
  let directory = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'spindle-programs-'));
  });
  afterAll(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  it('a pipe held open by a process outside the group does not hold the run', async () => {
    const time = uniqueSleep();
    const result = await spawnedPrograms({ killAfterMs: 300 }).run({ ...sh(`setsid sleep ${time} & sleep 0.1; echo done`), deadlineMs: 20_000 });
    expect(result).toMatchObject({ exitCode: 0, stdout: 'done\n' });
    for (const pid of await alive(time)) process.kill(Number(pid), 'SIGKILL');
  });

  it('reads 400 MB of output in bounded memory', async () => {
    const before = process.memoryUsage().rss;
    let lines = 0;
    const result = await spawnedPrograms().run({ ...sh('head -c 400000000 /dev/zero'), deadlineMs: 25_000, onLine: () => (lines += 1) });
    expect(result.truncated).toBe(true);
    expect(lines).toBe(1);
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
  });

  it('an error in the receiver of lines ends the tool and is the error of the run', async () => {
    const run = spawnedPrograms({ killAfterMs: 300 }).run({
      ...sh('echo one; sleep 600'),
      deadlineMs: 20_000,
      onLine: () => {
        throw new Error('the receiver broke');
      },
    });
    await expect(run).rejects.toThrow('the receiver broke');
  });

  it('refuses a directory that is not there', async () => {
    await expect(spawnedPrograms().run({ command: 'true', args: [], cwd: join(directory, 'none'), deadlineMs: 1000 })).rejects.toMatchObject({
      code: 'FILE_MISSING',
    });
  });

  it('finds tools on the extra path, after the system itself', async () => {
    await writeFile(join(directory, 'spindle-probe'), '#!/bin/sh\necho found\n', { mode: 0o755 });
    await writeFile(join(directory, 'spindle-no-program'), 'not executable');
    const programs = spawnedPrograms({ extraPath: directory });
    expect((await programs.run({ command: 'spindle-probe', args: [], deadlineMs: 5000 })).stdout).toBe('found\n');
    await expect(programs.run({ command: 'spindle-no-program', args: [], deadlineMs: 5000 })).rejects.toMatchObject({ code: 'TOOL_MISSING' });
  });

  it.each([
    ...isolations.map((isolation) => ({ isolation, user: undefined })),
    ...(isRoot ? isolations.map((isolation) => ({ isolation, user: { uid: 64_123, gid: 64_124 } })) : []),
  ])('no tool outlives a service that is killed (%o)', async ({ isolation, user }) => {
    const time = uniqueSleep();
    const script = join(directory, `service-${isolation}-${user ? 'user' : 'root'}.mts`);
    const module = new URL('../../shared/programs/spawned.ts', import.meta.url).href;
    const inner = isolation === 'host' ? `{ command: 'sleep', args: ['${time}'] }` : `{ command: 'sh', args: ['-c', 'setsid sleep ${time} & sleep ${time}'] }`;
    await writeFile(
      script,
      `const { spawnedPrograms } = await import(${JSON.stringify(module)});
       await spawnedPrograms().run({ ...${inner}, ...${JSON.stringify({ isolation, user })}, deadlineMs: 600000 });`,
    );
    const service = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), script], { stdio: 'ignore' });
    try {
      await until(async () => (await alive(time)).length >= (isolation === 'host' ? 1 : 3), 'the tool runs');
    } finally {
      const exited = once(service, 'exit');
      service.kill('SIGKILL');
      await exited;
    }
    await until(async () => (await alive(time)).length === 0, 'the tool is gone');
  });
});
