/** A letter as the bytes that travel: headers, blank line, encoded text. Used by the adapters that write or send it. */
import MailComposer from 'nodemailer/lib/mail-composer';
import { checkedLetter } from './checked-letter.ts';
import type { Letter } from './mail.ts';

/** Equal letters give equal bytes. `from`: `Name <address>` or an address, from the operator's settings. Throws as `checkedLetter`. */
export async function composeLetter(letter: Letter, from: string): Promise<Uint8Array> {
  const { messageId, to, subject, text, headers, date } = checkedLetter(letter);
  const composer = new MailComposer({
    from,
    // As an object, so that it is taken as one address and not parsed as a list.
    to: { name: '', address: to },
    subject,
    text,
    headers: { ...headers },
    messageId,
    date,
    newline: 'win',
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return await composer.compile().build();
}
