/** What every files adapter promises, happy half and unhappy half. Called by the adapters' own small test files. */
import { createHash, randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readContent, readContentText, storeContent } from '../../shared/files/content.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import type { Files } from '../../shared/files/files.ts';

export interface FilesSetup {
  readonly files: Files;
  /** Makes a file that a `{path}` source can name, and returns its path. */
  localFile(content: Uint8Array): Promise<string>;
  /** A path in a directory that exists, where nothing is. */
  freshPath(): string;
  readLocal(path: string): Promise<Uint8Array>;
  /** Opens the same data anew. */
  reopen?(): Promise<Files>;
  dispose(): Promise<void>;
}

export interface FilesPromises {
  readonly survivesRestart: boolean;
}

const bytes = (text: string) => new TextEncoder().encode(text);

/** `make` resolves with a reason where there is no server to try: the tests are skipped with it. */
export function filesContract(name: string, make: () => Promise<FilesSetup | string>, promises: FilesPromises): void {
  describe(`the files contract, ${name}`, () => {
    let setup: FilesSetup;
    let files: Files;

    // The first one may wait for a server to start.
    beforeEach(async ({ skip }) => {
      const made = await make();
      if (typeof made === 'string') return skip(made);
      setup = made;
      files = setup.files;
    }, 120_000);
    afterEach(async () => {
      await files?.close();
      await setup?.dispose();
    });

    const read = async (key: string, range?: { start?: number; end?: number }): Promise<Buffer | undefined> => {
      const found = await files.get(key, range);
      if (!found) return undefined;
      const chunks: Uint8Array[] = [];
      for await (const chunk of found.body) chunks.push(chunk);
      return Buffer.concat(chunks);
    };
    const readText = async (key: string, range?: { start?: number; end?: number }) => (await read(key, range))?.toString();

    test('bytes, text, streams and local files come back as they were', async () => {
      const large = randomBytes(700_001);
      expect(await files.put('kinds/bytes', new Uint8Array([0, 255, 10, 13]))).toBe(true);
      await files.put('kinds/text', 'Grüße \u{1f9f5}');
      await files.put('kinds/empty', '');
      await files.put(
        'kinds/stream',
        (async function* () {
          for (let at = 0; at < large.byteLength; at += 65_537) yield large.subarray(at, at + 65_537);
        })(),
      );
      await files.put('kinds/local', { path: await setup.localFile(large) });
      expect(await read('kinds/bytes')).toEqual(Buffer.from([0, 255, 10, 13]));
      expect(await readText('kinds/text')).toBe('Grüße \u{1f9f5}');
      expect(await readText('kinds/empty')).toBe('');
      expect((await read('kinds/stream'))?.equals(large)).toBe(true);
      expect((await read('kinds/local'))?.equals(large)).toBe(true);
      expect((await files.get('kinds/local'))?.size).toBe(large.byteLength);
    });

    test('what is not there is undefined, and removing it is no error', async () => {
      expect(await files.get('nothing/here')).toBeUndefined();
      expect(await files.stat('nothing/here')).toBeUndefined();
      expect(await files.list('nothing')).toEqual([]);
      await files.remove('nothing/here');
    });

    test('ranges are inclusive and cut to the file', async () => {
      await files.put('digits', '0123456789');
      expect(await readText('digits', { start: 2, end: 4 })).toBe('234');
      expect(await readText('digits', { start: 7 })).toBe('789');
      expect(await readText('digits', { end: 0 })).toBe('0');
      expect(await readText('digits', { start: 8, end: 100 })).toBe('89');
      expect(await readText('digits', { start: 10 })).toBe('');
      expect(await readText('digits', { start: 5, end: 4 })).toBe('');
      expect((await files.get('digits', { start: 2, end: 4 }))?.size).toBe(10);
      const large = randomBytes(600_000);
      await files.put('large', large);
      expect((await read('large', { start: 100_000, end: 499_999 }))?.equals(large.subarray(100_000, 500_000))).toBe(true);
    });

    test('what is synced later is there at once, and is made durable together', async () => {
      const later = { ifAbsent: true, syncLater: true };
      const path = await setup.localFile(bytes('ours'));
      expect(await files.put('later/a', { path, isOurs: true }, later)).toBe(true);
      expect(await files.put('later/a', { path, isOurs: true }, later)).toBe(false);
      expect(await files.put('later/a', 'other', { ifAbsent: true })).toBe(false);
      expect(await files.put('later/b', 'text', later)).toBe(true);
      expect([await readText('later/a'), await readText('later/b')]).toEqual(['ours', 'text']);
      await files.copy('later/a', 'copied');
      await files.remove('later/b');
      await Promise.all([files.sync(), files.sync()]);
      await files.sync();
      expect([await readText('later/a'), await readText('copied'), await files.stat('later/b')]).toEqual(['ours', 'ours', undefined]);
      const missing = setup.freshPath();
      await expect(files.put('later/c', { path: missing, isOurs: true }, later)).rejects.toMatchObject({ code: 'FILE_MISSING' });
    });

    test('a put replaces, and with ifAbsent leaves what is there', async () => {
      await files.put('a', 'first');
      expect(await files.put('a', 'second')).toBe(true);
      expect(await files.put('a', 'third', { ifAbsent: true })).toBe(false);
      expect(await readText('a')).toBe('second');
      expect(await files.put('b', 'new', { ifAbsent: true })).toBe(true);
    });

    test('stat gives size and time, list gives sorted keys below a prefix only', async () => {
      for (const key of ['b/2', 'b/1', 'b/deep/er/3', 'ba/4', 'c']) await files.put(key, key);
      expect(await files.list('b')).toEqual(['b/1', 'b/2', 'b/deep/er/3']);
      expect(await files.list('b/deep')).toEqual(['b/deep/er/3']);
      expect(await files.list('c')).toEqual([]);
      expect(await files.stat('b/deep/er/3')).toMatchObject({ size: 11, modifiedAt: expect.any(Number) });
      expect(await files.stat('b/deep')).toBeUndefined();
      expect(await files.get('b/deep')).toBeUndefined();
      await files.remove('b/1');
      await files.remove('b/1');
      expect(await files.list('b')).toEqual(['b/2', 'b/deep/er/3']);
    });

    test('a fingerprint is the same until the content may have changed; stats tells of many at once', async () => {
      await files.put('a', 'content');
      await files.put('b', 'other');
      const first = await files.stat('a');
      expect(first?.fingerprint).toEqual(expect.any(String));
      expect(await files.stat('a')).toEqual(first);
      expect(await files.stats(['a', 'gone', 'b', 'a/b', 'a'])).toEqual([first, undefined, await files.stat('b'), undefined, first]);
      expect(await files.stats([])).toEqual([]);
      await files.put('a', 'content');
      const second = await files.stat('a');
      expect(second?.fingerprint).not.toBe(first?.fingerprint);
      await files.setModified('a', 1_700_000_000_000);
      const third = await files.stat('a');
      expect(third).toMatchObject({ size: 7, modifiedAt: 1_700_000_000_000 });
      expect(third?.fingerprint).not.toBe(second?.fingerprint);
      expect((await files.stat('b'))?.fingerprint).not.toBe(third?.fingerprint);
      await expect(files.setModified('gone', 0)).rejects.toMatchObject({ code: 'FILE_MISSING' });
      const many = Array.from({ length: 150 }, (_, index) => `many/${index}`);
      await Promise.all(many.map((key) => files.put(key, key)));
      expect((await files.stats(many)).map((status) => status?.size)).toEqual(many.map((key) => key.length));
    });

    test('placing says what becomes of the fingerprint', async () => {
      await files.put('a', 'content');
      const before = (await files.stat('a'))?.fingerprint;
      const placed = await files.place('a', setup.freshPath());
      expect(placed.before).toBe(before);
      expect(placed.after).toBe((await files.stat('a'))?.fingerprint);
    });

    test('copy makes the same file under another key, replacing, also onto itself', async () => {
      await files.put('from', 'content');
      await files.put('folder/to', 'old');
      await files.copy('from', 'folder/to');
      await files.copy('from', 'folder/to');
      await files.copy('from', 'from');
      expect(await readText('folder/to')).toBe('content');
      await files.put('from', 'changed');
      expect(await readText('folder/to')).toBe('content');
      await files.remove('from');
      expect(await readText('folder/to')).toBe('content');
      await expect(files.copy('gone', 'x')).rejects.toMatchObject({ code: 'FILE_MISSING' });
      expect(await files.get('x')).toBeUndefined();
    });

    test('place puts the bytes at a local path; a file that is not there is named', async () => {
      await files.put('a', 'content');
      const path = setup.freshPath();
      await files.place('a', path);
      expect(Buffer.from(await setup.readLocal(path)).toString()).toBe('content');
      await files.put('a', 'changed');
      expect(Buffer.from(await setup.readLocal(path)).toString()).toBe('content');
      await expect(files.place('gone', setup.freshPath())).rejects.toMatchObject({ code: 'FILE_MISSING' });
    });

    test('a key that could leave the store is refused by every call', async () => {
      const refused = { code: 'PATH_REFUSED' };
      for (const key of [
        '',
        '.',
        '..',
        '/etc/passwd',
        'a/../b',
        '../../etc/passwd',
        'a//b',
        'a/',
        '.hidden',
        'a/.b',
        'a b',
        'a\u0000b',
        'a\\b',
        'ü',
        'a\nb',
        'x'.repeat(513),
        'x'.repeat(300),
      ]) {
        await expect(files.put(key, 'x'), JSON.stringify(key)).rejects.toMatchObject(refused);
        await expect(files.get(key)).rejects.toMatchObject(refused);
        await expect(files.stat(key)).rejects.toMatchObject(refused);
        await expect(files.stats(['a', key])).rejects.toMatchObject(refused);
        await expect(files.setModified(key, 0)).rejects.toMatchObject(refused);
        await expect(files.remove(key)).rejects.toMatchObject(refused);
        await expect(files.copy(key, 'a')).rejects.toMatchObject(refused);
        await expect(files.place(key, setup.freshPath())).rejects.toMatchObject(refused);
        await expect(files.link(key, { fileName: 'x', mediaType: 'text/plain' })).rejects.toMatchObject(refused);
        if (key !== '') await expect(files.list(key)).rejects.toMatchObject(refused);
      }
      await files.put('a', 'x');
      await expect(files.copy('a', '../b')).rejects.toMatchObject(refused);
      const long = `${'d'.repeat(200)}/${'e'.repeat(200)}/Ab09._+~@-`;
      await files.put(long, 'x');
      expect(await files.list('d'.repeat(200))).toEqual([long]);
    });

    test('a source that fails leaves nothing, and the old file as it was', async () => {
      const failing = async function* () {
        yield bytes('half');
        throw new Error('planted: the source broke');
      };
      await expect(files.put('new', failing())).rejects.toThrow('planted');
      expect(await files.get('new')).toBeUndefined();
      await files.put('old', 'whole');
      await expect(files.put('old', failing())).rejects.toThrow('planted');
      expect(await readText('old')).toBe('whole');
      expect(await files.list('')).toEqual(['old']);
      await expect(files.put('x', { path: setup.freshPath() })).rejects.toMatchObject({ code: 'FILE_MISSING' });
    });

    test('a reader never sees a part of a file that is being written', async () => {
      let next = () => {};
      const slow = async function* () {
        yield bytes('first half, ');
        await new Promise<void>((resolve) => {
          next = resolve;
        });
        yield bytes('second half');
      };
      await files.put('old', 'whole');
      const putting = [files.put('new', slow()), files.put('old', 'replaced')];
      await putting[1];
      expect(await files.get('new')).toBeUndefined();
      expect(await files.list('')).toEqual(['old']);
      while (next.name === 'next') await new Promise((resolve) => setImmediate(resolve));
      next();
      await Promise.all(putting);
      expect(await readText('new')).toBe('first half, second half');
    });

    test('an abort ends a put with its reason and leaves nothing', async () => {
      const reason = new Error('planted: canceled');
      await expect(files.put('a', 'x', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      const controller = new AbortController();
      const endless = async function* () {
        for (let count = 0; ; count += 1) {
          if (count === 3) controller.abort(reason);
          yield bytes('more');
        }
      };
      await expect(files.put('a', endless(), { signal: controller.signal })).rejects.toBe(reason);
      expect(await files.get('a')).toBeUndefined();
    });

    test('64 concurrent puts of one key: one of them whole, and with ifAbsent exactly one', async () => {
      const contents = Array.from({ length: 64 }, (_, index) => `${index}:`.repeat(5000));
      await Promise.all(contents.map((content) => files.put('same', content)));
      expect(contents).toContain(await readText('same'));
      const taken = await Promise.all(contents.map((content) => files.put('once', content, { ifAbsent: true })));
      expect(taken.filter(Boolean)).toHaveLength(1);
      expect(await readText('once')).toBe(contents[taken.indexOf(true)]);
      expect(await files.list('')).toEqual(['once', 'same']);
    });

    test('concurrent puts into new folders all arrive', async () => {
      const keys = Array.from({ length: 64 }, (_, index) => `deep/${index % 4}/${index % 8}/${index}`);
      await Promise.all(keys.map((key) => files.put(key, key)));
      expect(await files.list('deep')).toEqual([...keys].sort());
    });

    test('content is stored under its digest, once, and damage is noticed', async () => {
      const ref = await storeContent(files, 'content');
      expect(ref).toEqual({ sha256: createHash('sha256').update('content').digest('hex'), size: 7 });
      expect(await storeContent(files, bytes('content'))).toEqual(ref);
      expect(await readContentText(files, ref)).toBe('content');
      await expect(readContent(files, ref, 6)).rejects.toMatchObject({ code: 'FILE_TOO_LARGE' });
      await files.put(contentKey(ref.sha256), 'damaged');
      await expect(readContent(files, ref)).rejects.toMatchObject({ code: 'FILE_CORRUPT' });
      await files.remove(contentKey(ref.sha256));
      await expect(readContent(files, ref)).rejects.toMatchObject({ code: 'FILE_MISSING' });
    });

    test('the caller’s bytes and the stored ones are two', async () => {
      const content = bytes('before');
      await files.put('a', content);
      content.fill(0);
      const found = await files.get('a');
      for await (const chunk of found?.body ?? []) chunk.fill(0);
      expect(await readText('a')).toBe('before');
    });

    test('close waits for what is under way, refuses everything afterwards, and twice is once', async () => {
      const early = files.put('early', 'x'.repeat(100_000));
      await files.ping();
      const closing = files.close();
      await files.close();
      await closing;
      expect(await early).toBe(true);
      const refused = { code: 'PORT_CLOSED' };
      await expect(files.put('a', 'x')).rejects.toMatchObject(refused);
      await expect(files.get('early')).rejects.toMatchObject(refused);
      await expect(files.stat('early')).rejects.toMatchObject(refused);
      await expect(files.stats(['early'])).rejects.toMatchObject(refused);
      await expect(files.setModified('early', 0)).rejects.toMatchObject(refused);
      await expect(files.list('a')).rejects.toMatchObject(refused);
      await expect(files.copy('early', 'b')).rejects.toMatchObject(refused);
      await expect(files.remove('early')).rejects.toMatchObject(refused);
      await expect(files.place('early', setup.freshPath())).rejects.toMatchObject(refused);
      await expect(files.ping()).rejects.toMatchObject(refused);
    });

    if (promises.survivesRestart) {
      test('all is there after a restart', async () => {
        await files.put('deep/a', 'content');
        await files.close();
        files = (await setup.reopen?.()) ?? files;
        expect(await readText('deep/a')).toBe('content');
        expect(await files.list('')).toEqual(['deep/a']);
      });
    }
  });
}
