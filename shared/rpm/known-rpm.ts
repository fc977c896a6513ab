/** Remembers which stored file a Koji RPM is, so that what was fetched and checked once is not fetched again. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { formatNevra, type Nevra } from '../fedora/nvr.ts';
import { contentKey, type FileRef } from '../files/content-ref.ts';
import type { Files } from '../files/files.ts';
import type { RpmSource } from './fetch-rpm.ts';

interface KnownRpm<Source extends RpmSource> extends Nevra {
  readonly sources: readonly Source[];
  /** What Koji says of header and payload. Without it nothing is remembered: the next file at the same address may be another one. */
  readonly payloadHash: string | null;
}

const Note = z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), size: z.number().int().nonnegative(), url: z.string() });

function keyOf(rpm: KnownRpm<RpmSource>): string | undefined {
  const [best] = rpm.sources;
  if (rpm.payloadHash === null || best === undefined) return undefined;
  const identity = createHash('sha256')
    .update(JSON.stringify([formatNevra(rpm), rpm.payloadHash, best.url]))
    .digest('hex');
  return `known-rpms/${identity.slice(0, 2)}/${identity}`;
}

/** The stored file of the same RPM from the same best address, where it is still there. */
export async function recall<Source extends RpmSource>(
  rpm: KnownRpm<Source>,
  files: Files,
): Promise<{ readonly ref: FileRef; readonly source: Source } | undefined> {
  const key = keyOf(rpm);
  const found = key === undefined ? undefined : await files.get(key);
  if (!found) return undefined;
  const chunks: Uint8Array[] = [];
  for await (const chunk of found.body) chunks.push(chunk);
  const note = Note.safeParse(parsed(Buffer.concat(chunks).toString('utf8')));
  if (!note.success) return undefined;
  const { sha256, size, url } = note.data;
  const source = rpm.sources.find((each) => each.url === url);
  const stored = await files.stat(contentKey(sha256));
  return source && stored?.size === size ? { ref: { sha256, size }, source } : undefined;
}

/** Harmless to repeat. Only the best address is remembered: from another one the next build should try the best again. */
export async function remember<Source extends RpmSource>(
  rpm: KnownRpm<Source>,
  { ref, source }: { readonly ref: FileRef; readonly source: Source },
  files: Files,
): Promise<void> {
  const key = keyOf(rpm);
  if (key !== undefined && source === rpm.sources[0]) await files.put(key, JSON.stringify({ ...ref, url: source.url }));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
