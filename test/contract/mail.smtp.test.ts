/** Mail over SMTP against the mail contract, with a real SMTP server, and what only a server can answer. */
import type { AddressInfo } from 'node:net';
import PostalMime from 'postal-mime';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parseSmtpUrl } from '../../shared/config/smtp-url.ts';
import type { Mail } from '../../shared/mail/mail.ts';
import { smtpMail } from '../../shared/mail/smtp.ts';
import { letter, mailContract, type Received } from './mail.contract.ts';

interface Taken {
  readonly to: readonly string[];
  readonly from: string;
  readonly user: string | undefined;
  readonly bytes: Buffer;
}

interface Server {
  readonly port: number;
  readonly taken: readonly Taken[];
  close(): Promise<void>;
}

async function smtpServer(options: SMTPServerOptions = {}, port = 0): Promise<Server> {
  const taken: Taken[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    disableReverseLookup: true,
    // Connections that a client keeps are cut when it closes.
    closeTimeout: 50,
    onData: (stream, session, done) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope;
        taken.push({
          to: rcptTo.map(({ address }) => address),
          from: mailFrom === false ? '' : mailFrom.address,
          user: session.user,
          bytes: Buffer.concat(chunks),
        });
        done();
      });
    },
    ...options,
  });
  server.on('error', () => {});
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    port: (server.server.address() as AddressInfo).port,
    taken,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function mailTo(port: number, user = '', query = ''): Mail {
  const server = parseSmtpUrl(`smtp://${user}127.0.0.1:${port}${query}`);
  if ('problem' in server) throw new Error(server.problem);
  return smtpMail(server);
}

mailContract('SMTP', async () => {
  const server = await smtpServer();
  return {
    mail: mailTo(server.port),
    received: async () => {
      const letters = new Map<string, Received>();
      for (const { to, bytes } of server.taken) {
        const { messageId = '', subject = '', text = '', date = '', headers, to: shownTo } = await PostalMime.parse(bytes);
        // Those of the envelope, which is where it went, and those that it names.
        expect(shownTo?.map(({ address }) => address)).toEqual(to);
        letters.set(messageId, {
          messageId,
          to,
          subject,
          text,
          date: new Date(date).getTime(),
          headers: Object.fromEntries(headers.map(({ key, value }) => [key, value])),
        });
      }
      return [...letters.values()];
    },
    dispose: server.close,
  };
});

describe('mail over SMTP', () => {
  const opened = async (options: SMTPServerOptions = {}, user = '', query = ''): Promise<{ readonly mail: Mail; readonly server: Server }> => {
    const server = await smtpServer(options);
    const mail = mailTo(server.port, user, query);
    onTestFinished(async () => {
      await mail.close();
      await server.close();
    });
    return { mail, server };
  };
  const refusing = (responseCode: number): SMTPServerOptions => ({
    onRcptTo: (_address, _session, done) => done(Object.assign(new Error('planted'), { responseCode })),
  });

  test('user, password and sender are those of the settings', async () => {
    const { mail, server } = await opened(
      {
        authOptional: false,
        allowInsecureAuth: true,
        onAuth: ({ username, password }, _session, done) => {
          if (username === 'me@x' && password === 'hunter2/') done(null, { user: username });
          else done(new Error('planted: not you'));
        },
      },
      'me%40x:hunter2%2F@',
      '?from=Images%20%3Cimages@example.org%3E',
    );
    await mail.send(letter);
    expect(server.taken).toMatchObject([{ user: 'me@x', from: 'images@example.org', to: [letter.to] }]);
    expect((await PostalMime.parse(server.taken[0]?.bytes ?? '')).from).toEqual({ name: 'Images', address: 'images@example.org' });
  });

  test('a refused sign-in is the operator’s matter and tried again; the password is in no message', async () => {
    const { mail } = await opened({ allowInsecureAuth: true, onAuth: (_auth, _session, done) => done(new Error('planted: hunter2 is wrong')) }, 'me:hunter2@');
    const error = await mail.send(letter).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ code: 'MAIL_UNAVAILABLE' });
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('hunter2');
  });

  test('a no for good is told apart from a no for now', async () => {
    const forGood = await opened(refusing(550));
    await expect(forGood.mail.send(letter)).rejects.toMatchObject({ code: 'MAIL_REFUSED', message: expect.stringContaining('550') });
    const forNow = await opened(refusing(451));
    await expect(forNow.mail.send(letter)).rejects.toMatchObject({ code: 'MAIL_UNAVAILABLE', message: expect.stringContaining('451') });
    expect([...forGood.server.taken, ...forNow.server.taken]).toEqual([]);
  });

  test('a server that is away is named, and used again when it is back', async () => {
    const server = await smtpServer();
    const mail = mailTo(server.port);
    onTestFinished(() => mail.close());
    await mail.send(letter);
    await server.close();
    await expect(mail.send(letter)).rejects.toMatchObject({ code: 'MAIL_UNAVAILABLE', message: expect.stringContaining(`127.0.0.1:${server.port}`) });
    const again = await smtpServer({}, server.port);
    onTestFinished(again.close);
    await mail.send(letter);
    expect(again.taken).toHaveLength(1);
  });
});
