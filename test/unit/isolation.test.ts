/** Isolation's pure parts: what /proc says of processes and control groups on hosts of other kinds, bubblewrap's command lines, and the page that describes them. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { boundingSet, namespaces, type SandboxFacts, sandboxArguments, sandboxCapabilities } from '../../shared/programs/bubblewrap.ts';
import { controlGroupPlaces } from '../../shared/programs/control-group-places.ts';
import { diskShort, exceeded } from '../../shared/programs/exceeded.ts';
import { inSandbox } from '../../shared/programs/in-sandbox.ts';
import { descendants, effectiveCapabilities, hardLimit, mountPoints, numberNamed, parseStat } from '../../shared/programs/proc-files.ts';
import type { ProgramRequest, Programs } from '../../shared/programs/programs.ts';

describe('what /proc says', () => {
  const stat = (pid: number, parent: number, state = 'S', command = 'x') =>
    `${pid} (${command}) ${state} ${parent} ${pid} ${pid} 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 ${1000 + pid} 1 2`;

  test('a process whose command holds brackets and blanks', () => {
    expect(parseStat(stat(12, 3, 'R', 'a) R 1 (b'))).toEqual({ pid: 12, state: 'R', parent: 3, group: 12, terminal: 0, startedAt: '1012' });
    expect(parseStat('')).toBeUndefined();
    expect(parseStat('12 (cut')).toBeUndefined();
  });

  test('descendants, zombies left out but not what they started', () => {
    const all = [stat(1, 0), stat(5, 1), stat(7, 5, 'Z'), stat(9, 7), stat(6, 1), stat(4, 5)].flatMap((text) => parseStat(text) ?? []);
    expect(descendants(all, 5).map(({ pid }) => pid)).toEqual([5, 4, 9]);
    expect(descendants(all, 99)).toEqual([]);
  });

  test('numbers behind names, limits, capabilities and mount points', () => {
    expect(numberNamed('VmRSS:\t  12 kB\nRssAnon:\t 7 kB\n', 'RssAnon')).toBe(7);
    expect(numberNamed('low 0\noom 4\noom_kill 3\n', 'oom_kill')).toBe(3);
    expect(numberNamed('oom_kill_disable 0\nunder_oom 0\noom_kill 2\n', 'oom_kill')).toBe(2);
    expect(numberNamed('oom 1', 'oom_kill')).toBeUndefined();
    const limits =
      'Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\nMax file size             unlimited            unlimited            bytes\n';
    expect(hardLimit(limits, 'Max open files')).toBe(524_288);
    expect(hardLimit(limits, 'Max file size')).toBeUndefined();
    expect([...effectiveCapabilities('CapPrm:\t000001ffffffffff\nCapEff:\t0000000008200001\n')]).toEqual(['CHOWN', 'SYS_ADMIN', 'MKNOD']);
    expect(effectiveCapabilities('CapEff:\t000001ffffffffff\n').size).toBe(41);
    expect(mountPoints('36 35 98:0 / / rw - ext4 a rw\n37 36 0:5 / /a\\040b\\134c rw - tmpfs t rw\n')).toEqual(['/', '/a b\\c']);
  });
});

describe('places for control groups', () => {
  const version1 = (controllers: string, root = '/') => `30 25 0:26 ${root} /sys/fs/cgroup/${controllers} rw,relatime - cgroup cgroup rw,${controllers}`;
  const version2 = (mount = '/sys/fs/cgroup', root = '/') => `35 24 0:30 ${root} ${mount} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate`;

  test('version 2 alone, as a service manager sets it up', () => {
    expect(controlGroupPlaces(version2(), '0::/system.slice/spindle.service\n')).toEqual([
      { version: 2, controllers: ['memory', 'pids'], own: '/sys/fs/cgroup/system.slice/spindle.service', mount: '/sys/fs/cgroup' },
    ]);
  });

  test('version 1 with several controllers in one hierarchy, and others that are not ours', () => {
    const mountinfo = [version1('cpu,cpuacct'), version1('memory,pids'), version1('net_cls')].join('\n');
    expect(controlGroupPlaces(mountinfo, '4:memory,pids:/user\n3:cpu,cpuacct:/\n2:net_cls:/\n')).toEqual([
      { version: 1, controllers: ['memory', 'pids'], own: '/sys/fs/cgroup/memory,pids/user', mount: '/sys/fs/cgroup/memory,pids' },
    ]);
  });

  test('both at once', () => {
    const places = controlGroupPlaces([version1('memory'), version2('/sys/fs/cgroup/unified')].join('\n'), '2:memory:/a\n0::/b\n');
    expect(places.map(({ version, own }) => [version, own])).toEqual([
      [1, '/sys/fs/cgroup/memory/a'],
      [2, '/sys/fs/cgroup/unified/b'],
    ]);
  });

  test('in a container: the mount begins at its own group, or the namespace hides what is above', () => {
    expect(controlGroupPlaces(version1('memory', '/docker/abc'), '2:memory:/docker/abc\n')[0]?.own).toBe('/sys/fs/cgroup/memory');
    expect(controlGroupPlaces(version1('memory', '/docker/abc'), '2:memory:/docker/abc/inner\n')[0]?.own).toBe('/sys/fs/cgroup/memory/inner');
    expect(controlGroupPlaces(version2(), '0::/\n')[0]?.own).toBe('/sys/fs/cgroup');
    expect(controlGroupPlaces(version2(), '0::/../other\n')[0]?.own).toBe('/sys/fs/cgroup');
  });

  test('none', () => {
    expect(controlGroupPlaces('36 35 98:0 / / rw - ext4 a rw\n', '')).toEqual([]);
    expect(controlGroupPlaces(version1('memory'), '')).toEqual([]);
  });
});

describe('bubblewrap', () => {
  const facts: SandboxFacts = {
    capabilities: new Set(['CHOWN', 'SYS_ADMIN', 'SYS_MODULE', 'SETUID', 'SETGID', 'SETPCAP', 'NET_ADMIN']),
    hides: ['/srv/state'],
    readOnly: ['/srv/state/trees/1'],
    scratch: [{ from: '/srv/state/work/b/.private/tmp', to: '/tmp' }],
    devices: ['/dev/loop0'],
    runtimeFiles: ['/run/resolve/resolv.conf'],
  };
  const order = (args: readonly string[], ...parts: readonly string[]) => parts.map((part) => args.join(' ').indexOf(part));

  test('what is hidden goes before what is shown again, and is closed last', () => {
    const args = sandboxArguments({ directory: '/srv/state/work/b' }, facts, false);
    const places = order(
      args,
      '--ro-bind / /',
      '--dev /dev',
      '--dev-bind /dev/loop0 /dev/loop0',
      '--tmpfs /run',
      '--ro-bind-try /run/resolve/resolv.conf',
      '--bind /srv/state/work/b/.private/tmp /tmp',
      '--tmpfs /srv/state',
      '--ro-bind /srv/state/trees/1 /srv/state/trees/1',
      '--dev-bind /srv/state/work/b /srv/state/work/b',
      '--remount-ro /srv/state',
    );
    expect(places).not.toContain(-1);
    expect(places).toEqual(places.toSorted((a, b) => a - b));
  });

  test('of the capabilities only those that are listed and that the service has; for a user only what it takes to become one', () => {
    const kept = (asUser: boolean, networkAdmin = false) =>
      sandboxArguments({ directory: '/b', networkAdmin }, facts, asUser).filter((_, index, all) => all[index - 1] === '--cap-add');
    expect(kept(false).sort()).toEqual(['CAP_CHOWN', 'CAP_SETGID', 'CAP_SETUID', 'CAP_SYS_ADMIN']);
    expect(kept(false, true)).toContain('CAP_NET_ADMIN');
    expect(kept(true).sort()).toEqual(['CAP_SETGID', 'CAP_SETPCAP', 'CAP_SETUID']);
    expect(boundingSet(facts).split(',').sort()).toEqual(['+chown', '+net_admin', '+setgid', '+setpcap', '+setuid', '+sys_admin', '-all']);
  });

  test('without network a namespace more', () => {
    expect(namespaces(false)).toContain('--unshare-net');
    expect(namespaces(true)).not.toContain('--unshare-net');
  });

  test('docs/isolation.md names every capability that stays, and no other', () => {
    const page = readFileSync(new URL('../../docs/isolation.md', import.meta.url), 'utf8');
    const table = page.slice(page.indexOf('| Capability | For |'), page.indexOf('There is no filter'));
    expect([...table.matchAll(/`([A-Z_]+)`/g)].map(([, name]) => name).sort()).toEqual(Object.keys(sandboxCapabilities).sort());
  });
});

describe('words and wrapping', () => {
  test('beyond a bound the requester reads which, and what to ask for; a full disk is the operator’s', () => {
    expect(exceeded('kiwi-ng', 'memory', 1.5 * 2 ** 30)).toMatchObject({
      code: 'RESOURCE_LIMIT',
      message:
        'kiwi-ng used more than 1.5 GiB of memory, which is the bound for one build here, and was ended; ask for less, or have the operator raise SPINDLE_BUILD_MEMORY_MAX',
    });
    expect(exceeded('dnf', 'processes', 4096).message).toContain('more than 4096 processes and threads');
    expect(exceeded('dd', 'disk', 64 * 2 ** 30).message).toContain('wrote more than 64 GiB');
    expect(diskShort('dd', 2 ** 30)).toMatchObject({ code: 'DISK_FULL', message: expect.stringContaining('less than 1 GiB left') });
  });

  test('what runs on the host is let be, and a sandbox of its own shows also what is shown to all', async () => {
    const seen: ProgramRequest[] = [];
    const programs: Programs = {
      has: async () => true,
      run: async (request) => {
        seen.push(request);
        return { exitCode: 0, signal: null, stdout: '', stderr: '', truncated: false, durationMs: 0 };
      },
      start: async () => {
        throw new Error('not started here');
      },
    };
    const inside = inSandbox(programs, { directory: '/b', readOnly: ['/trees/1'] });
    const request = { command: 'x', args: [], deadlineMs: 1 };
    await inside.run(request);
    await inside.run({ ...request, isolation: 'private' });
    await inside.run({ ...request, isolation: 'private', sandbox: { directory: '/b', readOnly: ['/iso'], loopDevices: true } });
    expect(seen.map(({ sandbox }) => sandbox)).toEqual([
      undefined,
      { directory: '/b', readOnly: ['/trees/1'] },
      { directory: '/b', readOnly: ['/trees/1', '/iso'], loopDevices: true },
    ]);
  });
});
