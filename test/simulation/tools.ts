/** The world outside: Koji, a mirror and the host's tools, as functions on memory. What they make depends on what they are given, so that a mix-up shows in the image. */

import { simulatedMachines, simulatedReport } from '../../services/boot-test/simulated-machine.ts';
import type { VirtualMachines } from '../../services/boot-test/virtual-machine.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import type { VirtualClock } from '../../shared/clock/virtual.ts';
import type { Egress } from '../../shared/egress/egress.ts';
import { type SimulatedRoutes, simulatedEgress } from '../../shared/egress/simulated.ts';
import { type Nevra, parseNevra, rpmFileName } from '../../shared/fedora/nvr.ts';
import { decodeCall, encodeResponse, type XmlRpcValue } from '../../shared/koji/xml-rpc.ts';
import type { ProgramRequest, ProgramResult, Programs } from '../../shared/programs/programs.ts';
import { type SimulatedProgram, simulatedPrograms } from '../../shared/programs/simulated.ts';
import { ReleasesFile } from '../../shared/releases/releases.ts';
import { candidatesId, type SolverAnswer, type SolverRequest } from '../../shared/resolution/solver.ts';
import type { MemoryWorkspaces } from '../../shared/workspace/memory.ts';
import { type RpmFile, rpmFile } from '../support/rpm-file.ts';
import type { Faults } from './faults.ts';
import { mortal, mortalClock, type SimulatedProcess } from './process.ts';

const mirror = 'http://mirror.example/sample';
const kojiHubUrl = 'http://koji.example/kojihub';
const kojiFilesUrl = 'http://koji.example/kojifiles';

const stableNames = [
  'filesystem-1-1.sample.noarch',
  'kernel-core-6.1-1.sample.x86_64',
  'hello-1.0-1.sample.noarch',
  'grub2-2.06-1.sample.x86_64',
  'dracut-kiwi-live-9-1.sample.noarch',
];
const sideName = 'hello-1.1-1.sample.noarch';

interface Package {
  readonly nevra: Nevra;
  readonly file: RpmFile;
}

const packageOf = (text: string): Package => {
  const nevra = parseNevra(text);
  if (!nevra) throw new Error(`${text} is no NEVRA`);
  return { nevra, file: rpmFile(nevra) };
};
const stable = stableNames.map(packageOf);
const side = packageOf(sideName);

export const simulatedReleases = ReleasesFile.parse({
  releases: [
    {
      id: 'sample',
      name: 'Sample Linux',
      arches: ['x86_64'],
      repositories: [{ id: 'sample', role: 'stable', baseurl: `${mirror}/` }],
      koji: { hub: kojiHubUrl, files: kojiFilesUrl },
      unsigned: 'allow',
      engines: { live: 'kiwi' },
    },
  ],
});

/** The hub's answers, in the shapes of Koji's own. */
function kojiAnswer(method: string, args: readonly XmlRpcValue[]): XmlRpcValue {
  const { name, version, release, arch } = side.nevra;
  switch (method) {
    case 'multiCall':
      return (args[0] as readonly { readonly methodName: string; readonly params: readonly XmlRpcValue[] }[]).map(({ methodName, params }) => [
        kojiAnswer(methodName, params),
      ]);
    case 'getBuild':
      if (args[0] !== `${name}-${version}-${release}`) return null;
      return { id: 11, build_id: 11, name, package_name: name, version, release, epoch: null, nvr: args[0], state: 1, volume_name: 'DEFAULT', draft: false };
    case 'listBuildRPMs':
      return [
        {
          id: 21,
          name,
          version,
          release,
          epoch: null,
          arch,
          nvr: `${name}-${version}-${release}`,
          size: side.file.bytes.byteLength,
          payloadhash: side.file.payloadHash,
          build_id: 11,
          metadata_only: false,
        },
      ];
    case 'queryRPMSigs':
      return [];
    default:
      throw new Error(`the simulated Koji has no ${method}`);
  }
}

function solverAnswer({ install, builds, repositories }: SolverRequest): SolverAnswer {
  const known = [...stable.map(({ nevra }) => nevra.name), '@core'];
  const missing = install.filter((spec) => !known.includes(spec));
  if (missing.length > 0) return { outcome: 'missing', missing: missing.map((spec) => ({ spec, reason: 'unknown', askedBy: 'request' })), known };
  const chosen = stable.filter(({ nevra }) => !builds.some(({ packages }) => packages.some(({ name }) => name === nevra.name)));
  const solved = ({ nevra, file }: Package, repository: string) => ({
    ...nevra,
    repository,
    digestKind: 'sha256',
    digest: file.sha256,
    size: file.bytes.byteLength,
    installedSize: file.bytes.byteLength,
    location: `Packages/${rpmFileName(nevra)}`,
    base: null,
  });
  return {
    outcome: 'solved',
    packages: [...chosen.map((each) => solved(each, 'sample')), ...(builds.length > 0 ? [solved(side, candidatesId)] : [])],
    roots: ['hello'],
    skipped: [],
    repositories: repositories.map(({ id, baseurl }) => ({ id, revision: '1', mirrors: baseurl ? [baseurl] : [] })),
  };
}

export interface SimulatedTools {
  readonly releases: ReleasesFile;
  programsOf(process: SimulatedProcess): Programs;
  egressOf(process: SimulatedProcess): Egress;
  virtualMachinesOf(process: SimulatedProcess): VirtualMachines;
  /** Tools that run now, of all processes. */
  running(): number;
}

export function simulatedTools(world: {
  readonly clock: VirtualClock;
  readonly random: () => number;
  readonly faults: Faults;
  readonly workspaces: MemoryWorkspaces;
}): SimulatedTools {
  const { clock, random, faults, workspaces } = world;
  const running = new Set<symbol>();
  const decoder = new TextDecoder();

  /** How long a tool takes, and how it goes wrong. */
  const troubled = async (request: ProgramRequest, usualMs: number): Promise<Partial<ProgramResult> | undefined> => {
    const isHanging = faults.strikes('tool hangs');
    const ms = isHanging ? 100 * 3_600_000 : faults.strikes('slow tool') ? 10_000 + random() * 50_000 : random() * usualMs;
    await clock.sleep(ms, request.signal);
    if (faults.strikes('tool breaks for a while')) throw new SpindleError('DISK_FULL', 'no space was left for the tool');
    if (faults.strikes('tool breaks for good')) return { exitCode: 1, stderr: 'the tool broke' };
    return undefined;
  };

  const namesBelow = (directory: string): readonly string[] =>
    workspaces
      .listAll()
      .filter((path) => path.startsWith(`${directory}/`) && path.endsWith('.rpm'))
      .map((path) => path.slice(path.lastIndexOf('/') + 1, -'.rpm'.length));
  const argument = (request: ProgramRequest, name: string): string => request.args[request.args.indexOf(name) + 1] ?? '';
  const last = (request: ProgramRequest): string => request.args.at(-1) ?? '';

  const handlers: Readonly<Record<string, SimulatedProgram>> = {
    '/usr/bin/python3': async (request) =>
      (await troubled(request, 400)) ?? { stdout: JSON.stringify(solverAnswer(JSON.parse(request.stdin ?? '{}') as SolverRequest)) },
    createrepo_c: async (request) => {
      const trouble = await troubled(request, 100);
      if (trouble) return trouble;
      workspaces.writeAt(`${last(request)}/repodata/repomd.xml`, JSON.stringify(namesBelow(last(request))));
      return {};
    },
    'kiwi-ng': async (request) => {
      if (request.args.includes('--version')) return { stdout: 'KIWI (next generation) version 9.24.43\n' };
      const trouble = await troubled(request, 8_000);
      if (trouble) return trouble;
      const root = argument(request, '--description').replace(/\/[^/]*$/, '');
      workspaces.writeAt(`${argument(request, '--target-dir')}/Image.x86_64-1.0.iso`, JSON.stringify(namesBelow(root)));
      return {};
    },
    implantisomd5: async () => ({}),
    checkisomd5: async () => ({}),
    xorriso: async (request) => {
      workspaces.writeAt(last(request), workspaces.readAt(argument(request, '-indev')) ?? new Uint8Array());
      return {};
    },
    unsquashfs: async (request) => {
      const tree = argument(request, '-dest');
      const image = request.args.find((arg) => arg.endsWith('squashfs.img')) ?? '';
      workspaces.writeAt(`${tree}/usr/lib/sysimage/rpm/rpmdb.sqlite`, workspaces.readAt(image) ?? new Uint8Array());
      return {};
    },
    rpm: async (request) => {
      const names = JSON.parse(decoder.decode(workspaces.readAt(`${argument(request, '--dbpath')}/rpmdb.sqlite`))) as readonly string[];
      const rows = names.flatMap((name) => {
        const nevra = parseNevra(name);
        return nevra ? [`${nevra.name}\t${nevra.epoch}\t${nevra.version}\t${nevra.release}\t${nevra.arch}\n`] : [];
      });
      return { stdout: rows.join('') };
    },
  };

  const routes: SimulatedRoutes = async ({ url, method, body }, signal) => {
    await clock.sleep(random() * 50, signal);
    if (faults.strikes('download cut')) return undefined;
    if (url.href === kojiHubUrl && method === 'POST') {
      const call = decodeCall(body ?? '');
      return { headers: { 'content-type': 'text/xml' }, body: encodeResponse(kojiAnswer(call.method, call.args)) };
    }
    const all = [side, ...stable];
    const found = all.find(({ nevra }) => url.pathname.endsWith(`/${rpmFileName(nevra)}`));
    return found ? { body: found.file.bytes } : { status: 404 };
  };

  return {
    releases: simulatedReleases,
    running: () => running.size,
    programsOf: (process) => {
      const programs = simulatedPrograms(handlers, mortalClock(clock, process));
      // A tool dies with the process that started it, and counts as running until it has ended.
      const counted = async <T>(ended: Promise<T>): Promise<T> => {
        const mark = Symbol('tool');
        running.add(mark);
        process.onDeath(() => running.delete(mark));
        try {
          return await ended;
        } finally {
          running.delete(mark);
        }
      };
      return mortal(
        {
          run: (request) => counted(programs.run(request)),
          start: async (request) => {
            const started = await programs.start(request);
            counted(started.ended).catch(() => undefined);
            return started;
          },
        } satisfies Programs,
        process,
        ['start'],
      );
    },
    virtualMachinesOf: (process) => {
      const machines = simulatedMachines(
        async ({ image }) => {
          if (faults.strikes('tool breaks for a while')) throw new SpindleError('BOOT_TEST_BROKEN', 'the simulated machine did not start');
          const names = JSON.parse(decoder.decode(workspaces.readAt(image))) as readonly string[];
          const bootMs = faults.strikes('slow tool') ? 60_000 : 2_000 + random() * 5_000;
          // One that hangs prints nothing: the boot test gives up by itself.
          return { serial: faults.strikes('tool hangs') ? [] : simulatedReport(names, bootMs), screenshot: new Uint8Array([0x89, 0x50]) };
        },
        mortalClock(clock, process),
      );
      return mortal(machines, process, ['start']);
    },
    egressOf: (process) =>
      mortal(simulatedEgress({ routes, clock: mortalClock(clock, process), write: (path, content) => workspaces.writeAt(path, content) }), process),
  };
}
