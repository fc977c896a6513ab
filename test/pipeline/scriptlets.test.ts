/** Packages whose scriptlets fail, installed by the real dnf and rpm in the native engine's first step. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { native } from '../../services/image-builder/engines/native.ts';
import { type Nevra, parseNevra } from '../../shared/fedora/nvr.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { builtRpm } from '../support/built-rpm.ts';
import { runImageStage, storedFileOf } from '../support/image-stage.ts';
import { resolutionOf, resolvedRpm } from '../support/resolutions.ts';
import { testDirectory } from '../support/temp-directory.ts';

async function makeRepository(at: string): Promise<void> {
  const { exitCode, stderr } = await spawnedPrograms().run({ command: 'createrepo_c', args: ['--quiet', '--no-database', at], deadlineMs: 60_000 });
  if (exitCode !== 0) throw new Error(`createrepo_c: ${stderr}`);
}

/** A live image of one package, which was asked for or not. */
async function built(scriptlets: string, isRequested: boolean) {
  const directory = await testDirectory();
  const { rpm } = await builtRpm({ name: 'hello', version: '1', arch: 'noarch', scriptlets, provides: ['/bin/sh'] });
  const hello = resolvedRpm(parseNevra('hello-1-1.noarch') as Nevra, rpm, { from: isRequested ? 'side' : 'stable' });
  const contents: Uint8Array[] = [];
  const repositories = [];
  for (const id of ['stable', 'side'] as const) {
    const at = join(directory, id);
    await mkdir(join(at, 'Packages'), { recursive: true });
    if (id === hello.from) await writeFile(join(at, 'Packages/hello-1-1.noarch.rpm'), rpm);
    await makeRepository(at);
    const names = [
      ...(await readdir(join(at, 'repodata'))).map((name) => `repodata/${name}`),
      ...(await readdir(join(at, 'Packages'))).map((name) => `Packages/${name}`),
    ];
    const files = [];
    for (const path of names) {
      const bytes = await readFile(join(at, path));
      contents.push(bytes);
      files.push(storedFileOf(path, bytes));
    }
    repositories.push({ id, files });
  }
  return runImageStage({
    directory: join(directory, 'state'),
    engine: native,
    imageType: 'live',
    resolution: { ...resolutionOf([]), packages: [hello], requested: isRequested ? [hello.nevra] : [] },
    repositories: { set: { version: 1, repositories }, contents },
    tools: {},
  });
}

/** The system has no other package: the shell that one promises is not there either. */
const lua = (section: string) => `%${section} -p <lua>\nerror("no such luck")\n`;
const shell = (section: string) => `%${section}\nexit 3\n`;

test.each<[string, string, boolean, RegExp]>([
  ['before it is installed', lua('pre'), false, /^dnf ended with status 1: .*%prein\(hello-1-1\.noarch\).*no such luck/],
  ['before it is installed, by a shell that is not there', shell('pre'), false, /^dnf ended with status 1: .*%prein\(hello-1-1\.noarch\) scriptlet failed/],
  ['after a requested build was installed', shell('post'), true, /^dnf installed hello-1-1\.noarch, which was asked for, but its %post scriptlet failed: /],
  [
    'after a requested build was installed, in Lua',
    lua('post'),
    true,
    /^dnf installed hello-1-1\.noarch, which was asked for, but its %post scriptlet failed: /,
  ],
  ['at the end of the transaction of a requested build', shell('posttrans'), true, /but its %posttrans scriptlet failed: /],
  ['at the end of the transaction of a requested build, in Lua', lua('posttrans'), true, /but its %posttrans scriptlet failed: /],
])('a scriptlet that fails %s ends the build with its own words', async (_, scriptlets, isRequested, message) => {
  const { emitted } = await built(scriptlets, isRequested);
  expect(emitted).toMatchObject({
    type: 'build.failed',
    data: {
      failure: { code: 'ENGINE_FAILED', fault: 'operator', retryable: false, message: expect.stringMatching(message) },
      artifacts: [{ name: 'recipe.sh' }],
    },
  });
});

test.each([
  ['a shell', shell('post')],
  ['Lua', lua('post')],
])('a scriptlet in %s that fails after another package was installed is told, and the build goes on', async (_, scriptlets) => {
  const { emitted, lines } = await built(scriptlets, false);
  expect(lines).toContainEqual(
    expect.stringMatching(/^image-builder: warning: the %post scriptlet of hello-1-1\.noarch failed; the package is installed all the same$/),
  );
  // It has no kernel, which is what the next step wants.
  expect(emitted).toMatchObject({ data: { failure: { code: 'ENGINE_FAILED', message: expect.stringContaining('no kernel below /usr/lib/modules') } } });
});
