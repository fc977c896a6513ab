/** Letters as files against the mail contract, read back as a mail program reads them. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import PostalMime from 'postal-mime';
import { describe, expect, test } from 'vitest';
import { fileMail, letterFileName } from '../../shared/mail/file.ts';
import { tempDirectory, testDirectory } from '../support/temp-directory.ts';
import { letter, mailContract, type Received } from './mail.contract.ts';

async function lettersIn(directory: string): Promise<readonly Received[]> {
  // Before the first letter there may be no directory.
  const entries = await readdir(directory).catch(() => []);
  const names = entries.filter((name) => name.endsWith('.eml'));
  return Promise.all(
    names.map(async (name) => {
      const email = await PostalMime.parse(await readFile(join(directory, name)));
      return {
        messageId: email.messageId ?? '',
        to: [...(email.to ?? []), ...(email.cc ?? []), ...(email.bcc ?? [])].map(({ address }) => address ?? ''),
        subject: email.subject ?? '',
        text: email.text ?? '',
        date: Date.parse(email.date ?? ''),
        headers: Object.fromEntries(email.headers.map(({ key, value }) => [key, value])),
      };
    }),
  );
}

mailContract('files', async () => {
  const directory = await tempDirectory();
  const path = join(directory.path, 'mail');
  const mail = fileMail({ directory: path });
  return { mail, received: () => lettersIn(path), dispose: directory.remove };
});

describe('file mail', () => {
  test('equal letters are equal bytes, with the operator’s sender', async () => {
    const bytes: string[] = [];
    for (const directory of [await testDirectory(), await testDirectory()]) {
      const mail = fileMail({ directory, from: 'Fedora Spindle <spindle@example.org>' });
      await mail.send(letter);
      await mail.close();
      bytes.push(await readFile(join(directory, letterFileName(letter.messageId)), 'utf8'));
    }
    expect(bytes[0]).toBe(bytes[1]);
    expect(bytes[0]).toContain('From: Fedora Spindle <spindle@example.org>\r\n');
    expect(bytes[0]?.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
  });

  test('file names are the message ids, and never the same for two of them', () => {
    expect(letterFileName('<b1.build.finished.4f@spindle>')).toBe('b1.build.finished.4f@spindle.eml');
    const odd = ['<a/b@c>', '<a_b@c>', '<a|b@c>', '<.a@c>', `<${'x'.repeat(230)}@c>`, `<${'x'.repeat(230)}@d>`].map(letterFileName);
    expect(new Set(odd).size).toBe(odd.length);
    for (const name of odd) expect(name).toMatch(/^[A-Za-z0-9][A-Za-z0-9._+@~-]{0,239}$/);
  });

  test('a directory that cannot be written to is MAIL_UNAVAILABLE: try again later', async () => {
    const directory = await testDirectory();
    await writeFile(join(directory, 'file'), 'in the way');
    const mail = fileMail({ directory: join(directory, 'file', 'mail') });
    await expect(mail.send(letter)).rejects.toMatchObject({ code: 'MAIL_UNAVAILABLE' });
    await mail.close();
  });
});
