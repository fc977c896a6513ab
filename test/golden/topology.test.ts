/** The queues of the shipped releases, one line a binding: a change to them is a change to what a running broker holds. */
import { test } from 'vitest';
import { pipelineTopology, printTopology } from '../../shared/bus/topology.ts';
import { loadReleases } from '../../shared/releases/load.ts';
import { expectGolden } from '../support/golden.ts';

test('the topology of the shipped releases file', async () => {
  const releases = (await loadReleases()).fill({ SAMPLE_SITE: 'http://sample.example' });
  expectGolden('test/golden/topology.txt', printTopology(pipelineTopology(releases)));
});
