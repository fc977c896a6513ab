/** What every adapter of the workspace port promises, as one suite. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readContentText, storeContent } from '../../shared/files/content.ts';
import type { Files } from '../../shared/files/files.ts';
import type { Workspaces } from '../../shared/workspace/workspace.ts';

export interface WorkspaceUnderTest {
  readonly workspaces: Workspaces;
  readonly files: Files;
  readonly close: () => Promise<void>;
}

export function workspaceContract(name: string, make: () => Promise<WorkspaceUnderTest>): void {
  describe(`workspaces: ${name}`, () => {
    let made: WorkspaceUnderTest;
    beforeEach(async () => {
      made = await make();
    });
    afterEach(() => made.close());

    it('gives each run a directory of its own', async () => {
      const [first, second] = await Promise.all([made.workspaces.create('a build'), made.workspaces.create('a build')]);
      expect(first.path).not.toBe(second.path);
      expect(first.path.startsWith('/')).toBe(true);
      await first.write('same', 'first');
      await second.write('same', 'second');
      expect(await first.readText('same', 100)).toBe('first');
      expect(await second.readText('same', 100)).toBe('second');
    });

    it('writes, reads, lists, moves and removes', async () => {
      const workspace = await made.workspaces.create('files');
      await workspace.write('deep/er/text', 'häl');
      await workspace.write('deep/bytes', new Uint8Array([0, 255, 10]));
      await workspace.write('deep/bytes', new Uint8Array([1, 2]));
      await workspace.makeDirectory('empty');
      await workspace.makeDirectory('empty');
      expect([...(await workspace.read('deep/bytes', 100))]).toEqual([1, 2]);
      expect(await workspace.readText('deep/er/text', 100)).toBe('häl');
      expect(await workspace.size('deep/er/text')).toBe(4);
      expect(await workspace.size('deep')).toBeUndefined();
      expect(await workspace.size('none')).toBeUndefined();
      expect(await workspace.list('deep')).toEqual(['bytes', 'er']);
      expect(await workspace.list('none')).toEqual([]);
      await workspace.move('deep/er', 'moved/here');
      expect(await workspace.readText('moved/here/text', 100)).toBe('häl');
      expect(await workspace.size('deep/er/text')).toBeUndefined();
      await workspace.remove('deep');
      await workspace.remove('deep');
      expect(await workspace.list('')).not.toContain('deep');
      await expect(workspace.move('none', 'other')).rejects.toMatchObject({ code: 'FILE_MISSING' });
    });

    it('bounds what it reads', async () => {
      const workspace = await made.workspaces.create('bounds');
      await workspace.write('text', '12345');
      expect(await workspace.readText('text', 5)).toBe('12345');
      await expect(workspace.read('text', 4)).rejects.toMatchObject({ code: 'FILE_TOO_LARGE' });
      await expect(workspace.read('none', 4)).rejects.toMatchObject({ code: 'FILE_MISSING' });
      await expect(workspace.readText('none/none', 4)).rejects.toMatchObject({ code: 'FILE_MISSING' });
    });

    it('reads a part of a file, and what there is of it at its end', async () => {
      const workspace = await made.workspaces.create('parts');
      await workspace.write('text', '0123456789');
      const part = async (start: number, length: number) => new TextDecoder().decode(await workspace.readRange('text', start, length));
      expect(await part(0, 4)).toBe('0123');
      expect(await part(8, 4)).toBe('89');
      expect(await part(10, 4)).toBe('');
      expect(await part(1000, 4)).toBe('');
      await expect(workspace.readRange('none', 0, 1)).rejects.toMatchObject({ code: 'FILE_MISSING' });
      await expect(workspace.readRange('../up', 0, 1)).rejects.toMatchObject({ code: 'PATH_REFUSED' });
    });

    it('refuses every name that leads out', async () => {
      const workspace = await made.workspaces.create('climbing');
      for (const name of ['../up', 'a/../../up', '/etc/passwd', '..', 'a/..', 'a\0b', `long${'/x'.repeat(3000)}`]) {
        const refused = { code: 'PATH_REFUSED' };
        await expect(workspace.write(name, 'x'), name).rejects.toMatchObject(refused);
        await expect(workspace.read(name, 10)).rejects.toMatchObject(refused);
        await expect(workspace.list(name)).rejects.toMatchObject(refused);
        await expect(workspace.size(name)).rejects.toMatchObject(refused);
        await expect(workspace.remove(name)).rejects.toMatchObject(refused);
        await expect(workspace.makeDirectory(name)).rejects.toMatchObject(refused);
        await expect(workspace.move(name, 'x')).rejects.toMatchObject(refused);
        await workspace.write('inner', 'x');
        await expect(workspace.move('inner', name)).rejects.toMatchObject(refused);
        await expect(workspace.place({ sha256: 'a'.repeat(64), size: 0 }, name)).rejects.toMatchObject(refused);
        await expect(workspace.store(name)).rejects.toMatchObject(refused);
      }
      await expect(workspace.remove('.')).rejects.toMatchObject({ code: 'PATH_REFUSED' });
    });

    it('places stored files and stores its own', async () => {
      const workspace = await made.workspaces.create('stored');
      const ref = await storeContent(made.files, 'stored before');
      await workspace.place(ref, 'some/where');
      expect(await workspace.readText('some/where', 100)).toBe('stored before');
      await workspace.write('mine', 'stored now');
      const mine = await workspace.store('mine');
      expect(mine).toMatchObject({ size: 10 });
      await workspace.dispose();
      expect(await readContentText(made.files, mine)).toBe('stored now');
      expect(await readContentText(made.files, ref)).toBe('stored before');
    });

    it('digests a file before it is stored, and again where it was changed since', async () => {
      const workspace = await made.workspaces.create('digested');
      await workspace.write('mine', 'first');
      const ref = await workspace.digest('mine');
      expect(await workspace.store('mine')).toEqual(ref);
      expect(await readContentText(made.files, ref)).toBe('first');
      await workspace.write('other', 'second');
      const before = await workspace.digest('other');
      await workspace.write('other', 'third!');
      const after = await workspace.store('other');
      expect(after.sha256).not.toBe(before.sha256);
      expect(await readContentText(made.files, after)).toBe('third!');
      await expect(workspace.digest('none')).rejects.toMatchObject({ code: 'FILE_MISSING' });
      await expect(workspace.digest('../up')).rejects.toMatchObject({ code: 'PATH_REFUSED' });
      await expect(workspace.digest('mine', AbortSignal.abort(new Error('canceled')))).rejects.toThrow();
    });

    it('says which stored file or own file is not there', async () => {
      const workspace = await made.workspaces.create('missing');
      await expect(workspace.place({ sha256: 'a'.repeat(64), size: 1 }, 'x')).rejects.toMatchObject({ code: 'FILE_MISSING' });
      await expect(workspace.store('none')).rejects.toMatchObject({ code: 'FILE_MISSING' });
      const aborted = new Error('canceled');
      await workspace.write('mine', 'text');
      await expect(workspace.store('mine', AbortSignal.abort(aborted))).rejects.toThrow();
    });

    it('leaves nothing when disposed of, twice as once', async () => {
      const workspace = await made.workspaces.create('gone');
      await workspace.write('a/b/c', 'text');
      await Promise.all([workspace.dispose(), workspace.dispose()]);
      await workspace.dispose();
      await expect(workspace.read('a/b/c', 10)).rejects.toMatchObject({ code: 'FILE_MISSING' });
    });

    it('knows how much room there is', async () => {
      const workspace = await made.workspaces.create('room');
      expect(await workspace.freeBytes()).toBeGreaterThan(1_000_000);
      await workspace.dispose();
    });

    it('takes labels of any kind', async () => {
      for (const label of ['', '../../etc', 'a\nb\0c', '-rf', 'x'.repeat(500)]) {
        const workspace = await made.workspaces.create(label);
        await workspace.write('x', 'x');
        expect(workspace.path).not.toContain('..');
        await workspace.dispose();
      }
    });
  });
}
