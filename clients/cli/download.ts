/** Downloads artifacts: resumed where the connection breaks, checked against the announced digest, visible under their name only when complete. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../shared/clock/clock.ts';
import type { Api, ShownBuild } from './api.ts';
import { RefusedError, UnreachableError, UsageError } from './outcome.ts';

const triesMax = 5;

/** Resolves with the paths that were written. `names` empty: all of them. */
export async function downloadArtifacts(
  api: Api,
  clock: Clock,
  build: ShownBuild,
  options: { readonly directory: string; readonly names: readonly string[]; readonly onFile: (name: string, size: number) => void },
): Promise<readonly string[]> {
  const { directory, names, onFile } = options;
  const missing = names.filter((name) => !build.artifacts.some((artifact) => artifact.name === name));
  if (missing.length > 0)
    throw new UsageError(`the build has no artifact ${missing.join(', ')}; it has ${build.artifacts.map(({ name }) => name).join(', ') || 'none'}`);
  await mkdir(directory, { recursive: true });
  const paths: string[] = [];
  for (const artifact of build.artifacts.filter(({ name }) => names.length === 0 || names.includes(name))) {
    // The name becomes a path here: it is not taken on trust.
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(artifact.name))
      throw new UnreachableError(`the service names an artifact ${JSON.stringify(artifact.name)}, which is no file name`);
    onFile(artifact.name, artifact.size);
    paths.push(await downloadOne(api, clock, build.id, artifact, directory));
  }
  return paths;
}

async function downloadOne(api: Api, clock: Clock, buildId: string, artifact: ShownBuild['artifacts'][number], directory: string): Promise<string> {
  const target = join(directory, artifact.name);
  const part = `${target}.${randomBytes(4).toString('hex')}.part`;
  const hash = createHash('sha256');
  let received = 0;
  const file = await open(part, 'wx');
  try {
    for (let tries = 1; received < artifact.size || tries === 1; tries += 1) {
      try {
        const range: Record<string, string> = received > 0 ? { range: `bytes=${received}-`, 'if-range': `"${artifact.sha256}"` } : {};
        const response = await api.open(`/builds/${encodeURIComponent(buildId)}/artifacts/${artifact.name}`, range);
        if (received > 0 && response.status !== 206) throw new UnreachableError(`the service does not go on with ${artifact.name} where it stopped`);
        for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
          received += chunk.byteLength;
          if (received > artifact.size) throw new UnreachableError(`${artifact.name} is larger than the ${artifact.size} bytes that were announced`);
          hash.update(chunk);
          await file.writeFile(chunk);
        }
        if (received < artifact.size) throw new Error('the connection ended early');
      } catch (error) {
        if (error instanceof RefusedError || error instanceof UnreachableError || tries === triesMax) {
          throw error instanceof RefusedError || error instanceof UnreachableError
            ? error
            : new UnreachableError(`${artifact.name} could not be downloaded: ${messageOf(error)}`);
        }
        await clock.sleep(250 * 2 ** tries);
      }
    }
    const digest = hash.digest('hex');
    if (digest !== artifact.sha256)
      throw new UnreachableError(`${artifact.name} has the SHA-256 ${digest}, but ${artifact.sha256} was announced; it is not kept`);
    await file.sync();
    await file.close();
    await rename(part, target);
    return target;
  } catch (error) {
    await file.close().catch(() => {});
    await rm(part, { force: true });
    if (error instanceof Error && 'syscall' in error) throw new UsageError(`${target} cannot be written: ${error.message}`);
    throw error;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
