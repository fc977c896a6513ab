/** Letters in memory against the mail contract. */
import { expect, test } from 'vitest';
import { memoryMail } from '../../shared/mail/memory.ts';
import { letter, mailContract } from './mail.contract.ts';

mailContract('in memory', async () => {
  const mail = memoryMail();
  return {
    mail,
    received: async () =>
      [...new Map(mail.letters.map((one) => [one.messageId, one])).values()].map(({ messageId, to, subject, text, date, headers = {} }) => ({
        messageId,
        to: [to],
        subject,
        text,
        date: date.getTime(),
        headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
      })),
    dispose: async () => {},
  };
});

test('the memory mail remembers repeats, for those who count them', async () => {
  const mail = memoryMail();
  await mail.send(letter);
  await mail.send(letter);
  expect(mail.letters.map(({ messageId }) => messageId)).toEqual([letter.messageId, letter.messageId]);
});
