/** The boot-test stage on simulated machines and a virtual clock. */
import { describe, expect, it } from 'vitest';
import { bootTest } from '../../services/boot-test/service.ts';
import { type SimulatedBoot, simulatedInstallation, simulatedMachines, simulatedReport } from '../../services/boot-test/simulated-machine.ts';
import type { MachineRequest, VirtualMachines } from '../../services/boot-test/virtual-machine.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import { virtualClock } from '../../shared/clock/virtual.ts';
import { readContent, readContentText, storeContent } from '../../shared/files/content.ts';
import type { EventOf } from '../../shared/stage/stage.ts';
import { stageWorld } from '../support/stage-context.ts';

const png = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 1, 2, 3]);
const booting = (firmware = 'bios'): SimulatedBoot => ({
  serial: simulatedReport(['bash-5.2-1.x86_64', 'hello-1.1-1.noarch'], firmware === 'bios' ? 9000 : 12_000),
  screenshot: png,
});

interface Trial {
  readonly imageType?: 'boot' | 'dvd' | 'live';
  readonly play?: (request: MachineRequest) => SimulatedBoot;
  readonly request?: object;
  readonly attempt?: number;
  /** Cancels after so long. */
  readonly cancelAfterMs?: number;
}

async function test({ play = ({ firmware }) => booting(firmware), imageType = 'live', request = {}, attempt = 1, cancelAfterMs }: Trial = {}) {
  const clock = virtualClock({ seed: 1, startMs: 1_700_000_000_000 });
  const controller = new AbortController();
  const world = await stageWorld({ request, clock, signal: controller.signal });
  const started: MachineRequest[] = [];
  const stopped: string[] = [];
  const simulated = simulatedMachines((machine) => {
    started.push(machine);
    return play(machine);
  }, clock);
  const virtualMachines: VirtualMachines = {
    start: async (machine) => {
      const running = await simulated.start(machine);
      return {
        ...running,
        stop: async () => {
          await running.stop();
          stopped.push(machine.firmware);
        },
      };
    },
  };
  const stage = bootTest({ virtualMachines });
  const image = { name: 'X.iso', mediaType: 'application/x-iso9660-image', ...(await storeContent(world.files, 'the image')) };
  const manifest = { name: 'manifest.json', mediaType: 'application/json', ...(await storeContent(world.files, '{}')) };
  const event = {
    data: { arch: 'x86_64', imageType, image: 'X.iso', requested: ['hello-1.1-1.noarch'], artifacts: [image, manifest] },
  } as EventOf<(typeof stage)['consumes']>;
  if (cancelAfterMs !== undefined) clock.after(cancelAfterMs, () => controller.abort(new Error('canceled')));
  const startedAt = clock.now();
  let settled:
    | { readonly error: unknown }
    | { readonly data: Extract<Awaited<ReturnType<typeof stage.handle>>, { type: 'image.boot-tested' }>['data'] }
    | undefined;
  stage.handle(event, { ...world.context, attempt }).then(
    (emitted) => {
      if (!('type' in emitted) || emitted.type !== 'image.boot-tested') throw new Error('not tested');
      settled = { data: emitted.data };
    },
    (error: unknown) => {
      settled = { error };
    },
  );
  const end = await clock.run(() => settled !== undefined, { timersMax: 1000 });
  if (!settled) throw new Error(`the stage did not end: ${end}`);
  if ('error' in settled) throw Object.assign(new Error('rejected'), { cause: settled.error, started, stopped });
  const artifact = (name: string) => settled && 'data' in settled && settled.data.artifacts.find((each) => each.name === name);
  return { data: settled.data, artifact, world, started, stopped, durationMs: clock.now() - startedAt };
}

describe('boot-test', () => {
  it('starts the image by each firmware, side by side, and ends the machines as soon as all is said', async () => {
    const { data, artifact, world, started, stopped, durationMs } = await test();
    expect(data).toMatchObject({ image: 'X.iso', verdict: 'booted' });
    expect(data.reason).toMatch(/^bios: Sample Linux started .* with hello-1\.1-1\.noarch; uefi: /);
    expect(data.artifacts.map(({ name }) => name)).toEqual(['X.iso', 'manifest.json', 'boot-test.log', 'boot-test.png', 'boot-test-uefi-1.png']);
    expect(started.map(({ firmware }) => firmware)).toEqual(['bios', 'uefi']);
    expect(started.map(({ medium = '' }) => new TextDecoder().decode(world.workspaces.readAt(medium)))).toEqual(['the image', 'the image']);
    expect([...new Set(stopped)].sort()).toEqual(['bios', 'uefi']);
    expect(durationMs).toBe(12_000);
    const log = artifact('boot-test.log');
    if (!log) throw new Error('no log');
    const text = await readContentText(world.files, log);
    expect(text).toContain('== bios, simulated, 9.0 s: booted: ');
    expect(text).toContain('\nSPINDLE-BOOT rpm hello-1.1-1.noarch\n');
    expect(text).toContain('== uefi, simulated, 12.0 s: booted: ');
    const picture = artifact('boot-test.png');
    if (!picture) throw new Error('no picture');
    expect([...(await readContent(world.files, picture))]).toEqual([...png]);
  });

  it('tests nothing where nobody asked for it', async () => {
    const { data, started } = await test({ request: { bootTest: false } });
    expect(data).toMatchObject({ verdict: null, reason: 'not asked for' });
    expect(data.artifacts.map(({ name }) => name)).toEqual(['X.iso', 'manifest.json']);
    expect(started).toEqual([]);
  });

  it('tries only the firmware that was asked for', async () => {
    const { started } = await test({ request: { firmware: ['uefi'] } });
    expect(started.map(({ firmware }) => firmware)).toEqual(['uefi']);
  });

  it('gives up on a silent machine at its time', async () => {
    const { data, durationMs, artifact } = await test({ play: () => ({ serial: [] }), request: { firmware: ['bios'] } });
    expect(data).toMatchObject({ verdict: 'no-verdict', reason: expect.stringContaining('silent when neither console nor screen had changed for 120 s') });
    expect(durationMs).toBe(120_000);
    expect(artifact('boot-test.log')).toBeTruthy();
    expect(artifact('boot-test.png')).toBeUndefined();
  });

  it('one firmware that fails fails the image, and its screen is the picture', async () => {
    const other = new Uint8Array([0x89, 0x50, 9]);
    const { data, artifact } = await test({
      play: ({ firmware }) =>
        firmware === 'bios' ? booting() : { serial: [{ afterMs: 5000, text: 'Kernel panic - not syncing: no init\r\n' }], screenshot: other },
    });
    expect(data).toMatchObject({ verdict: 'failed', reason: expect.stringContaining('uefi: the system did not start: Kernel panic') });
    expect(artifact('boot-test.png')).toMatchObject({ size: 3 });
  });

  it('waits a little after a login prompt, in case a report follows', async () => {
    const prompt = { afterMs: 1000, text: 'localhost login: ' };
    const alone = await test({ play: () => ({ serial: [prompt] }), request: { firmware: ['bios'] } });
    expect(alone.data).toMatchObject({ verdict: 'booted', reason: expect.stringContaining('not checked') });
    expect(alone.durationMs).toBe(4000);
    const followed = await test({
      play: () => ({ serial: [prompt, { afterMs: 500, text: '\r\n' }, ...simulatedReport(['hello-1.1-1.noarch'], 500)] }),
      request: { firmware: ['bios'] },
    });
    expect(followed.data.reason).toContain('with hello-1.1-1.noarch');
  });

  it('a machine that turns itself off has not booted', async () => {
    const { data } = await test({ play: () => ({ serial: [{ afterMs: 100, text: 'GRUB\n' }], turnsOff: true }), request: { firmware: ['bios'] } });
    expect(data).toMatchObject({ verdict: 'failed', reason: expect.stringContaining('turned itself off') });
  });

  it('a machine that breaks is tried again, the others ended first; after the last try the image is kept, untested', async () => {
    const play = ({ firmware }: MachineRequest): SimulatedBoot => (firmware === 'bios' ? booting() : { serial: [], breaks: 'QEMU broke' });
    const broken = await test({ play }).catch((error: unknown) => error);
    expect(broken).toMatchObject({ cause: { code: 'BOOT_TEST_BROKEN' } });
    expect((broken as { stopped: string[] }).stopped.sort()).toEqual(['bios', 'uefi']);
    const { data } = await test({ play, attempt: 3 });
    expect(data).toMatchObject({ verdict: 'no-verdict', reason: 'the image was not tested: QEMU broke' });
  });

  it('a host without room is the operator’s trouble and tried again; after the last try the image is kept, untested', async () => {
    const play = (): SimulatedBoot => {
      throw new SpindleError('DISK_FULL', 'no space is left for its disk');
    };
    await expect(test({ play })).rejects.toMatchObject({ cause: { code: 'DISK_FULL' } });
    const { data } = await test({ play, attempt: 3 });
    expect(data).toMatchObject({ verdict: 'no-verdict', reason: 'the image was not tested: no space is left for its disk' });
  });

  it('a worker without virtual machines does not lose the image', async () => {
    const { data } = await test({
      play: () => {
        throw new SpindleError('TOOL_MISSING', 'qemu is not installed');
      },
    });
    expect(data).toMatchObject({ verdict: 'no-verdict', reason: 'the image was not tested: qemu is not installed' });
  });

  it('ends its machines when it is canceled', async () => {
    const canceled = await test({ cancelAfterMs: 5000 }).catch((error: unknown) => error);
    expect(canceled).toMatchObject({ cause: { message: 'canceled' } });
    expect([...new Set((canceled as { stopped: string[] }).stopped)].sort()).toEqual(['bios', 'uefi']);
  });

  it('waits for what goes on, however slowly, and keeps pictures of it; but not for ever', async () => {
    const slow: SimulatedBoot = { serial: [...Array(9)].map((_, n) => ({ afterMs: 60_000, text: `[ OK ] unit ${n}\r\n` })), screenshot: png };
    const report = simulatedReport(['hello-1.1-1.noarch'], 30_000);
    const { data, durationMs } = await test({ play: () => ({ ...slow, serial: [...slow.serial.slice(0, 4), ...report] }), request: { firmware: ['bios'] } });
    expect([data.verdict, durationMs]).toEqual(['booted', 270_000]);
    const endless = await test({ play: () => ({ ...slow, serial: [...slow.serial, ...slow.serial] }), request: { firmware: ['bios'] } });
    expect([endless.data.verdict, endless.durationMs]).toEqual(['no-verdict', 600_000]);
    expect(endless.data.reason).toContain('within 600 s');
  });

  it('reads from the screen what only that shows', async () => {
    const { data } = await test({ play: () => ({ serial: [], screenText: 'Booting from DVD/CD...\nNo bootable device.' }), request: { firmware: ['bios'] } });
    expect(data).toMatchObject({ verdict: 'failed', reason: 'bios: the system did not start: the screen shows "No bootable device"' });
  });

  describe('a DVD', () => {
    const installing = (boot: SimulatedBoot, failure?: string) => ({
      imageType: 'dvd' as const,
      request: { firmware: ['bios'] },
      play: ({ medium }: MachineRequest) => (medium === undefined ? boot : simulatedInstallation(['bash-5.2-1.x86_64', 'hello-1.1-1.noarch'], 1000, failure)),
    });

    it('is installed to an empty disk, which is then started without it', async () => {
      const { data, started, durationMs, artifact, world } = await test(installing(booting()));
      expect(data).toMatchObject({
        verdict: 'booted',
        reason: expect.stringMatching(/^installed and booted by bios: Sample Linux started .* with hello-1\.1-1\.noarch$/),
      });
      expect(started.map(({ name, medium, diskBytes }) => [name, medium !== undefined, (diskBytes ?? 0) > 2 ** 30])).toEqual([
        ['bios', true, true],
        ['bios', false, true],
      ]);
      expect(durationMs).toBe(13_000);
      const log = artifact('boot-test.log');
      const text = log ? await readContentText(world.files, log) : '';
      expect(text.indexOf('SPINDLE-INSTALL done')).toBeLessThan(text.indexOf('SPINDLE-BOOT begin'));
    });

    it('fails where the installed system lacks a requested build, or does not start', async () => {
      const old = await test(installing({ serial: simulatedReport(['hello-1.0-1.noarch'], 1000) }));
      expect(old.data).toMatchObject({
        verdict: 'failed',
        reason: expect.stringContaining('installed and started by bios: Sample Linux started, but its RPM database lacks'),
      });
      const empty = await test(installing({ serial: [], screenText: 'Boot failed: not a bootable disk' }));
      expect(empty.data).toMatchObject({ verdict: 'failed', reason: expect.stringContaining('not a bootable disk') });
    });

    it('fails where the installation fails, and starts no disk', async () => {
      const { data, started } = await test(installing(booting(), 'mke2fs: no space'));
      expect(data).toMatchObject({ verdict: 'failed', reason: 'bios: the installation failed after 2 packages: mke2fs: no space' });
      expect(started).toHaveLength(1);
    });

    it.each([
      ['turns itself off too early', { turnsOff: true }, 'failed', 'turned itself off after 1 packages, before the installation was done'],
      ['hangs', {}, 'no-verdict', 'the installation had not ended after 1 packages when neither console nor screen had changed for 120 s'],
    ])('is told apart where its installation %s', async (_, more, verdict, reason) => {
      const serial = simulatedInstallation(['a-1-1.noarch'], 1000).serial.slice(0, 2);
      const { data } = await test({ imageType: 'dvd', request: { firmware: ['bios'] }, play: () => ({ serial, ...more }) });
      expect(data).toMatchObject({ verdict, reason: expect.stringContaining(reason) });
    });

    const anaconda = 'Starting installer, one moment...\r\nanaconda 44.20-1.fc44 for Fedora 44 started.\r\n';
    it("of Anaconda's is judged by its first screen where it asks", async () => {
      const { data, durationMs } = await test({
        imageType: 'dvd',
        request: { firmware: ['bios'] },
        play: () => ({
          serial: [
            { afterMs: 1000, text: anaconda },
            { afterMs: 9000, text: ' 1) [x] Language settings                 2) [!] Time settings\r\n' },
          ],
        }),
      });
      expect(data).toMatchObject({ verdict: 'booted', reason: expect.stringContaining("Anaconda's first screen came") });
      expect(durationMs).toBe(13_000);
    });

    it("of Anaconda's that installs by itself is started from its disk when it has turned itself off", async () => {
      const automatic: SimulatedBoot = {
        serial: [
          { afterMs: 1000, text: anaconda },
          { afterMs: 20_000, text: 'Starting automated install...\r\n' },
          { afterMs: 90_000, text: 'Done\r\n' },
        ],
        turnsOff: true,
      };
      const { data, started } = await test({
        imageType: 'dvd',
        request: { firmware: ['bios'] },
        play: ({ medium }) => (medium === undefined ? { serial: [{ afterMs: 1000, text: 'localhost login: ' }] } : automatic),
      });
      expect(data).toMatchObject({ verdict: 'booted', reason: expect.stringContaining('installed and booted by bios: a login prompt came') });
      expect(started).toHaveLength(2);
    });
  });
});
