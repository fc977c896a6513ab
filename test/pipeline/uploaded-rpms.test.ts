/** Uploaded RPMs through the resolver and the side-repo stage for real: dnf, rpm and createrepo_c of this machine, on the sample distribution. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compareContents } from '../../services/image-builder/manifest.ts';
import { sideRepo } from '../../services/side-repo/service.ts';
import { parseNevra } from '../../shared/fedora/nvr.ts';
import { readContentText, storeContent } from '../../shared/files/content.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { RepositorySet, Resolution } from '../../shared/resolution/resolution.ts';
import type { Stage } from '../../shared/stage/stage.ts';
import { type UploadedRpm, uploadId } from '../../shared/uploads/uploaded-rpm.ts';
import { type BuiltPackage, builtRpm } from '../support/built-rpm.ts';
import { type SampleWorld, sampleWorld } from './sample-world.ts';

let world: SampleWorld;
const bytesOf = new Map<string, Buffer>();

beforeAll(async () => {
  world = await sampleWorld();
}, 120_000);
afterAll(() => world?.close());

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Builds one and records it as uploaded; its id. */
async function uploaded(definition: BuiltPackage, changes: Partial<UploadedRpm> = {}): Promise<string> {
  const { rpm } = await builtRpm(definition);
  const { name, version, arch } = definition;
  const record = {
    id: uploadId(null, sha256(rpm)),
    owner: null,
    ...{ name, epoch: 0, version, release: '1', arch, nevra: `${name}-${version}-1.${arch}`, sha256: sha256(rpm), size: rpm.length },
    ...{ sourceRpm: `${name}-${version}-1.src.rpm`, summary: null, createdAt: '2026-11-01T00:00:00Z', expiresAt: '2026-11-15T00:00:00Z' },
    ...{ removedAt: null, dueAt: 0, bringsBytes: true },
    ...changes,
  };
  await world.uploads.insert(record);
  bytesOf.set(record.id, rpm);
  return record.id;
}

async function trial(rpms: readonly string[], request: object = {}, changes: Partial<Release> = {}) {
  const build = await world.trial({ packages: ['bash'], ...request, sources: { ...(request as { sources?: object }).sources, rpms } }, changes);
  for (const id of rpms) await storeContent(build.files, bytesOf.get(id) ?? '');
  return build;
}

describe('an uploaded RPM', () => {
  it('is in the image in the place of what stable has, also of the very same name and version; the manifest says whose it is', async () => {
    const [newer, same] = [
      await uploaded({ name: 'hello', version: '0.5', arch: 'noarch' }),
      await uploaded({ name: 'greeting', version: '9', arch: 'noarch', requires: ['hello'] }),
    ];
    const build = await trial([newer, same]);
    const resolved = await build.announce();
    const resolution = Resolution.parse(JSON.parse(await readContentText(build.files, resolved.resolution)));
    const hello = resolution.packages.find(({ name }) => name === 'hello');
    expect(hello).toMatchObject({
      nevra: 'hello-0.5-1.noarch',
      from: 'side',
      repository: 'upload',
      role: 'uploaded',
      urls: [],
      stored: true,
      untrusted: true,
      sigkey: null,
      sha256: sha256(bytesOf.get(newer) ?? Buffer.alloc(0)),
      because: `The request names the uploaded RPM ${newer}.`,
    });
    expect(resolution.requested).toEqual(['greeting-9-1.noarch', 'hello-0.5-1.noarch']);
    expect(resolution.packages.filter(({ untrusted }) => untrusted).length).toBe(2);

    const ready = await build.run<{ repositories: { sha256: string; size: number } }>(sideRepo as unknown as Stage, resolved);
    const { repositories } = RepositorySet.parse(JSON.parse(await readContentText(build.files, ready.data.repositories)));
    const side = repositories.find(({ id }) => id === 'side');
    expect(side?.files.filter(({ path }) => path.endsWith('.rpm'))).toEqual([
      expect.objectContaining({ path: 'Packages/g/greeting-9-1.noarch.rpm', signedBy: null }),
      expect.objectContaining({ path: 'Packages/h/hello-0.5-1.noarch.rpm', signedBy: null }),
    ]);
    expect(build.lines.join('\n')).toContain('2 were uploaded by the requester');

    const installed = resolution.packages.flatMap(({ nevra }) => parseNevra(nevra) ?? []);
    const { packages } = compareContents(installed, resolution);
    expect(packages.find(({ nevra }) => nevra === 'hello-0.5-1.noarch')).toMatchObject({ from: 'side', repository: 'upload', signedBy: null, untrusted: true });
    expect(packages.find(({ nevra }) => nevra.startsWith('bash-'))).not.toHaveProperty('untrusted');
  }, 60_000);

  it('stands in the place of a published one that is called exactly alike', async () => {
    const published = (await world.resolve({ packages: ['hello'] })).packages.find(({ name }) => name === 'hello');
    if (!published) throw new Error('the sample has hello');
    const { rpm } = await builtRpm({ name: 'hello', version: published.version, release: published.release, arch: 'noarch' });
    const id = uploadId(null, sha256(rpm));
    const { name, epoch, version, release, arch, nevra } = published;
    await world.uploads.insert({
      ...{ id, owner: null, name, epoch, version, release, arch, nevra, sha256: sha256(rpm), size: rpm.length, sourceRpm: 'hello.src.rpm', summary: null },
      ...{ createdAt: '2026-11-01T00:00:00Z', expiresAt: '2026-11-15T00:00:00Z', removedAt: null, dueAt: 0, bringsBytes: true },
    });
    bytesOf.set(id, rpm);
    const resolution = await (await trial([id])).resolve();
    expect(resolution.packages.find((each) => each.name === 'hello')).toMatchObject({ nevra, repository: 'upload', sha256: sha256(rpm) });
  });

  it('goes into a release that takes signed packages only', async () => {
    const id = await uploaded({ name: 'mine', version: '1', arch: 'noarch' });
    const build = await trial([id], {}, { unsigned: 'refuse' });
    const ready = await build.run(sideRepo as unknown as Stage, await build.announce());
    expect(ready.type).toBe('side-repo.ready');
  }, 60_000);

  it.each([
    ['that was never there', async () => ['01a20273-7e0d-7625-bdbd-8a0f9df4dce6'], 'RPM_UNKNOWN', /^sources\.rpms: there is no uploaded RPM 01a20273/],
    ['of another owner', async () => [await uploaded({ name: 'theirs', version: '1', arch: 'noarch' }, { owner: 'x' })], 'RPM_UNKNOWN', /no uploaded RPM/],
    [
      'that was deleted',
      async () => [await uploaded({ name: 'deleted', version: '1', arch: 'noarch' }, { removedAt: '2026-11-02T00:00:00Z' })],
      'RPM_UNKNOWN',
      /no uploaded RPM/,
    ],
    [
      'for another machine',
      async () => [await uploaded({ name: 'native', version: '1', arch: 'aarch64' })],
      'RPM_ARCH_UNSUPPORTED',
      /native-1-1\.aarch64 is for aarch64, and the image is to be for x86_64/,
    ],
    [
      'of the same package as another',
      async () => [
        await uploaded({ name: 'twin', version: '1', arch: 'noarch' }),
        await uploaded({ name: 'twin', version: '1', arch: 'noarch', content: 'another' }),
      ],
      'REQUESTED_BUILD_CONFLICT',
      /are the same package twin/,
    ],
    [
      'whose needs nothing meets',
      async () => [await uploaded({ name: 'needy', version: '1', arch: 'noarch', requires: ['nothing-has-this'] })],
      'DEPENDENCIES_UNSOLVABLE',
      /the uploaded RPM needy-1-1\.noarch/,
    ],
  ] as const)('%s is refused', async (_what, ids, code, message) => {
    expect(await world.refusal({ packages: ['bash'], sources: { rpms: await filled(await ids()) } })).toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  /** The refusals need no more than that the bytes are where the resolver looks. */
  const filled = async (ids: readonly string[]): Promise<readonly string[]> => {
    await trial(ids);
    return ids;
  };

  it('and a Koji build of the same package are a conflict', async () => {
    const id = await uploaded({ name: 'hello', version: '0.6', arch: 'noarch' });
    const refusal = await world.refusal({ packages: ['bash'], sources: { rpms: await filled([id]), kojiBuilds: ['hello-1.1-1.sample'] } });
    expect(refusal).toMatchObject({
      code: 'REQUESTED_BUILD_CONFLICT',
      message: expect.stringContaining('the uploaded RPM hello-0.6-1.noarch and the Koji build hello-1.1-1.sample both have the package hello'),
    });
  });
});
