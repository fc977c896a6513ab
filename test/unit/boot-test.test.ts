/** The boot-test stage on simulated machines and a virtual clock. */
import { describe, expect, it } from 'vitest';
import { bootTest } from '../../services/boot-test/service.ts';
import { type SimulatedBoot, simulatedMachines, simulatedReport } from '../../services/boot-test/simulated-machine.ts';
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
  readonly play?: (request: MachineRequest) => SimulatedBoot;
  readonly request?: object;
  readonly attempt?: number;
  /** Cancels after so long. */
  readonly cancelAfterMs?: number;
}

async function test({ play = ({ firmware }) => booting(firmware), request = {}, attempt = 1, cancelAfterMs }: Trial = {}) {
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
    data: { arch: 'x86_64', imageType: 'live', image: 'X.iso', requested: ['hello-1.1-1.noarch'], artifacts: [image, manifest] },
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
    expect(data.artifacts.map(({ name }) => name)).toEqual(['X.iso', 'manifest.json', 'boot-test.log', 'boot-test.png']);
    expect(started.map(({ firmware }) => firmware)).toEqual(['bios', 'uefi']);
    expect(started.map(({ image }) => new TextDecoder().decode(world.workspaces.readAt(image)))).toEqual(['the image', 'the image']);
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
    expect(data).toMatchObject({ verdict: 'no-verdict', reason: expect.stringContaining('silent within 180 s') });
    expect(durationMs).toBe(180_000);
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
});
