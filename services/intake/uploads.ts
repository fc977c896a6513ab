/** RPMs that requesters upload: received within bounds, checked, kept under a quota, and removed when their time is over and nothing uses them. */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import type { Build } from '../../shared/build/build.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import { type Clock, isoTime } from '../../shared/clock/clock.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import { isFullDisk } from '../../shared/files/disk-full.ts';
import type { Files } from '../../shared/files/files.ts';
import { Problem } from '../../shared/http/problem.ts';
import type { Log } from '../../shared/log/log.ts';
import type { Programs } from '../../shared/programs/programs.ts';
import type { ReleasesFile } from '../../shared/releases/releases.ts';
import { checkDigests } from '../../shared/rpm/verify-signatures.ts';
import type { Leadership } from '../../shared/stage/leadership.ts';
import type { Collection } from '../../shared/store/store.ts';
import { isUsable, type UploadedRpm, uploadId } from '../../shared/uploads/uploaded-rpm.ts';
import type { Workspaces } from '../../shared/workspace/workspace.ts';
import { type CheckedRpm, checkRpm } from './rpm-checks.ts';

export interface UploadPorts {
  readonly uploads: Collection<UploadedRpm>;
  readonly builds: Pick<Collection<Build>, 'find'>;
  readonly files: Files;
  readonly workspaces: Workspaces;
  readonly programs: Programs;
  readonly clock: Clock;
  readonly releases: ReleasesFile;
}

export interface UploadLimits {
  /** Of one file. */
  readonly fileBytesMax: number;
  /** Of an owner, together. */
  readonly countMax: number;
  readonly bytesMax: number;
  readonly keepDays: number;
  readonly atOnceMax?: number;
  /** A sender that is silent for so long, or takes so long in all, is not waited for. */
  readonly idleMs?: number;
  readonly deadlineMs?: number;
}

interface UploadSource {
  readonly body: AsyncIterator<Uint8Array>;
  /** What the sender announced. */
  readonly bytes: number | undefined;
  readonly sha256: string | undefined;
  /** Fires where the sender is gone or the service stops. */
  readonly signal: AbortSignal;
}

interface UploadUsage {
  readonly count: number;
  readonly bytes: number;
  readonly countMax: number;
  readonly bytesMax: number;
}

export interface RpmUploads {
  /** Receives one RPM. Nothing is left of one that is refused. Throws a Problem, DISK_FULL, TOOL_MISSING, TOOL_TIMED_OUT or the signal's reason. The same bytes of the same owner renew the one that is there. */
  receive(source: UploadSource, owner: string | null): Promise<{ readonly upload: UploadedRpm; readonly isNew: boolean }>;
  list(owner: string | null): Promise<{ readonly items: readonly UploadedRpm[]; readonly usage: UploadUsage }>;
  /** Those of these ids that a new request may name; undefined for the others. */
  usable(ids: readonly string[], owner: string | null): Promise<readonly (UploadedRpm | undefined)[]>;
  /** Throws RPM_NOT_FOUND, or RPM_IN_USE where a build that has not ended names it. */
  remove(id: string, owner: string | null): Promise<void>;
  /** Removes some of those whose time is over and that nothing uses. Resolves with how many it looked at. */
  sweep(): Promise<number>;
}

/** Longer than anything that is sent in earnest. */
export const uploadDeadlineMs = 30 * 60_000;
const dayMs = 86_400_000;
const sweptAtOnceMax = 50;
const scannedAtOnceMax = 500;
/** When a record is looked at again: of one that a running build uses, and of one whose bytes an ended build still needs. */
const usedAgainMs = 10 * 60_000;
const referredAgainMs = 6 * 3_600_000;
/** A record that its bytes never followed. */
const strandedMs = 3_600_000;
const uploadPath = 'upload.rpm';

export function rpmUploads(ports: UploadPorts, limits: UploadLimits): RpmUploads {
  const { uploads, builds, files, workspaces, programs, clock, releases } = ports;
  const atOnceMax = limits.atOnceMax ?? 4;
  const arches = [...new Set(releases.releases.flatMap((release) => release.arches))].sort();
  let receiving = 0;
  let turn: Promise<unknown> = Promise.resolve();

  /** What changes which bytes are stored happens one after the other: so nothing is removed that is just being taken. */
  const inTurn = <T>(action: () => Promise<T>): Promise<T> => {
    const mine = turn.then(action, action);
    turn = mine.catch(() => undefined);
    return mine;
  };

  const kept = async (owner: string | null): Promise<readonly UploadedRpm[]> =>
    (await uploads.find({ index: 'byOwner', prefix: [owner ?? '', 'kept'], limit: limits.countMax + 1, order: 'descending' })).map(({ document }) => document);

  const usageOf = (items: readonly UploadedRpm[]): UploadUsage => ({
    count: items.length,
    bytes: items.reduce((sum, { size }) => sum + size, 0),
    countMax: limits.countMax,
    bytesMax: limits.bytesMax,
  });

  const checkQuota = async (owner: string | null, more: number): Promise<void> => {
    const { count, bytes } = usageOf(await kept(owner));
    if (count < limits.countMax && bytes + more <= limits.bytesMax) return;
    throw new Problem(
      'QUOTA_EXCEEDED',
      `${count} of ${limits.countMax} uploaded RPMs with ${bytes} of ${limits.bytesMax} bytes are there already, so this one has no room; delete some (DELETE /api/v1/rpms/{id}), or wait until they expire`,
    );
  };

  const write = async (file: FileHandle, { body, bytes, signal }: UploadSource): Promise<{ readonly size: number; readonly sha256: string }> => {
    const slow = new AbortController();
    const late = () => slow.abort(new Problem('REQUEST_TIMED_OUT', 'the RPM did not arrive in time', { headers: { connection: 'close' } }));
    const forgetDeadline = clock.after(limits.deadlineMs ?? uploadDeadlineMs, late);
    const either = AbortSignal.any([signal, slow.signal]);
    const hash = createHash('sha256');
    let size = 0;
    try {
      for (;;) {
        const forgetIdle = clock.after(limits.idleMs ?? 30_000, late);
        const next = await settled(body.next(), either).finally(forgetIdle);
        if (next.done) break;
        size += next.value.byteLength;
        if (size > limits.fileBytesMax) throw tooLarge(limits);
        hash.update(next.value);
        await file.writeFile(next.value);
      }
    } finally {
      forgetDeadline();
    }
    if (size === 0) throw new Problem('BODY_MISSING', 'the request needs a body: the RPM itself');
    if (bytes !== undefined && size !== bytes) throw new Problem('RPM_UNREADABLE', `${size} bytes arrived instead of the ${bytes} of Content-Length`);
    return { size, sha256: hash.digest('hex') };
  };

  const record = (owner: string | null, rpm: CheckedRpm, ref: { readonly sha256: string; readonly size: number }, bringsBytes: boolean): UploadedRpm => {
    const now = clock.now();
    const expiresAtMs = now + limits.keepDays * dayMs;
    return {
      id: uploadId(owner, ref.sha256),
      owner,
      ...rpm,
      ...ref,
      createdAt: isoTime(now),
      expiresAt: isoTime(expiresAtMs),
      removedAt: null,
      dueAt: expiresAtMs,
      bringsBytes,
    };
  };

  /** Bytes come after a record that says what to remove where they do not come to be used; only then can anybody see it. */
  const keep = async (fresh: UploadedRpm, path: string, signal: AbortSignal): Promise<{ readonly upload: UploadedRpm; readonly isNew: boolean }> => {
    const found = await uploads.get(fresh.id);
    if (found && found.document.removedAt === null) {
      const upload = { ...found.document, expiresAt: fresh.expiresAt, dueAt: fresh.dueAt };
      if (await uploads.replace(upload, found.version)) return { upload, isNew: false };
    }
    await checkQuota(fresh.owner, fresh.size);
    const alike = await uploads.find({ index: 'byContent', prefix: [fresh.sha256], limit: 100 });
    const isStored = (await files.stat(contentKey(fresh.sha256)))?.size === fresh.size;
    const upload = { ...fresh, bringsBytes: !isStored || alike.some(({ document }) => document.bringsBytes) };
    const begun = { ...upload, removedAt: fresh.createdAt, dueAt: clock.now() + strandedMs };
    const isBegun = found ? await uploads.replace(begun, found.version) : await uploads.insert(begun);
    if (!isBegun) throw new Problem('SERVICE_UNAVAILABLE', 'the same RPM is being changed at this moment; send it again');
    await files.put(contentKey(fresh.sha256), { path }, { ifAbsent: true, signal });
    if (!(await uploads.replace(upload, (found?.version ?? 0) + 1)))
      throw new Problem('SERVICE_UNAVAILABLE', 'the same RPM is being changed at this moment; send it again');
    return { upload, isNew: true };
  };

  const receive: RpmUploads['receive'] = async (source, owner) => {
    if (source.bytes !== undefined && source.bytes > limits.fileBytesMax) throw tooLarge(limits);
    if (source.bytes === 0) throw new Problem('BODY_MISSING', 'the request needs a body: the RPM itself');
    if (receiving >= atOnceMax) throw new Problem('UPLOADS_BUSY', `${receiving} uploads are under way; try again soon`, { headers: { 'retry-after': '10' } });
    receiving += 1;
    try {
      const known = source.sha256 === undefined ? undefined : await uploads.get(uploadId(owner, source.sha256));
      if (!known) await checkQuota(owner, source.bytes ?? 1);
      const workspace = await workspaces.create('upload');
      try {
        if (source.bytes !== undefined && source.bytes > (await workspace.freeBytes()))
          throw new SpindleError('DISK_FULL', `there is no room for the ${source.bytes} bytes of the upload; the operator has to free some`);
        const path = `${workspace.path}/${uploadPath}`;
        const file = await open(path, 'wx+', 0o600);
        let ref: Awaited<ReturnType<typeof write>>;
        let rpm: CheckedRpm;
        try {
          ref = await write(file, source).catch((error: unknown) => {
            throw asFull(error);
          });
          if (source.sha256 !== undefined && source.sha256 !== ref.sha256)
            throw new Problem('RPM_DIGEST_MISMATCH', `what arrived has the SHA-256 ${ref.sha256} instead of ${source.sha256}; send it again`);
          rpm = await checkRpm(file, ref.size, arches);
        } finally {
          await file.close();
        }
        const verdict = await checkDigests(uploadPath, { folder: 'rpm', programs, workspace, signal: source.signal });
        if (verdict.kind === 'broken') throw new Problem('RPM_BROKEN', `rpm does not take ${rpm.nevra} for whole: ${verdict.line}`);
        source.signal.throwIfAborted();
        return await inTurn(() => keep(record(owner, rpm, ref, true), path, source.signal));
      } finally {
        await workspace.dispose();
      }
    } finally {
      receiving -= 1;
    }
  };

  /** Ids that builds name: of those that have not ended, or of those too that have. */
  const named = async (phases: readonly ('live' | 'ended')[]): Promise<ReadonlySet<string>> => {
    const ids = new Set<string>();
    for (const phase of phases) {
      let beyond: string | undefined;
      do {
        const page = await builds.find({ index: 'byUploads', prefix: [phase], limit: scannedAtOnceMax, ...(beyond === undefined ? {} : { beyond }) });
        for (const { document } of page) for (const id of document.request.sources.rpms) ids.add(id);
        beyond = page.length === scannedAtOnceMax ? page.at(-1)?.document.id : undefined;
      } while (beyond !== undefined);
    }
    return ids;
  };

  /** The bytes first: a record without bytes is looked at again, bytes without a record never. */
  const forget = async ({ id, sha256, bringsBytes }: UploadedRpm, version: number): Promise<void> => {
    const alike = await uploads.find({ index: 'byContent', prefix: [sha256], limit: 2 });
    if (bringsBytes && alike.every(({ document }) => document.id === id)) await files.remove(contentKey(sha256));
    await uploads.remove(id, version);
  };

  const sweep: RpmUploads['sweep'] = () =>
    inTurn(async () => {
      const now = clock.now();
      const due = await uploads.find({ index: 'byDue', prefix: ['due'], to: now, limit: sweptAtOnceMax });
      if (due.length === 0) return 0;
      const live = await named(['live']);
      const ended = due.some(({ document }) => !live.has(document.id)) ? await named(['ended']) : live;
      for (const { document, version } of due) {
        if (live.has(document.id)) {
          await uploads.replace({ ...document, dueAt: now + usedAgainMs }, version);
        } else if (ended.has(document.id)) {
          await uploads.replace({ ...document, removedAt: document.removedAt ?? isoTime(now), dueAt: now + referredAgainMs }, version);
        } else {
          await forget(document, version);
        }
      }
      return due.length;
    });

  return {
    receive,
    sweep,
    list: async (owner) => {
      const items = await kept(owner);
      return { items, usage: usageOf(items) };
    },
    usable: async (ids, owner) => {
      const now = clock.now();
      const found = await Promise.all(ids.map((id) => uploads.get(id)));
      return found.map((each) => (isUsable(each?.document, owner, now) ? each.document : undefined));
    },
    remove: async (id, owner) => {
      await inTurn(async () => {
        const found = await uploads.get(id);
        if (!found || found.document.owner !== owner || found.document.removedAt !== null)
          throw new Problem('RPM_NOT_FOUND', 'there is no uploaded RPM of this id');
        if ((await named(['live'])).has(id))
          throw new Problem('RPM_IN_USE', `a build that has not ended uses ${found.document.nevra}; wait for its end, or cancel it`);
        const now = clock.now();
        await uploads.replace({ ...found.document, removedAt: isoTime(now), dueAt: now }, found.version);
      });
      await sweep();
    },
  };
}

/** The next value, or the signal's reason. What comes after that is nobody's. */
async function settled<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  promise.catch(() => undefined);
  signal.throwIfAborted();
  return await new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

const tooLarge = ({ fileBytesMax }: UploadLimits) => new Problem('RPM_TOO_LARGE', `one RPM may have at most ${fileBytesMax} bytes here`);

function asFull(error: unknown): unknown {
  return isFullDisk(error) ? new SpindleError('DISK_FULL', 'no space is left for the upload; the operator has to free some', { cause: error }) : error;
}

export interface UploadSweep {
  stop(): Promise<void>;
}

const defaultSweepMs = 60_000;

/** Sweeps from time to time until it is stopped. */
export function startUploadSweep({
  uploads,
  clock,
  logger,
  leadership,
  intervalMs = defaultSweepMs,
}: {
  readonly uploads: Pick<RpmUploads, 'sweep'>;
  readonly clock: Clock;
  readonly logger: Log;
  /** Where other processes sweep too; one of them does it. */
  readonly leadership?: Leadership;
  readonly intervalMs?: number;
}): UploadSweep {
  const stopping = new AbortController();
  const loop = (async () => {
    while (!stopping.signal.aborted) {
      try {
        if (!leadership || (await leadership.leads())) await uploads.sweep();
      } catch (error) {
        logger.warn({ err: error }, 'uploaded RPMs could not be swept');
      }
      await clock.sleep(intervalMs, stopping.signal).catch(() => undefined);
    }
  })();
  return {
    stop: async () => {
      stopping.abort(new Error('the sweep of uploads stops'));
      await loop;
      await leadership?.resign().catch(() => undefined);
    },
  };
}
