/** Files in a local directory against the files contract, and what only a file system can do wrong. */
import { spawnSync } from 'node:child_process';
import { access, chmod, link, mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Files } from '../../shared/files/files.ts';
import { localFiles } from '../../shared/files/local.ts';
import { tempDirectory, testDirectory } from '../support/temp-directory.ts';
import { filesContract } from './files.contract.ts';

filesContract(
  'local directory',
  async () => {
    const directory = await tempDirectory();
    let counter = 0;
    const freshPath = () => {
      counter += 1;
      return join(directory.path, `local-${counter}`);
    };
    const open = async () => localFiles({ directory: join(directory.path, 'files') });
    return {
      files: await open(),
      freshPath,
      localFile: async (content) => {
        const path = freshPath();
        await writeFile(path, content);
        return path;
      },
      readLocal: (path) => readFile(path),
      reopen: open,
      dispose: directory.remove,
    };
  },
  { survivesRestart: true },
);

async function setUp(): Promise<{ readonly files: Files; readonly directory: string; readonly inside: string }> {
  const directory = await testDirectory();
  const inside = join(directory, 'files');
  const files = localFiles({ directory: inside });
  onTestFinished(() => files.close());
  await files.ping();
  return { files, directory, inside };
}

describe('local files', () => {
  test('a local file is linked, not copied, and can no longer be written to by mistake', async () => {
    const { files, directory, inside } = await setUp();
    await writeFile(join(directory, 'image.iso'), 'image');
    await files.put('content/image', { path: join(directory, 'image.iso') });
    const stored = await stat(join(inside, 'content/image'));
    expect(stored.ino).toBe((await stat(join(directory, 'image.iso'))).ino);
    expect(stored.mode & 0o222).toBe(0);
    await files.put('content/image', { path: join(directory, 'image.iso') });
    await files.place('content/image', join(directory, 'placed.iso'));
    expect((await stat(join(directory, 'placed.iso'))).ino).toBe(stored.ino);
    expect(await readdir(join(inside, '.incoming'))).toEqual([]);
  });

  test('content that was changed behind the store shows in the fingerprint, size and times put back', async () => {
    const { files, inside } = await setUp();
    await files.put('a', 'content');
    await files.setModified('a', 1_700_000_000_000);
    const before = await files.stat('a');
    const path = join(inside, 'a');
    await chmod(path, 0o644);
    await writeFile(path, 'CONTENT');
    await chmod(path, 0o444);
    await utimes(path, 1_700_000_000, 1_700_000_000);
    const after = await files.stat('a');
    expect(after).toMatchObject({ size: before?.size, modifiedAt: before?.modifiedAt });
    expect(after?.fingerprint).not.toBe(before?.fingerprint);
  });

  test('a file on another file system is copied, there and back', async ({ skip }) => {
    const { files, directory } = await setUp();
    const elsewhere = await tempDirectory('/dev/shm').catch((error: Error) => skip(`needs a second file system at /dev/shm: ${error.message}`));
    onTestFinished(elsewhere.remove);
    if ((await stat(elsewhere.path)).dev === (await stat(directory)).dev) skip('needs a second file system, and /dev/shm is the same one');
    const content = Buffer.alloc(2_500_000, 'spindle');
    await writeFile(join(elsewhere.path, 'image.iso'), content);
    await files.put('image', { path: join(elsewhere.path, 'image.iso') });
    await rm(join(elsewhere.path, 'image.iso'));
    expect(await files.place('image', join(elsewhere.path, 'back.iso'))).toMatchObject({ isLinked: false });
    expect((await readFile(join(elsewhere.path, 'back.iso'))).equals(content)).toBe(true);
  });

  test('a symbolic link, a directory and a device are not stored, nor followed when read', async () => {
    const { files, directory, inside } = await setUp();
    await writeFile(join(directory, 'secret'), 'secret');
    await symlink(join(directory, 'secret'), join(directory, 'link'));
    for (const path of [join(directory, 'link'), directory, '/dev/null']) {
      await expect(files.put('a', { path }), path).rejects.toMatchObject({ code: 'PATH_REFUSED' });
    }
    await symlink(join(directory, 'secret'), join(inside, 'planted'));
    await expect(files.get('planted')).rejects.toThrow();
    expect(await files.list('')).toEqual([]);
    expect(await readdir(join(inside, '.incoming'))).toEqual([]);
  });

  test('what a crash left half-written is never visible and is swept; what a living process writes stays', async () => {
    const { files, inside } = await setUp();
    await files.put('a', 'x');
    const dead = spawnSync(process.execPath, ['-e', 'process.stdout.write(String(process.pid))'], { encoding: 'utf8' }).stdout;
    const incoming = join(inside, '.incoming');
    const names = { dead: `${dead}.0123456789ab.1`, recycled: `${process.pid}.0123456789ab.1`, alive: `${process.ppid}.0123456789ab.1`, odd: 'torn' };
    for (const name of Object.values(names)) await writeFile(join(incoming, name), 'half a fi');
    const again = localFiles({ directory: inside });
    onTestFinished(() => again.close());
    expect(await again.list('')).toEqual(['a']);
    expect(await readdir(incoming)).toEqual([names.alive]);
  });

  test('a file cannot be a folder as well', async () => {
    const { files } = await setUp();
    await files.put('a', 'file');
    await expect(files.put('a/b', 'below a file')).rejects.toMatchObject({ code: 'PATH_REFUSED' });
    await files.put('folder/b', 'x');
    await expect(files.put('folder', 'x')).rejects.toMatchObject({ code: 'PATH_REFUSED' });
    expect(await files.get('a/b')).toBeUndefined();
  });

  test('place never overwrites, and tells a missing file from a missing directory', async () => {
    const { files, directory } = await setUp();
    await files.put('a', 'new');
    await writeFile(join(directory, 'there'), 'old');
    await expect(files.place('a', join(directory, 'there'))).rejects.toMatchObject({ code: 'PATH_REFUSED' });
    expect(await readFile(join(directory, 'there'), 'utf8')).toBe('old');
    await expect(files.place('a', join(directory, 'no/such/directory'))).rejects.toMatchObject({ code: 'INTERNAL' });
  });

  test('a body that was not read in time says so, instead of giving another file’s bytes', async () => {
    const { files } = await setUp();
    await files.put('a', Buffer.alloc(200_000, 'a'));
    const replaced = await files.get('a');
    await files.put('a', Buffer.alloc(200_000, 'b'));
    await expect(readAll(replaced?.body)).rejects.toMatchObject({ code: 'FILE_MISSING' });
    const removed = await files.get('a');
    await files.remove('a');
    await expect(readAll(removed?.body)).rejects.toMatchObject({ code: 'FILE_MISSING' });
  });

  test('an abort ends a put whose source hangs', async () => {
    const { files, inside } = await setUp();
    const controller = new AbortController();
    const reason = new Error('planted: canceled');
    const hanging = async function* () {
      yield new Uint8Array(10);
      controller.abort(reason);
      await new Promise(() => {});
    };
    await expect(files.put('a', hanging(), { signal: controller.signal })).rejects.toBe(reason);
    expect(await readdir(join(inside, '.incoming'))).toEqual([]);
  });

  test('a full disk is named, leaves nothing half-written, and is over when there is space again', async ({ skip }) => {
    const directory = await testDirectory();
    const small = join(directory, 'small');
    await mkdir(small);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small], { encoding: 'utf8' });
    if (mounted.status !== 0) skip(`needs a small file system, and mount said: ${mounted.error?.message ?? mounted.stderr.trim()}`);
    onTestFinished(() => {
      expect(spawnSync('umount', ['--lazy', small]).status).toBe(0);
    });
    const files = localFiles({ directory: small });
    await files.put('first', Buffer.alloc(600_000));
    await expect(files.put('second', Buffer.alloc(600_000))).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(await readdir(join(small, '.incoming'))).toEqual([]);
    expect(await files.list('')).toEqual(['first']);
    await files.remove('first');
    expect(await files.put('second', Buffer.alloc(600_000))).toBe(true);
    await files.close();
  });

  test('a directory that cannot be made is the caller’s error, not an unhandled one', async () => {
    const directory = await testDirectory();
    await writeFile(join(directory, 'file'), 'x');
    const files = localFiles({ directory: join(directory, 'file', 'files') });
    await expect(files.put('a', 'x')).rejects.toThrow();
    await expect(files.ping()).rejects.toThrow();
    await files.close();
    await expect(access(join(directory, 'file', 'files'))).rejects.toThrow();
  });

  test('a source that is one of several names of a file is linked just the same', async () => {
    const { files, directory } = await setUp();
    await writeFile(join(directory, 'one'), 'x');
    await link(join(directory, 'one'), join(directory, 'two'));
    expect(await files.put('a', { path: join(directory, 'one') }, { ifAbsent: true })).toBe(true);
    expect(await files.put('a', { path: join(directory, 'two') }, { ifAbsent: true })).toBe(false);
    expect(await files.put('a', { path: join(directory, 'two') })).toBe(true);
  });
});

async function readAll(body: AsyncIterable<Uint8Array> | undefined): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body ?? []) chunks.push(chunk);
  return Buffer.concat(chunks);
}
