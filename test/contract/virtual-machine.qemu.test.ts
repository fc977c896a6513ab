/** The virtual machine port on real QEMU, with a medium that has nothing to start: enough to see that machines start, show themselves and leave nothing. */
import { access, chown, mkdir, readdir, readFile, readlink, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { qemuMachines } from '../../services/boot-test/qemu-machine.ts';
import type { MachineRequest, VirtualMachine } from '../../services/boot-test/virtual-machine.ts';
import { systemClock } from '../../shared/clock/system.ts';
import type { ProgramRequest } from '../../shared/programs/programs.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { smallDisk } from '../support/small-disk.ts';
import { tempDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';

const present = async (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );
const canRun = process.getuid?.() === 0 && (await present('/usr/bin/qemu-system-x86_64'));

/** A boot sector that writes 32 KiB of the BIOS's own code to the disk it came from, again and again, each time further behind. */
function writingDisk(): Uint8Array {
  const sector = Buffer.alloc(512);
  // xor ax, ax; mov ds, ax; mov si, packet; write: mov ax, 0x4300; mov dl, 0x80; int 0x13; add word [packet + 8], 64; jmp write
  sector.set([0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x20, 0x7c, 0xb8, 0x00, 0x43, 0xb2, 0x80, 0xcd, 0x13, 0x83, 0x06, 0x28, 0x7c, 0x40, 0xeb, 0xf2]);
  // The packet: 64 sectors from F000:0000, to sector 64 at first.
  sector.set([0x10, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0xf0, 0x40], 0x20);
  sector.set([0x55, 0xaa], 510);
  return sector;
}

/** QEMUs that run below this directory. */
async function running(directory: string): Promise<number> {
  const found = await Promise.all(
    (await readdir('/proc'))
      .filter((name) => /^\d+$/.test(name))
      .map(async (pid) => {
        const [line, cwd] = await Promise.all([readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''), readlink(`/proc/${pid}/cwd`).catch(() => '')]);
        return line.includes('qemu-system') && cwd.startsWith(directory);
      }),
  );
  return found.filter(Boolean).length;
}

describe.skipIf(!canRun)('virtual machines on QEMU (needs root and qemu-system-x86_64)', () => {
  const clock = systemClock();
  const machines = qemuMachines({ programs: spawnedPrograms({ clock, killAfterMs: 1000 }), clock });
  let request: MachineRequest;
  beforeEach(async (context) => {
    const temp = await tempDirectory();
    context.onTestFinished(() => temp.remove());
    // Deeper than a socket's path may be long.
    const directory = join(temp.path, 'a-state-directory-that-lies-deep'.repeat(4), 'work');
    await mkdir(directory, { recursive: true });
    const image = join(directory, 'image, with a comma.iso');
    await writeFile(image, new Uint8Array(64 * 1024));
    request = {
      arch: 'x86_64',
      firmware: 'bios',
      name: 'vm1',
      medium: image,
      directory,
      memoryMiB: 64,
      deadlineMs: 25_000,
      signal: new AbortController().signal,
      onSerial: () => {},
    };
  });
  const closed = (machine: VirtualMachine) => machine.ended.then(() => 'turned off');

  it('has bounds; a machine that goes beyond them is broken, and nobody asked for too much', async () => {
    const programs = spawnedPrograms({ clock, killAfterMs: 1000 });
    const asked: ProgramRequest[] = [];
    const narrow = {
      ...programs,
      start: (given: ProgramRequest) => {
        asked.push(given);
        return programs.start({ ...given, bounds: { ...given.bounds, memoryBytesMax: 8 * 1024 * 1024 } });
      },
    };
    // On a busy host QEMU may be ended before it has said that it runs.
    const run = async () => (await qemuMachines({ programs: narrow, clock }).start(request)).ended;
    await expect(run()).rejects.toMatchObject({ code: 'BOOT_TEST_BROKEN', message: expect.stringContaining('more than 8 MiB of memory') });
    expect(asked.at(-1)?.bounds).toEqual({ memoryBytesMax: (64 + 1536) * 1024 * 1024, processesMax: 256 });
    expect(await running(request.directory)).toBe(0);
  });

  it('a machine that has no room to write on the host is stopped, and that is told by its name at once', async ({ skip }) => {
    const small = await smallDisk('4m', skip);
    const directory = join(small.path, 'work');
    await mkdir(join(directory, 'vm1'), { recursive: true });
    await writeFile(join(directory, 'vm1', 'disk.img'), writingDisk());
    await truncate(join(directory, 'vm1', 'disk.img'), 64 * 1024 * 1024);
    // As the machine that installed to this disk would have left it.
    for (const path of ['vm1', 'vm1/disk.img']) await chown(join(directory, path), 60_750, 60_750);
    const { medium: _, ...rest } = request;
    const machine = await machines.start({ ...rest, medium: undefined, directory, diskBytes: 64 * 1024 * 1024 });
    await expect(machine.ended).rejects.toMatchObject({ code: 'DISK_FULL', message: expect.stringContaining('no space is left for its disk') });
    await machine.stop();
    expect(await running(directory)).toBe(0);
  });

  it('shows its screen, and leaves nothing when it is stopped', async () => {
    const machine = await machines.start(request);
    expect(['kvm', 'tcg']).toContain(machine.acceleration);
    const picture = await machine.screenshot();
    expect([...(picture ?? []).slice(0, 4)]).toEqual([0x89, 0x50, 0x4e, 0x47]);
    expect(await running(request.directory)).toBeGreaterThan(0);
    await Promise.all([machine.stop(), machine.stop()]);
    expect(await closed(machine)).toBe('turned off');
    expect(await machine.screenshot()).toBeUndefined();
    expect(await running(request.directory)).toBe(0);
  });

  it('runs as a user of its own with no rights, without network, and without new programs', async () => {
    const machine = await machines.start({ ...request, diskBytes: 2 ** 20 });
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const found: Record<string, string>[] = [];
    for (const pid of pids) {
      const [name, status] = await Promise.all(['comm', 'status'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')));
      const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '');
      if (!name?.startsWith('qemu-system') || cwd !== join(request.directory, request.name)) continue;
      found.push(Object.fromEntries((status ?? '').split('\n').map((line) => line.split(/:\s*/) as [string, string])));
    }
    expect(found).toHaveLength(1);
    const [uid, ...others] = (found[0]?.['Uid'] ?? '').split('\t').map(Number);
    expect(uid).toBeGreaterThanOrEqual(60_700);
    expect(others).toEqual([uid, uid, uid]);
    expect(found[0]).toMatchObject({ CapEff: '0000000000000000', CapPrm: '0000000000000000', CapBnd: '0000000000000000', NoNewPrivs: '1', Seccomp: '2' });
    await machine.stop();
    expect((await stat(join(request.directory, request.name, 'disk.img'))).uid).toBe(uid);
    // Started again it is the same user's, and has the same disk.
    const again = await machines.start({ ...request, medium: undefined, diskBytes: 2 ** 20 });
    expect(await again.screenshot()).toBeDefined();
    await again.stop();
  });

  it('shows what a firmware with nothing to start writes to the screen, which then changes no more', { timeout: 30_000 }, async () => {
    const machine = await machines.start(request);
    await until(async () => /No bootable device|not a bootable disk/.test((await machine.screenText()) ?? ''), { timeoutMs: 20_000, what: 'the complaint' });
    expect(await machine.screenshot({ onlyChanged: true })).toBeDefined();
    expect(await machine.screenshot({ onlyChanged: true })).toBeUndefined();
    await machine.stop();
  });

  it('two at once share a directory and get in nobody’s way', async () => {
    const both = await Promise.all([machines.start(request), machines.start({ ...request, name: 'vm2', firmware: 'uefi', memoryMiB: 256 })]);
    expect((await Promise.all(both.map((machine) => machine.screenshot()))).every((picture) => picture !== undefined)).toBe(true);
    await Promise.all(both.map((machine) => machine.stop()));
    expect(await running(request.directory)).toBe(0);
  });

  it('is gone when its signal fires or its time is over', async () => {
    const controller = new AbortController();
    const canceled = await machines.start({ ...request, signal: controller.signal });
    controller.abort(new Error('canceled'));
    await expect(canceled.ended).rejects.toThrow('canceled');
    const late = await machines.start({ ...request, deadlineMs: 1500 });
    await expect(late.ended).rejects.toMatchObject({ code: 'TOOL_TIMED_OUT' });
    expect(await running(request.directory)).toBe(0);
  });

  it('says what it cannot start', async () => {
    await expect(machines.start({ ...request, arch: 'aarch64' })).rejects.toMatchObject({ code: 'TOOL_MISSING' });
    await expect(machines.start({ ...request, medium: join(request.directory, 'none.iso') })).rejects.toMatchObject({
      code: 'BOOT_TEST_BROKEN',
      message: expect.stringContaining('none.iso'),
    });
    expect(await running(request.directory)).toBe(0);
  });
});
