/**
 * The store port in one SQLite file. Writes of one turn of the event loop share a transaction, transactions share fdatasyncs, and no promise resolves
 * before the one after its commit has returned: what was answered survives `kill -9` and a power cut.
 */
import { createHash } from 'node:crypto';
import { chmod, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SpindleError } from '../build/failure.ts';
import { keyRange } from './index-key.ts';
import type { Collection, CollectionDefinition, Query, Store, Versioned } from './store.ts';
import { checkDefinition, checkLimit, decodeDocument, type EncodedDocument, encodeDocument, keysOf, type OnCorrupt, readDocument } from './stored-document.ts';

export interface EmbeddedStoreOptions {
  /** The database file. Its directory is made where it is missing. SQLite keeps a second file beside it while it is open. */
  readonly path: string;
  readonly onCorrupt?: OnCorrupt;
  /** Opens the write-ahead log once more, to sync it. For tests of disks that are slow or fail. */
  readonly openLog?: (path: string) => Promise<SyncedFile>;
}

interface SyncedFile {
  datasync(): Promise<void>;
  close(): Promise<void>;
}

export interface EmbeddedStore extends Store {
  /** Documents written since the opening. */
  readonly commits: number;
  /** Transactions they took. */
  readonly transactions: number;
  /** Calls of fdatasync for them. Transactions that end while one runs share the next. */
  readonly syncs: number;
}

/** What is used of SQLite: the part that node:sqlite and @photostructure/sqlite have in common. */
interface Statement {
  run(...parameters: (string | number | null)[]): { readonly changes: number | bigint; readonly lastInsertRowid: number | bigint };
  get(...parameters: (string | number | null)[]): unknown;
  all(...parameters: (string | number | null)[]): unknown[];
}

interface Database {
  exec(sql: string): void;
  prepare(sql: string): Statement;
  close(): void;
}

/** Raised when the tables of this file change in a way that an older Spindle cannot read. */
const layoutVersion = 1;
const batchDocumentsMax = 512;
const batchLengthMax = 16 * 1024 * 1024;
const pendingMax = 50_000;
/** The write-ahead log is copied into the database after so many documents: at once where nobody is in a hurry, later under load, since the copying stops all else. */
const checkpointDocumentsIdle = 1000;
const checkpointDocumentsBusy = 8000;
const busyBatch = 8;
/** Documents of one collection whose version and keys are kept in memory. */
const headsMax = 20_000;

interface Row {
  readonly id: string;
  readonly version: number;
  readonly body: string;
}

/** What a conditional write has to know of the stored document. This process is the only writer, so what it wrote last is what is there. */
interface Head {
  readonly n: number;
  readonly version: number;
  readonly keys: readonly (string | null)[];
}

/** One write that waits for its transaction. `apply` says whether it took effect. */
interface Write {
  readonly length: number;
  readonly apply: () => boolean;
  readonly resolve: (done: boolean) => void;
  readonly reject: (error: unknown) => void;
}

/** Rejects with STATE_DIR_LOCKED, at once, where another process (or another store of this one) has the file open. */
export async function openEmbeddedStore({ path, onCorrupt = () => {}, openLog = (log) => open(log, 'r+') }: EmbeddedStoreOptions): Promise<EmbeddedStore> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const { database, log } = await openDatabase(path, openLog);
  const collections = new Map<string, { readonly indexNames: string; readonly collection: unknown; readonly forgetHeads: () => void }>();
  let pending: Write[] = [];
  let isScheduled = false;
  let isClosed = false;
  let commits = 0;
  let transactions = 0;
  let syncs = 0;
  let documentsSinceCheckpoint = 0;
  /** The sync that is under way, and the one after it, which everything committed in the meantime waits for. */
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  let broken: SpindleError | undefined;
  let closing: Promise<void> | undefined;
  const probe = database.prepare('SELECT count(*) FROM "spindle-collections"');

  const check = () => {
    if (isClosed) throw new SpindleError('PORT_CLOSED', 'the store was used after it was closed');
    if (broken) throw broken;
  };

  /** Resolves when all that is committed now is on disk. The main thread goes on meanwhile. */
  function durable(): Promise<void> {
    if (running === undefined) return beginSync();
    // Whether the one under way still takes in the last commit nobody can tell.
    next ??= running.then(beginSync);
    return next;
  }

  function beginSync(): Promise<void> {
    next = undefined;
    const own = syncLog().finally(() => {
      if (next === undefined) running = undefined;
    });
    running = own;
    return own;
  }

  async function syncLog(): Promise<void> {
    syncs += 1;
    try {
      await log.datasync();
    } catch (error) {
      // What the kernel could not write it may have forgotten: only a new start, from what is on the disk, tells what is there.
      broken = new SpindleError('STORE_UNAVAILABLE', `${path} could not be made durable: ${(error as Error).message}; check the disk and start again`, {
        cause: error,
      });
      throw broken;
    }
  }

  /** For readers: what they are about to see must not be lost after they saw it. */
  function seen(): Promise<void> | undefined {
    return next ?? running;
  }

  function write(length: number, apply: () => boolean): Promise<boolean> {
    if (pending.length >= pendingMax) {
      return Promise.reject(new SpindleError('STORE_UNAVAILABLE', `${pending.length} writes wait for the disk already; try again later`));
    }
    return new Promise((resolve, reject) => {
      pending.push({ length, apply, resolve, reject });
      schedule();
    });
  }

  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(() => {
      isScheduled = false;
      if (pending.length === 0) return;
      commitBatch(takeBatch());
      if (pending.length > 0) schedule();
    });
  }

  function takeBatch(): readonly Write[] {
    let count = 0;
    for (let length = 0; count < pending.length && count < batchDocumentsMax && length < batchLengthMax; count += 1) length += pending[count]?.length ?? 0;
    const batch = pending.slice(0, count);
    pending = pending.slice(count);
    return batch;
  }

  /** In the order of the calls: a conditional write sees what those before it in the batch did. */
  function commitBatch(batch: readonly Write[]): void {
    let outcomes: readonly boolean[];
    try {
      database.exec('BEGIN IMMEDIATE');
      outcomes = batch.map(({ apply }) => apply());
      database.exec('COMMIT');
    } catch (error) {
      rollBack();
      // One write that cannot be done must not take the others with it: each gets a transaction of its own.
      if (batch.length === 1) batch[0]?.reject(asStoreError(error, `writing to ${path}`));
      else for (const single of batch) commitBatch([single]);
      return;
    }
    const written = outcomes.filter(Boolean).length;
    commits += written;
    transactions += 1;
    documentsSinceCheckpoint += written;
    const isBusy = batch.length >= busyBatch || pending.length > 0;
    durable().then(
      () => {
        for (const [index, { resolve }] of batch.entries()) resolve(outcomes[index] === true);
        // After the answers have gone out, so that it delays none of them.
        if (documentsSinceCheckpoint >= (isBusy ? checkpointDocumentsBusy : checkpointDocumentsIdle)) setImmediate(checkpoint);
      },
      (error: unknown) => {
        for (const { reject } of batch) reject(error);
      },
    );
  }

  function rollBack(): void {
    for (const { forgetHeads } of collections.values()) forgetHeads();
    try {
      database.exec('ROLLBACK');
    } catch {
      // SQLite has rolled back by itself, or the transaction never began.
    }
  }

  function checkpoint(): void {
    if (isClosed || documentsSinceCheckpoint < checkpointDocumentsIdle) return;
    documentsSinceCheckpoint = 0;
    try {
      database.exec('PRAGMA wal_checkpoint(PASSIVE)');
    } catch {
      // Everything is in the log still, and the next checkpoint tries again.
    }
  }

  return {
    get commits() {
      return commits;
    },
    get transactions() {
      return transactions;
    },
    get syncs() {
      return syncs;
    },
    async collection<T extends { readonly id: string }>(definition: CollectionDefinition<T>) {
      check();
      const indexNames = checkDefinition(definition);
      const known = collections.get(definition.name);
      if (known) {
        if (known.indexNames !== indexNames.join()) throw new SpindleError('INTERNAL', `collection ${definition.name} has two definitions`);
        return known.collection as Collection<T>;
      }
      try {
        makeTable(database, definition, indexNames, onCorrupt);
      } catch (error) {
        rollBack();
        throw asStoreError(error, `making collection ${definition.name} in ${path}`);
      }
      const { collection, forgetHeads } = embeddedCollection(database, definition, indexNames, { path, check, seen, write, onCorrupt });
      collections.set(definition.name, { indexNames: indexNames.join(), collection, forgetHeads });
      return collection;
    },
    async ping() {
      check();
      guard(`reading ${path}`, () => probe.get());
    },
    close() {
      closing ??= (async () => {
        isClosed = true;
        while (pending.length > 0) commitBatch(takeBatch());
        // Whoever waits for it is told of a failure; here only its end matters.
        await seen()?.catch(() => {});
        closeDatabase(database);
        await log.close();
      })();
      return closing;
    },
  };
}

async function openDatabase(path: string, openLog: (path: string) => Promise<SyncedFile>): Promise<{ readonly database: Database; readonly log: SyncedFile }> {
  const builtin = process.getBuiltinModule?.('node:sqlite') as { readonly DatabaseSync: new (path: string) => Database } | undefined;
  const { DatabaseSync } = builtin ?? (await import('@photostructure/sqlite'));
  const database: Database = guard(`opening ${path}`, () => new DatabaseSync(path));
  try {
    guard(`opening ${path}`, () => {
      // The lock is taken by the first write and kept for as long as this process lives; the kernel frees it, whatever way the process ends.
      database.exec('PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE');
      // NORMAL: SQLite syncs the log before it copies from it, and leaves the sync after each commit to us, who do it beside the main thread.
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0');
      database.exec('PRAGMA cache_size = -32768; PRAGMA journal_size_limit = 134217728; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF');
      const { user_version: found } = database.prepare('PRAGMA user_version').get() as { readonly user_version: number };
      if (found > layoutVersion) throw new SpindleError('STORE_UNAVAILABLE', `${path} was written by a newer Spindle (layout ${found}); start that one`);
      database.exec('BEGIN IMMEDIATE');
      database.exec(`PRAGMA user_version = ${layoutVersion}`);
      database.exec('CREATE TABLE IF NOT EXISTS "spindle-collections" (name TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID');
      database.exec('COMMIT');
      // What a predecessor left in its log is copied over now, so that the log does not grow from one crash to the next.
      database.exec('PRAGMA wal_checkpoint(PASSIVE)');
    });
    // By name: a descriptor of our own on this file would, when closed, free the lock.
    await chmod(path, 0o600);
    const directory = await open(dirname(path), 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
    // Made by the write above; SQLite keeps this same file until the database is closed.
    return { database, log: await openLog(`${path}-wal`) };
  } catch (error) {
    closeDatabase(database);
    throw error;
  }
}

/**
 * Frees the lock before closing: with @photostructure/sqlite a connection lives on, lock and all, until its last statement is collected as garbage. The
 * lock of a write-ahead log is only let go by leaving that mode, which also brings everything from the log into the database.
 */
function closeDatabase(database: Database): void {
  try {
    database.exec('PRAGMA journal_mode = DELETE; PRAGMA locking_mode = NORMAL; PRAGMA user_version');
  } catch {
    // A disk that is full, for one: then the log stays, for the next opening, and the lock goes with this process.
  }
  database.close();
}

const tableOf = (collection: string) => `"documents-${collection}"`;
const columnOf = (index: string) => `"key-${index}"`;

/** Makes the table, or makes it anew where the definition's indexes are not those it was filled with. */
function makeTable<T extends { readonly id: string }>(
  database: Database,
  definition: CollectionDefinition<T>,
  indexNames: readonly string[],
  onCorrupt: OnCorrupt,
): void {
  // The functions' own text is part of it: an index whose key is made otherwise in this release has to be filled anew.
  const digest = createHash('sha256')
    .update(JSON.stringify([layoutVersion, indexNames.map((name) => [name, String(definition.indexes[name])])]))
    .digest('hex');
  const stored = database.prepare('SELECT digest FROM "spindle-collections" WHERE name = ?').get(definition.name) as { readonly digest: string } | undefined;
  if (stored?.digest === digest) return;
  const table = tableOf(definition.name);
  const fresh = tableOf(`${definition.name} new`);
  const columns = indexNames.map(columnOf);
  database.exec('BEGIN IMMEDIATE');
  // The keys stand before the body, so that reading them never reads the pages of a long body.
  database.exec(
    `CREATE TABLE ${fresh} (${['n INTEGER PRIMARY KEY', 'id TEXT NOT NULL UNIQUE', 'version INTEGER NOT NULL', ...columns.map((column) => `${column} TEXT`), 'body TEXT NOT NULL'].join(', ')})`,
  );
  if (stored) {
    const page = database.prepare(`SELECT n, id, version, body FROM ${table} WHERE n > ? ORDER BY n LIMIT 500`);
    const insert = database.prepare(
      `INSERT INTO ${fresh} (${['n', 'id', 'version', 'body', ...columns].join(', ')}) VALUES (?, ?, ?, ?${', ?'.repeat(columns.length)})`,
    );
    for (let last = 0; ; ) {
      const rows = page.all(last) as (Row & { readonly n: number })[];
      for (const { n, id, version, body } of rows) {
        let keys: readonly (string | null)[] = columns.map(() => null);
        try {
          keys = keysOf(definition, indexNames, definition.read(JSON.parse(body)));
        } catch (error) {
          onCorrupt(definition.name, id, error);
        }
        insert.run(n, id, version, body, ...keys);
        last = n;
      }
      if (rows.length === 0) break;
    }
    database.exec(`DROP TABLE ${table}`);
  }
  database.exec(`ALTER TABLE ${fresh} RENAME TO ${table}`);
  for (const name of indexNames) {
    database.exec(`CREATE INDEX "documents-${definition.name}-by-${name}" ON ${table} (${columnOf(name)}, id) WHERE ${columnOf(name)} IS NOT NULL`);
  }
  database.prepare('INSERT INTO "spindle-collections" VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET digest = excluded.digest').run(definition.name, digest);
  database.exec('COMMIT');
}

function embeddedCollection<T extends { readonly id: string }>(
  database: Database,
  definition: CollectionDefinition<T>,
  indexNames: readonly string[],
  {
    path,
    check,
    seen,
    write,
    onCorrupt,
  }: {
    readonly path: string;
    readonly check: () => void;
    readonly seen: () => Promise<void> | undefined;
    readonly write: (length: number, apply: () => boolean) => Promise<boolean>;
    readonly onCorrupt: OnCorrupt;
  },
): { readonly collection: Collection<T>; readonly forgetHeads: () => void } {
  const table = tableOf(definition.name);
  const columns = indexNames.map(columnOf);
  const statements = new Map<string, Statement>();
  const prepared = (sql: string): Statement => {
    const known = statements.get(sql);
    if (known) return known;
    const statement = database.prepare(sql);
    statements.set(sql, statement);
    return statement;
  };
  const selectOne = database.prepare(`SELECT id, version, body FROM ${table} WHERE id = ?`);
  const selectHead = database.prepare(
    `SELECT ${['n', 'version', ...columns.map((column, index) => `${column} AS k${index}`)].join(', ')} FROM ${table} WHERE id = ?`,
  );
  const insertOne = database.prepare(
    `INSERT INTO ${table} (${['id', 'version', 'body', ...columns].join(', ')}) VALUES (?, 1, ?${', ?'.repeat(columns.length)}) ON CONFLICT DO NOTHING`,
  );
  const removeOne = database.prepare(`DELETE FROM ${table} WHERE n = ?`);
  const heads = new Map<string, Head>();

  /** The one that has been known longest makes room. */
  const remember = (id: string, head: Head) => {
    heads.set(id, head);
    if (heads.size <= headsMax) return;
    for (const oldest of heads.keys()) {
      heads.delete(oldest);
      break;
    }
  };

  const headOf = (id: string): Head | undefined => {
    const known = heads.get(id);
    if (known) return known;
    const row = selectHead.get(id) as ({ readonly n: number; readonly version: number } & Readonly<Record<string, string | number | null>>) | undefined;
    return row && { n: row.n, version: row.version, keys: columns.map((_column, index) => row[`k${index}`] as string | null) };
  };

  const insertNow = ({ id, body, keys }: EncodedDocument): boolean => {
    if (heads.has(id)) return false;
    const { changes, lastInsertRowid } = insertOne.run(id, body, ...keys);
    if (Number(changes) !== 1) return false;
    remember(id, { n: Number(lastInsertRowid), version: 1, keys });
    return true;
  };

  /** Only the keys that changed are written: SQLite would take an equal one out of its index and put it back. */
  const replaceNow = ({ id, body, keys }: EncodedDocument, expectedVersion: number): boolean => {
    const old = headOf(id);
    if (old?.version !== expectedVersion) return false;
    let assignments = '';
    const changed: (string | null)[] = [];
    for (const [index, key] of keys.entries()) {
      if (key === old.keys[index]) continue;
      assignments += `, ${columns[index]} = ?`;
      changed.push(key);
    }
    const version = expectedVersion + 1;
    prepared(`UPDATE ${table} SET version = ?, body = ?${assignments} WHERE n = ?`).run(version, body, ...changed, old.n);
    remember(id, { n: old.n, version, keys });
    return true;
  };

  const removeNow = (id: string, expectedVersion: number): boolean => {
    const old = headOf(id);
    if (old?.version !== expectedVersion) return false;
    removeOne.run(old.n);
    heads.delete(id);
    return true;
  };

  const columnFor = (query: Query): string => {
    if (!indexNames.includes(query.index)) throw new SpindleError('INTERNAL', `collection ${definition.name} has no index ${query.index}`);
    return columnOf(query.index);
  };

  const collection: Collection<T> = {
    async get(id) {
      check();
      const row = guard(`reading ${path}`, () => selectOne.get(id)) as Row | undefined;
      await seen();
      // SQLite reads text up to a NUL, so another id than the one asked for could come back.
      if (row?.id !== id) return undefined;
      return readDocument(definition, id, row, onCorrupt);
    },
    async insert(document) {
      check();
      const encoded = encodeDocument(definition, indexNames, document);
      return write(encoded.body.length, () => insertNow(encoded));
    },
    async replace(document, expectedVersion) {
      check();
      const encoded = encodeDocument(definition, indexNames, document);
      return write(encoded.body.length, () => replaceNow(encoded, expectedVersion));
    },
    async remove(id, expectedVersion) {
      check();
      if (id.includes('\0')) return false;
      return write(0, () => removeNow(id, expectedVersion));
    },
    async find(query) {
      check();
      const limit = checkLimit(query.limit);
      const column = columnFor(query);
      const direction = query.order === 'descending' ? 'DESC' : 'ASC';
      const select = prepared(
        `SELECT id, version, body FROM ${table} WHERE ${column} >= ? AND ${column} < ? ORDER BY ${column} ${direction}, id ${direction} LIMIT ? OFFSET ?`,
      );
      const { low, high } = keyRange(query);
      const found: Versioned<T>[] = [];
      const isSeen = seen();
      // Again only where a document was left out: a short answer means that there are no more.
      for (let offset = 0; found.length < limit; ) {
        const wanted = limit - found.length;
        const rows = guard(`reading ${path}`, () => select.all(low, high, wanted, offset)) as Row[];
        for (const { id, version, body } of rows) {
          try {
            found.push(decodeDocument(definition, body, version));
          } catch (error) {
            onCorrupt(definition.name, id, error);
          }
        }
        if (rows.length < wanted) break;
        offset += rows.length;
      }
      await isSeen;
      return found;
    },
    async count(query) {
      check();
      const column = columnFor(query);
      const { low, high } = keyRange(query);
      const select = prepared(`SELECT count(*) AS count FROM ${table} WHERE ${column} >= ? AND ${column} < ?`);
      const { count } = guard(`reading ${path}`, () => select.get(low, high)) as { readonly count: number };
      await seen();
      return count;
    },
  };
  return { collection, forgetHeads: () => heads.clear() };
}

function guard<R>(doing: string, task: () => R): R {
  try {
    return task();
  } catch (error) {
    throw asStoreError(error, doing);
  }
}

function asStoreError(error: unknown, doing: string): unknown {
  if (error instanceof SpindleError) return error;
  const { errcode, message } = error as { readonly errcode?: number; readonly message?: string };
  if (errcode === undefined) return error;
  switch (errcode & 0xff) {
    case 5: // SQLITE_BUSY
      return new SpindleError('STATE_DIR_LOCKED', `${doing} failed: another process uses it; stop that one, or set another state directory`, { cause: error });
    case 13: // SQLITE_FULL
      return new SpindleError('DISK_FULL', `${doing} failed: no space is left; free some`, { cause: error });
    default:
      return new SpindleError('STORE_UNAVAILABLE', `${doing} failed: ${message}`, { cause: error });
  }
}
