/** What bubblewrap has to know of this host before it can show a tool the part that it may see. */
import { chmod, mkdir, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type SandboxFacts, scratchDirectories } from './bubblewrap.ts';
import { effectiveCapabilities } from './proc-files.ts';
import type { Sandbox } from './programs.ts';

const isDirectory = async (path: string) => (await stat(path).catch(() => undefined))?.isDirectory() === true;
const exists = async (path: string) => (await stat(path).catch(() => undefined)) !== undefined;

/** `/var/tmp` → `var-tmp` in `.private/` of the sandbox's directory. */
const placeOf = (directory: string, path: string) => join(directory, '.private', path.slice(1).replaceAll('/', '-'));

/** `makeLoopDevice` makes the node of a loop device in /dev. */
export async function sandboxFacts(
  sandbox: Sandbox,
  {
    hides,
    hasNetwork,
    makeLoopDevice,
  }: { readonly hides: readonly string[]; readonly hasNetwork: boolean; readonly makeLoopDevice: (number: number) => Promise<void> },
): Promise<SandboxFacts> {
  const scratch: { from: string; to: string }[] = [];
  for (const to of scratchDirectories) {
    if (!(await isDirectory(to))) continue;
    const from = placeOf(sandbox.directory, to);
    await mkdir(from, { recursive: true });
    await chmod(from, 0o1777);
    scratch.push({ from, to });
  }
  return {
    capabilities: effectiveCapabilities(await readFile('/proc/self/status', 'utf8')),
    hides: await existing(hides),
    // One that is missing stays, so that bubblewrap names it.
    readOnly: await Promise.all((sandbox.readOnly ?? []).map((path) => realpath(path).catch(() => path))),
    scratch,
    devices: sandbox.loopDevices ? await loopDevices(makeLoopDevice) : [],
    runtimeFiles: hasNetwork ? await resolverFiles() : [],
  };
}

/** The outermost of them, by their real places. */
async function existing(paths: readonly string[]): Promise<readonly string[]> {
  const real = [...new Set(await Promise.all(paths.map((path) => realpath(path).catch(() => ''))))].filter((path) => path !== '' && path !== '/');
  return real.filter((path) => !real.some((other) => path.startsWith(`${other}/`)));
}

/** How many unused ones a sandbox is shown at least. */
const loopDevicesMin = 8;

async function loopDevices(makeLoopDevice: (number: number) => Promise<void>): Promise<readonly string[]> {
  const nodes = new Set((await readdir('/dev')).filter((name) => /^loop\d+$/.test(name)));
  const used = (await readdir('/sys/block').catch(() => [])).filter((name) => /^loop\d+$/.test(name));
  const busy = new Set((await Promise.all(used.map(async (name) => ((await exists(`/sys/block/${name}/loop`)) ? name : '')))).filter(Boolean));
  // The kernel hands out the lowest free number, and makes the device when it is opened; in the sandbox its node must be there by then.
  for (let number = 0; number < loopDevicesMin + busy.size; number += 1) {
    if (nodes.has(`loop${number}`)) continue;
    await makeLoopDevice(number);
    nodes.add(`loop${number}`);
  }
  const control = (await exists('/dev/loop-control')) ? ['loop-control'] : [];
  return [...control, ...nodes].sort().map((name) => `/dev/${name}`);
}

/** `resolv.conf` is often a link into /run, which is empty in a sandbox. */
async function resolverFiles(): Promise<readonly string[]> {
  const path = await realpath('/etc/resolv.conf').catch(() => '');
  return path.startsWith('/run/') && (await exists(path)) ? [path] : [];
}
