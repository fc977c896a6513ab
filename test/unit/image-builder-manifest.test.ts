/** The manifest tells what the image's own database lists, not what was hoped for. */
import { describe, expect, it } from 'vitest';
import { compareContents, formatManifest } from '../../services/image-builder/manifest.ts';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { type Nevra, parseNevra } from '../../shared/fedora/nvr.ts';
import { resolutionOf } from '../support/resolutions.ts';

const installed = (...names: readonly string[]) => names.map((name) => parseNevra(name) as Nevra);
const resolution = resolutionOf(['bash-5.2-1.x86_64', 'busybox-1:1.35-1.x86_64'], ['hello-1.1-1.noarch']);

describe('comparison', () => {
  it('an image that is as resolved', () => {
    const found = compareContents(installed('hello-1.1-1.noarch', 'busybox-1:1.35-1.x86_64', 'bash-0:5.2-1.x86_64', 'gpg-pubkey-a-b.noarch'), resolution);
    expect(found.missing).toEqual([]);
    expect(found.unexpected).toEqual([]);
    expect(found.requestedMissing).toEqual([]);
    expect(found.packages.map(({ nevra, from, repository, sigkey }) => [nevra, from, repository, sigkey])).toEqual([
      ['bash-5.2-1.x86_64', 'stable', 'sample', '6d9f90a6'],
      ['busybox-1:1.35-1.x86_64', 'stable', 'sample', '6d9f90a6'],
      ['hello-1.1-1.noarch', 'side', 'koji', null],
    ]);
  });

  it('says who signed what', () => {
    const [first] = resolution.packages;
    const signers = new Map([[first?.sha256 ?? '', '7dea6b27']]);
    const { packages } = compareContents(installed(...resolution.packages.map(({ nevra }) => nevra)), resolution, signers);
    expect(packages.filter(({ signedBy }) => signedBy !== null).map(({ sha256, signedBy }) => [sha256, signedBy])).toEqual([[first?.sha256, '7dea6b27']]);
  });

  it('an older version instead of the requested one', () => {
    const found = compareContents(installed('hello-1.0-1.noarch', 'bash-5.2-1.x86_64', 'extra-1-1.noarch'), resolution);
    expect(found.requestedMissing).toEqual([{ nevra: 'hello-1.1-1.noarch', instead: ['hello-1.0-1.noarch'] }]);
    expect(found.missing).toEqual(['busybox-1:1.35-1.x86_64', 'hello-1.1-1.noarch']);
    expect(found.unexpected).toEqual(['extra-1-1.noarch', 'hello-1.0-1.noarch']);
    expect(found.packages.find(({ nevra }) => nevra === 'extra-1-1.noarch')).toEqual({
      nevra: 'extra-1-1.noarch',
      from: 'unknown',
      repository: null,
      sha256: null,
      sigkey: null,
      signedBy: null,
    });
  });

  it('the same version for another architecture is another package', () => {
    const found = compareContents(installed('hello-1.1-1.x86_64'), resolution);
    expect(found.requestedMissing[0]?.nevra).toBe('hello-1.1-1.noarch');
  });

  it('versions of one package stand in their order, not in that of their letters', () => {
    const found = compareContents(installed('k-10-1.noarch', 'k-9-1.noarch', 'k-1:2-1.noarch'), resolutionOf([]));
    expect(found.packages.map(({ nevra }) => nevra)).toEqual(['k-9-1.noarch', 'k-10-1.noarch', 'k-1:2-1.noarch']);
  });
});

describe('manifest', () => {
  const request = splitRequest(
    BuildRequest.parse({
      release: 'sample',
      imageType: 'live',
      label: 'X',
      packages: ['hello'],
      notify: { email: ['me@example.org'], webhooks: [{ url: 'https://hooks.example/', secret: 'hush' }] },
      sources: { repositories: [{ name: 'mine', baseurl: 'https://user:secret@repo.example/x/', gpgkey: 'https://user:secret@repo.example/key' }] },
    }),
  )[0] as SingleBuildRequest;
  const order = {
    buildId: 'b',
    request,
    engine: 'kiwi',
    tools: { kiwi: '9.24.56' },
    image: { name: 'X-sample-x86_64.iso', sha256: 'a'.repeat(64), size: 7 },
    resolution,
    comparison: compareContents(installed('hello-1.1-1.noarch'), resolution),
  };

  it('says what is missing, and is the same for the same image', () => {
    const manifest = JSON.parse(formatManifest(order));
    expect(manifest).toMatchObject({
      version: 1,
      release: 'sample',
      arch: 'x86_64',
      imageType: 'live',
      label: 'X',
      engine: 'kiwi',
      tools: { kiwi: '9.24.56' },
    });
    expect(manifest.missing).toEqual(['bash-5.2-1.x86_64', 'busybox-1:1.35-1.x86_64']);
    expect(Object.keys(manifest.packages[0])).toEqual(['nevra', 'from', 'repository', 'sha256', 'sigkey', 'signedBy']);
    expect(formatManifest(order)).toBe(formatManifest(order));
  });

  it('tells nobody the secrets of the request', () => {
    const text = formatManifest(order);
    for (const secret of ['hush', 'secret@', 'me@example.org', 'hooks.example']) expect(text).not.toContain(secret);
    expect(text).toContain('https://repo.example/x/');
  });
});
