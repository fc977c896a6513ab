/** The stored repositories, served and read for real: by the metadata cache and by dnf. The folder stands beside a clone where it is there at all; elsewhere only a small one of our own is read. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { cachedRepositories } from '../../shared/repositories/cached.ts';
import { dnfSolver } from '../../shared/solver/dnf.ts';
import type { PackageIndex } from '../../shared/solver/package-index.ts';
import { writeMetadataRepository } from '../support/metadata-repository.ts';
import { staticServer } from '../support/static-server.ts';
import { tempDirectory } from '../support/temp-directory.ts';

const folder = new URL('../../../shared/fedora/fixtures/repodata/', import.meta.url);

/** What each repository holds. */
const stored: readonly (readonly [name: string, packages: readonly string[]])[] = existsSync(folder)
  ? [
      ['createrepo_c-repo_02', ['fake_bash', 'super_kernel']],
      ['createrepo_c-repo_koji_01', ['dwm']],
      ['derived-side-repo-zstd', ['Archer', 'fake_bash', 'super_kernel', 'test-files', 'test-pkg']],
      ['generated-side-repo-gz', ['Archer', 'fake_bash', 'super_kernel', 'test-files', 'test-pkg']],
    ]
  : [];

describe('stored repositories', () => {
  const closing: (() => Promise<void>)[] = [];
  let index: (name: string) => Promise<PackageIndex>;

  beforeAll(async () => {
    const [web, directory] = await Promise.all([staticServer(), tempDirectory()]);
    const serve = (root: string) => {
      for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
        const path = join(entry.parentPath, entry.name);
        if (entry.isFile()) web.files.set(`/${relative(root, path)}`, readFileSync(path));
      }
    };
    await writeMetadataRepository(join(directory.path, 'web', 'own'), { packages: [{ nevra: 'hello-1.0-1.noarch' }, { nevra: 'bash-5.2-1.x86_64' }] });
    serve(join(directory.path, 'web'));
    if (stored.length > 0) serve(fileURLToPath(folder));
    const [clock, programs] = [systemClock(), spawnedPrograms()];
    const egress = httpEgress({ userAgent: 'spindle-test/1 (+https://example.org)', allow: [web.destination] });
    const repositories = cachedRepositories({ directory: join(directory.path, 'metadata'), egress, programs, clock: { ...clock, sleep: async () => {} } });
    const solver = dnfSolver({ directory: join(directory.path, 'solver'), repositories, programs, clock, atOnceMax: 1 });
    closing.push(solver.close, repositories.close, egress.close, web.close, directory.remove);
    index = (name) =>
      solver.index(
        { arch: 'x86_64', releasever: '44', repositories: [{ id: 'stored', role: 'stable', baseurl: `${web.base}/${name}/` }] },
        { signal: new AbortController().signal },
      );
  });
  afterAll(async () => {
    for (const close of closing) await close();
  });

  it.each([['own', ['bash', 'hello']] as const, ...stored])('%s', async (name, packages) => {
    const found = await index(name);
    expect(found.size).toBe(packages.length);
    for (const each of packages) expect(found.search(each, 1)).toMatchObject([{ name: each, repository: 'stored' }]);
  });

  if (stored.length > 0) {
    it('createrepo_c-repo_01, whose primary metadata is not what its repomd.xml says, is refused', async () => {
      await expect(index('createrepo_c-repo_01')).rejects.toMatchObject({
        code: 'REPOSITORY_METADATA_REFUSED',
        message: expect.stringContaining('6c662d665c24de9a0f62c17d8fa50622307739d7376f0d19097ca96c6d7f5e3e'),
      });
    });

    it('is every repository that is stored', () => {
      expect(readdirSync(folder).filter((name) => existsSync(new URL(`${name}/repodata/repomd.xml`, folder)))).toHaveLength(5);
    });
  }
});
