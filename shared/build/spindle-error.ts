/** The error that carries a failure's code. In a file of its own, since every thread has a copy of what it imports. */
import type { FailureCode } from './failure.ts';

/** An error with a stable code. What is thrown without one counts as INTERNAL. */
export class SpindleError extends Error {
  override readonly name = 'SpindleError';
  readonly code: FailureCode;
  readonly details: readonly string[];
  constructor(code: FailureCode, message: string, options: { readonly cause?: unknown; readonly details?: readonly string[] } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? [];
  }
}
