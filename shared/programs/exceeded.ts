/** What a build is told that went beyond a bound. Pure. */
import { SpindleError } from '../build/failure.ts';

/** The settings that people can ask their operator to raise. */
const settings = {
  memory: 'SPINDLE_BUILD_MEMORY_MAX',
  processes: 'SPINDLE_BUILD_PROCESSES_MAX',
  disk: 'SPINDLE_BUILD_DISK_MAX',
} as const;

const beyond = {
  memory: (bound: string) => `used more than ${bound} of memory`,
  processes: (bound: string) => `had more than ${bound} processes and threads at once`,
  disk: (bound: string) => `wrote more than ${bound}`,
} as const;

/** RESOURCE_LIMIT. `bound` in bytes, or processes. */
export function exceeded(command: string, kind: keyof typeof settings, bound: number, details: readonly string[] = []): SpindleError {
  const shown = kind === 'processes' ? String(bound) : formatBytes(bound);
  return new SpindleError(
    'RESOURCE_LIMIT',
    `${command} ${beyond[kind](shown)}, which is the bound for one build here, and was ended; ask for less, or have the operator raise ${settings[kind]}`,
    { details },
  );
}

/** DISK_FULL: not this build's own bound, but the disk's end. */
export function diskShort(command: string, freeMin: number, details: readonly string[] = []): SpindleError {
  return new SpindleError(
    'DISK_FULL',
    `${command} was ended because its disk has less than ${formatBytes(freeMin)} left; make room where the state directory lies`,
    { details },
  );
}

function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let index = 0;
  for (; value >= 1024 && index < units.length - 1; index += 1) value /= 1024;
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[index]}`;
}
