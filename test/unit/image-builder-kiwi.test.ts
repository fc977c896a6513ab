/** The KIWI engine: names that mean harm stay text, and of a failed run's output the reason is found. The outputs are KIWI 9.24's own. */
import { SaxesParser } from 'saxes';
import { describe, expect, it } from 'vitest';
import { kiwi } from '../../services/image-builder/engines/kiwi.ts';
import { kiwiPhase, kiwiProgress, relevantKiwiLines } from '../../services/image-builder/engines/kiwi-log.ts';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { element, escapeXml, formatXml } from '../../shared/repositories/format-xml.ts';
import { resolutionOf } from '../support/resolutions.ts';

describe('XML', () => {
  it('text of any kind comes out again as it went in', () => {
    const text = `<a b="c">&amp;'\n\t\r]]>é😀`;
    const seen: string[] = [];
    const parser = new SaxesParser();
    parser.on('text', (part) => seen.push(part));
    parser.on('opentag', ({ attributes }) => seen.push(...Object.values(attributes)));
    parser.on('error', (error) => {
      throw error;
    });
    parser.write(formatXml(element('root', { attribute: text }, text))).close();
    expect(seen.filter((part) => part.trim() !== '')).toEqual([text, text]);
  });

  it('characters that XML cannot hold are replaced', () => {
    expect(escapeXml('a\u0000b\u001fc\ud800d\uffffe')).toBe('a\ufffdb\ufffdc\ufffdd\ufffde');
  });
});

describe('recipe', () => {
  const request = splitRequest(BuildRequest.parse({ release: 'sample', imageType: 'live', packages: ['x'] }))[0] as SingleBuildRequest;

  it('escapes what a release or a label holds', () => {
    const evil = '"/><package name="evil';
    const { files } = kiwi.render({ request: { ...request, label: evil }, resolution: resolutionOf(['a-1-1.noarch']), releasever: evil, root: '/w' });
    const xml = files.find(({ path }) => path.endsWith('config.xml'))?.content ?? '';
    expect(xml).not.toContain(evil);
    expect(xml.match(/<package /g)).toHaveLength(1);
  });

  it('finds the image, or says that there is none', () => {
    expect(kiwi.findImages(['kiwi.result', 'X.x86_64-1.0.0.iso', 'X.x86_64-1.0.0.packages'])).toEqual(['X.x86_64-1.0.0.iso']);
    expect(kiwi.findImages(['kiwi.result', 'build'])).toEqual([]);
    expect(kiwi.findImages(['a.iso', 'b.iso'])).toEqual(['a.iso', 'b.iso']);
    expect(kiwi.version.read('KIWI (next generation) version 9.24.56\n')).toBe('9.24.56');
    expect(kiwi.version.read('')).toBeUndefined();
  });

  it('knows how far KIWI is', () => {
    expect(kiwiPhase('[ INFO    ]: 08:43:13 | Installing bootstrap packages')).toMatchObject({ done: 1, what: 'installing packages' });
    expect(kiwiPhase('[ DEBUG   ]: 08:43:13 | something else')).toBeUndefined();
    expect(kiwiProgress('[ DEBUG   ]: 08:43:20 | bootstrap:   Installing       : bash-5.2-1.x86_64                     3/17 ')).toEqual({
      done: 3,
      total: 17,
      what: 'installing packages',
    });
  });
});

describe('the reason of a failure', () => {
  it('a package that no repository has', () => {
    const { reason, lines } = relevantKiwiLines([
      '[ DEBUG   ]: 08:43:13 | EXEC: [dnf -y install nosuchpkg]',
      '[ INFO    ]: Processing: [                                        ] 0%[ DEBUG   ]: 08:43:14 | bootstrap: No match for argument: nosuchpkg',
      '[ INFO    ]: Processing: [########################################] 100%',
      '[ ERROR   ]: 08:43:14 | KiwiBootStrapPhaseFailed: Bootstrap package installation failed: Error: Unable to find a match: nosuchpkg',
      ': ',
      '[ INFO    ]: 08:43:14 | Cleaning up SystemPrepare instance',
      '[ WARNING ]: 08:43:14 | remove_hierarchy: path output/build/image-root/tmp is protected',
    ]);
    expect(reason).toBe('Bootstrap package installation failed: Error: Unable to find a match: nosuchpkg');
    expect(lines).toEqual([
      'No match for argument: nosuchpkg',
      'KiwiBootStrapPhaseFailed: Bootstrap package installation failed: Error: Unable to find a match: nosuchpkg',
    ]);
  });

  it("a program in the image, where KIWI's own message is only the consequence", () => {
    const { reason } = relevantKiwiLines([
      '[ INFO    ]: 08:43:51 | Creating system image',
      '[ DEBUG   ]: 08:43:51 | EXEC: [chroot output/build/image-root dracut --list-modules --no-kernel]',
      '[ DEBUG   ]: 08:43:51 | EXEC: Failed with stderr: chroot: failed to run command ‘dracut’: No such file or directory',
      ', stdout: (no output on stdout)',
      '[ ERROR   ]: 08:43:51 | KiwiRequestedTypeError: Requested image type iso not supported',
      '[ INFO    ]: 08:43:51 | Cleaning up BootImageDracut instance',
    ]);
    expect(reason).toBe('Requested image type iso not supported (chroot: failed to run command ‘dracut’: No such file or directory)');
  });

  it('a message of several lines', () => {
    const { reason } = relevantKiwiLines([
      '[ INFO    ]: 08:43:58 | --> Selected build type: iso',
      '[ ERROR   ]: 08:43:58 | KiwiRuntimeError: ',
      '',
      'Required dracut module package missing in package list',
      '',
      "The package 'dracut-kiwi-live' is required for the selected",
      'live iso image type.',
    ]);
    expect(reason).toBe(
      "Required dracut module package missing in package list The package 'dracut-kiwi-live' is required for the selected live iso image type.",
    );
  });

  it('dependencies that do not fit', () => {
    const { lines } = relevantKiwiLines([
      '[ DEBUG   ]: 08:43:14 | bootstrap: Error: ',
      '[ DEBUG   ]: 08:43:14 | bootstrap:  Problem: conflicting requests',
      '[ DEBUG   ]: 08:43:14 | bootstrap:   - nothing provides libfoo.so.1 needed by hello-1.1-1.noarch',
      '[ ERROR   ]: 08:43:14 | KiwiBootStrapPhaseFailed: Bootstrap package installation failed: ',
    ]);
    expect(lines).toContain('- nothing provides libfoo.so.1 needed by hello-1.1-1.noarch');
  });

  it('a crash of KIWI itself', () => {
    const { reason } = relevantKiwiLines(['[ ERROR   ]: 08:36:31 | Unexpected error:', 'Traceback (most recent call last):', '  File "x"', 'KeyError: volid']);
    expect(reason).toBe('KeyError: volid');
  });

  it('output without any error, and none at all', () => {
    expect(relevantKiwiLines(['one', 'write failed: No space left on device', 'two']).reason).toBe('write failed: No space left on device');
    expect(relevantKiwiLines(['one', 'two', '']).reason).toBe('two');
    expect(relevantKiwiLines([]).reason).toBe('it printed nothing');
  });

  it('stays short whatever comes', () => {
    const flood = Array.from({ length: 5000 }, (_, index) => `[ ERROR   ]: 08:43:14 | KiwiError: ${'x'.repeat(5000)} No space left on device ${index}`);
    const { reason, lines } = relevantKiwiLines(flood);
    expect(reason.length).toBeLessThanOrEqual(1000);
    expect(lines.length).toBeLessThanOrEqual(20);
  });
});
