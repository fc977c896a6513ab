/** What engines leave and how they end, with real processes and files: each wrong output and each trouble is a failure of its own, at once, and whose it is. */
import { expect, test } from 'vitest';
import { kiwi } from '../../services/image-builder/engines/kiwi.ts';
import { lorax } from '../../services/image-builder/engines/lorax.ts';
import { failureKinds } from '../../shared/build/failure.ts';
import { type Nevra, parseNevra } from '../../shared/fedora/nvr.ts';
import { builtRpm } from '../support/built-rpm.ts';
import { type ImageStage, runImageStage } from '../support/image-stage.ts';
import { repositoriesOf, resolutionOf, resolvedRpm } from '../support/resolutions.ts';
import { smallDisk } from '../support/small-disk.ts';
import { testDirectory } from '../support/temp-directory.ts';

const hello = resolutionOf(['bash-5.2-1.x86_64'], ['hello-1.1-1.noarch']);

async function made(change: Partial<ImageStage>) {
  return runImageStage({
    directory: change.directory ?? (await testDirectory()),
    engine: lorax,
    imageType: 'boot',
    resolution: hello,
    repositories: repositoriesOf(hello),
    tools: {},
    ...change,
  });
}

/** lorax, which makes its output's directory itself. `$iso` is where its image belongs. */
const leaving = (script: string) => `for last; do out=$last; done; iso=$out/images/boot.iso; mkdir -p "$out/images"; ${script}`;
/** An ISO that PCs start from by the firmware that is named, as far as its first sectors tell. */
const isoOf = (options: string) =>
  `mkdir tree; head -c 4096 /dev/zero > tree/boot.img; xorriso -as mkisofs -quiet -o "$iso" -V LEFT ${options} tree >&2 2> /dev/null || exit 9`;
const byBios = '-b boot.img -no-emul-boot';
const byUefi = '-eltorito-alt-boot -e boot.img -no-emul-boot';

test.each<[string, string, string, RegExp]>([
  ['nothing at all', 'rm -r "$out"', 'ENGINE_OUTPUT_MISSING', /left no image; it left nothing at all$/],
  ['everything but the image', 'touch "$out/.treeinfo"', 'ENGINE_OUTPUT_MISSING', /left no image; it left "\.treeinfo", "images"$/],
  ['an empty file', 'touch "$iso"', 'ENGINE_OUTPUT_WRONG', /is empty/],
  ['a file that is no ISO', 'head -c 3000000 /dev/zero > "$iso"', 'ENGINE_OUTPUT_WRONG', /3000000 bytes, is no ISO/],
  ['a file that is shorter than an ISO can be', 'echo sorry > "$iso"', 'ENGINE_OUTPUT_WRONG', /6 bytes, is no ISO/],
  ['an ISO that is cut off', `${isoOf(byBios)}; truncate -s 100000 "$iso"`, 'ENGINE_OUTPUT_WRONG', /is cut off: it has 100000 bytes of the \d{6}/],
  ['an ISO that nothing starts from', isoOf(''), 'ENGINE_OUTPUT_WRONG', /no boot entry \(El Torito\) for any firmware/],
  ['an ISO without an entry for UEFI', isoOf(byBios), 'ENGINE_OUTPUT_WRONG', /cannot be started by UEFI: it has a boot entry for BIOS only/],
  ['an ISO without an entry for BIOS', isoOf(byUefi.replace('-eltorito-alt-boot ', '')), 'ENGINE_OUTPUT_WRONG', /cannot be started by BIOS/],
  ['a link out of the workspace', 'ln -s /etc/passwd "$iso"', 'ENGINE_OUTPUT_WRONG', /is no plain file but a link/],
  ['a link within the workspace', `${isoOf(byBios)}; mv "$iso" x.iso; ln -s "$PWD/x.iso" "$iso"`, 'ENGINE_OUTPUT_WRONG', /is no plain file but a link/],
  ['a folder that is a link', 'rmdir "$out/images"; ln -s /boot "$out/images"', 'ENGINE_OUTPUT_WRONG', /behind a link that leads out/],
  ['a pipe, which would never end', 'mkfifo "$iso"', 'ENGINE_OUTPUT_WRONG', /is no plain file/],
  ['a folder', 'mkdir "$iso"', 'ENGINE_OUTPUT_WRONG', /is no plain file/],
])('a tool that says it succeeded and leaves %s', async (_, script, code, message) => {
  const { emitted } = await made({ tools: { lorax: leaving(script) } });
  expect(emitted).toMatchObject({
    type: 'build.failed',
    data: { failure: { code, fault: 'operator', retryable: false, message: expect.stringMatching(message) }, artifacts: [{ name: 'recipe.sh' }] },
  });
  expect(JSON.stringify(emitted)).toMatch(/lorax said it succeeded, but /);
});

test('a tool that leaves several images', async () => {
  const script = `for last; do out=$last; done; mkdir -p "$out"; for name in b a; do iso=$out/$name.iso; rm -rf tree; ${isoOf(byBios)}; done`;
  const { emitted } = await made({ engine: kiwi, imageType: 'live', tools: { 'kiwi-ng': script } });
  expect(emitted).toMatchObject({
    data: {
      failure: { code: 'ENGINE_OUTPUT_WRONG', message: expect.stringContaining('left 2 images, of which nobody can tell the right one: "a.iso", "b.iso"') },
    },
  });
});

test('an image for one firmware is taken where only that is asked for', async () => {
  const { emitted } = await made({ request: { firmware: 'bios' }, tools: { lorax: leaving(isoOf(byBios)) } });
  // It is read then, and has no system in it.
  expect(emitted).toMatchObject({ data: { failure: { code: 'IMAGE_UNREADABLE' } } });
});

test.each<[string, string, RegExp]>([
  ['crashes', 'echo half way; kill -SEGV $$', /^lorax crashed \(SIGSEGV\): half way$/],
  ['crashes in a program of its own', 'sh -c "kill -ABRT \\$\\$"; exit $?', /^lorax crashed \(SIGABRT\)/],
  ['prints bytes', 'head -c 300000 /dev/urandom; exit 3', /^lorax ended with status 3: what it printed is not text$/],
  [
    'prints bytes, and a reason among them',
    'head -c 5000 /dev/urandom; echo; echo "Error: no such luck"; head -c 5000 /dev/urandom; exit 3',
    /: no such luck$/,
  ],
  ['says nothing', 'exit 3', /^lorax ended with status 3: it printed nothing$/],
])('a tool that %s', async (_, script, message) => {
  const { emitted } = await made({ tools: { lorax: script } });
  expect(emitted).toMatchObject({
    type: 'build.failed',
    data: { failure: { code: 'ENGINE_FAILED', message: expect.stringMatching(message) }, artifacts: [{ name: 'recipe.sh' }] },
  });
});

test('a tool that prints bytes and succeeds is judged by what it leaves', async () => {
  const { emitted } = await made({ tools: { lorax: 'head -c 300000 /dev/urandom; exit 0' } });
  expect(emitted).toMatchObject({ data: { failure: { code: 'ENGINE_OUTPUT_MISSING' } } });
});

test.each<[string, ImageStage['tools'], RegExp]>([
  ['itself', { lorax: undefined }, /lorax is not installed on this worker/],
  [
    'for its shell',
    { lorax: 'echo "lorax: 20: mksquashfs: not found" >&2; exit 127', mksquashfs: undefined },
    /^lorax ended with status 127, because mksquashfs, which the/,
  ],
  [
    'for Python',
    { lorax: `echo "FileNotFoundError: [Errno 2] No such file or directory: 'xorriso'"; exit 1`, xorriso: undefined },
    /because xorriso, which the engine lorax needs, is not installed on this worker any more; install it and retry the build$/,
  ],
  ['when the sum is implanted', { lorax: leaving(isoOf(`${byBios} ${byUefi}`)), implantisomd5: undefined }, /implantisomd5 is not installed on this worker/],
])('a tool that was there when the node looked and is gone: %s', async (_, tools, message) => {
  const { emitted } = await made({ tools });
  expect(emitted).toMatchObject({
    type: 'build.failed',
    data: { failure: { code: 'TOOL_MISSING', fault: 'operator', message: expect.stringMatching(message) }, artifacts: [{ name: 'recipe.sh' }] },
  });
});

test('a tool that another file is missing to is not gone', async () => {
  const { emitted } = await made({ tools: { lorax: `echo "xorriso: No such file or directory: 'x.cfg'"; exit 1` } });
  expect(emitted).toMatchObject({ data: { failure: { code: 'ENGINE_FAILED' } } });
});

/** rpm as the engines run it, on the build's own repositories. */
const realRpm = (size: string) =>
  `mkdir -p root; rpm --root "$PWD/root" --dbpath /usr/lib/sysimage/rpm --nodeps --noscripts ${size} -i repositories/stable/Packages/*.rpm; exit $?`;

test.for<[string, string, RegExp]>([
  ['rpm itself, which takes its file away again', realRpm('--ignoresize'), /It said: .*cpio: write failed/],
  ['rpm before it begins', realRpm(''), /It said: .*needs \d+MB more space on the/],
  ['a program whose status says nothing', 'dd if=/dev/zero of=big bs=64k 2> /dev/null; exit 1', /It said: it printed nothing/],
])('a disk that is full is the operator’s, and tried again: met by %s', async ([, script, said], { skip }) => {
  const disk = await smallDisk('80m', skip);
  const { rpm } = await builtRpm({ name: 'big', version: '1', arch: 'noarch', zeroBytes: 90 * 2 ** 20 });
  const big = resolvedRpm(parseNevra('big-1-1.noarch') as Nevra, rpm, { installedSize: 90 * 2 ** 20 });
  const resolution = { ...hello, packages: [big], requested: [], installedBytes: 90 * 2 ** 20 };
  const set = {
    version: 1 as const,
    repositories: [{ id: 'stable' as const, files: [{ path: 'Packages/big-1-1.noarch.rpm', sha256: big.sha256, size: big.size }] }],
  };
  const failed = made({ directory: disk.path, resolution, repositories: { set, contents: [rpm] }, tools: { lorax: script } });
  await expect(failed).rejects.toMatchObject({ code: 'DISK_FULL', message: expect.stringMatching(said) });
  await expect(failed).rejects.toMatchObject({ message: expect.stringMatching(/no space was left for the image \(\d+ MiB are free\)/) });
  expect(failureKinds.DISK_FULL).toMatchObject({ fault: 'operator', retry: 'local' });
});
