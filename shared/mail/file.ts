/** The mail port as a directory: each letter is one .eml file that any mail program opens. */
import { createHash } from 'node:crypto';
import { SpindleError } from '../build/failure.ts';
import { localFiles } from '../files/local.ts';
import type { Mail } from './mail.ts';
import { composeLetter } from './rfc822.ts';

export interface FileMailOptions {
  /** Made where it is missing. */
  readonly directory: string;
  /** The sender, `Name <address>`. */
  readonly from?: string;
}

/** A letter that is sent twice is one file: its name comes from the Message-ID. */
export function fileMail({ directory, from = 'Spindle <spindle@localhost>' }: FileMailOptions): Mail {
  const files = localFiles({ directory });
  let isClosed = false;
  return {
    async send(letter, signal) {
      if (isClosed) throw new SpindleError('PORT_CLOSED', 'the mail was used after it was closed');
      signal?.throwIfAborted();
      const bytes = await composeLetter(letter, from);
      try {
        await files.put(letterFileName(letter.messageId), bytes, { ifAbsent: true, ...(signal ? { signal } : {}) });
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof SpindleError && error.code === 'PORT_CLOSED') throw error;
        throw new SpindleError('MAIL_UNAVAILABLE', `the letter to ${letter.to} could not be written below ${directory}: ${(error as Error).message}`, {
          cause: error,
        });
      }
    },
    async close() {
      isClosed = true;
      await files.close();
    },
  };
}

/** The Message-ID itself where it can be a file name; else as near to it as can be, and a digest so that no two share a name. */
export function letterFileName(messageId: string): string {
  const id = messageId.slice(1, -1);
  if (/^[A-Za-z0-9][A-Za-z0-9._+@-]{0,199}$/.test(id)) return `${id}.eml`;
  const digest = createHash('sha256').update(id).digest('hex').slice(0, 16);
  return `letter-${id.replace(/[^A-Za-z0-9._+@-]+/g, '_').slice(0, 150)}~${digest}.eml`;
}
