/** The mail port: hands a finished letter to whoever carries it. */
export interface Letter {
  /** `<…@…>`, the same for the same (build, event, recipient), so that a letter sent twice is seen as one. */
  readonly messageId: string;
  readonly to: string;
  readonly subject: string;
  readonly text: string;
  /** Further header lines, such as `List-Unsubscribe`. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly date: Date;
}

export interface Mail {
  /** Resolves when the letter is in other hands (an SMTP server's, or a file on disk). Rejects with MAIL_UNAVAILABLE (again later) or MAIL_REFUSED (never). */
  send(letter: Letter, signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
