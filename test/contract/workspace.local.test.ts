/** The workspace contract on a real directory, with what tools can leave in one. */
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { storeContent } from '../../shared/files/content.ts';
import { localFiles } from '../../shared/files/local.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';
import { workspaceContract } from './workspace.contract.ts';

async function setUp() {
  const root = await realpath(await mkdtemp(join(tmpdir(), 'spindle-workspace-')));
  const files = localFiles({ directory: join(root, 'files') });
  const directory = join(root, 'work');
  const make = (owner = 'worker-1') => localWorkspaces({ directory, files, owner, programs: spawnedPrograms() });
  return {
    root,
    directory,
    files,
    make,
    close: async () => {
      await files.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}

workspaceContract('local', async () => {
  const { make, files, close } = await setUp();
  return { workspaces: make(), files, close };
});

describe('local workspaces', () => {
  let at: Awaited<ReturnType<typeof setUp>>;
  beforeEach(async () => {
    at = await setUp();
  });
  afterEach(() => at.close());

  it('makes directories for this user alone, on the file system of the stored files', async () => {
    const workspace = await at.make().create('mode');
    expect((await stat(workspace.path)).mode & 0o777).toBe(0o700);
    const ref = await storeContent(at.files, 'linked, not copied');
    await workspace.place(ref, 'x');
    expect((await stat(join(workspace.path, 'x'))).nlink).toBeGreaterThan(1);
  });

  it('follows no symbolic link out', async () => {
    await writeFile(join(at.root, 'secret'), 'secret');
    const workspace = await at.make().create('links');
    await symlink(join(at.root, 'secret'), join(workspace.path, 'file'));
    await symlink(at.root, join(workspace.path, 'folder'));
    await expect(workspace.read('file', 100)).rejects.toMatchObject({ code: 'FILE_MISSING' });
    await expect(workspace.store('file')).rejects.toMatchObject({ code: 'FILE_MISSING' });
    expect(await workspace.size('file')).toBeUndefined();
    for (const act of [
      () => workspace.read('folder/secret', 100),
      () => workspace.store('folder/secret'),
      () => workspace.size('folder/secret'),
      () => workspace.write('folder/new', 'x'),
      () => workspace.write('folder/deep/new', 'x'),
      () => workspace.remove('folder/secret'),
      () => workspace.move('folder/secret', 'mine'),
    ]) {
      await expect(act()).rejects.toMatchObject({ code: 'PATH_REFUSED' });
    }
    expect(await workspace.list('folder')).toEqual([]);
    await workspace.dispose();
    expect(await readFile(join(at.root, 'secret'), 'utf8')).toBe('secret');
  });

  it('disposes of trees that a tool made unwritable', async () => {
    const workspace = await at.make().create('unwritable');
    await mkdir(join(workspace.path, 'a/b'), { recursive: true });
    await writeFile(join(workspace.path, 'a/b/c'), 'x');
    await symlink('/nowhere', join(workspace.path, 'a/broken'));
    await workspace.dispose();
    expect(await readdir(at.directory)).toEqual([]);
  });

  it('sweeps what a dead predecessor left, and nothing of the living or of others', async () => {
    const dead = await at.make('worker-1').create('left');
    await dead.write('x', 'x');
    const other = await at.make('worker-10').create('other');
    const next = at.make('worker-1');
    const mine = await next.create('mine');
    expect(await next.sweep()).toBe(1);
    expect((await stat(mine.path)).isDirectory()).toBe(true);
    expect((await stat(other.path)).isDirectory()).toBe(true);
    await expect(stat(dead.path)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await next.sweep()).toBe(0);
  });

  it('sweeping where nothing was made finds nothing', async () => {
    expect(await at.make().sweep()).toBe(0);
  });
});

/** Mounting needs root; the programs contract covers namespaces, so here only the mounts of this very process matter. */
describe.runIf(process.getuid?.() === 0)('local workspaces with mounts', () => {
  it('undoes mounts below it before it removes anything', async () => {
    const at = await setUp();
    try {
      const programs = spawnedPrograms();
      const outside = join(at.root, 'outside');
      await mkdir(outside);
      await writeFile(join(outside, 'kept'), 'kept');
      const workspace = await at.make().create('mounts');
      for (const name of ['one', 'one/in ner']) {
        if (name === 'one/in ner') await mkdir(join(outside, 'in ner'));
        await mkdir(join(workspace.path, name), { recursive: true });
        const result = await programs.run({ command: 'mount', args: ['--bind', outside, join(workspace.path, name)], deadlineMs: 5000 });
        expect(result.exitCode, result.stderr).toBe(0);
      }
      await workspace.dispose();
      expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(at.root);
      expect(await readdir(at.directory)).toEqual([]);
      expect(await readFile(join(outside, 'kept'), 'utf8')).toBe('kept');
    } finally {
      await at.close();
    }
  });

  it('gives loop devices back that a killed tool left', async () => {
    const at = await setUp();
    try {
      const workspace = await at.make().create('loops');
      await workspace.write('disk', new Uint8Array(64 * 1024));
      const result = await spawnedPrograms().run({ command: 'losetup', args: ['--find', '--show', join(workspace.path, 'disk')], deadlineMs: 5000 });
      expect(result.exitCode, result.stderr).toBe(0);
      const backing = `/sys/block/${result.stdout.trim().replace('/dev/', '')}/loop/backing_file`;
      expect(await readFile(backing, 'utf8')).toContain(workspace.path);
      await workspace.dispose();
      expect(await readFile(backing, 'utf8').catch(() => '')).not.toContain(workspace.path);
    } finally {
      await at.close();
    }
  });
});
