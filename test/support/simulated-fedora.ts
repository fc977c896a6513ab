/**
 * A distribution without network, disk or programs: a Koji hub with its files, a mirror, and what stands in for the solver and createrepo_c. For unit tests and the simulation: every
 * answer follows from the request alone.
 */
import { createHash } from 'node:crypto';
import type { SimulatedAnswer, SimulatedRoutes } from '../../shared/egress/simulated.ts';
import { type Nevra, parseNevra, rpmFileName } from '../../shared/fedora/nvr.ts';
import { decodeCall, encodeResponse, type XmlRpcValue } from '../../shared/koji/xml-rpc.ts';
import type { SimulatedProgram } from '../../shared/programs/simulated.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { readPackageIndex } from '../../shared/solver/package-index.ts';
import { looseId, type Solver, type SolverAnswer, type SolverRequest } from '../../shared/solver/solver.ts';
import type { MemoryWorkspaces } from '../../shared/workspace/memory.ts';
import { rpmFile as makeRpmFile, type RpmFile } from './rpm-file.ts';

export const mirrors = ['https://one.mirror.example/repo/', 'https://two.mirror.example/repo/'] as const;
const kojiHost = 'koji.example';
const filesHost = 'files.example';

export const simulatedRelease: Release = {
  id: 'simulated',
  name: 'Simulated Linux',
  arches: ['x86_64'],
  repositories: [{ id: 'simulated', role: 'stable', baseurl: mirrors[0] }],
  koji: { hub: `https://${kojiHost}/kojihub`, files: `https://${filesHost}` },
  keys: [],
  sigkeys: [],
  unsigned: 'allow',
  engines: { live: 'kiwi' },
};

const nevra = (text: string): Nevra => {
  const parsed = parseNevra(text);
  if (!parsed) throw new Error(`${text} is not a NEVRA`);
  return parsed;
};

const made = new Map<string, RpmFile>();
/** Each file is made once: thousands of simulated builds ask for the same few. */
const rpmFile = (rpm: Nevra): RpmFile => {
  const name = rpmFileName(rpm);
  const file = made.get(name) ?? makeRpmFile(rpm);
  made.set(name, file);
  return file;
};

/** What the mirrors have. */
const published = ['bash-5.2-1.x86_64', 'kernel-core-6.1-1.x86_64', 'hello-1.0-1.noarch'].map(nevra);
/** What Koji has: build id, state, and the RPMs. */
const kojiBuilds = [
  { id: 11, nvr: 'hello-1.1-1', state: 1, rpms: ['hello-1.1-1.noarch', 'hello-debuginfo-1.1-1.noarch', 'hello-1.1-1.src'].map(nevra) },
  { id: 12, nvr: 'hello-1.2-1', state: 3, rpms: [] },
  { id: 13, nvr: 'elsewhere-1-1', state: 1, rpms: ['elsewhere-1-1.s390x'].map(nevra) },
] as const;

/** Hosts of files know ranges. */
function partOf({ body = '' }: SimulatedAnswer, range: string | undefined): SimulatedAnswer {
  const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
  if (first === undefined || last === undefined) return { body: bytes };
  const end = Math.min(Number(last), bytes.byteLength - 1);
  return { status: 206, headers: { 'content-range': `bytes ${first}-${end}/${bytes.byteLength}` }, body: bytes.subarray(Number(first), end + 1) };
}

const notFound: SimulatedAnswer = { status: 404, body: 'not found' };

/** Which RPM a URL's file name means, wherever it is asked for. */
function rpmAt(pathname: string, range: string | undefined): SimulatedAnswer {
  const name = decodeURIComponent(pathname.split('/').at(-1) ?? '');
  const found = [...published, ...kojiBuilds.flatMap(({ rpms }) => rpms)].find((rpm) => rpmFileName(rpm) === name);
  return found ? partOf({ body: rpmFile(found).bytes }, range) : notFound;
}

function answerCall(method: string, argument: XmlRpcValue): XmlRpcValue {
  const build = kojiBuilds.find(({ id, nvr }) => id === argument || nvr === argument);
  if (method === 'getBuild') {
    if (!build) return [null];
    const [name, version, release] = build.nvr.split('-') as [string, string, string];
    return [{ id: build.id, nvr: build.nvr, name, version, release, epoch: null, state: build.state, volume_name: 'DEFAULT' }];
  }
  if (method === 'listBuildRPMs') {
    return [
      (build?.rpms ?? []).map((rpm, index) => {
        const { bytes, payloadHash } = rpmFile(rpm);
        return { ...rpm, id: (build?.id ?? 0) * 100 + index, epoch: null, size: bytes.byteLength, payloadhash: payloadHash, metadata_only: false };
      }),
    ];
  }
  if (method === 'queryRPMSigs') return [[]];
  return { faultCode: 1000, faultString: `Invalid method: ${method}`, traceback: [] };
}

export const simulatedRoutes: SimulatedRoutes = ({ url, headers, body = '' }) => {
  if (url.host === kojiHost) {
    const [calls] = decodeCall(body).args as [readonly { readonly methodName: string; readonly params: readonly XmlRpcValue[] }[]];
    const answers = calls.map(({ methodName, params }) => answerCall(methodName, params[0] ?? null));
    return { headers: { 'content-type': 'text/xml' }, body: encodeResponse(answers) };
  }
  if (url.host === filesHost || mirrors.some((mirror) => new URL(mirror).host === url.host)) return rpmAt(url.pathname, headers['range']);
  return undefined;
};

/** Takes each package by its plain name, the requested build's version before the published one, whatever they may need. */
export function solveByName(request: SolverRequest): SolverAnswer {
  const forced = request.sets.flatMap((set) => set.packages.map(({ header: _, ...rpm }) => ({ rpm, set: set.label, repository: looseId })));
  const rest = published.filter(({ name }) => !forced.some(({ rpm }) => rpm.name === name));
  const known = [...forced, ...rest.map((rpm) => ({ rpm, set: null, repository: 'simulated' }))];
  const missing = request.install.filter((spec) => !known.some(({ rpm }) => rpm.name === spec));
  if (missing.length > 0) {
    return { outcome: 'missing', missing: missing.map((spec) => ({ spec, reason: 'unknown', askedBy: 'request', set: null, elsewhere: [] })) };
  }
  const main = request.sets.flatMap((set) => set.main);
  const chosen = known.filter(({ rpm }) => request.install.includes(rpm.name) || main.includes(rpm.name) || rpm.name === 'kernel-core');
  return {
    outcome: 'solved',
    packages: chosen.map(({ rpm, set, repository }) => {
      if (set !== null) return { ...rpm, repository, set, digestKind: '', digest: '', size: 0, installedSize: 1000, location: '', base: null };
      const { bytes, sha256 } = rpmFile(rpm);
      const file = { digestKind: 'sha256', digest: sha256, size: bytes.byteLength, installedSize: 1000, location: `Packages/${rpmFileName(rpm)}`, base: null };
      return { ...rpm, repository, set, ...file };
    }),
    roots: chosen.map(({ rpm }) => rpm.name),
    skipped: [],
  };
}

const simulatedIndex = readPackageIndex(
  published.map(({ name, version, release, arch }) => `${name}\t${version}-${release}\t${arch}\tsimulated\t${name}`).join('\n'),
);

/** The solver port by `solveByName`. `answer` may change what comes, take its time, or throw. */
export function simulatedSolver(answer: (request: SolverRequest, signal: AbortSignal) => SolverAnswer | Promise<SolverAnswer> = solveByName): Solver {
  return {
    solve: async (request, { signal }) => {
      signal.throwIfAborted();
      return { ...(await answer(request, signal)), repositories: [{ id: 'simulated', revision: '1', digest: '0'.repeat(64), mirrors: [...mirrors] }] };
    },
    index: async () => simulatedIndex,
    close: async () => {},
  };
}

/** createrepo_c, by the command that it is started with. */
export function simulatedRpmTools(workspaces: MemoryWorkspaces): Readonly<Record<string, SimulatedProgram>> {
  return {
    createrepo_c: async ({ args }) => {
      const directory = args.at(-1) ?? '';
      const rpms = workspaces.listBelow(`${directory}/Packages`);
      const lines = rpms.map(
        (path) =>
          `${path.slice(directory.length + 1)} ${createHash('sha256')
            .update(workspaces.readAt(path) ?? '')
            .digest('hex')}`,
      );
      workspaces.writeAt(`${directory}/repodata/primary.xml.gz`, lines.join('\n'));
      workspaces.writeAt(`${directory}/repodata/repomd.xml`, `<repomd>${rpms.length}</repomd>`);
      return {};
    },
  };
}
