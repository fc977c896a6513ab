/** Uploads RPMs: streamed from the disk with their digest, which the service checks, and with progress on a terminal. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { z } from 'zod';
import type { Api } from './api.ts';
import { UsageError } from './outcome.ts';

export const ShownRpm = z.looseObject({
  id: z.string(),
  nevra: z.string(),
  size: z.number(),
  sha256: z.string(),
  expiresAt: z.string(),
});
export type ShownRpm = z.infer<typeof ShownRpm>;

/** The service waits for half an hour at most. */
const uploadTimeoutMs = 31 * 60_000;

/** Rejects with UsageError where the file cannot be read, else as Api.json does. `onProgress` gets the bytes that were sent so far. */
export async function uploadRpm(api: Api, path: string, onProgress: (name: string, sent: number, size: number) => void): Promise<ShownRpm> {
  const { size, digest } = await digested(path);
  const name = basename(path);
  let sent = 0;
  const body = async function* () {
    for await (const chunk of createReadStream(path)) {
      yield chunk as Uint8Array;
      sent += (chunk as Uint8Array).byteLength;
      onProgress(name, sent, size);
    }
  };
  onProgress(name, 0, size);
  const headers = { 'content-type': 'application/x-rpm', 'content-length': String(size), 'repr-digest': `sha-256=:${digest}:` };
  return api.json(ShownRpm, '/rpms', { method: 'POST', stream: body(), headers, timeoutMs: uploadTimeoutMs });
}

async function digested(path: string): Promise<{ readonly size: number; readonly digest: string }> {
  const hash = createHash('sha256');
  try {
    const status = await stat(path);
    if (!status.isFile()) throw new UsageError(`${path} is not a file`);
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
    return { size: status.size, digest: hash.digest('base64') };
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}
