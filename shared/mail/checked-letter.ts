/** What every mail adapter makes sure of before a letter leaves: nothing in it can become a header line or a recipient of its own. Pure. */
import { SpindleError } from '../build/failure.ts';
import type { Letter } from './mail.ts';

const subjectLengthMax = 250;
const headerLengthMax = 2000;
const textLengthMax = 1024 * 1024;
const messageIdPattern = /^<[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+>$/;
const addressPattern = /^[^\s\x00-\x20\x7f<>@,;:"()[\]\\]{1,64}@[^\s\x00-\x20\x7f<>@,;:"()[\]\\]{1,189}$/u;
/** Written by the composer from the letter's own fields. */
const ownHeaders: ReadonlySet<string> = new Set(['from', 'sender', 'to', 'cc', 'bcc', 'subject', 'date', 'message-id', 'mime-version', 'reply-to']);

/**
 * The letter with subject and header values on one line each, cut to what mail allows. Throws MAIL_REFUSED where its address, message id or size can never be
 * sent, and INTERNAL for a header that is not the caller's to set.
 */
export function checkedLetter(letter: Letter): Letter {
  if (!addressPattern.test(letter.to))
    throw new SpindleError('MAIL_REFUSED', `${JSON.stringify(letter.to.slice(0, 254))} is not one mail address, so no letter goes there`);
  if (letter.messageId.length > 250 || !messageIdPattern.test(letter.messageId)) {
    throw new SpindleError('MAIL_REFUSED', `${JSON.stringify(letter.messageId.slice(0, 250))} is not a message id of the form <…@…>`);
  }
  if (letter.text.length > textLengthMax)
    throw new SpindleError('MAIL_REFUSED', `the letter has ${letter.text.length} characters; at most ${textLengthMax} are sent`);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(letter.headers ?? {})) {
    const lower = name.toLowerCase();
    if (!/^[A-Za-z][A-Za-z0-9-]{0,60}$/.test(name) || ownHeaders.has(lower) || lower.startsWith('content-')) {
      throw new SpindleError('INTERNAL', `${JSON.stringify(name.slice(0, 80))} is not a header that a letter may add`);
    }
    headers[name] = oneLine(value, headerLengthMax);
  }
  return { ...letter, subject: oneLine(letter.subject, subjectLengthMax), headers };
}

function oneLine(text: string, lengthMax: number): string {
  const line = text.replace(/[\x00-\x1f\x7f\u0085\u2028\u2029]+/g, ' ').trim();
  return line.length > lengthMax ? `${line.slice(0, lengthMax - 1)}…` : line;
}
