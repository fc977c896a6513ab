/**
 * Makes a fresh machine ready: the Node packages of package-lock.json and the host tools that images are made with. Uses nothing but Node itself, because it
 * runs before anything is installed, and fetches only through npm, apt-get or dnf. Messages go to standard error.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * What images are made, looked into and booted with: the package's name in Debian and Ubuntu, and in Fedora. One name for each purpose keeps the two lists
 * from drifting apart; undefined means that Fedora has it in its base, or in another package of the list.
 */
const hostPackages = [
  // RPM packages, their repositories and the dependency solver.
  { debian: 'rpm', fedora: 'rpm-build' },
  // Signing the sample distribution: Debian has rpmsign in rpm, Fedora the agent in gnupg2.
  { debian: 'gpg', fedora: 'gnupg2' },
  { debian: 'gpg-agent', fedora: 'rpm-sign' },
  { debian: 'curl', fedora: 'curl' },
  { debian: 'createrepo-c', fedora: 'createrepo_c' },
  { debian: 'dnf', fedora: 'dnf' },
  { debian: 'python3-dnf', fedora: 'python3-dnf' },
  // The image engine, and what it calls to make a live medium.
  { debian: 'kiwi', fedora: 'kiwi-cli' },
  { debian: 'kiwi-systemdeps-iso-media', fedora: 'kiwi-systemdeps-iso-media' },
  { debian: 'xorriso', fedora: 'xorriso' },
  { debian: 'squashfs-tools', fedora: 'squashfs-tools' },
  // Reading back live systems that stand in an EROFS.
  { debian: 'erofs-utils', fedora: 'erofs-utils' },
  { debian: 'isomd5sum', fedora: 'isomd5sum' },
  { debian: 'grub-common', fedora: 'grub2-tools' },
  { debian: 'grub-pc-bin', fedora: 'grub2-pc-modules' },
  { debian: 'grub-efi-amd64-bin', fedora: 'grub2-efi-x64-modules' },
  { debian: 'mtools', fedora: 'mtools' },
  { debian: 'dosfstools', fedora: 'dosfstools' },
  { debian: 'e2fsprogs', fedora: 'e2fsprogs' },
  { debian: 'zstd', fedora: 'zstd' },
  { debian: 'cpio', fedora: 'cpio' },
  { debian: 'kmod', fedora: 'kmod' },
  { debian: 'rsync', fedora: 'rsync' },
  // The sample distribution's userland.
  { debian: 'busybox-static', fedora: 'busybox' },
  // The boot test.
  { debian: 'qemu-system-x86', fedora: 'qemu-system-x86-core' },
  { debian: 'qemu-utils', fedora: 'qemu-img' },
  { debian: 'ovmf', fedora: 'edk2-ovmf' },
  // A virtual environment for the Python tools of the tests.
  { debian: 'python3-venv', fedora: 'python3-pip' },
  // What the bench of uploads is held against.
  { debian: 'rclone', fedora: 'rclone' },
  // Namespaces for private runs, and the bench's count of system calls.
  { debian: 'util-linux', fedora: 'util-linux' },
  { debian: 'bubblewrap', fedora: 'bubblewrap' },
  { debian: 'strace', fedora: 'strace' },
];

/** Servers that the tests and benchmarks start as children of their own; never run as services of the host. */
const serverPackages = [{ debian: 'rabbitmq-server', fedora: 'rabbitmq-server' }];

/** Never installed, only downloaded by the sample distribution: the package index has to know it. */
const kernelPackage = 'linux-image-cloud-amd64';

const listsAgeMaxMs = 24 * 3600_000;
const lockWaitMaxMs = 900_000;

class SetUpError extends Error {}

export const say = (line) => process.stderr.write(`set-up: ${line}\n`);
export const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** Runs a program to its end and keeps its output. Resolves with `{ code, output }`; `code` is 127 where there is no such program. */
export function run(command, args, { cwd = root, env = process.env, timeoutMs = 900_000 } = {}) {
  return new Promise((resolve) => {
    const chunks = [];
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], signal: AbortSignal.timeout(timeoutMs) });
    child.stdout.on('data', (chunk) => chunks.push(chunk));
    child.stderr.on('data', (chunk) => chunks.push(chunk));
    child.on('error', (error) => resolve({ code: error.code === 'ENOENT' ? 127 : 126, output: error.message }));
    child.on('close', (code) => resolve({ code: code ?? 1, output: Buffer.concat(chunks).toString('utf8') }));
  });
}

/** The end of a tool's output, for an error. Addresses are left out: which mirror a machine uses is its own matter. */
export function lastLines(output, count = 12) {
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  return lines
    .slice(-count)
    .map((line) => `  ${line.replaceAll(/\bhttps?:\/\/\S+/g, '<address>')}`)
    .join('\n');
}

const isAlive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
};

/** Two commands started at once must not both rewrite node_modules: the second waits until the first is done. */
export async function withLock(name, action) {
  const directory = join(tmpdir(), `spindle-set-up-${userInfo().uid}`);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `${name}.lock`);
  const giveUpAt = Date.now() + lockWaitMaxMs;
  for (;;) {
    try {
      const descriptor = openSync(path, 'wx', 0o600);
      writeSync(descriptor, String(process.pid));
      closeSync(descriptor);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const owner = Number.parseInt(readTextOr(path, ''), 10);
    const isFresh = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()) < 2_000;
    // A file without a readable owner may be one that is just being written.
    if (Number.isInteger(owner) ? !isAlive(owner) : !isFresh) rmSync(path, { force: true });
    else if (Date.now() > giveUpAt)
      throw new SetUpError(`another set-up (process ${owner}) has not ended in ${lockWaitMaxMs / 60_000} minutes; remove ${path} if it is dead`);
    else await new Promise((resolve) => setTimeout(resolve, 200));
  }
  try {
    return await action();
  } finally {
    rmSync(path, { force: true });
  }
}

export function readTextOr(path, otherwise) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}

/** Whether node_modules holds exactly what package-lock.json asks for, by npm's own record of what it installed. */
function nodePackagesAreInstalled() {
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  const record = readTextOr(join(root, 'node_modules', '.package-lock.json'), '');
  if (record === '') return false;
  const installed = JSON.parse(record).packages;
  // Optional packages are those of other systems and processors; npm leaves them out.
  return Object.entries(wanted).every(
    ([path, { version, optional, devOptional, peer }]) => path === '' || optional || devOptional || peer || installed[path]?.version === version,
  );
}

async function ensureNodePackages() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) throw new SetUpError(`Node ${process.versions.node} is too old; install Node 20.19 or newer`);
  if (!nodePackagesAreInstalled()) {
    await withLock('node-packages', async () => {
      if (nodePackagesAreInstalled()) return;
      const since = performance.now();
      say('installing the Node packages of package-lock.json with npm ci');
      const { code, output } = await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
      if (code !== 0) throw new SetUpError(`npm ci ended with status ${code}; mend what it says and run this again\n${lastLines(output)}`);
      say(`Node packages are in place (${seconds(since)})`);
    });
  }
  try {
    createRequire(join(root, 'package.json'))('@photostructure/sqlite');
  } catch (error) {
    const reason = String(error.message).split('\n')[0];
    throw new SetUpError(
      `the native part of @photostructure/sqlite does not load on this machine (${process.platform} ${process.arch}, Node ${process.versions.node}): ${reason}`,
    );
  }
}

async function missingDebianPackages(packages) {
  const names = packages.map(({ debian }) => debian);
  const { output } = await run('dpkg-query', ['-W', '-f', `\${db:Status-Abbrev}|\${Package}\\n`, ...names]);
  const installed = new Set();
  for (const line of output.split('\n')) if (line.startsWith('ii ')) installed.add(line.split('|')[1]?.trim());
  return names.filter((name) => !installed.has(name));
}

async function missingFedoraPackages(packages) {
  const missing = [];
  for (const { fedora } of packages) {
    if (fedora !== undefined && (await run('rpm', ['-q', '--whatprovides', fedora])).code !== 0) missing.push(fedora);
  }
  return missing;
}

/** The words to put before a command that needs root: none as root, sudo where it asks for no password, undefined where there is neither. */
async function rootPrefix() {
  if (process.getuid?.() === 0) return [];
  return (await run('sudo', ['-n', 'true'])).code === 0 ? ['sudo', '-n', 'env', 'DEBIAN_FRONTEND=noninteractive'] : undefined;
}

async function packageIndexIsUsable(names) {
  const lists = '/var/lib/apt/lists';
  const ages = existsSync(lists)
    ? readdirSync(lists)
        .filter((name) => /_(In)?Release$/.test(name))
        .map((name) => Date.now() - statSync(join(lists, name)).ctimeMs)
    : [];
  if (ages.length === 0 || Math.min(...ages) > listsAgeMaxMs) return false;
  return (await run('apt-cache', ['show', '--no-all-versions', ...names, kernelPackage])).code === 0;
}

async function installDebianPackages(names) {
  const aptGet = ['apt-get', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=2', '-o', 'Acquire::http::Timeout=30', '-qq'];
  const install = [...aptGet, 'install', '-y', '--no-install-recommends', ...names];
  const prefix = await rootPrefix();
  if (prefix === undefined) {
    throw new SetUpError(
      `${names.length} packages are missing and this is neither root nor has sudo without a password; run:\nsudo apt-get update && sudo apt-get install -y --no-install-recommends ${names.join(' ')}`,
    );
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const asRoot = ([command, ...args]) => {
    const [first = '', ...rest] = [...prefix, command, ...args];
    return run(first, rest, { cwd: '/', env });
  };
  // apt-get update waits for no lock by itself, so a neighbour's update is waited for here.
  const update = async () => {
    const giveUpAt = Date.now() + 300_000;
    for (;;) {
      const result = await asRoot([...aptGet, 'update']);
      if (result.code === 0 || !result.output.includes('Could not get lock') || Date.now() > giveUpAt) return result;
      await new Promise((resolve) => setTimeout(resolve, 2_000));
    }
  };

  say(`installing ${names.length} host packages with apt-get: ${names.join(' ')}`);
  const since = performance.now();
  let isUpdated = false;
  if (!(await packageIndexIsUsable(names))) {
    await update();
    isUpdated = true;
  }
  const result = await withoutServices(asRoot, async () => {
    const first = await asRoot(install);
    if (first.code === 0 || isUpdated) return first;
    // An index that is only a few hours old may already name versions that the archive has replaced.
    await update();
    return asRoot(install);
  });
  if (result.code !== 0)
    throw new SetUpError(`apt-get install ended with status ${result.code}; mend what it says and run this again\n${lastLines(result.output)}`);
  say(`host packages are in place (${seconds(since)})`);
}

/** Debian starts the service of a package that it installs, unless the host's policy says no. Where the host has one, it stays as it is. */
async function withoutServices(asRoot, action) {
  const policy = '/usr/sbin/policy-rc.d';
  if (existsSync(policy)) return action();
  const directory = mkdtempSync(join(tmpdir(), 'spindle-set-up-'));
  const path = join(directory, 'policy-rc.d');
  writeFileSync(path, '#!/bin/sh\nexit 101\n');
  const placed = await asRoot(['install', '-m', '755', path, policy]);
  rmSync(directory, { recursive: true, force: true });
  if (placed.code !== 0) throw new SetUpError(`${policy} could not be written, so a server would be started; mend what it says\n${lastLines(placed.output)}`);
  try {
    return await action();
  } finally {
    await asRoot(['rm', '-f', policy]);
  }
}

async function installFedoraPackages(names) {
  const prefix = await rootPrefix();
  if (prefix === undefined) {
    throw new SetUpError(
      `${names.length} packages are missing and this is neither root nor has sudo without a password; run:\nsudo dnf install -y --setopt=install_weak_deps=False ${names.join(' ')}`,
    );
  }
  say(`installing ${names.length} host packages with dnf: ${names.join(' ')}`);
  const since = performance.now();
  const [first = '', ...rest] = [...prefix, 'dnf', 'install', '-y', '-q', '--setopt=install_weak_deps=False', ...names];
  const { code, output } = await run(first, rest, { cwd: '/' });
  if (code !== 0) throw new SetUpError(`dnf install ended with status ${code}; mend what it says and run this again\n${lastLines(output)}`);
  say(`host packages are in place (${seconds(since)})`);
}

async function ensureHostTools(packages) {
  const release = readTextOr('/etc/os-release', '');
  const ids = [...release.matchAll(/^ID(?:_LIKE)?=(.*)$/gm)].flatMap(([, value]) => (value ?? '').replaceAll('"', '').split(' '));
  const isDebian = ids.includes('debian') || ids.includes('ubuntu');
  if (!isDebian && !ids.includes('fedora')) {
    throw new SetUpError(
      `host tools are installed only on Debian, Ubuntu and Fedora; this is ${ids[0] ?? process.platform}. Install what these packages hold, then use bin/spindle and services/ directly: ${packages.map(({ debian }) => debian).join(' ')}`,
    );
  }
  const [missing, install] = isDebian ? [missingDebianPackages, installDebianPackages] : [missingFedoraPackages, installFedoraPackages];
  if ((await missing(packages)).length === 0) return;
  await withLock('host-tools', async () => {
    const names = await missing(packages);
    if (names.length > 0) await install(names);
  });
}

/** Both halves at once: they wait for different things. */
export async function setUp({ hostTools, servers = false }) {
  const packages = [...(hostTools ? hostPackages : []), ...(servers ? serverPackages : [])];
  const results = await Promise.allSettled([ensureNodePackages(), ...(packages.length > 0 ? [ensureHostTools(packages)] : [])]);
  const failures = results.filter(({ status }) => status === 'rejected').map(({ reason }) => reason);
  const unexpected = failures.find((reason) => !(reason instanceof SetUpError));
  if (unexpected !== undefined) throw unexpected;
  if (failures.length > 0) throw new SetUpError(failures.map(({ message }) => message).join('\n'));
}

/** Runs an action; a failed set-up is told in its own words, without a stack, with exit status 1. */
export async function orExplain(action) {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof SetUpError)) throw error;
    say(error.message);
    process.exit(1);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await orExplain(() => setUp({ hostTools: true, servers: true }));
