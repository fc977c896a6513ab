/** The native engine: what a requester writes stays text in its recipe, and the recipe that is published can be run. */
import { execFile } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { native } from '../../services/image-builder/engines/native.ts';
import { anyWorkspace, recipeScript } from '../../services/image-builder/engines/recipe-script.ts';
import { passedOverScriptlet } from '../../services/image-builder/engines/tool-lines.ts';
import { testDirectory } from '../support/temp-directory.ts';

const run = promisify(execFile);

it('knows scriptlets that rpm passes over from those that it stops at', () => {
  expect(passedOverScriptlet('warning: %post(bad-post-1-1.noarch) scriptlet failed, exit status 3')).toEqual({
    scriptlet: 'post',
    nevra: 'bad-post-1-1.noarch',
  });
  expect(passedOverScriptlet('warning: %posttrans(bad-posttrans-1-1.noarch) scriptlet failed, signal 9')).toEqual({
    scriptlet: 'posttrans',
    nevra: 'bad-posttrans-1-1.noarch',
  });
  expect(passedOverScriptlet('error: lua script failed: [string "%post(bad-lua-1-1.noarch)"]:1: no such luck')).toEqual({
    scriptlet: 'post',
    nevra: 'bad-lua-1-1.noarch',
  });
  expect(passedOverScriptlet('error: lua script failed: [string "%prein(bad-lua-1-1.noarch)"]:1: no such luck')).toBeUndefined();
  expect(passedOverScriptlet('error: %prein(bad-pre-1-1.noarch) scriptlet failed, exit status 3')).toBeUndefined();
  expect(passedOverScriptlet('Error in POSTIN scriptlet in rpm package bad-post')).toBeUndefined();
});

describe('the published script', () => {
  it('writes its files and runs its steps in the folder that it is started in, and takes no text for a command', async () => {
    const directory = await testDirectory();
    await mkdir(join(directory, 'here'));
    const evil = `$(touch evil) \`touch evil\` '; touch evil; ' "\nEND\nEND_\ntouch evil\n`;
    const content = recipeScript(
      {
        files: [{ path: 'a folder/file', content: `${anyWorkspace}/x ${evil}` }],
        directories: ['empty'],
        steps: [
          { what: 'copying', run: { command: 'cp', args: [`${anyWorkspace}/a folder/file`, `--target-directory=${anyWorkspace}/empty`], env: { HOME: evil } } },
        ],
      },
      ['About it.'],
    );
    // Without the namespaces, which need root.
    await run('sh', ['-c', content.replace(/^step\(\).*$/m, 'step() { "$@"; }')], { cwd: join(directory, 'here') });
    expect(await readFile(join(directory, 'here', 'empty', 'file'), 'utf8')).toBe(`${directory}/here/x ${evil}`);
    await expect(readFile(join(directory, 'here', 'evil'))).rejects.toThrow('ENOENT');
  });
});

it('finds the image, and the version of dnf', () => {
  expect(native.findImages(['image.iso', 'other.iso'])).toEqual(['image.iso']);
  expect(native.findImages([])).toEqual([]);
  expect(native.version.read('4.14.0\n  Installed: dnf-0:4.14.0\n')).toBe('4.14.0');
  expect(native.version.read('dnf5 version 5.2.13.1\n')).toBe('5.2.13.1');
  expect(native.version.read('')).toBeUndefined();
});
