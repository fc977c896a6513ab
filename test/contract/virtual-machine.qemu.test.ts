/** The virtual machine port on real QEMU, with a medium that has nothing to start: enough to see that machines start, show themselves and leave nothing. */
import { access, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { qemuMachines } from '../../services/boot-test/qemu-machine.ts';
import type { MachineRequest, VirtualMachine } from '../../services/boot-test/virtual-machine.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { tempDirectory } from '../support/temp-directory.ts';

const present = async (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );
const canRun = process.getuid?.() === 0 && (await present('/usr/bin/qemu-system-x86_64'));

/** QEMUs whose command line names this text. */
async function running(text: string): Promise<number> {
  const lines = await Promise.all(
    (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  return lines.filter((line) => line.includes('qemu-system') && line.includes(text)).length;
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
      image,
      directory,
      memoryMiB: 64,
      deadlineMs: 25_000,
      signal: new AbortController().signal,
      onSerial: () => {},
    };
  });
  const closed = (machine: VirtualMachine) => machine.ended.then(() => 'turned off');

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

  it('two at once share a directory and get in nobody’s way', async () => {
    const both = await Promise.all([machines.start(request), machines.start({ ...request, firmware: 'uefi', memoryMiB: 256 })]);
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
    await expect(machines.start({ ...request, image: join(request.directory, 'none.iso') })).rejects.toMatchObject({
      code: 'BOOT_TEST_BROKEN',
      message: expect.stringContaining('none.iso'),
    });
    expect(await running(request.directory)).toBe(0);
  });
});
