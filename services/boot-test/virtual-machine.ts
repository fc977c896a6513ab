/** The virtual machine port: starts an image or what was installed from it, shows its serial console and its screen. */
import type { Firmware } from '../../shared/build/request.ts';

export interface MachineRequest {
  readonly arch: string;
  readonly firmware: Firmware;
  /** Of this machine among those of its directory: letters, digits and `-`. Started again under its name it finds its disk and its firmware's memory as it left them. */
  readonly name: string;
  /** Absolute path of the ISO in the drive; it is only read. Undefined: the drive is empty. */
  readonly medium: string | undefined;
  /** A hard disk of so many bytes, empty where this machine never had one; it starts from it where the drive has nothing to start. It takes only the room that is written to. */
  readonly diskBytes?: number;
  /** Absolute path of a directory of the caller's, where the machine keeps what it has. Several machines may share it. */
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
  /**
   * The screen as PNG; undefined where it cannot be had any more. Bounded in time and size. `onlyChanged`: undefined, too, where it differs from what the last such look
   * saw by no more than a blinking cursor.
   */
  screenshot(options?: { readonly onlyChanged?: boolean }): Promise<Uint8Array | undefined>;
  /** What a screen in text mode shows, its lines trimmed; undefined where it cannot be had. Of a screen in graphics mode it is no text. */
  screenText(): Promise<string | undefined>;
  /** Turns the machine off; nothing of it is left afterwards. Twice is once. Never rejects. */
  stop(): Promise<void>;
}

export interface VirtualMachines {
  /** Rejects with TOOL_MISSING (no emulator or firmware for this), BOOT_TEST_BROKEN (it did not start), or the signal's reason. */
  start(request: MachineRequest): Promise<VirtualMachine>;
}
