/** The virtual machine port: starts an image, shows its serial console and its screen. */
import type { Firmware } from '../../shared/build/request.ts';

export interface MachineRequest {
  readonly arch: string;
  readonly firmware: Firmware;
  /** Absolute path of the ISO; it is only read. */
  readonly image: string;
  /** Absolute path of a directory of the caller's, for sockets and the firmware's memory. Several machines may share it. */
  readonly directory: string;
  readonly memoryMiB: number;
  /** After this the machine is ended. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** What the serial console prints, as it comes: any bytes, cut anywhere. */
  readonly onSerial: (chunk: Uint8Array) => void;
}

export interface VirtualMachine {
  /** How the processor is made: for people. */
  readonly acceleration: 'kvm' | 'tcg' | 'simulated';
  /**
   * Resolves when the machine has turned itself off or was stopped. Rejects with BOOT_TEST_BROKEN where the virtual machine itself broke, with TOOL_TIMED_OUT at its
   * deadline, or with the signal's reason.
   */
  readonly ended: Promise<void>;
  /** The screen as PNG; undefined where it cannot be had any more. Bounded in time and size. */
  screenshot(): Promise<Uint8Array | undefined>;
  /** Turns the machine off; nothing of it is left afterwards. Twice is once. Never rejects. */
  stop(): Promise<void>;
}

export interface VirtualMachines {
  /** Rejects with TOOL_MISSING (no emulator or firmware for this), BOOT_TEST_BROKEN (it did not start), or the signal's reason. */
  start(request: MachineRequest): Promise<VirtualMachine>;
}
