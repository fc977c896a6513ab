/** Images read back in the layouts that the engines really make, put together by the same tools: who asks whether a build is in one gets the answer from the right place. */
import { execFileSync } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { osbuild } from '../../services/image-builder/engines/image-builder.ts';
import { mkksiso } from '../../services/image-builder/engines/mkksiso.ts';
import { readImageContents } from '../../services/image-builder/image-contents.ts';
import type { ImageType } from '../../shared/build/request.ts';
import { formatNevra, type Nevra, parseNevra } from '../../shared/fedora/nvr.ts';
import { localFiles } from '../../shared/files/local.ts';
import { inSandbox } from '../../shared/programs/in-sandbox.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import type { RepositorySet, ResolvedPackage } from '../../shared/resolution/resolution.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';
import { builtRpm } from '../support/built-rpm.ts';
import { runImageStage } from '../support/image-stage.ts';
import { resolutionOf, resolvedRpm } from '../support/resolutions.ts';
import { type TempDirectory, tempDirectory, testDirectory } from '../support/temp-directory.ts';

const bash = parseNevra('bash-5.2-1.noarch') as Nevra;
const hello = parseNevra('hello-1.1-1.noarch') as Nevra;
const texts = { bash: formatNevra(bash), hello: formatNevra(hello) };
let directory: TempDirectory;
/** A system with bash in it, and the RPMs of both. */
let system: string;
const rpms: Record<'bash' | 'hello', Buffer> = { bash: Buffer.alloc(0), hello: Buffer.alloc(0) };

const run = (cwd: string, command: string, ...args: readonly string[]) => execFileSync(command, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'] });

beforeAll(async () => {
  directory = await tempDirectory();
  for (const name of ['bash', 'hello'] as const) {
    rpms[name] = (await builtRpm({ ...(name === 'bash' ? bash : hello), arch: 'noarch', zeroBytes: 100_000 })).rpm;
    await writeFile(join(directory.path, `${name}.rpm`), rpms[name]);
  }
  system = join(directory.path, 'system');
  await mkdir(system);
  run(directory.path, 'rpm', '--root', system, '--dbpath', '/usr/lib/sysimage/rpm', '--nodeps', '-i', join(directory.path, 'bash.rpm'));
});
afterAll(() => directory.remove());

/** What stands on a medium: each function makes one thing below the folder. */
type Part = (medium: string) => Promise<void>;

const at = async (medium: string, path: string) => {
  await mkdir(dirname(join(medium, path)), { recursive: true });
  return join(medium, path);
};
/** The system's file system; `inner` holds it as a file of ext4. */
const fileSystem =
  (path: string, kind: 'squashfs' | 'erofs' | 'ext4', inner?: string): Part =>
  async (medium) => {
    const to = await at(medium, path);
    let from = system;
    if (inner !== undefined) {
      from = join(await testDirectory(), 'outer');
      const file = await at(from, inner);
      run(medium, 'mke2fs', '-q', '-t', 'ext4', '-d', system, file, '8m');
    }
    if (kind === 'squashfs') run(medium, 'mksquashfs', from, to, '-quiet', '-no-progress');
    if (kind === 'erofs') run(medium, 'mkfs.erofs', '-zlz4hc', to, from);
    if (kind === 'ext4') run(medium, 'mke2fs', '-q', '-t', 'ext4', '-d', from, to, '8m');
  };
const repository =
  (folder: string, ...names: readonly ('bash' | 'hello')[]): Part =>
  async (medium) => {
    for (const name of names) await writeFile(await at(medium, join(folder, `Packages/${name}.rpm`)), rpms[name]);
    run(join(medium, folder), 'createrepo_c', '--quiet', '--no-database', '--general-compress-type', 'gz', '.');
  };
const archive =
  (name: string, ...members: readonly string[]): Part =>
  async (medium) =>
    run(medium, 'tar', '--create', '--auto-compress', '--file', join(medium, name), '--directory', system, ...members) as unknown as undefined;
const file =
  (path: string, content: string): Part =>
  async (medium) =>
    writeFile(await at(medium, path), content);

async function read(imageType: ImageType, parts: readonly Part[]) {
  const top = await testDirectory();
  const files = localFiles({ directory: join(top, 'files') });
  const programs = spawnedPrograms();
  const workspace = await localWorkspaces({ directory: join(top, 'work'), files, owner: 'test', programs }).create('contents');
  onTestFinished(async () => {
    await workspace.dispose();
    await files.close();
  });
  const medium = join(top, 'medium');
  await mkdir(medium);
  for (const part of parts) await part(medium);
  run(top, 'xorriso', '-as', 'mkisofs', '-quiet', '-R', '-o', join(workspace.path, 'image.iso'), medium);
  const { packages, source } = await readImageContents('image.iso', imageType, {
    programs: inSandbox(programs, { directory: workspace.path }),
    workspace,
    signal: new AbortController().signal,
    log: () => {},
  });
  return { names: packages.map(formatNevra).sort(), source };
}

const live = 'LiveOS/squashfs.img';
const installer = 'images/install.img';

describe('packages are found', () => {
  test.each<[string, ImageType, () => readonly Part[], readonly string[], RegExp]>([
    [
      'a live system in a squashfs, as KIWI and the native engine make it',
      'live',
      () => [fileSystem(live, 'squashfs')],
      [texts.bash],
      /image's own RPM database/,
    ],
    [
      'a live system as ext4 in a squashfs, as livemedia-creator may',
      'live',
      () => [fileSystem(live, 'squashfs', 'LiveOS/rootfs.img')],
      [texts.bash],
      /own RPM database/,
    ],
    ['a live system by its older name', 'live', () => [fileSystem(live, 'squashfs', 'LiveOS/ext3fs.img')], [texts.bash], /own RPM database/],
    ['a live system in an EROFS, as Fedora makes it', 'live', () => [fileSystem(live, 'erofs')], [texts.bash], /own RPM database/],
    ['a live system as ext4 in an EROFS', 'live', () => [fileSystem(live, 'erofs', 'LiveOS/rootfs.img')], [texts.bash], /own RPM database/],
    ['a live system as plain ext4', 'live', () => [fileSystem(live, 'ext4')], [texts.bash], /own RPM database/],
    ["lorax's installer", 'boot', () => [fileSystem(installer, 'squashfs')], [texts.bash], /database of the image's installer$/],
    ["lorax's installer with ext4 in it", 'boot', () => [fileSystem(installer, 'squashfs', 'LiveOS/rootfs.img')], [texts.bash], /installer$/],
    ["lorax's installer in an EROFS", 'boot', () => [fileSystem(installer, 'erofs')], [texts.bash], /installer$/],
    ['an installer where a live system would be', 'boot', () => [fileSystem(live, 'squashfs')], [texts.bash], /installer$/],
    [
      'an installer with what mkksiso added, each package once',
      'boot',
      () => [fileSystem(installer, 'squashfs'), repository('side', 'bash', 'hello')],
      [texts.bash, texts.hello],
      /installer, with the repository side beside it,$/,
    ],
    [
      'a DVD with its repository, beside another installer',
      'dvd',
      () => [fileSystem(installer, 'squashfs'), repository('', 'hello')],
      [texts.hello],
      /medium's own repository/,
    ],
    ["osbuild's installer, by what it installs", 'dvd', () => [archive('liveimg.tar.gz', '.')], [texts.bash], /system that the medium installs$/],
    ['an archive whose names have no dot before them', 'dvd', () => [archive('liveimg.tar.zst', 'usr')], [texts.bash], /that the medium installs$/],
  ])('%s', async (_, imageType, parts, names, source) => {
    expect(await read(imageType, parts())).toEqual({ names, source: expect.stringMatching(source) });
  });
});

describe('an image is not taken for what it should be where', () => {
  test.each<[string, ImageType, () => readonly Part[], RegExp]>([
    [
      'a DVD installs nothing',
      'dvd',
      () => [fileSystem(installer, 'squashfs')],
      /nothing to install: neither a repository at its root nor a system as liveimg\.tar\.gz/,
    ],
    ['the archive has no database', 'dvd', () => [archive('liveimg.tar.gz', './usr/share')], /tar could not read the finished image: it ended with status 2/],
    ['the archive is none', 'dvd', () => [file('liveimg.tar.gz', 'sorry')], /tar could not read/],
    ['a boot ISO has no installer', 'boot', () => [repository('side', 'hello')], /holds no installer at images\/install\.img or/],
    ['the file system is of another kind', 'live', () => [file(live, 'x'.repeat(9000))], /neither squashfs, EROFS nor ext4/],
    ['the file system is a few bytes', 'live', () => [file(live, 'x')], /neither squashfs, EROFS nor ext4/],
    [
      'the repository that was added lacks what it lists',
      'boot',
      () => [fileSystem(installer, 'squashfs'), repository('side', 'hello'), (medium) => rm(join(medium, 'side/Packages/hello.rpm'))],
      /lists 1 packages that it does not hold in full, such as Packages\/hello\.rpm/,
    ],
  ])('%s', async (_, imageType, parts, message) => {
    await expect(read(imageType, parts())).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE', message: expect.stringMatching(message) });
  });
});

/** The stage with a script for the engine's tool, which makes its image out of the build's own repositories by real tools. */
async function built(engine: typeof mkksiso, imageType: ImageType, tool: string, script: string) {
  const resolved: ResolvedPackage[] = [resolvedRpm(bash, rpms.bash), resolvedRpm(hello, rpms.hello, { from: 'side', repository: 'koji' })];
  const files = (from: 'stable' | 'side') =>
    resolved.filter((item) => item.from === from).map(({ nevra, sha256, size }) => ({ path: `Packages/${nevra}.rpm`, sha256, size }));
  const set: RepositorySet = {
    version: 1,
    repositories: [
      { id: 'stable', files: files('stable') },
      { id: 'side', files: files('side') },
    ],
  };
  return runImageStage({
    ...{ directory: await testDirectory(), engine, imageType },
    resolution: { ...resolutionOf([]), packages: resolved, requested: [texts.hello] },
    repositories: { set, contents: [rpms.bash, rpms.hello] },
    release: { baseIsos: { x86_64: '/etc/hostname' } },
    // isomd5sum's sum of a medium with next to nothing on it never fits, hence the room.
    tools: {
      [tool]: `set -e; for last; do out=$last; done; mkdir -p medium/images; head -c 4096 /dev/zero > medium/boot.img; head -c 3000000 /dev/zero > medium/room\n${script}`,
    },
  });
}

const install = (repositories: string) => `rpm --root "$PWD/system" --dbpath /usr/lib/sysimage/rpm --nodeps -i ${repositories}`;
const write = 'xorriso -as mkisofs -quiet -R -V LEFT -b boot.img -no-emul-boot -eltorito-alt-boot -e boot.img -no-emul-boot';

test('a boot ISO by mkksiso has the requested build in its side repository, and is finished', async () => {
  const script = [
    install('repositories/stable/Packages/*.rpm'),
    'mksquashfs system medium/images/install.img -quiet',
    'cp -r repositories/side medium/side',
    'createrepo_c --quiet --no-database --general-compress-type gz medium/side',
    `${write} -o "$out" medium`,
  ];
  const { emitted, lines } = await built(mkksiso, 'boot', 'mkksiso', script.join('\n'));
  expect(emitted).toMatchObject({ type: 'image.built', data: { requested: [texts.hello] } });
  expect(lines).toContainEqual(expect.stringMatching(/installer, with the repository side beside it, lists 2 packages, every requested build among them/));
});

test('a boot ISO by mkksiso without its side repository lacks the requested build', async () => {
  const { emitted } = await built(
    mkksiso,
    'boot',
    'mkksiso',
    `${install('repositories/stable/Packages/*.rpm')}\nmksquashfs system medium/images/install.img -quiet\n${write} -o "$out" medium`,
  );
  expect(emitted).toMatchObject({ data: { failure: { code: 'REQUESTED_BUILD_MISSING', message: expect.stringContaining(texts.hello) } } });
});

test('a DVD by image-builder has the requested build in the system that it installs, and is finished', async () => {
  const script = [
    install('repositories/*/Packages/*.rpm'),
    'tar --create --gzip --file medium/liveimg.tar.gz --directory system .',
    `mkdir -p output\n${write} -o output/image.iso medium`,
  ];
  const { emitted, lines } = await built(osbuild, 'dvd', 'image-builder', script.join('\n'));
  expect(emitted).toMatchObject({ type: 'image.built' });
  expect(lines).toContainEqual(expect.stringContaining('the RPM database of the system that the medium installs lists 2 packages'));
});
