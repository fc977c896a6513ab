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

export interface DownloadRequest extends EgressRequest {
  /**
   * Goes on with the part of the file that is at `path`, where one is, and leaves the part that came where the exchange is cut or aborted: only what the caller knows of the whole says
   * whether it is right. A host that knows no ranges, or whose file is another one by now, sends the whole.
   */
  readonly resume?: {
    /** Of the answer that the part came from. Without it the host can't tell whether its file is still the same. */
    readonly validator?: string | undefined;
    /** Called with each answer that brings content, before that is written. `from`: how many of the bytes that were there are kept. */
    readonly onAnswer?: (answer: { readonly validator: string | undefined; readonly from: number }) => void;
  };
  /** Called with the bytes that are at `path` while more come, and with all of them before the promise settles. */
  readonly onBytes?: (bytes: number) => void;
}

export interface DownloadAnswer extends EgressAnswer {
  /** Of the whole file, the part included that was there before. */
  readonly sha256: string;
  readonly size: number;
  /** Bytes that were there before and were kept. */
  readonly resumedFrom: number;
}

/**
 * Any HTTP status is an answer. Rejects with REMOTE_UNREACHABLE (no connection, cut, timed out), REMOTE_TOO_LARGE, REMOTE_REFUSED (address, scheme or redirect that is not
 * allowed), or the signal's reason. No retries here: the stage runtime and the callers decide about those.
 */
export interface Egress {
  fetchText(request: EgressRequest): Promise<EgressAnswer & { readonly text: string }>;
  /**
   * Streams the body of a 200 into a new file at `path` (removed again on any error) and hashes it on the way. With `resume` the file may be there, and may be a part: the body of a fitting 206 is
   * appended to it, and the whole file is made read-only. With any other status nothing is written, and the size is 0. Rejects with DISK_FULL too; then, and where the answer was too large, no part
   * is left.
   */
  download(request: DownloadRequest, path: string): Promise<DownloadAnswer>;
  /**
   * Asks for the first `bytes` bytes and takes no more than that, whether the host knows ranges (206) or sends the whole (200). With any other status the content is empty. `totalSize`: of the whole
   * file, where the host says so.
   */
  fetchStart(
    request: Omit<EgressRequest, 'bytesMax'> & { readonly bytes: number },
  ): Promise<EgressAnswer & { readonly content: Uint8Array; readonly totalSize: number | undefined }>;
  close(): Promise<void>;
}
