/** The virtual machine port on QEMU: KVM where it really works, else emulation. */
import { constants } from 'node:fs';
import { access, copyFile, type FileHandle, open, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { basename, join } from 'node:path';
import { SpindleError } from '../../shared/build/failure.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import type { Programs, RunningProgram } from '../../shared/programs/programs.ts';
import { type Acceleration, type FirmwareFiles, probeArguments, probeImage, probeStatus, qemuArguments, qemuCommand, uefiCandidates } from './qemu.ts';
import { type QmpClient, qmpClient } from './qmp.ts';
import type { MachineRequest, VirtualMachine, VirtualMachines } from './virtual-machine.ts';

const connectTimeoutMs = 30_000;
const monitorTimeoutMs = 15_000;
const probeRounds = 3;
const probeDeadlineMs = 5000;
const screenshotBytesMax = 16 * 1024 * 1024;
const pngSignature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

export interface QemuMachinesOptions {
  readonly programs: Programs;
  readonly clock: Clock;
}

export function qemuMachines({ programs, clock }: QemuMachinesOptions): VirtualMachines {
  // Asked once: the answer is the host's and does not change while this process lives.
  let acceleration: Promise<Acceleration> | undefined;
  let made = 0;
  return {
    start: async (request) => {
      if (request.arch !== 'x86_64') {
        throw new SpindleError('TOOL_MISSING', `this worker has no virtual machine for ${request.arch}: images of it are not boot-tested here`);
      }
      acceleration ??= probeAcceleration(programs, request).catch((error: unknown) => {
        acceleration = undefined;
        throw error;
      });
      made += 1;
      const name = `vm${made}`;
      return startMachine(request, await acceleration, name, programs, clock);
    },
  };
}

async function probeAcceleration(programs: Programs, { directory, signal }: MachineRequest): Promise<Acceleration> {
  const canOpen = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  if (!canOpen) return 'tcg';
  const image = join(directory, 'kvm-probe.img');
  await writeFile(image, probeImage());
  try {
    // More than once: on some hosts, themselves virtual, a guest runs now and then.
    for (let round = 0; round < probeRounds; round += 1) {
      const result = await programs.run({
        command: qemuCommand,
        args: probeArguments(image),
        isolation: 'private-no-network',
        deadlineMs: probeDeadlineMs,
        signal,
      });
      if (result.exitCode !== probeStatus) return 'tcg';
    }
    return 'kvm';
  } catch (error) {
    if (error instanceof SpindleError && error.code === 'TOOL_TIMED_OUT') return 'tcg';
    throw error;
  } finally {
    await rm(image, { force: true });
  }
}

async function startMachine(request: MachineRequest, acceleration: Acceleration, name: string, programs: Programs, clock: Clock): Promise<VirtualMachine> {
  const { directory, firmware, signal } = request;
  const uefi = firmware === 'uefi' ? await prepareUefi(directory, name) : undefined;
  const [serialSocket, monitorSocket] = [`${name}-serial.sock`, `${name}-monitor.sock`];
  // A socket's path holds 107 bytes, and a state directory may lie deep: QEMU runs in the directory, and we reach it through an open handle of it.
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  let running: RunningProgram | undefined;
  let serial: Socket | undefined;
  let monitor: QmpClient | undefined;
  let ended: Promise<void> | undefined;
  const complaints: string[] = [];
  const release = async () => {
    serial?.destroy();
    monitor?.close();
    await handle.close().catch(() => {});
  };
  try {
    running = await programs.start({
      command: qemuCommand,
      args: qemuArguments({
        firmware,
        acceleration,
        memoryMiB: request.memoryMiB,
        image: request.image,
        ...(uefi ? { uefi } : {}),
        serialSocket,
        monitorSocket,
      }),
      cwd: directory,
      isolation: 'private-no-network',
      deadlineMs: request.deadlineMs,
      signal,
      onLine: (line) => {
        if (complaints.length < 20) complaints.push(line);
      },
    });
    ended = watchEnd(running, complaints, release);
    ended.catch(() => {});
    // QEMU makes the sockets one after the other and waits at each for its client.
    serial = await connectTo(handle, serialSocket, ended, clock, signal);
    serial.on('data', (chunk: Buffer) => request.onSerial(chunk));
    serial.on('error', () => {});
    monitor = await qmpClient(await connectTo(handle, monitorSocket, ended, clock, signal), { clock, timeoutMs: monitorTimeoutMs });
    const parts = { running, monitor, ended };
    return {
      acceleration,
      ended: parts.ended,
      screenshot: () => takeScreenshot(parts.monitor, directory, `${name}-screen.png`),
      stop: async () => {
        await parts.running.stop().catch(() => {});
        await release();
      },
    };
  } catch (error) {
    await running?.stop().catch(() => {});
    await release();
    signal.throwIfAborted();
    // Where QEMU has given up by itself its own words say more than that it hung up.
    await ended;
    if (error instanceof SpindleError) throw error;
    throw new SpindleError('BOOT_TEST_BROKEN', `the virtual machine did not start: ${error instanceof Error ? error.message : 'unknown'}`, { cause: error });
  }
}

async function watchEnd(running: RunningProgram, complaints: readonly string[], release: () => Promise<void>): Promise<void> {
  const { exitCode, signal } = await running.ended.finally(() => void release());
  if (exitCode === 0 || signal === 'SIGTERM') return;
  throw new SpindleError('BOOT_TEST_BROKEN', `${qemuCommand} ended with ${signal ?? `status ${exitCode}`}: ${complaints.at(-1) ?? 'it gave no reason'}`, {
    details: complaints,
  });
}

async function prepareUefi(directory: string, name: string): Promise<FirmwareFiles> {
  for (const { code, variables } of uefiCandidates) {
    const copy = `${name}-variables.fd`;
    const found = await access(code, constants.R_OK)
      .then(() => copyFile(variables, join(directory, copy)))
      .then(
        () => true,
        () => false,
      );
    if (found) return { code, variables: copy };
  }
  throw new SpindleError(
    'TOOL_MISSING',
    `no UEFI firmware is installed on this worker (looked for ${uefiCandidates.map(({ code }) => code).join(', ')}); install ovmf`,
  );
}

/** Tries until QEMU has made the socket. Gives up when QEMU ends. */
async function connectTo(directory: FileHandle, name: string, ended: Promise<void>, clock: Clock, signal: AbortSignal): Promise<Socket> {
  const lastAt = clock.now() + connectTimeoutMs;
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  ended.then(over, over);
  for (;;) {
    const socket = connect(`/proc/self/fd/${directory.fd}/${name}`);
    const isConnected = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    if (isConnected) return socket;
    socket.destroy();
    signal.throwIfAborted();
    if (isOver) {
      await ended;
      throw new SpindleError('BOOT_TEST_BROKEN', `${qemuCommand} ended before its machine started`);
    }
    if (clock.now() > lastAt) throw new SpindleError('BOOT_TEST_BROKEN', `${qemuCommand} made no socket ${name} within ${connectTimeoutMs / 1000} s`);
    await clock.sleep(10, signal);
  }
}

async function takeScreenshot(monitor: QmpClient, directory: string, name: string): Promise<Uint8Array | undefined> {
  try {
    await monitor.execute('screendump', { filename: basename(name), format: 'png' });
    const file = await open(join(directory, name), constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const { size } = await file.stat();
      if (size > screenshotBytesMax) return undefined;
      const bytes = await file.readFile();
      return bytes.subarray(0, pngSignature.length).equals(pngSignature) ? bytes : undefined;
    } finally {
      await file.close();
    }
  } catch {
    // A picture is a courtesy: the machine may be gone already.
    return undefined;
  }
}
