/** Keeps records in a file, line by line, behind the work that changes them: what a crash takes of it only has to be looked at again. */
import { appendFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../clock/clock.ts';
import { type FileRecord, goneLine, readRecords, recordLine } from './record.ts';

export interface Journal {
  load(): Promise<ReadonlyMap<string, FileRecord>>;
  /** `record` undefined: the file is gone. Written within seconds. */
  note(sha256: string, record: FileRecord | undefined): void;
  close(): Promise<void>;
}

const behindMs = 2_000;
/** Old lines are cleared away where there are so many more than records. */
const spareLinesMax = 20_000;

/** `onTrouble`: it could not be written; it is tried again with the next change. */
export function fileJournal(path: string, { clock, onTrouble }: { readonly clock: Clock; readonly onTrouble: (error: unknown) => void }): Journal {
  const records = new Map<string, FileRecord>();
  const open = new Set<string>();
  let lines = 0;
  /** The last write may have left half a line. */
  let mustRewrite = false;
  let forget: (() => void) | undefined;
  let writing: Promise<void> = Promise.resolve();

  const write = async (): Promise<void> => {
    const changed = [...open];
    open.clear();
    if (changed.length === 0) return;
    try {
      if (mustRewrite || lines + changed.length > records.size + spareLinesMax) {
        await writeFile(`${path}.new`, [...records.values()].map(recordLine).join(''));
        await rename(`${path}.new`, path);
        lines = records.size;
        mustRewrite = false;
        return;
      }
      const text = changed.map((sha256) => {
        const record = records.get(sha256);
        return record ? recordLine(record) : goneLine(sha256);
      });
      await appendFile(path, text.join(''));
      lines += changed.length;
    } catch (error) {
      mustRewrite = true;
      for (const sha256 of changed) open.add(sha256);
      onTrouble(error);
    }
  };
  const flush = (): Promise<void> => {
    writing = writing.then(write);
    return writing;
  };

  return {
    load: async () => {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return '';
        throw error;
      });
      const read = readRecords(text);
      for (const [sha256, record] of read.records) records.set(sha256, record);
      lines = read.lines;
      mustRewrite = text !== '' && !text.endsWith('\n');
      return records;
    },
    note: (sha256, record) => {
      if (record) records.set(sha256, record);
      else records.delete(sha256);
      open.add(sha256);
      forget ??= clock.after(behindMs, () => {
        forget = undefined;
        void flush();
      });
    },
    close: async () => {
      forget?.();
      await flush();
    },
  };
}
