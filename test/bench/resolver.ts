/** The resolver on a repository of 60,000 packages: warm, cold, many at once, and how much memory that takes; and the search for packages. The reference is dnf by the plainest means. */

import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { localPartialFiles } from '../../shared/downloads/local.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import { localFiles } from '../../shared/files/local.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { Release } from '../../shared/releases/releases.ts';
import { repositoryCollection } from '../../shared/releases/repository-collection.ts';
import { cachedRepositories } from '../../shared/repositories/cached.ts';
import { remoteClients } from '../../shared/resolution/remote-clients.ts';
import { resolveRequest } from '../../shared/resolution/resolve.ts';
import { rpmDownloads } from '../../shared/rpm/rpm-downloads.ts';
import { contentTarget } from '../../shared/rpm/stored-rpm.ts';
import { dnfSolver } from '../../shared/solver/dnf.ts';
import { localWorkspaces } from '../../shared/workspace/local.ts';
import { freePort, startRealService } from '../support/real-service.ts';
import { compare, figureOf, median, missed, note, print, rounded } from './figure.ts';
import { largeRepository, serveDirectory } from './large-repository.ts';

const script = fileURLToPath(new URL('./resolve-reference.py', import.meta.url));
const packagesAsked = 50;
const clock = systemClock();
const never = new AbortController().signal;

/** dnf in a warm process: seconds of one solve, or undefined where the names cannot be installed together. */
interface Reference {
  solve(names: readonly string[]): Promise<number | undefined>;
  stop(): Promise<void>;
}

async function startReference(url: string, directory: string): Promise<Reference> {
  const child = spawn('/usr/bin/python3', [script, 'warm', url, directory], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  return {
    solve: async (names) => {
      child.stdin.write(`${names.join(' ')}\n`);
      const { value } = (await lines.next()) as { value?: string };
      const [seconds = 'no'] = (value ?? '').split(' ');
      return seconds === 'no' ? undefined : Number(seconds) * 1000;
    },
    stop: async () => {
      child.stdin.end();
      await new Promise((resolve) => child.once('close', resolve));
    },
  };
}

/** Programs of every kind and size, the same for the same index: what a person might name, with all that it needs. */
async function fiftyPackages(reference: Reference, names: readonly string[]): Promise<readonly string[]> {
  const chosen: string[] = [];
  for (let place = 17; chosen.length < packagesAsked && place < names.length; place += 509) {
    const name = names[place] as string;
    // Whole tool chains would make an image that fits no medium, and a bench that measures only them.
    if (/-dbg|cross|-arm|-mips|-riscv|texlive|kernel|linux-/.test(name)) continue;
    if ((await reference.solve([...chosen, name])) !== undefined) chosen.push(name);
  }
  return chosen;
}

/** The resolver as the service has it, on a directory of its own. */
async function openResolver(url: string, destination: string, directory: string) {
  const egress = httpEgress({ userAgent: 'spindle-bench/1', allow: [destination] });
  const programs = spawnedPrograms({ clock });
  const files = await localFiles({ directory: join(directory, 'files') });
  const workspaces = localWorkspaces({ directory: join(directory, 'work'), files, owner: 'bench', programs });
  const repositories = cachedRepositories({ directory: join(directory, 'metadata'), egress, programs, clock });
  const isolation = process.getuid?.() === 0 ? ({ isolation: 'private-no-network' } as const) : {};
  const solver = dnfSolver({ directory: join(directory, 'solver'), repositories, programs, clock, atOnceMax: 2, ...isolation });
  const release = Release.parse({
    id: 'large',
    name: 'Large',
    arches: ['x86_64'],
    repositories: [{ id: 'large', role: 'stable', baseurl: url }],
    unsigned: 'allow',
    engines: { boot: 'lorax' },
  });
  const partials = localPartialFiles({ directory: join(directory, 'downloads'), clock });
  const downloads = rpmDownloads({ egress, clock, partials, target: contentTarget(files) });
  const ports = { clock, files, egress, downloads, solver, ...remoteClients({ egress, clock }) };
  return {
    solver,
    release,
    resolve: async (packages: readonly string[]) => {
      const request = splitRequest(BuildRequest.parse({ release: 'large', imageType: 'boot', packages }))[0] as SingleBuildRequest;
      const workspace = await workspaces.create('bench');
      try {
        const options = { request, release, engine: 'lorax' as const, ports, workspace, log: () => {}, phase: () => {}, progress: () => {}, signal: never };
        return await resolveRequest(options);
      } finally {
        await workspace.dispose();
      }
    },
    close: async () => {
      await solver.close();
      await repositories.close();
      await egress.close();
      await files.close();
    },
  };
}

async function timed(action: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await action();
  return performance.now() - start;
}

async function withSite(run: (site: { readonly url: string; readonly destination: string; readonly directory: string }) => Promise<void>): Promise<void> {
  const site = await serveDirectory(await largeRepository());
  const directory = await mkdtemp(join(tmpdir(), 'spindle-bench-resolver-'));
  try {
    await run({ ...site, directory });
  } finally {
    await site.close();
    await rm(directory, { recursive: true, force: true });
  }
}

const warmRounds = 15;
const atOnce = 8;

/** 50 packages with all that they need, from request to resolution, in a service that has the metadata ready; then eight such at once; then the memory of it all. */
export async function resolveWarm(): Promise<void> {
  await withSite(async ({ url, destination, directory }) => {
    const [reference, ours] = [await startReference(url, join(directory, 'reference')), await openResolver(url, destination, join(directory, 'ours'))];
    try {
      const index = await ours.solver.index(repositoryCollection(ours.release, 'x86_64'), { signal: never });
      const names = [...new Set([...'abcdefghijklmnopqrstuvwxyz'].flatMap((letter) => index.search(letter, 5000).map(({ name }) => name)))].sort();
      const asked = await fiftyPackages(reference, names);
      const { packages } = await ours.resolve(asked);
      note(`bench: ${asked.length} packages asked for, ${packages.length} with all that they need`);
      const figure = await compare(warmRounds, {
        ours: () => timed(() => ours.resolve(asked)),
        reference: async () => (await reference.solve(asked)) ?? Number.NaN,
      });
      const together: number[] = [];
      for (let round = 0; round < 5; round += 1) together.push(await timed(() => Promise.all(Array.from({ length: atOnce }, () => ours.resolve(asked)))));
      const eightMs = median(together);
      print('resolve-warm', 'ms', figure, { requested: asked.length, resolved: packages.length, eightAtOnceMs: rounded(eightMs) });
      if (eightMs > 1000) missed('resolve-warm', 'at most 1000 ms for eight at once');
      await serviceMemory({ url, destination, directory: join(directory, 'service'), asked });
    } finally {
      await reference.stop();
      await ours.close();
    }
  });
}

const memoryRounds = 3;

/** The service itself, as a process of its own that has had eight questions at once several times: how much it and its solver hold then. */
async function serviceMemory({ url, destination, directory, asked }: { url: string; destination: string; directory: string; asked: readonly string[] }) {
  await mkdir(directory, { recursive: true });
  const releasesFile = join(directory, 'releases.yaml');
  const release = {
    id: 'large',
    name: 'Large',
    arches: ['x86_64'],
    repositories: [{ id: 'large', role: 'stable', baseurl: url }],
    unsigned: 'allow',
    engines: { live: 'kiwi' },
  };
  await writeFile(releasesFile, JSON.stringify({ releases: [release] }));
  const service = await startRealService(join(directory, 'state'), await freePort(), {
    SPINDLE_RELEASES_FILE: releasesFile,
    SPINDLE_EGRESS_ALLOW: destination,
  });
  try {
    const body = JSON.stringify({ release: 'large', imageType: 'live', packages: asked });
    const headers = { 'content-type': 'application/json' };
    for (let round = 0; round < memoryRounds; round += 1) {
      const answers = await Promise.all(Array.from({ length: atOnce }, () => fetch(`${service.url}/api/v1/resolve`, { method: 'POST', headers, body })));
      for (const answer of answers) {
        const text = await answer.text();
        if (answer.status !== 200) throw new Error(`a dry run is answered with ${answer.status}: ${text.slice(0, 500)}`);
      }
      await (await fetch(`${service.url}/api/v1/packages?release=large&q=bash`)).text();
    }
    const node = await residentBytes(service.pid);
    const helper = await helperMemory(directory);
    print('resolver-memory', 'MB', figureOf([node / 1e6], [200]), { what: 'the service, beside its bound', solverMB: rounded(helper / 1e6) });
    if (helper / 1e6 > 500) missed('resolver-memory', 'at most 500 MB for the solver process');
  } finally {
    await service.stop();
  }
}

const residentBytes = async (pid: number | string) => Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;

/** Resident bytes of the solver's own process. */
async function helperMemory(directory: string): Promise<number> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const [environment, command] = await Promise.all(['environ', 'comm'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')));
    if (environment?.includes(`HOME=${directory}`) && command?.startsWith('python3')) return residentBytes(pid);
  }
  throw new Error('the solver process is not there');
}

const coldRounds = 5;

/** The first use of a repository: nothing of it is on this machine. */
export async function resolveCold(): Promise<void> {
  await withSite(async ({ url, destination, directory }) => {
    const names = ['bash', 'nano', 'curl', 'less', 'rsync'];
    let round = 0;
    const figure = await compare(coldRounds, {
      ours: async () => {
        round += 1;
        const ours = await openResolver(url, destination, join(directory, `ours-${round}`));
        try {
          return await timed(() => ours.resolve(names));
        } finally {
          await ours.close();
        }
      },
      reference: async () => {
        round += 1;
        const home = join(directory, `reference-${round}`);
        return timed(async () => {
          await done('dnf', [
            '--quiet',
            `--installroot=${home}/root`,
            `--setopt=cachedir=${home}/cache`,
            `--setopt=reposdir=${home}`,
            `--repofrompath=large,${url}`,
            '--releasever=1',
            'makecache',
          ]);
          await done('/usr/bin/python3', [script, 'cold', url, home, ...names]);
        });
      },
    });
    print('resolve-cold', 'ms', figure);
  });
}

async function done(command: string, args: readonly string[]): Promise<void> {
  const child = spawn(command, [...args], { stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(`${command} ended with status ${code}`);
}

const searchRounds = 2000;

/** What people type: a letter, a part of a name, a name with a mistake, several words, nonsense. */
export async function packageSearch(): Promise<void> {
  await withSite(async ({ url, destination, directory }) => {
    const ours = await openResolver(url, destination, directory);
    try {
      const index = await ours.solver.index(repositoryCollection(ours.release, 'x86_64'), { signal: never });
      const all = [...'abcdefghijklmnopqrstuvwxyz0123456789'].flatMap((letter) => index.search(letter, index.size));
      const plain = [...new Map(all.map((each) => [each.name, each])).values()];
      const queries = Array.from({ length: searchRounds }, (_, round) => queryFor(round, plain));
      const search = (query: string) => {
        const words = query.toLowerCase().split(/\s+/).filter(Boolean);
        return plain
          .filter(({ name, summary }) => words.every((word) => `${name}\n${summary}`.toLowerCase().includes(word)))
          .sort((a, b) => a.name.length - b.name.length)
          .slice(0, 20);
      };
      const timesOf = (find: (query: string) => unknown, some: readonly string[]) =>
        some.map((query) => {
          const start = performance.now();
          find(query);
          return performance.now() - start;
        });
      const oursMs = timesOf((query) => index.search(query, 20), queries);
      const referenceMs = timesOf(search, queries.slice(0, 200));
      const sorted = oursMs.toSorted((a, b) => a - b);
      const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? 0;
      print(
        'package-search',
        'ms',
        { ...figureOf([median(oursMs)], [median(referenceMs)]), rounds: searchRounds },
        { p99: rounded(p99), packages: index.size },
      );
      if (p99 > 30) missed('package-search', 'at most 30 ms for 99 of 100');
    } finally {
      await ours.close();
    }
  });
}

function queryFor(round: number, packages: readonly { readonly name: string; readonly summary: string }[]): string {
  const { name, summary } = packages[(round * 7919) % packages.length] as { readonly name: string; readonly summary: string };
  const words = summary.split(' ');
  switch (round % 7) {
    case 0:
      return name;
    case 1:
      return name.slice(0, 3);
    case 2:
      return name.slice(0, 1);
    case 3:
      return `${words[0]} ${words.at(-1)}`;
    case 4:
      return name.slice(1, -1);
    case 5:
      return `${name.slice(0, 4)} ${words[1] ?? ''}`;
    default:
      return `${name}zq`;
  }
}
