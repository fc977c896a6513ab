/** The repositories port as a cache on this machine's disk: one for all builds, each state fetched through the egress port, checked, and published by one rename. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { Egress } from '../egress/egress.ts';
import { forEachParallel } from '../parallel/for-each.ts';
import { type SharedFlight, sharedFlight } from '../parallel/shared-flight.ts';
import type { Programs } from '../programs/programs.ts';
import { checkMetadata } from './check-metadata.ts';
import { findMirrors, type Mirrors } from './mirrors.ts';
import { type MetadataFile, type Repomd, RepomdError, readRepomd, writeRepomd } from './repomd.ts';
import { type OpenOptions, type Repositories, type RepositorySnapshot, type RepositorySource, shownName } from './repositories.ts';
import { XmlDocumentError } from './xml-document.ts';

export interface CachedRepositoriesOptions {
  readonly directory: string;
  readonly egress: Egress;
  readonly programs: Programs;
  readonly clock: Clock;
  /** Of all states together. What is in use stays, whatever it takes. */
  readonly bytesMax?: number;
  /** A repository that was looked at so lately is not asked again. */
  readonly maxAgeMs?: number;
  /** For one metadata file, uncompressed. */
  readonly openBytesMax?: number;
}

/** What the cache knows of a repository; stored beside its states. */
const Current = z.object({
  digest: z.string().regex(/^[0-9a-f]{64}$/),
  revision: z.string(),
  mirrors: z.array(z.url()).min(1),
  openBytes: z.number().int().nonnegative(),
  checkedAt: z.number(),
});
type Current = z.infer<typeof Current>;

interface Entry {
  readonly key: string;
  current: Current | undefined;
  flight: SharedFlight<Current> | undefined;
  /** Mirrors that lied or were stale, and until when they are passed over. */
  readonly badUntil: Map<string, number>;
}

const entriesMax = 500;
const roundsMax = 3;
const pauseMs = 1000;
const repomdBytesMax = 4 * 1024 * 1024;
const fileBytesMax = 512 * 1024 * 1024;
const filesAtOnceMax = 4;
const mirrorsKeptMax = 10;
/** Tried in one round: the best of a long list, as downloads of packages do too. */
const mirrorsTriedMax = 8;
const badForMs = 10 * 60_000;
/** A state that was just published is not the newest yet for a moment. */
const supersededKeptMs = 10 * 60_000;
const smallFileDeadlineMs = 30_000;
/** Slower than this for a whole file is as good as down. */
const bytesPerMsMin = 50;

export function cachedRepositories(options: CachedRepositoriesOptions): Repositories {
  const { directory, egress, programs, clock, bytesMax = 4 * 1024 ** 3, maxAgeMs = 5 * 60_000, openBytesMax = 2 * 1024 ** 3 } = options;
  const entries = new Map<string, Entry>();
  /** Directory of a state → how many hold it. */
  const held = new Map<string, number>();
  const ending = new AbortController();
  const swept = removePartials(directory);

  const folderOf = (entry: Entry) => join(directory, entry.key);
  const stateOf = (entry: Entry, digest: string) => join(folderOf(entry), digest);

  const hold = (entry: Entry, current: Current): RepositorySnapshot => {
    const path = stateOf(entry, current.digest);
    held.set(path, (held.get(path) ?? 0) + 1);
    let isReleased = false;
    return {
      directory: path,
      digest: current.digest,
      revision: current.revision,
      mirrors: current.mirrors,
      openBytes: current.openBytes,
      release: () => {
        if (isReleased) return;
        isReleased = true;
        const left = (held.get(path) ?? 1) - 1;
        if (left > 0) held.set(path, left);
        else held.delete(path);
      },
    };
  };

  const isFresh = ({ checkedAt }: Current) => Math.abs(clock.now() - checkedAt) < maxAgeMs;

  const remember = async (entry: Entry, current: Current): Promise<Current> => {
    entry.current = current;
    await writeAtomically(join(folderOf(entry), 'current.json'), JSON.stringify(current));
    return current;
  };

  const refresh = async (entry: Entry, source: RepositorySource, { signal, log }: OpenOptions): Promise<Current> => {
    await swept;
    entry.current ??= await readCurrent(folderOf(entry));
    if (entry.current && isFresh(entry.current)) return entry.current;
    const found = await findMirrors(source, { egress, clock, signal });
    const troubles: SpindleError[] = [];
    for (let round = 0; round < roundsMax; round += 1) {
      if (round > 0 && troubles.every(({ code }) => code === 'REPOSITORY_ABSENT')) break;
      if (round > 0) await clock.sleep(pauseMs * 2 ** round, signal);
      for (const mirror of chosenMirrors(entry, found, clock.now())) {
        try {
          return await fetchState(entry, mirror, found, signal);
        } catch (error) {
          signal.throwIfAborted();
          if (!(error instanceof SpindleError) || !isOfThisMirror(error)) throw error;
          if (error.code === 'REPOSITORY_METADATA_REFUSED') entry.badUntil.set(mirror, clock.now() + badForMs);
          troubles.push(error);
          log?.(`the mirror ${mirror} of ${shownName(source)} is passed over: ${error.message}`);
        }
      }
    }
    throw summary(source, found, troubles);
  };

  const fetchState = async (entry: Entry, mirror: string, found: Mirrors, signal: AbortSignal): Promise<Current> => {
    const partial = join(folderOf(entry), `partial-${process.pid}-${randomUUID()}`);
    await mkdir(join(partial, 'repodata'), { recursive: true, mode: 0o700 });
    try {
      const path = join(partial, 'repodata', 'repomd.xml');
      const url = new URL('repodata/repomd.xml', mirror).href;
      const answer = await egress.download({ url, bytesMax: repomdBytesMax, deadlineMs: smallFileDeadlineMs, signal }, path);
      if (answer.status !== 200) throw new SpindleError(codeOf(answer.status), `${url} answers with HTTP status ${answer.status}`);
      if (found.accepted && !(await isAccepted(found.accepted, path, answer.sha256))) {
        throw new SpindleError('REPOSITORY_METADATA_REFUSED', `${url} is not the repomd.xml that the metalink names: the mirror is stale or false`);
      }
      const mirrors = [mirror, ...found.mirrors.filter((other) => other !== mirror)].slice(0, mirrorsKeptMax);
      const before = entry.current;
      const now = () => clock.now();
      if (before?.digest === answer.sha256 && (await isDirectory(stateOf(entry, before.digest))))
        return await remember(entry, { ...before, mirrors, checkedAt: now() });
      const repomd = readChecked(await readFile(path, 'utf8'), url);
      await forEachParallel(repomd.files, { atOnceMax: filesAtOnceMax, signal }, (file, taskSignal) =>
        fetchFile(file, { mirror, partial, before: before && stateOf(entry, before.digest) }, taskSignal),
      );
      const files = repomd.files.map((file) => ({ file, path: join(partial, file.location) }));
      const openBytes = await checkMetadata(files, { programs, signal, openBytesMax });
      await writeFile(path, writeRepomd(repomd));
      await publish(partial, stateOf(entry, answer.sha256));
      const current = await remember(entry, { digest: answer.sha256, revision: repomd.revision, mirrors, openBytes, checkedAt: now() });
      await evict().catch(() => {});
      return current;
    } finally {
      await rm(partial, { recursive: true, force: true });
    }
  };

  const fetchFile = async (
    { type, location, checksum, size }: MetadataFile,
    { mirror, partial, before }: { readonly mirror: string; readonly partial: string; readonly before: string | undefined },
    signal: AbortSignal,
  ): Promise<void> => {
    const path = join(partial, location);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const isHere = (digest: string) => digest === checksum.value;
    // Its name holds its checksum in most repositories; where it does not, the content decides.
    if (
      before !== undefined &&
      (await link(join(before, location), path).then(
        () => true,
        () => false,
      ))
    ) {
      if (isHere(await hashOf(path, checksum.type))) return;
      await rm(path);
    }
    if (size !== undefined && size > fileBytesMax)
      throw new SpindleError('REPOSITORY_METADATA_REFUSED', `its ${type} metadata has ${size} bytes; at most ${fileBytesMax} are read`);
    const limit = size ?? fileBytesMax;
    const url = new URL(location, mirror).href;
    const answer = await egress
      .download({ url, bytesMax: limit, deadlineMs: 60_000 + Math.ceil(limit / bytesPerMsMin), signal }, path)
      .catch((error: unknown) => {
        if (!(error instanceof SpindleError) || error.code !== 'REMOTE_TOO_LARGE') throw error;
        throw new SpindleError('REPOSITORY_METADATA_REFUSED', `${url} has more than the ${limit} bytes that it may have`, { cause: error });
      });
    if (answer.status !== 200) throw new SpindleError('REPOSITORY_UNREACHABLE', `${url} answers with HTTP status ${answer.status}`);
    const digest = checksum.type === 'sha256' ? answer.sha256 : await hashOf(path, checksum.type);
    if ((size !== undefined && answer.size !== size) || !isHere(digest)) {
      throw new SpindleError(
        'REPOSITORY_METADATA_REFUSED',
        `${url} has ${answer.size} bytes with the ${checksum.type} ${digest} instead of ${size ?? 'any'} with ${checksum.value}`,
      );
    }
  };

  /** What somebody reads or is just fetching; a state is published before anything else knows of it. */
  const isInUse = ({ path, entry }: KeptState) => held.has(path) || entries.get(entry)?.flight?.isOver() === false;

  /** Removes states that nobody uses: those that were superseded a while ago, then the ones not used for longest, until all fit. */
  const evict = async (): Promise<void> => {
    const states = await keptStates(directory);
    let bytes = states.reduce((sum, state) => sum + state.bytes, 0);
    // Superseded states first, then by age.
    for (const state of states.toSorted((a, b) => Number(a.isCurrent) - Number(b.isCurrent) || a.usedAt - b.usedAt)) {
      const isOld = !state.isCurrent && clock.now() - state.usedAt > supersededKeptMs;
      if ((!isOld && bytes <= bytesMax) || isInUse(state)) continue;
      const known = entries.get(state.entry);
      if (known && state.isCurrent) known.current = undefined;
      await rm(state.path, { recursive: true, force: true });
      bytes -= state.bytes;
    }
  };

  return {
    open: async (source, openOptions) => {
      if (ending.signal.aborted) throw new SpindleError('PORT_CLOSED', 'the repositories were used after they were closed');
      openOptions.signal.throwIfAborted();
      const key = keyOf(source);
      const entry = entries.get(key) ?? { key, current: undefined, flight: undefined, badUntil: new Map() };
      entries.delete(key);
      entries.set(key, entry);
      forgetOldest(entries);
      // Most questions end here, without a file being touched.
      if (entry.current && isFresh(entry.current)) return hold(entry, entry.current);
      if (!entry.flight || entry.flight.isOver()) {
        const { log } = openOptions;
        entry.flight = sharedFlight((signal) => refresh(entry, source, { signal, ...(log ? { log } : {}) }), ending.signal);
      }
      return hold(entry, await entry.flight.join(openOptions.signal));
    },
    close: async () => {
      ending.abort(new SpindleError('PORT_CLOSED', 'the repositories were closed'));
      await Promise.allSettled([...entries.values()].map(({ flight }) => flight?.ended));
    },
  };
}

interface KeptState {
  readonly path: string;
  /** Key of its repository. */
  readonly entry: string;
  readonly isCurrent: boolean;
  /** When its repository was last looked at, for a superseded one at least when it was published: milliseconds since 1970. */
  readonly usedAt: number;
  readonly bytes: number;
}

async function keptStates(directory: string): Promise<readonly KeptState[]> {
  const timesOf = (path: string) => stat(path).catch(() => undefined);
  const states: KeptState[] = [];
  for (const entry of await readdir(directory)) {
    const folder = join(directory, entry);
    const current = await readCurrent(folder);
    const lookedAt = (await timesOf(join(folder, 'current.json')))?.mtimeMs ?? 0;
    for (const name of await readdir(folder).catch(() => [])) {
      if (!/^[0-9a-f]{64}$/.test(name)) continue;
      const path = join(folder, name);
      const isCurrent = current?.digest === name;
      // Publishing renames, which is a change; a state that was published and not yet named current is no old one.
      const publishedAt = (await timesOf(path))?.ctimeMs ?? 0;
      states.push({ path, entry, isCurrent, usedAt: isCurrent ? lookedAt : publishedAt, bytes: await bytesBelow(path) });
    }
  }
  return states;
}

/** Anybody may name repositories: of those that were not asked for lately only the disk remembers. */
function forgetOldest(entries: Map<string, Entry>): void {
  for (const [key, { flight }] of entries) {
    if (entries.size <= entriesMax) return;
    if (!flight || flight.isOver()) entries.delete(key);
  }
}

/** By address alone: two requesters' names for one place share its cache, and no name can reach another's. Throws REMOTE_REFUSED where there is not exactly one address. */
function keyOf(source: RepositorySource): string {
  const { metalink, mirrorlist, baseurl } = source;
  const addresses = Object.entries({ metalink, mirrorlist, baseurl }).filter(([, url]) => url !== undefined);
  if (addresses.length !== 1)
    throw new SpindleError('REMOTE_REFUSED', `the repository ${shownName(source)} names ${addresses.length} addresses instead of one`);
  return createHash('sha256').update(JSON.stringify(addresses[0])).digest('hex').slice(0, 40);
}

function chosenMirrors(entry: Entry, { mirrors }: Mirrors, now: number): readonly string[] {
  const good = mirrors.filter((mirror) => (entry.badUntil.get(mirror) ?? 0) <= now);
  return (good.length > 0 ? good : mirrors).slice(0, mirrorsTriedMax);
}

/** What is not there will not be there in a minute; anything else may pass. */
const codeOf = (status: number) => ([403, 404, 410].includes(status) ? 'REPOSITORY_ABSENT' : 'REPOSITORY_UNREACHABLE');

function isOfThisMirror({ code }: SpindleError): boolean {
  return ['REPOSITORY_UNREACHABLE', 'REPOSITORY_ABSENT', 'REPOSITORY_METADATA_REFUSED', 'REMOTE_UNREACHABLE', 'REMOTE_TOO_LARGE', 'REMOTE_REFUSED'].includes(
    code,
  );
}

function summary(source: RepositorySource, { mirrors }: Mirrors, troubles: readonly SpindleError[]): SpindleError {
  const details = [...new Set(troubles.map(({ message }) => message))].slice(0, 20);
  const wrong = troubles.find(({ code }) => code === 'REPOSITORY_METADATA_REFUSED');
  if (wrong)
    return new SpindleError(
      'REPOSITORY_METADATA_REFUSED',
      `the metadata of the repository ${shownName(source)} cannot be trusted: ${wrong.message}; its maintainers have to mend that`,
      { details },
    );
  const refused = troubles.find(({ code }) => code === 'REMOTE_REFUSED' || code === 'REMOTE_TOO_LARGE');
  if (refused && troubles.every(({ code }) => code === refused.code))
    return new SpindleError(refused.code, `the repository ${shownName(source)} cannot be used: ${refused.message}`, { details });
  if (troubles.length > 0 && troubles.every(({ code }) => code === 'REPOSITORY_ABSENT'))
    return new SpindleError('REPOSITORY_ABSENT', `there is no repository ${shownName(source)}: ${details.at(-1)}; check its address`, { details });
  const count = Math.min(mirrors.length, mirrorsTriedMax);
  return new SpindleError(
    'REPOSITORY_UNREACHABLE',
    `the metadata of the repository ${shownName(source)} could not be fetched from any of ${count} mirrors: ${details.at(-1) ?? 'there is none'}; try again later`,
    { details },
  );
}

function readChecked(text: string, url: string): Repomd {
  try {
    return readRepomd(text);
  } catch (error) {
    if (error instanceof RepomdError || error instanceof XmlDocumentError)
      throw new SpindleError('REPOSITORY_METADATA_REFUSED', `${url} ${error.message}`, { cause: error });
    throw error;
  }
}

async function isAccepted(accepted: NonNullable<Mirrors['accepted']>, path: string, sha256: string): Promise<boolean> {
  const sums = { sha256, sha512: await hashOf(path, 'sha512') };
  // Whatever a metalink says of one file has to be true altogether.
  return accepted.some((hashes) => hashes.every(({ type, value }) => sums[type] === value));
}

async function hashOf(path: string, type: 'sha256' | 'sha512'): Promise<string> {
  const hash = createHash(type);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function readCurrent(folder: string): Promise<Current | undefined> {
  try {
    const current = Current.parse(JSON.parse(await readFile(join(folder, 'current.json'), 'utf8')));
    return (await isDirectory(join(folder, current.digest))) ? current : undefined;
  } catch {
    // Not there, or left half by a crash of the disk: then it is fetched anew.
    return undefined;
  }
}

async function writeAtomically(path: string, text: string): Promise<void> {
  const partial = `${path}.partial-${process.pid}-${randomUUID()}`;
  await writeFile(partial, text, { mode: 0o600, flush: true });
  await rename(partial, path);
}

/** Another process may have published the same state first: then it is the same, and ours goes. */
async function publish(partial: string, path: string): Promise<void> {
  await rename(partial, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
  });
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function bytesBelow(path: string): Promise<number> {
  const files = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => []);
  const sizes = await Promise.all(
    files
      .filter((file) => file.isFile())
      .map((file) =>
        stat(join(file.parentPath, file.name)).then(
          ({ size }) => size,
          () => 0,
        ),
      ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** What processes left that ended in the middle; those that still live keep theirs. */
async function removePartials(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const key of await readdir(directory)) {
    for (const name of await readdir(join(directory, key)).catch(() => [])) {
      const pid = /^(?:current\.json\.)?partial-(\d+)-/.exec(name)?.[1];
      if (pid === undefined || (Number(pid) !== process.pid && isAlive(Number(pid)))) continue;
      await rm(join(directory, key, name), { recursive: true, force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
