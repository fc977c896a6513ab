/** Takes up what an engine left: the one image, a plain file, whole as far as its first sectors tell, with something in it for firmware to start. No tool is run on it before that. */
import { SpindleError } from '../../shared/build/failure.ts';
import type { Firmware, SingleBuildRequest } from '../../shared/build/request.ts';
import type { Workspace } from '../../shared/workspace/workspace.ts';
import { type ImageEngine, layout } from './engines/engine.ts';
import { catalogBytes, descriptorsAt, descriptorsBytes, readVolume, startedBy } from './iso-volume.ts';

const namesShownMax = 10;

/**
 * The image's path in the workspace. Rejects with ENGINE_OUTPUT_MISSING where there is none, and ENGINE_OUTPUT_WRONG where it cannot be one. The tools that read images are not
 * asked: what implants and checks the sum of a medium reads on for ever in a file that is no ISO.
 */
export async function takeImage(engine: ImageEngine, workspace: Workspace, request: SingleBuildRequest, lastLines: readonly string[]): Promise<string> {
  const wrong = (what: string) => new SpindleError('ENGINE_OUTPUT_WRONG', `${engine.name} said it succeeded, but ${what}`, { details: lastLines });
  const names = await workspace.list(layout.output);
  const [name, ...others] = engine.findImages(names);
  const missing = () => {
    const left = names.length > 0 ? `it left ${shown(names)}` : 'it left nothing at all';
    return new SpindleError('ENGINE_OUTPUT_MISSING', `${engine.name} said it succeeded, but left no image; ${left}`, { details: lastLines });
  };
  if (name === undefined) throw missing();
  if (others.length > 0) throw wrong(`left ${others.length + 1} images, of which nobody can tell the right one: ${shown([name, ...others])}`);

  const path = `${layout.output}/${name}`;
  const fail = (error: unknown) => {
    throw error instanceof SpindleError && error.code === 'PATH_REFUSED'
      ? wrong(`its image ${shown([name])} is behind a link that leads out of the workspace`)
      : error;
  };
  const size = await workspace.size(path).catch(fail);
  if (size === undefined) {
    const slash = path.lastIndexOf('/');
    if (!(await workspace.list(path.slice(0, slash))).includes(path.slice(slash + 1))) throw missing();
    throw wrong(`its image ${shown([name])} is no plain file but a link, a folder or a device`);
  }
  if (size === 0) throw wrong(`its image ${shown([name])} is empty`);
  const volume = readVolume(await workspace.readRange(path, descriptorsAt, descriptorsBytes));
  if (!volume) throw wrong(`its image ${shown([name])}, ${size} bytes, is no ISO`);
  if (size < volume.bytes) throw wrong(`its image ${shown([name])} is cut off: it has ${size} bytes of the ${volume.bytes} that it names itself`);
  const catalog = volume.bootCatalogAt === undefined ? new Uint8Array() : await workspace.readRange(path, volume.bootCatalogAt, catalogBytes);
  const trouble = bootTrouble(startedBy(catalog), request);
  if (trouble !== undefined) throw wrong(`its image ${shown([name])} ${trouble}`);
  return path;
}

/** An image is for starting. Which firmware must be able to is said by what the boot test is asked for. */
function bootTrouble(found: ReadonlySet<Firmware>, { arch, bootTest, firmware }: SingleBuildRequest): string | undefined {
  if (found.size === 0) return 'cannot be started: it has no boot entry (El Torito) for any firmware';
  // Other machines than PCs have no BIOS.
  const asked = bootTest ? (arch === 'x86_64' ? firmware : ['uefi' as const]) : [];
  const lacking = asked.filter((each) => !found.has(each));
  if (lacking.length === 0) return undefined;
  const has = [...found].map(upper).join(' and ');
  return `cannot be started by ${lacking.map(upper).join(' or ')}: it has a boot entry for ${has} only; name that alone under firmware to take it so`;
}

const upper = (name: Firmware) => name.toUpperCase();

/** Names are the tool's, or a stranger's: within quotes and bounds. */
function shown(names: readonly string[]): string {
  const first = names.slice(0, namesShownMax).map((name) => JSON.stringify(name.slice(0, 100)));
  return `${first.join(', ')}${names.length > namesShownMax ? ` and ${names.length - namesShownMax} more` : ''}`;
}
