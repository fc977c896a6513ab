/**
 * The RPM store on this machine: repositories stand below a directory as trees of hard links, each made once and given its name when it is whole; workspaces see them through a link.
 */
import { createHash } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, realpath, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import { contentKey } from '../files/content-ref.ts';
import { refuseFullDisk } from '../files/disk-full.ts';
import type { FileStatus, Files } from '../files/files.ts';
import { forEachParallel } from '../parallel/for-each.ts';
import { type SharedFlight, sharedFlight } from '../parallel/shared-flight.ts';
import type { Programs } from '../programs/programs.ts';
import { fileJournal } from './journal.ts';
import { knownFiles } from './known-files.ts';
import { makeRepository } from './make-repository.ts';
import { type PartFiles, partFiles } from './part-files.ts';
import { repositoryIdentity } from './repository-note.ts';
import type { RepositoryFile, RpmStore } from './rpm-store.ts';

export interface LocalRpmStoreOptions {
  /** Made where it is missing; on the file system of the stored files, so that they can be linked. Belongs to one process at a time. */
  readonly directory: string;
  readonly files: Files;
  readonly clock: Clock;
  /** Bytes. */
  readonly bytesMax: number;
  readonly verifiedMsMax?: number;
  /** What is known could not be written down. */
  readonly onTrouble: (error: unknown) => void;
}

/** Of some stored files, in their order. */
type Statuses = readonly (FileStatus | undefined)[];

const full = refuseFullDisk('making a repository');
/** Names of trees, and packages in them. */
const digestPattern = /^[0-9a-f]{64}$/;
const newPrefix = 'new-';
/** Beside each tree: whose links stand in it. */
const listSuffix = '.files';
const placedAtOnceMax = 16;
/** Trees cost no bytes, but each keeps those of its packages: that many stay though no build needs them. */
const treesMax = 200;

export async function localRpmStore(options: LocalRpmStoreOptions): Promise<RpmStore> {
  const { directory, files, clock, bytesMax, onTrouble, verifiedMsMax } = options;
  await mkdir(join(directory, 'trees'), { recursive: true, mode: 0o755 });
  const trees = await realpath(join(directory, 'trees'));
  // What a dead process had not finished.
  for (const name of await readdir(trees)) if (name.startsWith(newPrefix)) await rm(join(trees, name), { recursive: true, force: true });
  const journal = fileJournal(join(directory, 'known-rpms.jsonl'), { clock, onTrouble });
  const known = knownFiles({
    files,
    clock,
    bytesMax,
    records: await journal.load(),
    journal,
    ...(verifiedMsMax === undefined ? {} : { verifiedMsMax }),
  });
  const making = new Map<string, SharedFlight<readonly RepositoryFile[]>>();
  const ending = new AbortController();
  /** Trees are made, shown and removed one after the other: none goes between a look at it and its use. */
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(action: () => Promise<T>): Promise<T> => {
    const mine = turn.then(action, action);
    turn = mine.catch(() => {});
    return mine;
  };

  const opened = new Map<string, PartFiles>();
  const partsOf = (toolVersion: string): PartFiles => {
    const parts = opened.get(toolVersion) ?? partFiles(join(directory, 'metadata'), toolVersion);
    opened.set(toolVersion, parts);
    return parts;
  };
  let version: Promise<string> | undefined;
  /** Another createrepo_c would say other things of the same package. */
  const versionOf = (programs: Programs): Promise<string> => {
    version ??= programs.run({ command: 'createrepo_c', args: ['--version'], deadlineMs: 60_000 }).then(
      ({ stdout }) => /Version:\s*([0-9][0-9A-Za-z.]*)/.exec(stdout)?.[1] ?? 'unknown',
      (error: unknown) => {
        version = undefined;
        throw error;
      },
    );
    return version;
  };

  const treeOf = (all: readonly RepositoryFile[]): string => {
    const listed = all.map(({ path, sha256 }) => [path, sha256]).sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
    return createHash('sha256').update(JSON.stringify(listed)).digest('hex');
  };
  /**
   * Every name in the tree is one of the stored file's, and there are no others. A file that was harmed and fetched anew is another file under the same digest: a tree that was made before still
   * has the harmed one.
   */
  const isOfStoredFiles = async (tree: string, all: readonly RepositoryFile[], statuses: Statuses): Promise<boolean> => {
    const entries = await readdir(tree, { recursive: true, withFileTypes: true }).catch(() => []);
    if (entries.filter((entry) => !entry.isDirectory()).length !== all.length) return false;
    return all.every(({ path, size }, place) => {
      const found = lstatSync(join(tree, path), { throwIfNoEntry: false });
      const fingerprint = statuses[place]?.fingerprint;
      if (found?.isFile() !== true || fingerprint === undefined) return false;
      // A copy on another file system: no harm to the stored file reaches it.
      if (!fingerprint.startsWith(`${found.dev}-`)) return found.size === size;
      // Only its first part: names that come and go change the rest of a file's fingerprint.
      return fingerprint.startsWith(`${found.dev}-${found.ino}-`);
    });
  };
  const rpmsOf = (all: readonly RepositoryFile[]) => all.filter(({ path }) => path.endsWith('.rpm'));

  /** Digests of the packages whose links stand in a tree. */
  const heldBy = async (name: string): Promise<readonly string[]> => {
    const listed = await readFile(join(trees, `${name}${listSuffix}`), 'utf8').catch(() => '');
    return listed.split('\n').filter((line) => digestPattern.test(line));
  };

  const removeTree = async (name: string): Promise<void> => {
    const sha256s = await heldBy(name);
    // First under a name that nobody shows: a half removed tree must not be used.
    const dying = join(trees, `${newPrefix}gone-${name}`);
    await rename(join(trees, name), dying).catch(() => {});
    await known.renaming(sha256s, () => rm(dying, { recursive: true, force: true }));
    await rm(join(trees, `${name}${listSuffix}`), { force: true });
  };

  /** Gives a finished directory its name. The list goes first: a tree without one could not be removed in order. */
  const settle = async (from: string, name: string, all: readonly RepositoryFile[]): Promise<void> => {
    await chmod(from, 0o755);
    await writeFile(join(trees, `${name}${listSuffix}`), [...new Set(rpmsOf(all).map(({ sha256 }) => `${sha256}\n`))].join(''));
    await rename(from, join(trees, name)).catch(async (error: NodeJS.ErrnoException) => {
      // Another has made the same one, or it lies on another file system: then it is made when it is shown.
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST' && error.code !== 'EXDEV') throw error;
    });
  };

  const makeTree = async (name: string, all: readonly RepositoryFile[], signal: AbortSignal): Promise<void> => {
    const temporary = await mkdtemp(join(trees, newPrefix));
    try {
      const folders = [...new Set(all.map(({ path }) => dirname(path)))];
      for (const folder of folders) await mkdir(join(temporary, folder), { recursive: true });
      await known.renaming([...new Set(rpmsOf(all).map(({ sha256 }) => sha256))], () =>
        forEachParallel(all, { atOnceMax: placedAtOnceMax, signal }, async ({ path, sha256 }) => {
          await files.place(contentKey(sha256), join(temporary, path));
        }),
      );
      await settle(temporary, name, all);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  };

  /** Throws where a file of the repository is not what was checked. */
  const refuseHarmed = async (all: readonly RepositoryFile[], statuses: Statuses, signal: AbortSignal): Promise<void> => {
    const rpms = rpmsOf(all);
    const statusOf = new Map(all.map(({ sha256 }, place) => [sha256, statuses[place]]));
    const found = await known.check(
      rpms,
      signal,
      rpms.map(({ sha256 }) => statusOf.get(sha256)),
    );
    const harmed = rpms.find(({ sha256 }) => !found.has(sha256));
    const gone = harmed ?? all.find(({ path, sha256, size }) => !path.endsWith('.rpm') && statusOf.get(sha256)?.size !== size);
    if (gone) throw new SpindleError('FILE_MISSING', `the stored file of ${gone.path} (sha256:${gone.sha256}) is gone or was changed; retry the build`);
  };

  return {
    pin: known.pin,
    check: known.check,
    verdicts: known.verdicts,
    noteVerdicts: known.noteVerdicts,

    lend: async (rpms, workspace, folder) => {
      const sha256s = rpms.map(({ sha256 }) => sha256);
      await workspace.makeDirectory(folder);
      const signal = new AbortController().signal;
      await known.renaming(sha256s, () =>
        forEachParallel(rpms, { atOnceMax: placedAtOnceMax, signal }, ({ sha256, size }) => workspace.place({ sha256, size }, `${folder}/${sha256}.rpm`)),
      );
      return () =>
        known.renaming(sha256s, async () => {
          for (const sha256 of sha256s) await workspace.remove(`${folder}/${sha256}.rpm`);
        });
    },

    makeRepository: async (rpms, options) => {
      const identity = repositoryIdentity(rpms, options.comps);
      for (;;) {
        const underWay = making.get(identity);
        const flight =
          underWay?.isOver() === false
            ? underWay
            : sharedFlight(async (signal) => {
                await underWay?.ended;
                const keep = (folder: string, all: readonly RepositoryFile[]) => inTurn(() => settle(join(options.workspace.path, folder), treeOf(all), all));
                const parts = partsOf(await versionOf(options.programs));
                // The folder was made here, and nobody else has written to it: no path in it has to be looked through.
                const place = ({ path, sha256 }: RepositoryFile, folder: string) => files.place(contentKey(sha256), join(options.workspace.path, folder, path));
                return makeRepository(rpms, { files, known, parts, place, keep }, { ...options, signal }).catch(full);
              }, ending.signal);
        making.set(identity, flight);
        void flight.ended.then(() => {
          if (making.get(identity) === flight) making.delete(identity);
        });
        try {
          return await flight.join(options.signal);
        } catch (error) {
          options.signal.throwIfAborted();
          // The one that made it was canceled, or failed in its own workspace: the next one tries for itself.
          if (flight !== underWay) throw error;
        }
      }
    },

    showRepository: (all, workspace, at, signal) =>
      inTurn(async () => {
        signal.throwIfAborted();
        // Asked once: of a thousand packages it takes some milliseconds.
        const statuses = await files.stats(all.map(({ sha256 }) => contentKey(sha256)));
        await refuseHarmed(all, statuses, signal);
        const name = treeOf(all);
        const tree = join(trees, name);
        if (!(await isOfStoredFiles(tree, all, statuses))) {
          await removeTree(name);
          await makeTree(name, all, signal).catch(full);
        }
        const now = clock.now() / 1000;
        await utimes(tree, now, now);
        await workspace.makeDirectory(dirname(at));
        await symlink(tree, join(workspace.path, at));
        return tree;
      }),

    evict: (inUse) =>
      inTurn(async () => {
        const { victims, bytesOver } = known.surplus(inUse);
        const going = new Set(victims);
        const standing: { readonly name: string; readonly shownAt: number; readonly holds: readonly string[] }[] = [];
        for (const name of await readdir(trees)) {
          if (!digestPattern.test(name)) continue;
          const stats = await lstat(join(trees, name)).catch(() => undefined);
          standing.push({ name, shownAt: stats?.mtimeMs ?? 0, holds: await heldBy(name) });
        }
        const isNeeded = (holds: readonly string[]) => holds.length > 0 && holds.every((sha256) => inUse.has(sha256));
        const spare = standing.filter(({ holds }) => !isNeeded(holds)).sort((a, b) => b.shownAt - a.shownAt);
        for (const [place, { name, holds }] of spare.entries()) {
          if (place >= treesMax || holds.some((sha256) => going.has(sha256))) await removeTree(name);
        }
        const toolVersions = victims.length > 0 ? await readdir(join(directory, 'metadata')).catch(() => []) : [];
        let bytes = 0;
        for (const sha256 of victims) {
          // A build may have come for it while trees were removed.
          if (known.isPinned(sha256)) continue;
          for (const name of toolVersions) await partsOf(name).remove(sha256);
          bytes += known.record(sha256)?.size ?? 0;
          await known.remove(sha256);
        }
        return { files: victims.length, bytes, bytesOver };
      }),

    recheck: (most, signal) => known.reread(known.longestUnread(most), signal),

    close: async () => {
      ending.abort(new SpindleError('PORT_CLOSED', 'the RPM store was used after it was closed'));
      await Promise.all([...making.values()].map(({ ended }) => ended));
      await turn;
      await known.close();
    },
  };
}
