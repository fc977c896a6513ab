/** The workspace contract in memory, and the door for simulated programs. */
import { expect, it } from 'vitest';
import { memoryFiles } from '../../shared/files/memory.ts';
import { memoryWorkspaces } from '../../shared/workspace/memory.ts';
import { workspaceContract } from './workspace.contract.ts';

workspaceContract('memory', async () => {
  const files = memoryFiles();
  return { workspaces: memoryWorkspaces({ files }), files, close: () => files.close() };
});

it('simulated programs read and write by absolute path, only in living workspaces', async () => {
  const workspaces = memoryWorkspaces({ files: memoryFiles() });
  const workspace = await workspaces.create('a');
  await workspace.write('in', 'from the stage');
  expect(new TextDecoder().decode(workspaces.readAt(`${workspace.path}/in`))).toBe('from the stage');
  workspaces.writeAt(`${workspace.path}/out/image.iso`, 'from the tool');
  expect(await workspace.readText('out/image.iso', 100)).toBe('from the tool');
  expect(workspaces.listBelow(workspace.path)).toEqual([`${workspace.path}/in`, `${workspace.path}/out/image.iso`]);
  expect(() => workspaces.writeAt('/elsewhere/x', 'x')).toThrow(expect.objectContaining({ code: 'FILE_MISSING' }));
  await workspace.dispose();
  expect(workspaces.listBelow(workspace.path)).toEqual([]);
  expect(workspaces.living()).toEqual([]);
  expect(() => workspaces.writeAt(`${workspace.path}/late`, 'x')).toThrow(expect.objectContaining({ code: 'FILE_MISSING' }));
});
