/** What is remembered of one stored file, and how it is written as a line. Pure. */
import { z } from 'zod';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const FileRecord = z.object({
  sha256,
  size: z.number().int().nonnegative(),
  /** As the files port gave it when the content was known to be right. */
  fingerprint: z.string(),
  /** Milliseconds since 1970: the whole file was read then, and had its digest. */
  verifiedAt: z.number(),
  usedAt: z.number(),
  /** Nobody can fetch it anew: the cap leaves it. */
  isLasting: z.boolean(),
  nevra: z.string(),
  /** Seconds since 1970. */
  buildTimeS: z.number(),
  isSource: z.boolean(),
  climbingPath: z.string().nullable(),
  /** Keyring → the key that signed it, or null where nobody did. */
  signers: z.record(z.string(), z.string().nullable()),
});
export type FileRecord = Readonly<z.infer<typeof FileRecord>>;

const Line = z.union([FileRecord, z.object({ sha256, gone: z.literal(true) })]);

export function recordLine(record: FileRecord): string {
  return `${JSON.stringify(record)}\n`;
}

export function goneLine(removed: string): string {
  return `${JSON.stringify({ sha256: removed, gone: true })}\n`;
}

/** By digest, the last word of each. A line that is torn or of another version is passed over: its file is read again. */
export function readRecords(text: string): { readonly records: Map<string, FileRecord>; readonly lines: number } {
  const records = new Map<string, FileRecord>();
  let lines = 0;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    lines += 1;
    const read = Line.safeParse(parsed(line));
    if (!read.success) continue;
    if ('gone' in read.data) records.delete(read.data.sha256);
    else records.set(read.data.sha256, read.data);
  }
  return { records, lines };
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
