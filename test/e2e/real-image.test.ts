/** The main job, done for real: requests through every stage, by KIWI and QEMU, in a service that is killed on the way. */
import { spawnSync } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { SpdxDocument } from '../../services/image-builder/spdx.ts';
import { pythonTool } from '../support/python-tools.ts';
import { build, hasEnded, submit } from '../support/real-builds.ts';
import { freePort, mountsBelow, processesNaming, startRealService } from '../support/real-service.ts';
import { testDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';

const hello = { imageType: 'live', packages: ['@core', 'hello'], sources: { kojiBuilds: ['hello-1.1-1.sample'] } };

async function letters(stateDir: string): Promise<readonly string[]> {
  return (await readdir(join(stateDir, 'mail')).catch(() => [])).filter((name) => name.endsWith('.eml'));
}

/** After every end nothing of it is left mounted, running or lying in temp. */
async function expectNothingLeft(stateDir: string): Promise<void> {
  await until(async () => (await readdir(join(stateDir, 'work')).catch(() => [])).length === 0, { timeoutMs: 10_000, what: 'the workspaces to be gone' });
  expect(await mountsBelow(stateDir)).toEqual([]);
  expect((await processesNaming(join(stateDir, 'work'))).filter((line) => !line.includes('vitest'))).toEqual([]);
}

/** It names what the build was made for, and the SPDX project's own tool takes it, where that is installed. */
async function expectValidSbom(text: string): Promise<void> {
  const { packages } = SpdxDocument.parse(JSON.parse(text));
  expect(packages.find(({ name }) => name === 'hello')).toMatchObject({
    versionInfo: '1.1-1.sample',
    licenseDeclared: 'MIT',
    sourceInfo: 'built from hello-1.1-1.sample.src.rpm',
    externalRefs: [{ referenceLocator: 'pkg:rpm/sample/hello@1.1-1.sample?arch=noarch&distro=sample' }],
  });
  const validator = pythonTool('pyspdxtools');
  if (validator === undefined) return;
  const path = join(await testDirectory(), 'sbom.spdx.json');
  await writeFile(path, text);
  const { status, stdout, stderr } = spawnSync(validator, ['--infile', path], { encoding: 'utf8', timeout: 60_000 });
  expect({ status, said: stdout + stderr }).toEqual({ status: 0, said: '' });
}

test('two builds at once: both images boot with the package that only the side repository has', { timeout: 400_000 }, async () => {
  const stateDir = await testDirectory();
  const service = await startRealService(stateDir, await freePort());
  onTestFinished(() => service.kill());
  const ids = await Promise.all([
    submit(service, { ...hello, label: 'FIRST', notify: { email: ['a@example.org'] } }),
    submit(service, { ...hello, label: 'SECOND', firmware: ['bios'] }),
  ]);
  const ended = await Promise.all(ids.map((id) => build(service, id, 'ended', hasEnded)));
  for (const shown of ended) {
    expect(shown, service.output()).toMatchObject({ state: 'finished', verdict: 'booted', failure: null });
    expect(shown.verdictReason).toContain('hello-1.1-1.sample.noarch');
  }
  const names = ended[0]?.artifacts.map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining(['FIRST-sample-x86_64.iso', 'manifest.json', 'CHECKSUM', 'build.log', 'boot-test.log', 'boot-test.png']));
  await expectValidSbom(await (await fetch(`${service.url}/api/v1/builds/${ids[0]}/sbom`)).text());
  const manifest = (await (await fetch(`${service.url}/api/v1/builds/${ids[0]}/manifest`)).json()) as {
    readonly packages: readonly { readonly nevra: string; readonly from: string }[];
  };
  expect(manifest.packages.filter(({ nevra }) => nevra.startsWith('hello-'))).toEqual([
    expect.objectContaining({ nevra: 'hello-1.1-1.sample.noarch', from: 'side' }),
  ]);
  expect(manifest.packages.some(({ from }) => from === 'stable')).toBe(true);
  await until(async () => (await letters(stateDir)).length === 1, { timeoutMs: 10_000, what: 'one letter' });
  await expectNothingLeft(stateDir);
  expect(await service.stop()).toBe(0);
});

test('killed while it builds and while it boots, the service finishes the build once, with one letter; canceled, it leaves nothing', {
  timeout: 500_000,
}, async () => {
  const stateDir = await testDirectory();
  const port = await freePort();
  let service = await startRealService(stateDir, port);
  onTestFinished(() => service.kill());
  const id = await submit(service, { ...hello, label: 'KILLED', firmware: ['bios'], notify: { email: ['a@example.org'] } });
  for (const stage of ['image-builder', 'boot-test']) {
    await build(service, id, `in ${stage}`, (shown) => shown.stage?.name === stage && shown.stage.startedAt !== null);
    const tool = stage === 'boot-test' ? 'qemu-system' : 'kiwi';
    await until(async () => (await processesNaming(join(stateDir, 'work'))).some((line) => line.includes(tool)), { timeoutMs: 30_000, what: `${tool} to run` });
    await service.kill();
    // What the service started dies with it.
    await until(async () => (await processesNaming(join(stateDir, 'work'))).length === 0, { timeoutMs: 5_000, what: 'its tools to be gone' });
    expect(await mountsBelow(stateDir)).toEqual([]);
    service = await startRealService(stateDir, port);
  }
  expect(await build(service, id, 'ended', hasEnded), service.output()).toMatchObject({ state: 'finished', verdict: 'booted' });
  await until(async () => (await letters(stateDir)).length === 1, { timeoutMs: 10_000, what: 'one letter' });
  await expectNothingLeft(stateDir);

  const canceled = await submit(service, { ...hello, label: 'CANCELED', firmware: ['bios'] });
  await build(service, canceled, 'building', (shown) => shown.stage?.name === 'image-builder' && shown.stage.startedAt !== null);
  await until(async () => (await processesNaming(join(stateDir, 'work'))).some((line) => line.includes('kiwi')), { timeoutMs: 30_000, what: 'kiwi to run' });
  expect((await fetch(`${service.url}/api/v1/builds/${canceled}/cancel`, { method: 'POST' })).ok).toBe(true);
  expect(await build(service, canceled, 'canceled', hasEnded)).toMatchObject({ state: 'canceled' });
  await expectNothingLeft(stateDir);
  expect(await letters(stateDir)).toHaveLength(1);
  expect(await service.stop()).toBe(0);
});
