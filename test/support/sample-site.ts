/** The sample distribution for tests: generated once for a machine (again when its code changes), served on a port of the test's own. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateSampleDistribution } from '../../examples/sample-distribution/sample-distribution.ts';
import { type SampleSite, startSampleSite } from '../../examples/sample-distribution/site.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import type { Release } from '../../shared/releases/releases.ts';

export interface SampleForTests {
  readonly site: SampleSite;
  /** What the operator allows the egress. */
  readonly destination: string;
  readonly release: Release;
}

/** Rejects with TOOL_MISSING where the host lacks what the generator needs. The caller closes the site. */
export async function startSample(): Promise<SampleForTests> {
  // Shared between test runs on purpose: making it takes longer than all that is done with it.
  const { directory } = await generateSampleDistribution({
    directory: join(tmpdir(), `spindle-sample-${process.getuid?.() ?? 0}`, 'distribution'),
    programs: spawnedPrograms(),
  });
  const site = await startSampleSite({ directory, host: '127.0.0.1', port: 0 });
  const release: Release = {
    id: 'sample',
    name: 'Sample Linux',
    arches: ['x86_64'],
    dist: 'sample',
    repositories: [
      { id: 'sample', role: 'stable', baseurl: `${site.url}/repo/$basearch/` },
      { id: 'sample-updates', role: 'updates', baseurl: `${site.url}/updates/$basearch/` },
      { id: 'sample-updates-testing', role: 'updates-testing', metalink: `${site.url}/metalink?repo=sample-updates-testing&arch=$basearch` },
    ],
    koji: {
      hub: `${site.url}/kojihub`,
      files: `${site.url}/kojifiles`,
      tags: { stable: 'sample', updates: 'sample-updates', testing: 'sample-updates-testing' },
      candidateTags: ['sample-updates-candidate'],
    },
    bodhi: { url: `${site.url}/bodhi/`, name: 'SAMPLE' },
    keys: [`${site.url}/keys/RPM-GPG-KEY-sample`],
    sigkeys: ['5a3b1e00'],
    unsigned: 'side-repo',
    engines: { live: 'kiwi', boot: 'native', dvd: 'native' },
  };
  return { site, destination: new URL(site.url).host, release };
}
