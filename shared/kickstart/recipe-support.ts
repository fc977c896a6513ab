/** Which engine's recipe can say what a kickstart asks for. What it cannot say is refused before anything is built, never passed over. Pure. */
import { SpindleError } from '../build/failure.ts';
import type { Engine, ImageType } from '../build/request.ts';
import type { KickstartContent } from './content.ts';
import { type KickstartCommand, type KickstartProblem, optionNames, optionValue, placeName } from './kickstart.ts';

interface RecipeSupport {
  readonly engine: Engine;
  readonly imageTypes: readonly ImageType[];
  readonly command: (command: KickstartCommand) => boolean;
  /** Whether sections other than `%packages`, and options of that one, go into it. */
  readonly sections: boolean;
}

/** They say how an installer goes about its work: where none runs, they ask for nothing. */
const installerOnly: ReadonlySet<string> = new Set(['text', 'cmdline', 'graphical', 'poweroff', 'shutdown', 'reboot', 'halt', 'eula', 'mediacheck', 'logging']);

const hasOnly = ({ words }: KickstartCommand, options: readonly string[]) => optionNames(words).every((name) => options.includes(name));

/** An account that stays locked, as every image has it. */
const isLocked = (command: KickstartCommand) => optionNames(command.words).includes('lock') && hasOnly(command, ['lock', 'iscrypted']);

/** Language, keyboard, time zone and a locked root: what each of our own recipes says anyhow. */
function isBasic(command: KickstartCommand): boolean {
  switch (command.name) {
    case 'repo':
      return true;
    case 'lang':
      return hasOnly(command, []);
    case 'keyboard':
      return hasOnly(command, ['vckeymap']) || (hasOnly(command, ['vckeymap', 'xlayouts']) && !String(optionValue(command.words, 'xlayouts')).includes(','));
    case 'timezone':
      return hasOnly(command, ['utc', 'isUtc']);
    case 'rootpw':
      return isLocked(command);
    default:
      return false;
  }
}

/** What only an installation has: a live system's file has one file system and no boot loader of its own. */
const installationOnly: ReadonlySet<string> = new Set([
  ...[
    'autopart',
    'logvol',
    'volgroup',
    'raid',
    'btrfs',
    'mount',
    'stratisfs',
    'stratispool',
    'reqpart',
    'snapshot',
    'zfcp',
    'zipl',
    'iscsi',
    'iscsiname',
    'fcoe',
  ],
  // livemedia-creator refuses these itself: it drives the installer, and has to see it end.
  ...['text', 'cmdline', 'graphical', 'reboot', 'halt', 'rdp', 'sshpw'],
]);

function isForLiveFile({ name, words }: KickstartCommand): boolean {
  if (name === 'part' || name === 'partition') return words.some((word) => word === '/' || word === 'swap');
  return !installationOnly.has(name);
}

/** What blueprints of osbuild have words for. */
function isInBlueprint(command: KickstartCommand): boolean {
  const { name } = command;
  if (isBasic(command)) return true;
  if (name === 'user') return hasOnly(command, ['name', 'groups', 'password', 'iscrypted', 'homedir', 'shell', 'uid', 'gid', 'gecos']);
  if (name === 'bootloader') return hasOnly(command, ['append']);
  if (name === 'services') return hasOnly(command, ['enabled', 'disabled']);
  if (name === 'firewall') return hasOnly(command, ['enabled', 'enable', 'port', 'service', 'remove-service', 'ssh']);
  if (name === 'network') return hasOnly(command, ['hostname']);
  if (name === 'sshkey') return hasOnly(command, ['username']);
  return false;
}

const support: readonly RecipeSupport[] = [
  { engine: 'livemedia-creator', imageTypes: ['live'], command: isForLiveFile, sections: true },
  { engine: 'mkksiso', imageTypes: ['boot', 'dvd'], command: () => true, sections: true },
  { engine: 'kiwi', imageTypes: ['live'], command: (command) => isBasic(command) || installerOnly.has(command.name), sections: false },
  { engine: 'native', imageTypes: ['live'], command: (command) => isBasic(command) || installerOnly.has(command.name), sections: false },
  { engine: 'native', imageTypes: ['boot'], command: ({ name }) => name === 'repo', sections: false },
  { engine: 'native', imageTypes: ['dvd'], command: () => true, sections: true },
  { engine: 'image-builder', imageTypes: ['dvd'], command: isInBlueprint, sections: false },
  { engine: 'lorax', imageTypes: ['boot'], command: ({ name }) => name === 'repo', sections: false },
];

/** Everything that the engine's recipe cannot say, in the order of the lines. */
export function recipeProblems(content: KickstartContent, engine: Engine, imageType: ImageType): readonly KickstartProblem[] {
  const own = support.find((each) => each.engine === engine && each.imageTypes.includes(imageType));
  if (!own) return [];
  const others = support.filter((each) => each !== own && each.imageTypes.includes(imageType));
  const advice = (can: (each: RecipeSupport) => boolean) => {
    const names = others.filter(can).map((each) => each.engine);
    return names.length > 0 ? `${names.join(' and ')} can` : `no engine for ${imageType} images can`;
  };
  const { kickstart, packages } = content;
  const commands = kickstart.commands
    .filter((command) => !own.command(command))
    .map((command) => ({
      place: command.place,
      what: `has ${command.name} in a way that the recipe of ${engine} has no words for; ${advice((each) => each.command(command))}`,
    }));
  const sections = kickstart.sections
    .filter(({ name }) => !own.sections && (name !== '%packages' || packages.options.length > 0))
    .map(({ name, place }) => ({
      place,
      what: `has ${name === '%packages' ? 'options of %packages' : name}, which the recipe of ${engine} has no place for; ${advice((each) => each.sections)}`,
    }));
  return [...commands, ...sections];
}

/** Throws RECIPE_UNSUPPORTED with every line. */
export function refuseUnsayable(content: KickstartContent, engine: Engine, imageType: ImageType): void {
  const problems = recipeProblems(content, engine, imageType).map(({ place, what }) => `${placeName(place)} ${what}`);
  const [first, ...others] = problems;
  if (first === undefined) return;
  const more = others.length > 0 ? ` (and ${others.length} more, see the details)` : '';
  throw new SpindleError('RECIPE_UNSUPPORTED', `kickstart: ${first}${more}`, others.length > 0 ? { details: problems.slice(0, 20) } : {});
}
