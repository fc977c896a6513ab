/** The image-builder stage with simulated tools: what becomes of good images, wrong images and tools that break. */
import { describe, expect, it } from 'vitest';
import { kiwi } from '../../services/image-builder/engines/kiwi.ts';
import { livemediaCreator } from '../../services/image-builder/engines/livemedia-creator.ts';
import { imageBuilder } from '../../services/image-builder/service.ts';
import type { Engine, ImageType } from '../../shared/build/request.ts';
import { type Nevra, parseNevra } from '../../shared/fedora/nvr.ts';
import { readContent, readContentText, storeContent } from '../../shared/files/content.ts';
import type { FileRef } from '../../shared/files/content-ref.ts';
import type { ProgramRequest } from '../../shared/programs/programs.ts';
import type { SimulatedProgram } from '../../shared/programs/simulated.ts';
import type { Resolution } from '../../shared/resolution/resolution.ts';
import type { EventOf } from '../../shared/stage/stage.ts';
import type { MemoryWorkspaces } from '../../shared/workspace/memory.ts';
import { isoContent, isoFile } from '../support/iso-file.ts';
import { repositoriesOf, resolutionOf } from '../support/resolutions.ts';
import { rpmRow, simulatedImageTools } from '../support/simulated-image-tools.ts';
import { stageWorld } from '../support/stage-context.ts';

const good = resolutionOf(['bash-5.2-1.x86_64', 'kernel-core-6.1-1.x86_64'], ['hello-1.1-1.noarch']);

const rowsOf = (...nevras: readonly string[]) => nevras.map((text) => rpmRow(parseNevra(text) as Nevra)).join('');

interface Case {
  readonly resolution?: Resolution;
  readonly tools?: Readonly<Record<string, SimulatedProgram>>;
  readonly engine?: Engine;
  readonly imageType?: ImageType;
  readonly signal?: AbortSignal;
  /** Left out of what the engine gets. */
  readonly lost?: string;
  /** As the resolver stored it. */
  readonly kickstart?: string;
}

async function build({ resolution = good, tools = {}, engine = 'kiwi', imageType = 'live', signal, lost, kickstart }: Case = {}) {
  const requests: ProgramRequest[] = [];
  // The tools work on the workspaces of a world that does not exist yet when they are named.
  let workspaces: MemoryWorkspaces | undefined;
  const tool = (name: string): SimulatedProgram => {
    return async (request) => {
      requests.push(request);
      const play = tools[name] ?? (workspaces ? simulatedImageTools(workspaces)[name] : undefined);
      return play?.(request) ?? { exitCode: 127 };
    };
  };
  const names = ['kiwi-ng', 'livemedia-creator', 'implantisomd5', 'checkisomd5', 'xorriso', 'unsquashfs', 'debugfs', 'rpm'];
  const world = await stageWorld({
    request: { label: 'HELLO-LIVE', ...(kickstart === undefined ? {} : { kickstart: 'https://ks.example/x.ks' }) },
    programs: Object.fromEntries(names.map((name) => [name, tool(name)])),
    ...(signal ? { signal } : {}),
  });
  workspaces = world.workspaces;
  const { set, contents } = repositoriesOf(resolution);
  for (const content of contents) await storeContent(world.files, content);
  const given = { ...set, repositories: set.repositories.map((each) => ({ ...each, files: each.files.filter(({ path }) => !lost || !path.includes(lost)) })) };
  const stage = imageBuilder({ engines: [kiwi, livemediaCreator] });
  const event = {
    data: {
      arch: 'x86_64',
      imageType,
      engine,
      resolution: await storeContent(
        world.files,
        JSON.stringify({
          ...resolution,
          release: kickstart === undefined ? resolution.release : 'simulated',
          ...(kickstart === undefined ? {} : { kickstart: await storeContent(world.files, kickstart) }),
        }),
      ),
      repositories: await storeContent(world.files, JSON.stringify(given)),
    },
  } as EventOf<(typeof stage)['consumes']>;
  const handled = stage.handle(event, world.context).then((emitted) => {
    if ('type' in emitted) return emitted;
    throw new Error('more events than one');
  });
  return { handled, world, requests };
}

describe('image-builder', () => {
  it('builds by a kickstart, and keeps it without the hashes of its passwords', async () => {
    const kickstart = 'lang de_DE.UTF-8\nkeyboard de\ntimezone Europe/Berlin\nrootpw --lock --iscrypted $6$salt$hash\n';
    const systemd = resolutionOf(['bash-5.2-1.x86_64', 'kernel-core-6.1-1.x86_64', 'systemd-258-1.x86_64'], ['hello-1.1-1.noarch']);
    const { handled, world } = await build({ kickstart, resolution: systemd });
    const emitted = await handled;
    if (emitted.type !== 'image.built') throw new Error('no image');
    const text = async (wanted: string) => {
      const artifact = emitted.data.artifacts.find(({ name }) => name === wanted);
      return artifact ? await readContentText(world.files, artifact) : undefined;
    };
    expect(world.phases).toEqual([
      'laying out the repositories',
      'making the image',
      'implanting the media check',
      'reading the image back',
      'storing the image',
    ]);
    expect(await text('kickstart.ks')).toBe(kickstart.replace('$6$salt$hash', '*'));
    expect(await text('config.xml')).toMatch(/<locale>de_DE<\/locale>\s*<keytable>de<\/keytable>\s*<timezone>Europe\/Berlin<\/timezone>/);
  });

  it.each([0, 1])("keeps the tool's own logs when it ends with status %i, without hashes and places of this worker", async (exitCode) => {
    const tool: SimulatedProgram = async ({ args, onLine }) => {
      const optionOf = (option: string) => args[args.indexOf(option) + 1] ?? '';
      const names = good.packages.map(({ nevra }) => nevra);
      const write = (path: string, content: string) => made.world.workspaces.writeAt(path, content);
      if (args.includes('--version')) return { stdout: 'livemedia-creator 46.0-1' };
      made.world.workspaces.writeAt(`${optionOf('--resultdir')}/image.iso`, isoFile(JSON.stringify(names)));
      const logs = optionOf('--logfile').replace(/\/[^/]*$/, '');
      write(optionOf('--logfile'), `Using ${logs}/x\nuser $6$salt$hash\n`);
      write(`${logs}/program.log`, 'Running...\n');
      write(`${logs}/anaconda/packaging.log`, 'packaging\n');
      write(`${logs}/empty.log`, '');
      onLine?.('user --password=$6$salt$hash', 'stdout');
      return { exitCode };
    };
    const made = await build({ engine: 'livemedia-creator', tools: { 'livemedia-creator': tool } });
    const emitted = await made.handled;
    expect(emitted.type).toBe(exitCode === 0 ? 'image.built' : 'build.failed');
    const { artifacts } = emitted.data;
    expect(artifacts.map(({ name }) => name)).toEqual(expect.arrayContaining(['kickstart.ks', 'livemedia.log', 'program.log', 'packaging.log']));
    expect(artifacts.map(({ name }) => name)).not.toContain('empty.log');
    const log = artifacts.find(({ name }) => name === 'livemedia.log');
    expect(log && (await readContentText(made.world.files, log))).toBe('Using logs/x\nuser *\n');
    expect(made.world.lines.join('\n')).not.toContain('$6$');
  });

  it('does not build by a kickstart whose scripts are not permitted any more', async () => {
    const { handled } = await build({ kickstart: '%post\ntrue\n%end\n' });
    await expect(handled).rejects.toMatchObject({ code: 'UNTRUSTED_CODE_REFUSED' });
  });

  it('makes the image, its manifest and its recipe', async () => {
    const { handled, world, requests } = await build();
    const emitted = await handled;
    expect(emitted).toMatchObject({
      type: 'image.built',
      data: { arch: 'x86_64', imageType: 'live', image: 'HELLO-LIVE-sample-x86_64.iso', requested: ['hello-1.1-1.noarch'] },
    });
    if (emitted.type !== 'image.built') throw new Error('no image');
    expect(emitted.data.artifacts.map(({ name }) => name)).toEqual(['HELLO-LIVE-sample-x86_64.iso', 'manifest.json', 'sbom.spdx.json', 'config.xml']);
    const [, manifest, sbom, recipe] = await Promise.all(emitted.data.artifacts.map((artifact) => readContentText(world.files, artifact)));
    const image = await readContent(world.files, emitted.data.artifacts[0] as FileRef);
    expect(JSON.parse(isoContent(image)).sort()).toEqual(good.packages.map(({ nevra }) => nevra));
    expect(JSON.parse(sbom ?? '').packages.map(({ name }: { name: string }) => name)).toEqual(['HELLO-LIVE-sample-x86_64.iso', 'bash', 'hello', 'kernel-core']);
    expect(JSON.parse(manifest ?? '')).toMatchObject({
      tools: { kiwi: '9.24.43' },
      missing: [],
      packages: [{ nevra: 'bash-5.2-1.x86_64' }, { from: 'side' }, {}],
    });
    expect(recipe).toContain('<package name="hello"/>');
    // Everything that meets the image or its packages has no network.
    const inspecting = requests.filter(({ args }) => !args.includes('--version'));
    expect(inspecting.map(({ isolation }) => isolation)).toEqual(inspecting.map(() => 'private-no-network'));
    expect(requests.map(({ command }) => command)).toEqual(expect.arrayContaining(['implantisomd5', 'checkisomd5']));
  });

  it('asks for the version of the tool once', async () => {
    const { handled, requests } = await build();
    await handled;
    expect(requests.filter(({ args }) => args.includes('--version'))).toHaveLength(1);
  });

  it('fails an image that lacks a requested build, and says what it holds instead', async () => {
    const older = resolutionOf(['bash-5.2-1.x86_64'], ['hello-1.1-1.noarch']);
    const { handled } = await build({
      resolution: older,
      tools: { rpm: async () => ({ stdout: rowsOf('hello-1.0-1.noarch', 'bash-5.2-1.x86_64') }) },
    });
    expect(await handled).toMatchObject({
      type: 'build.failed',
      data: {
        failure: { code: 'REQUESTED_BUILD_MISSING', message: 'the finished image lacks hello-1.1-1.noarch (it holds hello-1.0-1.noarch)', fault: 'operator' },
        artifacts: [{ name: 'config.xml' }],
      },
    });
  });

  it('finishes an image that lacks something else, and tells', async () => {
    const { handled, world } = await build({ lost: 'bash' });
    const emitted = await handled;
    expect(emitted.type).toBe('image.built');
    expect(world.lines).toContain('image-builder: resolved, but not in the image: bash-5.2-1.x86_64');
  });

  it('gives the reason of the engine, with the recipe', async () => {
    const { handled, world } = await build({
      tools: {
        'kiwi-ng': async ({ args, onLine }) => {
          if (args.includes('--version')) return { exitCode: 1 };
          onLine?.('[ ERROR   ]: 08:43:14 | KiwiBootStrapPhaseFailed: Error: Unable to find a match: x', 'stderr');
          return { exitCode: 1 };
        },
      },
    });
    expect(await handled).toMatchObject({
      type: 'build.failed',
      data: {
        failure: { code: 'ENGINE_FAILED', message: 'kiwi ended with status 1: Error: Unable to find a match: x', stage: 'image-builder' },
        artifacts: [{ name: 'config.xml' }],
      },
    });
    expect(world.lines.filter((line) => line.startsWith('kiwi: '))).toHaveLength(1);
  });

  it('fails where a scriptlet of a requested build failed though the tool went on, and only tells of the others', async () => {
    const warning = (nevra: string) => `warning: %post(${nevra}) scriptlet failed, exit status 3`;
    const saying = (line: string): Case => ({
      tools: {
        'kiwi-ng': async (request) => {
          request.onLine?.(line, 'stderr');
          return { stdout: 'version 1' };
        },
      },
    });
    const asked = await build(saying(warning('hello-1.1-1.noarch')));
    expect(await asked.handled).toMatchObject({
      type: 'build.failed',
      data: { failure: { code: 'ENGINE_FAILED', message: expect.stringContaining('its %post scriptlet failed: warning: %post(hello-1.1-1.noarch)') } },
    });
    const other = await build(saying(warning('bash-5.2-1.x86_64')));
    // It left no image here; that is not the scriptlet's doing.
    expect(await other.handled).toMatchObject({ data: { failure: { code: 'ENGINE_OUTPUT_MISSING' } } });
    expect(other.world.lines).toContain('image-builder: warning: the %post scriptlet of bash-5.2-1.x86_64 failed; the package is installed all the same');
  });

  it.each([
    ['the engine leaves no image', { 'kiwi-ng': async () => ({}) }, 'ENGINE_OUTPUT_MISSING'],
    ['the engine is killed', { 'kiwi-ng': async () => ({ exitCode: null, signal: 'SIGKILL' }) }, 'ENGINE_FAILED'],
    ['the media check is broken', { checkisomd5: async () => ({ exitCode: 1 }) }, 'IMAGE_UNREADABLE'],
    ['the media check cannot be implanted', { implantisomd5: async () => ({ exitCode: 1 }) }, 'IMAGE_UNREADABLE'],
    ['the image cannot be opened', { xorriso: async () => ({ exitCode: 5 }) }, 'IMAGE_UNREADABLE'],
    ['the image has no database', { unsquashfs: async () => ({}) }, 'IMAGE_UNREADABLE'],
    ['the database is empty', { rpm: async () => ({ stdout: '' }) }, 'IMAGE_UNREADABLE'],
    [
      'a package whose licence would pass for another package',
      { rpm: async () => ({ stdout: rowsOf('bash-5.2-1.x86_64').replace("'MIT'", "'MIT\\n'\\''hello'\\''\\t0\\t'") }) },
      'REQUESTED_BUILD_MISSING',
    ],
    ['the database is nonsense', { rpm: async () => ({ stdout: 'error: no\n' }) }, 'IMAGE_UNREADABLE'],
  ] satisfies [string, Record<string, SimulatedProgram>, string][])('ends the build where %s', async (_, tools, code) => {
    const { handled } = await build({ tools });
    expect(await handled).toMatchObject({ type: 'build.failed', data: { failure: { code }, artifacts: [{ name: 'config.xml' }] } });
  });

  it('throws what another try may mend', async () => {
    const noSpace = await build({
      tools: {
        'kiwi-ng': async ({ onLine }) => {
          onLine?.('mksquashfs: write failed because No space left on device', 'stderr');
          return { exitCode: 1 };
        },
      },
    });
    await expect(noSpace.handled).rejects.toMatchObject({ code: 'DISK_FULL' });
  });

  it('refuses an engine or image type that is not here, and says what is', async () => {
    for (const change of [{ engine: 'native' }, { imageType: 'dvd' }] as const) {
      const { handled } = await build(change);
      expect(await handled).toMatchObject({
        type: 'build.failed',
        data: { failure: { code: 'ENGINE_UNSUPPORTED', message: expect.stringContaining('kiwi (live)') } },
      });
    }
  });

  it.each(['--installroot=/', '../../etc/passwd', 'a b', '*', ''])('puts no package named %j on a command line', async (name) => {
    const [first] = good.packages;
    if (!first) throw new Error('no package');
    const { handled, requests } = await build({ resolution: { ...good, packages: [{ ...first, name, nevra: `${name}-1-1.noarch` }] } });
    await expect(handled).rejects.toMatchObject({ code: 'PACKAGE_MISMATCH' });
    expect(requests).toEqual([]);
  });

  it('ends with the reason of the signal when it is canceled', async () => {
    const controller = new AbortController();
    const reason = new Error('canceled');
    const { handled } = await build({
      signal: controller.signal,
      tools: {
        'kiwi-ng': ({ signal, args }) => {
          if (args.includes('--version')) return Promise.resolve({ stdout: 'version 1' });
          controller.abort(reason);
          return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
        },
      },
    });
    await expect(handled).rejects.toBe(reason);
  });
});
