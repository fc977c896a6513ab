/** The mail port over SMTP: a letter is sent when the server has said that it took it. */
import { createTransport } from 'nodemailer';
import { SpindleError } from '../build/failure.ts';
import type { MailServer } from '../config/smtp-url.ts';
import type { Mail } from './mail.ts';
import { composeLetter } from './rfc822.ts';

/** To connect, until the greeting, and between two answers: no letter waits longer for a server that says nothing. */
const timeouts = { connectionTimeout: 10_000, greetingTimeout: 10_000, socketTimeout: 60_000 };
const connectionsMax = 2;

/** What the server says no to for good is a matter of this letter only where it was asked about the letter. */
const letterCommands: ReadonlySet<string | undefined> = new Set(['MAIL FROM', 'RCPT TO', 'DATA']);

interface SmtpError extends Error {
  readonly code?: string;
  readonly command?: string;
  readonly responseCode?: number;
  readonly response?: string;
}

/** A letter that is sent again, since an answer was lost, has the same Message-ID: mail programs show it once. */
export function smtpMail({ host, port, isSecure, credentials, from = 'Spindle <spindle@localhost>' }: MailServer): Mail {
  const transport = createTransport({
    host,
    port,
    secure: isSecure,
    pool: true,
    maxConnections: connectionsMax,
    ...(credentials === undefined ? {} : { auth: { user: credentials.user.reveal(), pass: credentials.password.reveal() } }),
    ...timeouts,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  const underWay = new Set<Promise<unknown>>();
  let isClosed = false;
  return {
    async send(letter, signal) {
      if (isClosed) throw new SpindleError('PORT_CLOSED', 'the mail was used after it was closed');
      signal?.throwIfAborted();
      const raw = Buffer.from(await composeLetter(letter, from));
      signal?.throwIfAborted();
      const sending = transport.sendMail({ envelope: { from: addressOf(from), to: [letter.to] }, raw });
      underWay.add(sending);
      try {
        await sending;
      } catch (error) {
        throw asMailError(error as SmtpError, `the letter to ${letter.to} was not taken by ${host}:${port}`);
      } finally {
        underWay.delete(sending);
      }
    },
    async close() {
      isClosed = true;
      await Promise.allSettled([...underWay]);
      transport.close();
    },
  };
}

function addressOf(sender: string): string {
  return /<([^<>]+)>$/.exec(sender)?.[1] ?? sender;
}

/** The cause is left out: it may hold what was sent, and the answer to a refused sign-in. */
function asMailError({ code, command, responseCode, response, message }: SmtpError, what: string): SpindleError {
  const said = command === 'API' || command === undefined || letterCommands.has(command) ? (response ?? message) : (code ?? 'no reason');
  if (responseCode !== undefined && responseCode >= 500 && letterCommands.has(command)) return new SpindleError('MAIL_REFUSED', `${what}: ${said}`);
  return new SpindleError('MAIL_UNAVAILABLE', `${what}: ${said}; it is tried again`);
}
