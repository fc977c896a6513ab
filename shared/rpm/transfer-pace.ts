/** Ends a transfer that stalls or crawls. A large file may take its time, as long as its bytes keep coming. */
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';

export interface PaceLimits {
  readonly windowMs: number;
  /** Fewer in one window end the transfer. */
  readonly bytesMin: number;
}

/** Low enough for many transfers that share a thin line. */
export const usualPace: PaceLimits = { windowMs: 20_000, bytesMin: 80_000 };

/** REMOTE_UNREACHABLE: too little came for too long. */
export class PaceError extends SpindleError {
  constructor(message: string) {
    super('REMOTE_UNREACHABLE', message);
  }
}

interface Pace {
  /** Fires with a PaceError where too little came, and with the reason of the signal it was made from. */
  readonly signal: AbortSignal;
  saw(bytes: number): void;
  stop(): void;
}

export function watchPace(url: string, { windowMs, bytesMin }: PaceLimits, clock: Pick<Clock, 'after'>, signal: AbortSignal): Pace {
  const ending = new AbortController();
  const abort = () => ending.abort(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  let bytesInWindow = 0;
  const look = () => {
    if (bytesInWindow < bytesMin) {
      const came = bytesInWindow === 0 ? 'nothing' : `only ${bytesInWindow} bytes`;
      ending.abort(new PaceError(`${url} sent ${came} for ${windowMs / 1000} s`));
      return;
    }
    bytesInWindow = 0;
    forget = clock.after(windowMs, look);
  };
  let forget = clock.after(windowMs, look);
  return {
    signal: ending.signal,
    saw: (bytes) => {
      bytesInWindow += bytes;
    },
    stop: () => {
      forget();
      signal.removeEventListener('abort', abort);
    },
  };
}
