/** The virtual machine port as a script on a clock: for the simulation, benches and tests. */
import { SpindleError } from '../../shared/build/failure.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import type { MachineRequest, VirtualMachines } from './virtual-machine.ts';

export interface SimulatedBoot {
  /** What the console prints, each part so long after the one before. Text ends its lines itself. */
  readonly serial: readonly { readonly afterMs: number; readonly text: string }[];
  /** Turns itself off after the last part. Otherwise it stays on. */
  readonly turnsOff?: boolean;
  /** Breaks after the last part: the virtual machine's fault, not the image's. */
  readonly breaks?: string;
  readonly screenshot?: Uint8Array;
  readonly screenText?: string;
}

/** The report that the sample system gives, as `serial` of a boot that takes `bootMs`. */
export function simulatedReport(packages: readonly string[], bootMs: number, { os = 'Sample Linux', kernel = '6.1.0' } = {}): SimulatedBoot['serial'] {
  const lines = ['begin', `os ${os}`, `kernel ${kernel}`, ...packages.map((nevra) => `rpm ${nevra}`), `end ${packages.length}`];
  return [{ afterMs: bootMs, text: lines.map((line) => `SPINDLE-BOOT ${line}\r\n`).join('') }];
}

/** What an installation prints that takes so long for each package, and then turns the machine off. */
export function simulatedInstallation(packages: readonly string[], packageMs: number, failure?: string): SimulatedBoot {
  const line = (text: string) => `SPINDLE-INSTALL ${text}\r\n`;
  return {
    serial: [
      { afterMs: packageMs, text: line('begin') },
      ...packages.map((nevra) => ({ afterMs: packageMs, text: line(`package ${nevra}`) })),
      { afterMs: packageMs, text: line(failure === undefined ? 'done' : `failed ${failure}`) },
    ],
    turnsOff: true,
  };
}

/** `play` decides how each machine behaves; it may throw, as starting a machine may fail. */
export function simulatedMachines(play: (request: MachineRequest) => SimulatedBoot | Promise<SimulatedBoot>, clock: Clock): VirtualMachines {
  return {
    start: async (request) => {
      request.signal.throwIfAborted();
      const boot = await play(request);
      let wasSeen = false;
      const off = new AbortController();
      const life = AbortSignal.any([off.signal, request.signal]);
      const run = async () => {
        for (const { afterMs, text } of boot.serial) {
          await clock.sleep(afterMs, life);
          request.onSerial(new TextEncoder().encode(text));
        }
        if (boot.breaks !== undefined) throw new SpindleError('BOOT_TEST_BROKEN', boot.breaks);
        if (boot.turnsOff) return;
        await clock.sleep(request.deadlineMs, life);
        throw new SpindleError('TOOL_TIMED_OUT', 'the virtual machine did not end in its time and was ended');
      };
      const ended = run().catch((error: unknown) => {
        if (request.signal.aborted) throw request.signal.reason;
        if (!off.signal.aborted) throw error;
      });
      ended.catch(() => {});
      return {
        acceleration: 'simulated',
        ended,
        screenshot: async ({ onlyChanged = false } = {}) => {
          if (life.aborted || (onlyChanged && wasSeen)) return undefined;
          wasSeen = true;
          return boot.screenshot;
        },
        screenText: async () => (life.aborted ? undefined : boot.screenText),
        stop: async () => {
          off.abort(new Error('stopped'));
          await ended.catch(() => {});
        },
      };
    },
  };
}
