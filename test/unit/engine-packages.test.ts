/** What each engine asks of the resolver for itself, so that its tool finds in the local repositories what it will not do without. */
import { expect, it } from 'vitest';
import { enginePackages } from '../../shared/resolution/engine-packages.ts';

it.each([
  ['lorax', 'boot', ['anaconda', 'anaconda-dracut', 'kernel']],
  ['livemedia-creator', 'live', ['dracut-live', 'kernel']],
  ['mkksiso', 'dvd', ['kernel']],
  ['mkksiso', 'boot', []],
  ['image-builder', 'dvd', ['anaconda', 'kernel']],
  ['kiwi', 'live', ['dracut-kiwi-live', 'kernel-core']],
  ['native', 'live', ['dracut-live', 'kernel-core']],
] as const)('%s for %s', (engine, imageType, wanted) => {
  for (const arch of ['x86_64', 'aarch64']) {
    const { needed, ifKnown } = enginePackages({ arch, imageType, engine });
    expect(needed).toEqual(expect.arrayContaining([...wanted]));
    if (wanted.length === 0) expect([...needed, ...ifKnown]).toEqual([]);
    // Loaders are those of the machine.
    expect([...needed, ...ifKnown].filter((name) => (arch === 'x86_64' ? /aa64|uboot/ : /x64|ia32|-pc/).test(name))).toEqual([]);
  }
});
