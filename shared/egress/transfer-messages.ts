/** What the service's thread and a transfer thread tell each other. Pure. */
import type { FailureCode } from '../build/failure.ts';
import { SpindleError } from '../build/spindle-error.ts';
import type { DownloadAnswer, DownloadRequest } from './egress.ts';

/** What goes to the thread. */
export type TransferOrder =
  | { readonly kind: 'download'; readonly id: number; readonly request: SentRequest; readonly path: string }
  | { readonly kind: 'abort'; readonly id: number }
  /** Ends everything; the thread exits. */
  | { readonly kind: 'close' };

/** A download request without what cannot be sent. */
type SentRequest = Omit<DownloadRequest, 'signal' | 'onBytes' | 'resume'> & { readonly resume?: { readonly validator?: string | undefined } };

/** What comes back: what happened to one download since its last report. */
export interface TransferReport {
  readonly id: number;
  readonly answered?: { readonly validator: string | undefined; readonly from: number };
  readonly bytes?: number;
  /** The last one. */
  readonly end?: { readonly answer: DownloadAnswer } | { readonly error: SentError };
}

interface SentError {
  readonly code?: string | undefined;
  readonly message: string;
  /** Of a SpindleError. */
  readonly details?: readonly string[];
}

export function sentRequest({ signal: _signal, onBytes: _onBytes, resume, ...request }: DownloadRequest): SentRequest {
  return { ...request, ...(resume ? { resume: { validator: resume.validator } } : {}) };
}

export function sentError(error: unknown): SentError {
  if (error instanceof SpindleError) return { code: error.code, message: error.message, details: error.details };
  const { code, message = String(error) } = error as { readonly code?: string; readonly message?: string };
  return { code: typeof code === 'string' ? code : undefined, message };
}

/** As it was thrown, but for its stack and cause. */
export function receivedError({ code, message, details }: SentError): Error {
  if (details) return new SpindleError(code as FailureCode, message, { details });
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}
