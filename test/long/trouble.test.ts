/** Builds that misbehave, by the whole service: scriptlets of uploaded packages that do their worst. Each ends with the right failure, leaves nothing, and the next build works. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { builtRpm } from '../support/built-rpm.ts';
import { build, hasEnded, submit } from '../support/real-builds.ts';
import { freePort, mountsBelow, processesNaming, type RealService, startRealService } from '../support/real-service.ts';
import { testDirectory } from '../support/temp-directory.ts';
import { until } from '../support/until.ts';

/** A time to sleep that no other process sleeps. */
const time = `701.${process.pid}`;
const settings = {
  SPINDLE_UNTRUSTED_CODE: 'rpms',
  SPINDLE_BUILD_MEMORY_MAX: '700M',
  SPINDLE_BUILD_PROCESSES_MAX: '150',
  SPINDLE_BUILD_DISK_MAX: '1G',
};
const request = { imageType: 'live', engine: 'native', firmware: ['bios'] };

/** Asks for an image with a package whose %post is this. */
async function submitScript(service: RealService, name: string, post: string): Promise<string> {
  const { rpm } = await builtRpm({ name, version: '1', arch: 'noarch', post });
  const answer = await fetch(`${service.url}/api/v1/rpms`, { method: 'POST', headers: { 'content-type': 'application/x-rpm' }, body: new Uint8Array(rpm) });
  expect(answer.status, await answer.clone().text()).toBe(201);
  const { id } = (await answer.json()) as { readonly id: string };
  return submit(service, { ...request, label: name.toUpperCase(), packages: ['@core'], sources: { rpms: [id] } });
}

async function loopFiles(): Promise<string> {
  const names = (await readdir('/sys/block').catch(() => [])).filter((name) => name.startsWith('loop'));
  return (await Promise.all(names.map((name) => readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '')))).join('');
}

async function expectNothingLeft(stateDir: string): Promise<void> {
  await until(async () => (await readdir(join(stateDir, 'work')).catch(() => [])).length === 0, { timeoutMs: 15_000, what: 'the workspaces to be gone' });
  expect(await mountsBelow(stateDir)).toEqual([]);
  expect(await loopFiles()).not.toContain(stateDir);
  expect(await processesNaming(join(stateDir, 'work'))).toEqual([]);
  expect(await processesNaming(time)).toEqual([]);
}

test('scriptlets that fork, fill the disk, take all memory, mount, kill their parents and sleep for ever, and a service that is killed under one', {
  timeout: 500_000,
}, async () => {
  const stateDir = await testDirectory();
  const port = await freePort();
  let service = await startRealService(stateDir, port, settings);
  onTestFinished(() => service.kill());

  const beyond = (bound: string) => ({ code: 'RESOURCE_LIMIT', fault: 'requester', message: expect.stringContaining(bound) });
  const troubles = [
    { name: 'forks', post: `f() { f | f & sleep ${time}; }; f; wait`, failure: beyond('more than 150 processes') },
    { name: 'fills', post: 'i=0; while :; do i=$((i+1)); dd if=/dev/zero of=/usr/fill$i bs=1048576 count=64; done', failure: beyond('wrote more than 1 GiB') },
    { name: 'grows', post: 'x=0123456789abcdef; while :; do x=$x$x; done', failure: beyond('more than 700 MiB of memory') },
    {
      name: 'kills',
      post: `mkdir -p /mnt/a && mount -t tmpfs none /mnt/a; mount --bind / /mnt; setsid sleep ${time} & kill -9 1; kill -9 $PPID; kill -9 -1; sleep ${time}`,
      failure: { code: 'ENGINE_FAILED', message: expect.stringContaining('was killed (SIGKILL)') },
    },
  ];
  for (const { name, post, failure } of troubles) {
    const id = await submitScript(service, name, post);
    expect(await build(service, id, 'ended', hasEnded), service.output()).toMatchObject({ state: 'failed', failure });
    await expectNothingLeft(stateDir);
  }

  const sleeping = await submitScript(service, 'sleeps', `trap '' TERM; setsid sh -c "trap '' TERM; sleep ${time}" & sleep ${time}; sleep ${time}`);
  const sleeps = () => until(async () => (await processesNaming(time)).length >= 2, { timeoutMs: 60_000, what: 'the scriptlet to sleep' });
  await sleeps();
  await service.kill();
  await until(async () => (await processesNaming(time)).length === 0, { timeoutMs: 10_000, what: 'the scriptlet to be gone with its service' });
  service = await startRealService(stateDir, port, settings);
  // The build is taken up again, in a workspace of its own.
  await sleeps();
  expect(await readdir(join(stateDir, 'work'))).toHaveLength(1);
  expect((await fetch(`${service.url}/api/v1/builds/${sleeping}/cancel`, { method: 'POST' })).ok).toBe(true);
  expect(await build(service, sleeping, 'canceled', hasEnded)).toMatchObject({ state: 'canceled' });
  await expectNothingLeft(stateDir);

  const next = await submit(service, { ...request, label: 'NEXT', packages: ['@core', 'hello'] });
  expect(await build(service, next, 'ended', hasEnded), service.output()).toMatchObject({ state: 'finished', verdict: 'booted' });
  await expectNothingLeft(stateDir);
  expect(await service.stop()).toBe(0);
});
