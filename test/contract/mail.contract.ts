/** What every mail adapter promises, happy half and unhappy half. Called by the adapters' own small test files. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Letter, Mail } from '../../shared/mail/mail.ts';

/** A letter as its recipient's mail program shows it. */
export interface Received {
  readonly messageId: string;
  readonly to: readonly string[];
  readonly subject: string;
  readonly text: string;
  readonly date: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface MailSetup {
  readonly mail: Mail;
  /** The letters that a person finds: repeats of one Message-ID are one. In no order. */
  received(): Promise<readonly Received[]>;
  dispose(): Promise<void>;
}

export const letter: Letter = {
  messageId: '<0190a0a0-0000-7000-8000-000000000000.build.finished.4f1a@spindle.example.org>',
  to: 'me@example.org',
  subject: 'MyTest is ready: booted',
  text: 'The image:\nhttps://spindle.example.org/x.iso\n',
  date: new Date('2026-11-22T10:00:00Z'),
};

export function mailContract(name: string, make: () => Promise<MailSetup>): void {
  describe(`the mail contract, ${name}`, () => {
    let setup: MailSetup;
    let mail: Mail;

    beforeEach(async () => {
      setup = await make();
      mail = setup.mail;
    });
    afterEach(async () => {
      await mail.close();
      await setup.dispose();
    });

    const only = async (): Promise<Received> => {
      const [first, ...others] = await setup.received();
      expect(others).toEqual([]);
      if (!first) throw new Error('no letter arrived');
      return first;
    };

    test('a letter arrives as it was written', async () => {
      await mail.send({ ...letter, headers: { 'List-Unsubscribe': '<https://spindle.example.org/unsubscribe>' } });
      const received = await only();
      expect(received).toMatchObject({ messageId: letter.messageId, to: ['me@example.org'], subject: letter.subject, date: letter.date.getTime() });
      expect(received.text.trimEnd()).toBe(letter.text.trimEnd());
      expect(received.headers['list-unsubscribe']).toBe('<https://spindle.example.org/unsubscribe>');
    });

    test('a letter that is sent twice, or from 16 places at once, is one', async () => {
      await mail.send(letter);
      await Promise.all(Array.from({ length: 16 }, () => mail.send(letter)));
      expect((await only()).messageId).toBe(letter.messageId);
      await mail.send({ ...letter, messageId: '<other@spindle.example.org>' });
      expect(await setup.received()).toHaveLength(2);
    });

    test('letters, lines and words of any language and length come through', async () => {
      const subject = 'Grüße: \u{1f9f5} ist fertig, "quoted", =?UTF-8?Q?not_encoded?=';
      const text = `Grüße \u{1f9f5}\n.\n..\nFrom the beginning\n${'long '.repeat(500)}\n\ttab = equals\n-- \nend\n`;
      await mail.send({ ...letter, subject, text });
      const received = await only();
      expect(received.subject).toBe(subject);
      expect(received.text.replaceAll('\r\n', '\n').trimEnd()).toBe(text.trimEnd());
    });

    test('nothing in a letter becomes a header line or a recipient of its own', async () => {
      await mail.send({
        ...letter,
        subject: 'harmless\r\nBcc: evil@example.org\r\n\r\nbody\u0000\u2028',
        headers: { 'X-Note': 'fine\r\nX-Evil: 1\nBcc: evil@example.org' },
      });
      const received = await only();
      expect(received.to).toEqual(['me@example.org']);
      expect(received.subject).toBe('harmless Bcc: evil@example.org body');
      expect(Object.keys(received.headers)).not.toContain('bcc');
      expect(Object.keys(received.headers)).not.toContain('x-evil');
      expect(received.text).not.toContain('evil');
    });

    test.each([
      'me@example.org\r\nBcc: evil@example.org',
      'me@example.org, evil@example.org',
      'group: evil@example.org;',
      'Name <me@example.org>',
      'me',
      '',
      '@example.org',
      `${'x'.repeat(300)}@example.org`,
      'me@example.org\u0000',
    ])('%j is not one address, so nothing is sent', async (to) => {
      await expect(mail.send({ ...letter, to })).rejects.toMatchObject({ code: 'MAIL_REFUSED' });
      expect(await setup.received()).toEqual([]);
    });

    test.each(['', '<>', 'a@b', '<a@b>\r\nX-Evil: 1', '<a b@c>', '<../../etc/passwd>', `<${'x'.repeat(300)}@b>`])(
      '%j is not a message id, so nothing is sent',
      async (messageId) => {
        await expect(mail.send({ ...letter, messageId })).rejects.toMatchObject({ code: 'MAIL_REFUSED' });
        expect(await setup.received()).toEqual([]);
      },
    );

    test('headers of the letter itself cannot be set from outside', async () => {
      for (const header of ['Bcc', 'to', 'FROM', 'Subject', 'Message-ID', 'Content-Type', 'X Evil', 'X-Evil:', 'X\r\nBcc']) {
        await expect(mail.send({ ...letter, headers: { [header]: 'x' } }), header).rejects.toMatchObject({ code: 'INTERNAL' });
      }
    });

    test('an endless subject is cut, an oversized text refused', async () => {
      await mail.send({ ...letter, subject: 'long '.repeat(1000) });
      expect((await only()).subject.length).toBeLessThanOrEqual(250);
      await expect(mail.send({ ...letter, messageId: '<big@b>', text: 'x'.repeat(2_000_000) })).rejects.toMatchObject({ code: 'MAIL_REFUSED' });
    });

    test('an abort sends nothing and rejects with its reason', async () => {
      const reason = new Error('planted: stopping');
      await expect(mail.send(letter, AbortSignal.abort(reason))).rejects.toBe(reason);
      expect(await setup.received()).toEqual([]);
    });

    test('after close nothing is sent; close twice is once', async () => {
      await mail.close();
      await mail.close();
      await expect(mail.send(letter)).rejects.toMatchObject({ code: 'PORT_CLOSED' });
    });
  });
}
