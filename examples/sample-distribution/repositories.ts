/** Lays out Sample Linux's repositories: packages by their first letter, and metadata as createrepo_c makes it, compressed in each way that installers meet. */
import { createHash } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { SpindleError } from '../../shared/build/failure.ts';
import type { RunTool } from './host-programs.ts';
import { rpmsIn } from './rpm-building.ts';

export interface RepositoryLayout {
  /** Folder with the RPMs. Debug information and sources stay out: a real distribution has repositories of their own for them. */
  readonly rpms: string;
  readonly into: string;
  readonly compression: 'gz' | 'bz2' | 'xz' | 'zstd';
  /** Becomes revision and timestamps, in seconds since 1970. */
  readonly revisionS: number;
  readonly comps?: string;
  readonly updateinfo?: string;
  /** A folder to work in, of this repository only. */
  readonly scratch: string;
}

export async function layOutRepository(run: RunTool, layout: RepositoryLayout): Promise<void> {
  const { rpms, into, compression, revisionS, comps, updateinfo, scratch } = layout;
  for (const name of await rpmsIn(rpms)) {
    if (name.endsWith('.src.rpm') || /-debug(info|source)-/.test(name)) continue;
    const target = join(into, 'Packages', name.slice(0, 1).toLowerCase(), name);
    await mkdir(dirname(target), { recursive: true });
    await link(join(rpms, name), target);
    await utimes(target, revisionS, revisionS);
  }
  await mkdir(scratch, { recursive: true });
  const group: string[] = [];
  if (comps !== undefined) {
    const path = join(scratch, 'comps.xml');
    await writeFile(path, comps);
    group.push('--groupfile', path);
  }
  // Debian's createrepo_c cannot write zstd.
  const written = compression === 'zstd' ? 'gz' : compression;
  const timestamps = [`--revision=${revisionS}`, '--set-timestamp-to-revision'];
  await run('createrepo_c', ['--quiet', '--no-database', '--workers=1', `--general-compress-type=${written}`, ...timestamps, ...group, into]);
  if (updateinfo !== undefined) {
    const path = join(scratch, 'updateinfo.xml');
    await writeFile(path, updateinfo);
    await utimes(path, revisionS, revisionS);
    await run('modifyrepo_c', ['--mdtype=updateinfo', `--compress-type=${written}`, path, join(into, 'repodata')]);
  }
  if (compression === 'zstd') await recompress(run, join(into, 'repodata'), scratch, revisionS);
}

/** Replaces what is compressed with gzip by the same compressed with zstd, as Fedora's own composes have it; the name `updateinfo.xml.zst` keeps its digest in front. */
async function recompress(run: RunTool, repodata: string, scratch: string, revisionS: number): Promise<void> {
  const repomdPath = join(repodata, 'repomd.xml');
  let repomd = await readFile(repomdPath, 'utf8');
  for (const [block] of repomd.matchAll(/<data type="[\s\S]*?<\/data>/g)) {
    const name = /<location href="repodata\/([^"/]+)\.gz"\/>/.exec(block)?.[1];
    if (name === undefined) throw new SpindleError('ENGINE_FAILED', `createrepo_c wrote a repomd.xml with a part that is not gzip: ${block.slice(0, 40)}`);
    const open = join(scratch, 'open');
    const packed = join(scratch, 'packed');
    await writeFile(open, gunzipSync(await readFile(join(repodata, `${name}.gz`))));
    await run('zstd', ['-q', '-f', '-o', packed, open]);
    const bytes = await readFile(packed);
    const digest = createHash('sha256').update(bytes).digest('hex');
    const newName = `${name.replace(/^[0-9a-f]{64}/, digest)}.zst`;
    await rename(packed, join(repodata, newName));
    await utimes(join(repodata, newName), revisionS, revisionS);
    await rm(join(repodata, `${name}.gz`));
    const changed = block
      .replace(/<checksum type="sha256">[0-9a-f]+</, `<checksum type="sha256">${digest}<`)
      .replace(/<location href="[^"]+"/, `<location href="repodata/${newName}"`)
      .replace(/<timestamp>\d+</, `<timestamp>${revisionS}<`)
      .replace(/<size>\d+</, `<size>${bytes.length}<`);
    repomd = repomd.replace(block, () => changed);
  }
  await writeFile(repomdPath, repomd);
  await utimes(repomdPath, revisionS, revisionS);
}
