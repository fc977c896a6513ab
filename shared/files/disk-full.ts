/** Tells a full disk from other troubles: it is the operator's to mend, and worth another try. Pure. */
import { SpindleError } from '../build/spindle-error.ts';

/** No space is left, or no quota. */
export function isFullDisk(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

/** For `catch`: rejects with DISK_FULL where the disk is full, with the error itself otherwise. `doing`: what failed, such as `writing into a workspace`. */
export function refuseFullDisk(doing: string): (error: unknown) => never {
  return (error) => {
    throw isFullDisk(error) ? fullDisk(error, doing) : error;
  };
}

export function fullDisk(error: unknown, doing: string): SpindleError {
  return new SpindleError('DISK_FULL', `${doing} failed: no space is left; free some`, { cause: error });
}
