/** The egress port: the one door through which Spindle itself fetches from other hosts. */
export interface EgressRequest {
  readonly url: string;
  readonly method?: 'GET' | 'HEAD' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Above this the answer is refused with REMOTE_TOO_LARGE, also where no length was announced. */
  readonly bytesMax: number;
  /** For the whole exchange, redirects and body included. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

export interface EgressAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** After redirects. */
  readonly url: string;
}

/**
 * Any HTTP status is an answer. Rejects with REMOTE_UNREACHABLE (no connection, cut, timed out), REMOTE_TOO_LARGE, REMOTE_REFUSED (address, scheme or redirect that is not
 * allowed), or the signal's reason. No retries here: the stage runtime and the callers decide about those.
 */
export interface Egress {
  fetchText(request: EgressRequest): Promise<EgressAnswer & { readonly text: string }>;
  /**
   * Streams the body of a 200 into a new file at `path` (removed again on any error) and hashes it on the way. With any other status nothing is written, and the size is 0.
   */
  download(request: EgressRequest, path: string): Promise<EgressAnswer & { readonly sha256: string; readonly size: number }>;
  /**
   * Asks for the first `bytes` bytes and takes no more than that, whether the host knows ranges (206) or sends the whole (200). With any other status the content is empty. `totalSize`: of the whole
   * file, where the host says so.
   */
  fetchStart(
    request: Omit<EgressRequest, 'bytesMax'> & { readonly bytes: number },
  ): Promise<EgressAnswer & { readonly content: Uint8Array; readonly totalSize: number | undefined }>;
  close(): Promise<void>;
}
