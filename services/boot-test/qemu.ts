/** QEMU's command lines for the boot test. Pure. */
import type { Firmware } from '../../shared/build/request.ts';

export type Acceleration = 'kvm' | 'tcg';

export const qemuCommand = 'qemu-system-x86_64';

export interface FirmwareFiles {
  readonly code: string;
  /** A copy that this machine may write to. */
  readonly variables: string;
}

export interface QemuOrder {
  readonly firmware: Firmware;
  readonly acceleration: Acceleration;
  readonly memoryMiB: number;
  /** The ISO in the drive; undefined where that is empty. */
  readonly medium: string | undefined;
  /** A raw disk image. */
  readonly disk?: string | undefined;
  /** For `uefi`. */
  readonly uefi?: FirmwareFiles;
  /** Sockets that QEMU makes; it waits for both to be connected before the machine starts, so nothing is missed. Short: a socket's path holds 107 bytes. */
  readonly serialSocket: string;
  readonly monitorSocket: string;
}

/** In option lists a comma is doubled. */
const optionValue = (text: string) => text.replaceAll(',', ',,');

export function qemuArguments({ firmware, acceleration, memoryMiB, medium, disk, uefi, serialSocket, monitorSocket }: QemuOrder): readonly string[] {
  if (firmware === 'uefi' && !uefi) throw new Error('a UEFI machine needs its firmware files');
  return [
    ...machineArguments(acceleration),
    ...['-m', String(memoryMiB)],
    ...['-vga', 'std'],
    ...(firmware === 'uefi' && uefi
      ? [
          ...['-drive', `if=pflash,format=raw,readonly=on,file=${optionValue(uefi.code)}`],
          ...['-drive', `if=pflash,format=raw,file=${optionValue(uefi.variables)}`],
        ]
      : []),
    // Both firmwares go by the boot index: the medium first, then the disk.
    ...(medium === undefined
      ? []
      : ['-drive', `if=none,id=medium,format=raw,readonly=on,file=${optionValue(medium)}`, '-device', 'ide-cd,drive=medium,bootindex=0']),
    // A bus that GRUB and small kernels know. What is on the disk outlives no power cut, so nobody waits for the host to have written it.
    ...(disk === undefined
      ? []
      : [
          '-drive',
          `if=none,id=disk,format=raw,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=${optionValue(disk)}`,
          '-device',
          'virtio-blk-pci,drive=disk,bootindex=1',
        ]),
    ...['-chardev', `socket,id=serial,path=${optionValue(serialSocket)},server=on,wait=on`, '-serial', 'chardev:serial'],
    ...['-chardev', `socket,id=monitor,path=${optionValue(monitorSocket)},server=on,wait=on`, '-mon', 'chardev=monitor,mode=control'],
  ];
}

function machineArguments(acceleration: Acceleration): readonly string[] {
  return [
    ...['-M', 'pc', '-no-user-config', '-nodefaults', '-display', 'none', '-nic', 'none', '-no-reboot'],
    // The guest is a stranger's: should it break out of the machine, it can start nothing, gain no rights and take no more of the processor.
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...(acceleration === 'kvm' ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg,thread=multi', '-cpu', 'max']),
  ];
}

/** What `probeImage` writes to the debug port makes QEMU end with this status. */
export const probeStatus = (0x21 << 1) | 1;

/** So many turns of the loop take a real processor some 50 ms and QEMU's own emulation 200 ms. */
const probeTurns = 50_000_000;

/**
 * A boot sector that counts and then ends: `mov ecx, turns`; `dec ecx`; `jnz` back; `mov al, 0x21`; `out 0xf4, al`; `hlt`. Whether KVM works can only be told by running a guest: the device may open and
 * the first guest still be aborted; or, on hosts that are themselves virtual, run the instructions of a starting machine one by one, so slowly that no image ever gets past its firmware.
 */
export function probeImage(): Uint8Array {
  const sector = new Uint8Array(512);
  sector.set([0x66, 0xb9]);
  new DataView(sector.buffer).setUint32(2, probeTurns, true);
  sector.set([0x66, 0x49, 0x75, 0xfc], 6);
  sector.set([0xb0, 0x21, 0xe6, 0xf4, 0xf4], 10);
  sector.set([0x55, 0xaa], 510);
  return sector;
}

export function probeArguments(image: string): readonly string[] {
  return [
    ...machineArguments('kvm'),
    ...['-m', '16'],
    ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'],
    ...['-drive', `if=ide,format=raw,readonly=off,snapshot=off,file=${optionValue(image)}`],
  ];
}

/** Where distributions put the UEFI firmware for virtual machines: code and the template of its variables. */
export const uefiCandidates: readonly FirmwareFiles[] = [
  { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.fd' },
  { code: '/usr/share/OVMF/OVMF_CODE.fd', variables: '/usr/share/OVMF/OVMF_VARS.fd' },
  { code: '/usr/share/edk2/ovmf/OVMF_CODE.fd', variables: '/usr/share/edk2/ovmf/OVMF_VARS.fd' },
];
