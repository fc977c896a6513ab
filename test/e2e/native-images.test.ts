/** The native engine done for real: images of Sample Linux made, looked into and started by the whole service. */
import { expect, onTestFinished, test } from 'vitest';
import { build, hasEnded, submit } from '../support/real-builds.ts';
import { freePort, mountsBelow, startRealService } from '../support/real-service.ts';
import { testDirectory } from '../support/temp-directory.ts';

test('a live ISO starts by BIOS and UEFI with the package that only the side repository has', { timeout: 400_000 }, async () => {
  const stateDir = await testDirectory();
  const service = await startRealService(stateDir, await freePort());
  onTestFinished(() => service.kill());
  const id = await submit(service, {
    ...{ imageType: 'live', engine: 'native', label: 'NATIVE-LIVE' },
    ...{ packages: ['@core', 'hello'], sources: { kojiBuilds: ['hello-1.1-1.sample'] } },
  });
  const shown = await build(service, id, 'ended', hasEnded);
  expect(shown, service.output()).toMatchObject({ state: 'finished', verdict: 'booted', failure: null });
  expect(shown.verdictReason).toContain('hello-1.1-1.sample.noarch');
  expect(shown.artifacts.map(({ name }) => name)).toEqual(expect.arrayContaining(['NATIVE-LIVE-sample-x86_64.iso', 'recipe.sh', 'manifest.json']));
  expect(await mountsBelow(stateDir)).toEqual([]);
  expect(await service.stop()).toBe(0);
});
