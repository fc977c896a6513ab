/** The pipeline's queues, as a person reads them. */
import { describe, expect, test } from 'vitest';
import { engines } from '../../shared/build/request.ts';
import { routingKeyMatches } from '../../shared/bus/routing-key.ts';
import { imageBuilderQueue, pipelineTopology, printTopology, unclaimedEvents } from '../../shared/bus/topology.ts';
import { catalog, SideRepoReady } from '../../shared/events/catalog.ts';
import { ReleasesFile } from '../../shared/releases/releases.ts';

const releases = ReleasesFile.parse({
  releases: [
    {
      id: 'sample',
      name: 'Sample',
      arches: ['x86_64'],
      repositories: [{ id: 'sample', role: 'stable', baseurl: 'http://127.0.0.1/repo' }],
      engines: { live: 'kiwi' },
    },
    {
      id: '44',
      name: 'Fedora Linux 44',
      arches: ['x86_64', 'aarch64'],
      repositories: [{ id: 'fedora', role: 'stable', metalink: 'https://mirrors.example.org/metalink' }],
      engines: { live: 'kiwi', boot: 'lorax' },
    },
  ],
});

describe('the pipeline’s topology', () => {
  test('reads like this for two releases', () => {
    expect(printTopology(pipelineTopology(releases))).toBe(`resolver.build.requested <- build.requested
side-repo.build.resolved <- build.resolved
image-builder.side-repo.ready.aarch64.boot.native <- side-repo.ready.aarch64.boot.native
image-builder.side-repo.ready.aarch64.boot.kiwi <- side-repo.ready.aarch64.boot.kiwi
image-builder.side-repo.ready.aarch64.boot.lorax <- side-repo.ready.aarch64.boot.lorax
image-builder.side-repo.ready.aarch64.boot.livemedia-creator <- side-repo.ready.aarch64.boot.livemedia-creator
image-builder.side-repo.ready.aarch64.boot.mkksiso <- side-repo.ready.aarch64.boot.mkksiso
image-builder.side-repo.ready.aarch64.boot.image-builder <- side-repo.ready.aarch64.boot.image-builder
image-builder.side-repo.ready.aarch64.live.native <- side-repo.ready.aarch64.live.native
image-builder.side-repo.ready.aarch64.live.kiwi <- side-repo.ready.aarch64.live.kiwi
image-builder.side-repo.ready.aarch64.live.lorax <- side-repo.ready.aarch64.live.lorax
image-builder.side-repo.ready.aarch64.live.livemedia-creator <- side-repo.ready.aarch64.live.livemedia-creator
image-builder.side-repo.ready.aarch64.live.mkksiso <- side-repo.ready.aarch64.live.mkksiso
image-builder.side-repo.ready.aarch64.live.image-builder <- side-repo.ready.aarch64.live.image-builder
image-builder.side-repo.ready.x86_64.boot.native <- side-repo.ready.x86_64.boot.native
image-builder.side-repo.ready.x86_64.boot.kiwi <- side-repo.ready.x86_64.boot.kiwi
image-builder.side-repo.ready.x86_64.boot.lorax <- side-repo.ready.x86_64.boot.lorax
image-builder.side-repo.ready.x86_64.boot.livemedia-creator <- side-repo.ready.x86_64.boot.livemedia-creator
image-builder.side-repo.ready.x86_64.boot.mkksiso <- side-repo.ready.x86_64.boot.mkksiso
image-builder.side-repo.ready.x86_64.boot.image-builder <- side-repo.ready.x86_64.boot.image-builder
image-builder.side-repo.ready.x86_64.live.native <- side-repo.ready.x86_64.live.native
image-builder.side-repo.ready.x86_64.live.kiwi <- side-repo.ready.x86_64.live.kiwi
image-builder.side-repo.ready.x86_64.live.lorax <- side-repo.ready.x86_64.live.lorax
image-builder.side-repo.ready.x86_64.live.livemedia-creator <- side-repo.ready.x86_64.live.livemedia-creator
image-builder.side-repo.ready.x86_64.live.mkksiso <- side-repo.ready.x86_64.live.mkksiso
image-builder.side-repo.ready.x86_64.live.image-builder <- side-repo.ready.x86_64.live.image-builder
boot-test.image.built <- image.built
uploader.image.boot-tested <- image.boot-tested
notifier.build.ended <- build.finished, build.failed, build.canceled
`);
  });

  test('every event has exactly one queue, but those that nobody claims', () => {
    const { queues } = pipelineTopology(releases);
    for (const definition of catalog) {
      const keys = definition.type === SideRepoReady.type ? engines.map((engine) => `side-repo.ready.x86_64.live.${engine}`) : [definition.type];
      for (const key of keys) {
        const bound = queues.filter(({ bindings }) => bindings.some((binding) => routingKeyMatches(binding, key)));
        expect(bound, key).toHaveLength(unclaimedEvents.has(definition.type) ? 0 : 1);
      }
    }
  });

  test('a worker finds its queue by what it can build, and nothing binds everything', () => {
    const { queues } = pipelineTopology(releases);
    expect(queues.map(({ name }) => name)).toContain(imageBuilderQueue('aarch64', 'boot', 'lorax'));
    expect(new Set(queues.map(({ name }) => name)).size).toBe(queues.length);
    expect(queues.flatMap(({ bindings }) => bindings).filter((binding) => /[#*]/.test(binding))).toEqual([]);
  });
});
