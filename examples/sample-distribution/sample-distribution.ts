/**
 * Makes Sample Linux: a small RPM distribution out of Debian's packages, with its repositories and what its Koji has. Nothing is pretended but dracut and Anaconda (see
 * system-scripts.ts and installer-scripts.ts): the kernel, the programs, the RPMs and the repositories are real.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Programs } from '../../shared/programs/programs.ts';
import { updateinfo } from './bodhi-updateinfo.ts';
import { comps } from './comps.ts';
import { type RunTool, toolRunner } from './host-programs.ts';
import { downloadKernel, stageKernel } from './kernel.ts';
import { badlySigned, type RepositoryName, sampleRelease, sampleRepositories, stableBuiltS } from './known-names.ts';
import { layOutKoji, layOutSigned } from './koji-layout.ts';
import { type Plan, stagePlan } from './package-plan.ts';
import { packageSets, stablePlans } from './package-sets.ts';
import { hostPackage, smallPackages } from './packages.ts';
import { layOutRepository, type RepositoryLayout } from './repositories.ts';
import { buildRpms, readRpms, rpmsIn } from './rpm-building.ts';
import { openSigning, type Signer, type Signing, signers } from './signing.ts';
import { type CopiedPackage, hostVersions, stageBusybox, stageDiskProgram, stageGrub, stageLibraries, stageRpm } from './userland.ts';

export interface SampleDistributionOptions {
  /** Where it is to stand. Its parent folder is made; what was there before is replaced as a whole. */
  readonly directory: string;
  readonly programs: Programs;
  readonly signal?: AbortSignal;
  /** What is being done, and what the tools say while they do it. */
  readonly onLine?: (line: string) => void;
}

export interface SampleDistribution {
  readonly directory: string;
  /** False where it already stood there and nothing had to be done. */
  readonly isNew: boolean;
}

const archDirectory = 'x86_64';
const stampName = 'stamp.json';

/**
 * Makes the distribution in `directory`, or does nothing where an equal one stands there: made by this code from the same versions of Debian's packages. It takes
 * its name only when it is complete, and two callers at once do not disturb each other. Rejects with TOOL_MISSING where the host lacks a tool or is no Debian, with
 * ENGINE_FAILED where a tool fails, and with the signal's reason; then nothing is left behind.
 */
export async function generateSampleDistribution(options: SampleDistributionOptions): Promise<SampleDistribution> {
  const directory = resolve(options.directory);
  const onLine = options.onLine ?? (() => {});
  const run = toolRunner(options.programs, options.signal, onLine);
  const versions = await hostVersions(run);
  const digest = await inputDigest(versions);
  if (await stands(directory, digest)) return { directory, isNew: false };

  await mkdir(dirname(directory), { recursive: true });
  await sweep(directory);
  const scratch = `${directory}.${process.pid}-${randomBytes(4).toString('hex')}`;
  try {
    const made = join(scratch, 'made');
    await makeDistribution({ run, versions, made, scratch, onLine });
    options.signal?.throwIfAborted();
    await writeFile(join(made, stampName), `${JSON.stringify({ digest })}\n`);
    return { directory, isNew: await takeName(made, directory, digest, scratch) };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Changes with this code and with the versions of what is copied from the host. The kernel is left out: the archive's next one is no reason to start over. */
async function inputDigest(versions: Awaited<ReturnType<typeof hostVersions>>): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir(import.meta.dirname)).filter((entry) => /\.[jt]s$/.test(entry)).sort()) {
    hash.update(`${name}\0`).update(await readFile(join(import.meta.dirname, name)));
  }
  return hash.update(JSON.stringify(versions)).digest('hex');
}

async function stands(directory: string, digest: string): Promise<boolean> {
  const stamp = await readFile(join(directory, stampName), 'utf8').catch(() => '');
  return stamp.includes(`"${digest}"`);
}

/** Removes what callers left that were killed on the way. The name says which process each belongs to. */
async function sweep(directory: string): Promise<void> {
  const prefix = `${basename(directory)}.`;
  for (const name of await readdir(dirname(directory))) {
    const owner = name.startsWith(prefix) ? /^(\d+)-[0-9a-f]{8}$/.exec(name.slice(prefix.length))?.[1] : undefined;
    if (owner === undefined || (await stat(`/proc/${owner}`).catch(() => undefined))) continue;
    await rm(join(dirname(directory), name), { recursive: true, force: true });
  }
}

/** Gives what was made its name. False where another caller was faster with the same. */
async function takeName(made: string, directory: string, digest: string, scratch: string): Promise<boolean> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await rename(made, directory);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if ((code !== 'ENOTEMPTY' && code !== 'EEXIST') || attempt === 10) throw error;
    }
    if (await stands(directory, digest)) return false;
    // An older one stands there. It goes aside under a name of ours; another caller may have done so just before.
    await rename(directory, join(scratch, `replaced-${attempt}`)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
  }
}

interface Making {
  readonly run: RunTool;
  readonly versions: Record<CopiedPackage, { readonly upstream: string }>;
  /** The folder that becomes the distribution. */
  readonly made: string;
  readonly scratch: string;
  readonly onLine: (line: string) => void;
}

/** Each has its metadata compressed another way. Stable is as Debian's createrepo_c writes it by itself, updates-testing as Fedora composes it. */
const compressions: Record<RepositoryName, RepositoryLayout['compression']> = {
  sample: 'gz',
  'sample-updates': 'xz',
  'sample-updates-testing': 'zstd',
  'sample-copr': 'bz2',
};

async function makeDistribution(making: Making): Promise<void> {
  const { run, made, scratch, onLine } = making;
  const staging = join(scratch, 'staging');
  const home = join(scratch, 'home');
  await mkdir(home, { recursive: true });

  const folderOf = (set: string) => join(scratch, 'rpms', set);
  const build = async (plans: readonly Plan[], set: string, builtS: number, arch: 'x86_64' | 'aarch64') => {
    const specs = await allOrNothing(plans.map((plan) => stagePlan(plan, staging)));
    await buildRpms({ run, scratch, home }, { specs, arch, builtS, into: folderOf(set) });
  };
  // The four run side by side: most of the time is the kernel's download and the compression of what is large.
  onLine('fetching the kernel, copying programs of this machine, building RPMs');
  await allOrNothing([
    (async () => build([await kernelPlan(making)], 'stable', stableBuiltS, 'x86_64'))(),
    build(hostPackages(making), 'stable', stableBuiltS, 'x86_64'),
    build([...smallPackages, ...stablePlans], 'stable', stableBuiltS, 'x86_64'),
    (async () => {
      for (const { name, plans, builtS, arch } of packageSets) await build(plans, name, builtS, arch);
    })(),
  ]);

  onLine('laying out what Koji has');
  const sets = [{ name: 'stable', repository: 'sample' as const, builtS: stableBuiltS }, ...packageSets];
  const read = () => allOrNothing(sets.map(async ({ name }) => readRpms(run, folderOf(name))));
  const koji = await layOutKoji((await read()).flat(), join(made, 'kojifiles'));
  await writeFile(join(made, 'koji.json'), `${JSON.stringify(koji, undefined, 1)}\n`);
  const layOut = (into: string, compressionOf: (name: RepositoryName) => RepositoryLayout['compression'], advisories: (set: number) => string) =>
    allOrNothing(
      sets.map(async ({ name, repository, builtS }, index) => {
        if (repository === undefined) return;
        await layOutRepository(run, {
          rpms: folderOf(name),
          into: join(into, sampleRepositories[repository], archDirectory),
          compression: compressionOf(repository),
          revisionS: builtS,
          scratch: join(scratch, `${basename(into)}-${name}`),
          ...(repository === 'sample' ? { comps } : {}),
          ...(repository === 'sample-updates-testing' ? { updateinfo: advisories(index) } : {}),
        });
      }),
    );

  // The same as nobody signed it. Signing makes new files, so the names that are laid out here keep the old ones.
  const unsigned = await read();
  await layOut(
    join(made, 'unsigned'),
    () => 'gz',
    (set) => updateinfo(unsigned[set] ?? []),
  );
  onLine('signing');
  const signing = await openSigning(run);
  try {
    await signAll(
      signing,
      sets.flatMap(({ name, repository }) => (repository === undefined ? [] : [{ folder: folderOf(name), repository }])),
    );
    await signing.exportKeys(join(made, 'keys'));
  } finally {
    await signing.close();
  }
  const signed = await read();
  await layOutSigned(signed.flat(), join(made, 'kojifiles'));
  onLine('laying out the repositories');
  await layOut(
    made,
    (repository) => compressions[repository],
    (set) => updateinfo(signed[set] ?? []),
  );
}

/** What only Koji has stays unsigned, and one package of stable; another one a stranger signs. */
async function signAll(signing: Signing, folders: readonly { readonly folder: string; readonly repository: RepositoryName }[]): Promise<void> {
  for (const { folder, repository } of folders) {
    const names = await rpmsIn(folder);
    for (const signer of signers) {
      const its = names.filter((name) => signerOf(name, repository) === signer);
      await signing.sign(
        signer,
        its.map((name) => join(folder, name)),
      );
    }
  }
}

function signerOf(fileName: string, repository: RepositoryName): Signer | undefined {
  if (fileName.startsWith(`${badlySigned.unsigned}-`)) return undefined;
  if (fileName.startsWith(`${badlySigned.stranger}-`)) return 'stranger';
  return repository === 'sample-copr' ? 'copr' : 'sample';
}

/** Promise.all would return at the first failure, while the others still write into the folder that is about to be removed. */
async function allOrNothing<T>(actions: readonly Promise<T>[]): Promise<T[]> {
  const values: T[] = [];
  for (const result of await Promise.allSettled(actions)) {
    if (result.status === 'rejected') throw result.reason;
    values.push(result.value);
  }
  return values;
}

const diskPackages = { e2fsprogs: 'Makes ext4 file systems', dosfstools: 'Makes FAT file systems', isomd5sum: 'Checks media' } as const;

function hostPackages({ run, versions }: Making) {
  const upstream = (name: CopiedPackage) => versions[name].upstream;
  return [
    hostPackage(
      {
        name: 'busybox',
        // As in Debian and Fedora, where a version number once went backwards.
        epoch: 1,
        version: upstream('busybox-static'),
        summary: 'The userland in one program',
        license: 'GPL-2.0-only',
        requires: ['filesystem'],
        provides: ['/bin/sh', '/sbin/init', '/usr/bin/sh', 'coreutils', 'kmod', 'util-linux'],
      },
      (stage) => stageBusybox(run, stage),
    ),
    hostPackage(
      { name: 'sample-libs', version: '1', summary: 'The shared libraries of the programs', license: 'LGPL-2.1-or-later and others', requires: ['filesystem'] },
      (stage) => stageLibraries(run, stage),
    ),
    hostPackage(
      {
        name: 'bash',
        version: upstream('bash'),
        summary: 'A shell',
        license: 'GPL-3.0-or-later',
        requires: ['filesystem', 'sample-libs'],
        provides: ['/bin/bash'],
      },
      (stage) => stage.copy('usr/bin/bash', '/bin/bash', 0o755),
    ),
    hostPackage(
      {
        name: 'rpm',
        version: upstream('rpm'),
        summary: 'The package manager',
        license: 'GPL-2.0-or-later',
        requires: ['filesystem', 'sample-libs', '/bin/sh'],
      },
      (stage) => stageRpm(stage),
    ),
    hostPackage(
      {
        name: 'grub2',
        version: upstream('grub-common'),
        summary: 'The boot loader, for BIOS and UEFI',
        license: 'GPL-3.0-or-later',
        requires: ['filesystem', 'sample-libs', '/bin/sh'],
        provides: ['grub2-efi-x64-modules', 'grub2-pc-modules', 'grub2-tools'],
      },
      (stage) => stageGrub(stage),
    ),
    ...(['e2fsprogs', 'dosfstools', 'isomd5sum'] as const).map((name) =>
      hostPackage(
        { name, version: upstream(name), summary: diskPackages[name], license: 'GPL-2.0-or-later', requires: ['filesystem', 'sample-libs'] },
        (stage) => stageDiskProgram(name, stage),
      ),
    ),
  ];
}

async function kernelPlan({ run, scratch }: Making): Promise<Plan> {
  const deb = await downloadKernel(run, join(scratch, 'download'));
  // `6.1.0-56` of Debian's package name is version and release here; the archive's own version says which build of it.
  const [name = '', debianVersion = ''] = (await run('dpkg-deb', ['--show', deb])).trim().split('\t');
  const [, version = debianVersion.replaceAll('-', '.'), release = '1'] = /^linux-image-([0-9.]+)-([0-9]+)-/.exec(name) ?? [];
  const definition = {
    name: 'kernel-core',
    version,
    release: `${release}${sampleRelease.distTag}`,
    summary: `Linux for virtual machines, Debian's ${debianVersion}`,
  };
  return hostPackage({ ...definition, license: 'GPL-2.0-only', requires: ['filesystem'], provides: ['kernel', 'kernel-modules'] }, async (stage) => {
    await stageKernel(run, deb, join(scratch, 'kernel'), stage);
  });
}
