/** What is known of the stored RPMs, held to the files as they are: the part of the store that is the same wherever repositories are laid out. */
import { createHash } from 'node:crypto';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import { formatNevra } from '../fedora/nvr.ts';
import { contentKey, type FileRef } from '../files/content-ref.ts';
import type { FileStatus, Files } from '../files/files.ts';
import { forEachParallel } from '../parallel/for-each.ts';
import type { SignatureVerdict } from '../rpm/checksig.ts';
import { climbingPath } from '../rpm/climbing-path.ts';
import { RpmHeaderError, readRpmContents } from '../rpm/header.ts';
import { readStoredStart } from '../rpm/stored-rpm.ts';
import type { Journal } from './journal.ts';
import type { FileRecord } from './record.ts';
import type { KnownRpm, Pin } from './rpm-store.ts';

export interface KnownFilesOptions {
  readonly files: Files;
  readonly clock: Clock;
  /** As they were written down. */
  readonly records: ReadonlyMap<string, FileRecord>;
  readonly journal: Pick<Journal, 'note' | 'close'>;
  /** Bytes of RPMs; above it the longest unused go. */
  readonly bytesMax: number;
  /** What was read so long ago is read again before it is used. */
  readonly verifiedMsMax?: number;
}

export interface KnownFiles {
  /** `statuses`: of their stored files, in their order, for who has just asked. */
  check(
    rpms: readonly (FileRef & { readonly isLasting?: boolean })[],
    signal: AbortSignal,
    statuses?: readonly (FileStatus | undefined)[],
  ): Promise<ReadonlyMap<string, KnownRpm>>;
  verdicts(keyring: string, sha256s: readonly string[]): ReadonlyMap<string, SignatureVerdict>;
  noteVerdicts(keyring: string, verdicts: ReadonlyMap<string, SignatureVerdict>): void;
  pin(sha256s: Iterable<string>): Pin;
  isPinned(sha256: string): boolean;
  record(sha256: string): FileRecord | undefined;
  note(record: FileRecord): void;
  /**
   * Runs what gives the stored files other names, other times, or takes names away: that changes fingerprints, though not the content. What was known before, and has the same size and
   * inode afterwards, stays known. One at a time.
   */
  renaming<T>(sha256s: readonly string[], action: () => Promise<T>): Promise<T>;
  /** The longest unused that must go for the store to be within its cap, and by how many bytes it stays over it without those that must not. */
  surplus(inUse: ReadonlySet<string>): { readonly victims: readonly string[]; readonly bytesOver: number };
  remove(sha256: string): Promise<void>;
  /** The longest unread, of at most about so many bytes. */
  longestUnread(bytesMax: number): readonly FileRef[];
  reread(rpms: readonly FileRef[], signal: AbortSignal): Promise<number>;
  close(): Promise<void>;
}

const day = 24 * 3_600_000;
const verifiedMsDefault = 30 * day;
/** A use is written down at most so often: the order of eviction needs no more. */
const usedEveryMs = 60_000;
/** Between being stored and being in a build's record a file is nobody's. */
const graceMs = 10 * 60_000;
const readAtOnceMax = 2;

export function knownFiles({ files, clock, records: written, journal, bytesMax, verifiedMsMax = verifiedMsDefault }: KnownFilesOptions): KnownFiles {
  const records = new Map(written);
  const pins = new Map<string, number>();
  let renames: Promise<unknown> = Promise.resolve();
  let closed = false;

  const note = (record: FileRecord): void => {
    records.set(record.sha256, record);
    journal.note(record.sha256, record);
  };
  const forget = (sha256: string): void => {
    if (records.delete(sha256)) journal.note(sha256, undefined);
  };
  const remove = async (sha256: string): Promise<void> => {
    forget(sha256);
    await files.remove(contentKey(sha256));
  };
  const isKnown = (record: FileRecord | undefined, status: FileStatus): record is FileRecord =>
    record !== undefined && record.fingerprint === status.fingerprint && clock.now() - record.verifiedAt < verifiedMsMax;

  /** The whole file, and its header. False where it has other content: then it is gone. */
  const read = async (ref: FileRef, isLasting: boolean, signal: AbortSignal): Promise<boolean> => {
    const key = contentKey(ref.sha256);
    for (;;) {
      const before = await files.stat(key);
      const found = before && (await files.get(key));
      if (!before || !found) {
        forget(ref.sha256);
        return false;
      }
      const hash = createHash('sha256');
      for await (const chunk of found.body) {
        signal.throwIfAborted();
        hash.update(chunk);
      }
      if (hash.digest('hex') !== ref.sha256) {
        await remove(ref.sha256);
        return false;
      }
      const { header, bytes } = await readStoredStart(files, ref, `sha256:${ref.sha256}`);
      const now = clock.now();
      // Changed while it was read: what was read may not be what is there.
      const after = await files.stat(key);
      if (after?.fingerprint !== before.fingerprint) continue;
      const earlier = records.get(ref.sha256);
      note({
        ...ref,
        fingerprint: before.fingerprint,
        verifiedAt: now,
        usedAt: now,
        isLasting: isLasting || (earlier?.isLasting ?? false),
        nevra: formatNevra(header),
        buildTimeS: header.buildTimeS,
        isSource: header.isSource,
        climbingPath: climbingPathOf(bytes, ref),
        signers: earlier?.signers ?? {},
      });
      return true;
    }
  };

  const climbingPathOf = (bytes: Uint8Array, ref: FileRef): string | null => {
    try {
      return climbingPath(readRpmContents(bytes).files) ?? null;
    } catch (error) {
      if (error instanceof RpmHeaderError) throw new SpindleError('PACKAGE_MISMATCH', `stored file sha256:${ref.sha256} ${error.message}`, { cause: error });
      throw error;
    }
  };

  const check: KnownFiles['check'] = async (rpms, signal, asked) => {
    if (closed) throw new SpindleError('PORT_CLOSED', 'the RPM store was used after it was closed');
    const statuses = asked ?? (await files.stats(rpms.map(({ sha256 }) => contentKey(sha256))));
    const unread: (FileRef & { readonly isLasting?: boolean })[] = [];
    for (const [place, ref] of rpms.entries()) {
      const status = statuses[place];
      const record = records.get(ref.sha256);
      if (!status) forget(ref.sha256);
      else if (status.size !== ref.size) await remove(ref.sha256);
      else if (!isKnown(record, status)) unread.push(ref);
    }
    await forEachParallel(unread, { atOnceMax: readAtOnceMax, signal }, async ({ isLasting = false, sha256, size }, taskSignal) => {
      await read({ sha256, size }, isLasting, taskSignal);
    });
    const now = clock.now();
    return new Map(
      rpms.flatMap(({ sha256, size, isLasting = false }) => {
        const record = records.get(sha256);
        if (record?.size !== size) return [];
        if (now - record.usedAt > usedEveryMs || (isLasting && !record.isLasting)) note({ ...record, usedAt: now, isLasting: isLasting || record.isLasting });
        const { nevra, isSource, climbingPath: climbing } = record;
        return [[sha256, { sha256, size, nevra, isSource, climbingPath: climbing }] as const];
      }),
    );
  };

  return {
    check,
    record: (sha256) => records.get(sha256),
    note,
    remove,

    verdicts: (keyring, sha256s) =>
      new Map(
        sha256s.flatMap((sha256) => {
          const signers = records.get(sha256)?.signers;
          if (!signers || !Object.hasOwn(signers, keyring)) return [];
          const key = signers[keyring];
          return [[sha256, typeof key === 'string' ? { kind: 'signed', key } : { kind: 'unsigned' }] as const];
        }),
      ),

    noteVerdicts: (keyring, verdicts) => {
      for (const [sha256, verdict] of verdicts) {
        const record = records.get(sha256);
        // What is wrong is looked at again: the file, rpm or the keys may have been ill.
        if (!record || (verdict.kind !== 'signed' && verdict.kind !== 'unsigned')) continue;
        note({ ...record, signers: { ...record.signers, [keyring]: verdict.kind === 'signed' ? verdict.key : null } });
      }
    },

    isPinned: (sha256) => pins.has(sha256),

    pin: (sha256s) => {
      const mine = new Map<string, number>();
      const add = (sha256: string) => {
        mine.set(sha256, (mine.get(sha256) ?? 0) + 1);
        pins.set(sha256, (pins.get(sha256) ?? 0) + 1);
      };
      for (const sha256 of sha256s) add(sha256);
      return {
        add,
        release: () => {
          for (const [sha256, count] of mine) {
            const left = (pins.get(sha256) ?? 0) - count;
            if (left > 0) pins.set(sha256, left);
            else pins.delete(sha256);
          }
          mine.clear();
        },
      };
    },

    renaming: (sha256s, action) => {
      const run = async () => {
        const keys = sha256s.map((sha256) => contentKey(sha256));
        const before = await files.stats(keys);
        const trusted = sha256s.map((sha256, place) => before[place] !== undefined && records.get(sha256)?.fingerprint === before[place]?.fingerprint);
        const result = await action();
        const after = await files.stats(keys);
        for (const [place, sha256] of sha256s.entries()) {
          const record = records.get(sha256);
          const status = after[place];
          if (trusted[place] && record && status && status.size === record.size && status.fingerprint !== record.fingerprint) {
            note({ ...record, fingerprint: status.fingerprint });
          }
        }
        return result;
      };
      const mine = renames.then(run, run);
      renames = mine.catch(() => {});
      return mine;
    },

    surplus: (inUse) => {
      let bytes = [...records.values()].reduce((sum, { size }) => sum + size, 0);
      if (bytes <= bytesMax) return { victims: [], bytesOver: 0 };
      const usedBefore = clock.now() - graceMs;
      const victims: string[] = [];
      for (const { sha256, size, usedAt, isLasting } of [...records.values()].sort((a, b) => a.usedAt - b.usedAt)) {
        if (bytes <= bytesMax) break;
        if (isLasting || pins.has(sha256) || inUse.has(sha256) || usedAt > usedBefore) continue;
        victims.push(sha256);
        bytes -= size;
      }
      return { victims, bytesOver: Math.max(0, bytes - bytesMax) };
    },

    longestUnread: (most) => {
      const found: FileRef[] = [];
      let bytes = 0;
      for (const { sha256, size, verifiedAt } of [...records.values()].sort((a, b) => a.verifiedAt - b.verifiedAt)) {
        // Halfway to the time at which a build would have to wait for it.
        if (bytes >= most || clock.now() - verifiedAt < verifiedMsMax / 2) break;
        found.push({ sha256, size });
        bytes += size;
      }
      return found;
    },

    reread: async (rpms, signal) => {
      let harmed = 0;
      for (const ref of rpms) {
        signal.throwIfAborted();
        const usedAt = records.get(ref.sha256)?.usedAt;
        const isWhole = await read(ref, false, signal);
        const record = records.get(ref.sha256);
        // To be looked at is not to be used.
        if (isWhole && record && usedAt !== undefined) note({ ...record, usedAt });
        if (!isWhole) harmed += 1;
      }
      return harmed;
    },

    close: async () => {
      closed = true;
      await renames;
      await journal.close();
    },
  };
}
