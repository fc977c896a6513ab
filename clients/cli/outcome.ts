/** How a command can end badly, and the exit status that each way has. Pure. */

/** 0 is: done. */
export const exitStatus = { buildFailed: 1, usage: 2, unreachable: 3, refused: 4 } as const;

/** The command line, or a file that it names, is wrong. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The service cannot be reached, or what answers is not the service, or it is ill. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

/** The service said no. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly status: number;
  readonly code: string;
  readonly errors: readonly { readonly field: string; readonly message: string }[];
  constructor(status: number, code: string, detail: string, errors: readonly { readonly field: string; readonly message: string }[]) {
    super(detail);
    this.status = status;
    this.code = code;
    this.errors = errors;
  }
}

/** What to print of an error, line by line, and the exit status. Undefined for errors that nobody foresaw. */
export function endOf(error: unknown): { readonly status: number; readonly lines: readonly string[] } | undefined {
  if (error instanceof UsageError) return { status: exitStatus.usage, lines: [error.message] };
  if (error instanceof UnreachableError) return { status: exitStatus.unreachable, lines: [error.message] };
  if (error instanceof RefusedError) {
    const others = error.errors.filter(({ message }, index) => index > 0 || message !== error.message);
    const shown = error.errors.length > 1 ? error.errors : others;
    return { status: exitStatus.refused, lines: [`${error.message} (${error.status} ${error.code})`, ...shown.map(({ message }) => `  ${message}`)] };
  }
  return undefined;
}
