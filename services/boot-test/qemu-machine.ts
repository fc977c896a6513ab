/** The virtual machine port on QEMU: KVM where it really works, else emulation. */
import { constants } from 'node:fs';
import { access, chmod, chown, copyFile, type FileHandle, link, mkdir, open, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { SpindleError } from '../../shared/build/failure.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import type { Programs, ProgramUser, RunningProgram } from '../../shared/programs/programs.ts';
import { type Acceleration, type FirmwareFiles, probeArguments, probeImage, probeStatus, qemuArguments, qemuCommand, uefiCandidates } from './qemu.ts';
import { type QmpClient, qmpClient } from './qmp.ts';
import { hasChanged, textMemory, textOf } from './screen.ts';
import type { MachineRequest, VirtualMachine, VirtualMachines } from './virtual-machine.ts';

const kvmDevice = '/dev/kvm';
const connectTimeoutMs = 30_000;
const monitorTimeoutMs = 15_000;
const probeRounds = 3;
const probeDeadlineMs = 5000;
const screenshotBytesMax = 16 * 1024 * 1024;
/** Besides the machine's own memory: QEMU itself, and up to 1 GiB of what its emulation has translated. */
const overheadMiB = 1536;
/** Its threads: one for each processor, and some dozens that read and write. */
const threadsMax = 256;
const pngSignature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** Numbers of users for machines, one for each that runs: of those that neither distributions nor systemd give to anybody. */
const users = { first: 60_700, count: 100 } as const;
const names = { medium: 'medium.iso', disk: 'disk.img', variables: 'variables.fd', screen: 'screen', serial: 'serial.sock', monitor: 'monitor.sock' } as const;

export interface QemuMachinesOptions {
  readonly programs: Programs;
  readonly clock: Clock;
}

/** How a QEMU of ours runs. Only root can give it a user of its own and namespaces; where the service is another user, it is that user's too. */
type Keeping = { readonly isolation: 'host' } | { readonly isolation: 'private-no-network'; readonly user: ProgramUser };

export function qemuMachines({ programs, clock }: QemuMachinesOptions): VirtualMachines {
  // Asked once: the answer is the host's and does not change while this process lives.
  let acceleration: Promise<Acceleration> | undefined;
  let made = 0;
  return {
    start: async (request) => {
      if (request.arch !== 'x86_64') {
        throw new SpindleError('TOOL_MISSING', `this worker has no virtual machine for ${request.arch}: images of it are not boot-tested here`);
      }
      const nextKeeping = async (group: number | undefined, uid = users.first + ((process.pid + made++) % users.count)): Promise<Keeping> =>
        process.getuid?.() === 0
          ? { isolation: 'private-no-network', user: { uid, gid: uid, ...(group === undefined ? {} : { groups: [group] }) } }
          : { isolation: 'host' };
      acceleration ??= probeAcceleration(programs, request, nextKeeping).catch((error: unknown) => {
        acceleration = undefined;
        throw error;
      });
      const accelerated = await acceleration;
      const directory = join(request.directory, request.name);
      // Whose machine this was before; the folder above is ours, so nobody else can have made it.
      const owner = (await stat(directory).catch(() => undefined))?.uid;
      const keeping = await nextKeeping(accelerated === 'kvm' ? await kvmGroup() : undefined, owner || undefined);
      await prepareDirectory(directory, request, keeping);
      return startMachine(request, accelerated, directory, keeping, programs, clock);
    },
  };
}

/** Where only the members of a group may use KVM, that group. */
async function kvmGroup(): Promise<number | undefined> {
  const { mode, gid } = await stat(kvmDevice);
  return (mode & 0o006) === 0o006 || gid === 0 ? undefined : gid;
}

/** Puts into the machine's own directory what it needs, readable or writable for its user. */
async function prepareDirectory(directory: string, { firmware, medium, diskBytes }: MachineRequest, keeping: Keeping): Promise<void> {
  const own = async (path: string) => {
    if (keeping.isolation !== 'host') await chown(path, keeping.user.uid, keeping.user.gid);
  };
  const at = (name: string) => join(directory, name);
  if (await mkdir(directory, { recursive: true, mode: 0o700 })) await own(directory);
  for (const name of [names.medium, names.serial, names.monitor]) await rm(at(name), { force: true });
  if (medium !== undefined) {
    const isReadable = (await stat(medium).catch(() => undefined))?.mode ?? 0;
    // A link to what everybody may read; the folder is closed to all others. A copy costs the image's size.
    const linked = (isReadable & 0o004) !== 0 && (await link(medium, at(names.medium)).then(yes, no));
    if (!linked) {
      await copyFile(medium, at(names.medium), constants.COPYFILE_FICLONE).catch((error: unknown) => {
        throw new SpindleError('BOOT_TEST_BROKEN', `the image ${medium} cannot be read: ${error instanceof Error ? error.message : 'unknown'}`, {
          cause: error,
        });
      });
      await chmod(at(names.medium), 0o444);
    }
  }
  if (diskBytes !== undefined && !(await access(at(names.disk)).then(yes, no))) {
    await writeFile(at(names.disk), '', { flag: 'wx', mode: 0o600 });
    await truncate(at(names.disk), diskBytes);
    await own(at(names.disk));
  }
  if (firmware === 'uefi' && !(await access(at(names.variables)).then(yes, no))) {
    const { variables } = await uefiFirmware();
    await copyFile(variables, at(names.variables), constants.COPYFILE_EXCL);
    await chmod(at(names.variables), 0o600);
    await own(at(names.variables));
  }
}

const yes = () => true;
const no = () => false;

async function probeAcceleration(
  programs: Programs,
  { directory: parent, signal }: MachineRequest,
  nextKeeping: (group: number | undefined) => Promise<Keeping>,
): Promise<Acceleration> {
  const canOpen = await access(kvmDevice, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  if (!canOpen) return 'tcg';
  const keeping = await nextKeeping(await kvmGroup());
  const directory = join(parent, 'kvm-probe');
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { mode: 0o700 });
  const image = 'probe.img';
  await writeFile(join(directory, image), probeImage());
  if (keeping.isolation !== 'host') for (const path of [join(directory, image), directory]) await chown(path, keeping.user.uid, keeping.user.gid);
  try {
    // More than once: on some hosts, themselves virtual, a guest runs now and then.
    for (let round = 0; round < probeRounds; round += 1) {
      const result = await programs.run({
        command: qemuCommand,
        args: probeArguments(image),
        cwd: directory,
        ...keeping,
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
    await rm(directory, { recursive: true, force: true });
  }
}

async function startMachine(
  request: MachineRequest,
  acceleration: Acceleration,
  directory: string,
  keeping: Keeping,
  programs: Programs,
  clock: Clock,
): Promise<VirtualMachine> {
  const { firmware, signal } = request;
  const uefi: FirmwareFiles | undefined = firmware === 'uefi' ? { code: (await uefiFirmware()).code, variables: names.variables } : undefined;
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
        // Names in its own directory: those above are closed to its user.
        medium: request.medium === undefined ? undefined : names.medium,
        disk: request.diskBytes === undefined ? undefined : names.disk,
        ...(uefi ? { uefi } : {}),
        serialSocket: names.serial,
        monitorSocket: names.monitor,
      }),
      cwd: directory,
      ...keeping,
      ...(keeping.isolation === 'host' ? {} : { bounds: { memoryBytesMax: (request.memoryMiB + overheadMiB) * 1024 * 1024, processesMax: threadsMax } }),
      deadlineMs: request.deadlineMs,
      signal,
      onLine: (line) => {
        if (complaints.length < 20) complaints.push(line);
      },
    });
    ended = watchEnd(running, complaints, release);
    ended.catch(() => {});
    // QEMU makes the sockets one after the other and waits at each for its client.
    serial = await connectTo(handle, names.serial, ended, clock, signal);
    serial.on('data', (chunk: Buffer) => request.onSerial(chunk));
    serial.on('error', () => {});
    // QEMU stops a machine that has no room to write, and would wait for some until nobody waits for it any more.
    let stall: (error: SpindleError) => void = () => {};
    const stalled = new Promise<never>((_, reject) => {
      stall = reject;
    });
    const onDiskFull = () => stall(new SpindleError('DISK_FULL', 'the virtual machine was stopped: no space is left for its disk; free some'));
    monitor = await qmpClient(await connectTo(handle, names.monitor, ended, clock, signal), { clock, timeoutMs: monitorTimeoutMs, onDiskFull });
    const parts = { running, monitor, ended: Promise.race([ended, stalled]) };
    parts.ended.catch(() => {});
    return {
      acceleration,
      ended: parts.ended,
      ...screenOf(parts.monitor, directory),
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
  const { exitCode, signal } = await running.ended
    .finally(() => void release())
    .catch((error: unknown) => {
      // The bound is ours, and no requester's to keep.
      if (!(error instanceof SpindleError) || error.code !== 'RESOURCE_LIMIT') throw error;
      throw new SpindleError('BOOT_TEST_BROKEN', `${qemuCommand} was ended: a machine of this size should not need so much. ${error.message}`, {
        cause: error,
      });
    });
  if (exitCode === 0 || signal === 'SIGTERM') return;
  throw new SpindleError('BOOT_TEST_BROKEN', `${qemuCommand} ended with ${signal ?? `status ${exitCode}`}: ${complaints.at(-1) ?? 'it gave no reason'}`, {
    details: complaints,
  });
}

async function uefiFirmware(): Promise<FirmwareFiles> {
  for (const files of uefiCandidates) {
    if ((await Promise.all([files.code, files.variables].map((path) => access(path, constants.R_OK).then(yes, no)))).every(Boolean)) return files;
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

/** Looking is a courtesy: what cannot be had, since the machine may be gone already, is undefined. One look at a time, as they write to one place. */
function screenOf(monitor: QmpClient, directory: string): Pick<VirtualMachine, 'screenshot' | 'screenText'> {
  let before: Uint8Array | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(look: () => Promise<T>): Promise<T | undefined> => {
    const mine = last.then(look).catch(() => undefined);
    last = mine;
    return mine;
  };
  const file = join(directory, names.screen);
  return {
    screenshot: ({ onlyChanged = false } = {}) =>
      inTurn(async () => {
        if (onlyChanged) {
          await monitor.execute('screendump', { filename: names.screen, format: 'ppm' });
          const dots = await readOwn(file);
          if (!hasChanged(before, dots)) return undefined;
          before = dots;
        }
        await monitor.execute('screendump', { filename: names.screen, format: 'png' });
        const bytes = await readOwn(file);
        return bytes.subarray(0, pngSignature.length).equals(pngSignature) ? bytes : undefined;
      }),
    screenText: () =>
      inTurn(async () => {
        await monitor.execute('pmemsave', { val: textMemory.address, size: textMemory.bytes, filename: names.screen });
        return textOf(await readOwn(file));
      }),
  };
}

/** What a QEMU wrote. Should it not be QEMU any more that writes there: no link is followed, no pipe waited for, and only so much is read. */
async function readOwn(path: string): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const status = await file.stat();
    if (!status.isFile() || status.size > screenshotBytesMax) throw new Error('is no picture');
    const bytes = Buffer.alloc(status.size);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
