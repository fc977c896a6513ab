/** Tells a full disk from other troubles: it is the operator's to mend, and worth another try. Pure. */
import { SpindleError } from '../build/failure.ts';

/** For `catch`: rejects with DISK_FULL where no space or quota is left, with the error itself otherwise. `doing`: what failed, such as `writing into a workspace`. */
export function refuseFullDisk(doing: string): (error: unknown) => never {
  return (error) => {
    const code = (error as NodeJS.ErrnoException | undefined)?.code;
    if (code === 'ENOSPC' || code === 'EDQUOT') throw new SpindleError('DISK_FULL', `${doing} failed: no space is left; free some`, { cause: error });
    throw error;
  };
}
