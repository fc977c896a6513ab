/**
 * The mkksiso engine: puts packages and a kickstart onto a boot ISO that the operator has. For a DVD all resolved packages stand at its root as one repository and it installs by
 * itself; a boot ISO gets the side repository only. The command lines follow mkksiso's own source; it has not been run here, since Debian has no lorax.
 */
import { SpindleError } from '../../../shared/build/failure.ts';
import { renderKickstart } from '../../../shared/kickstart/render.ts';
import { withoutHashes } from '../../../shared/kickstart/secrets.ts';
import { type EngineOrder, type ImageEngine, layout, type Recipe, type RecipeStep } from './engine.ts';
import { loraxProgress, relevantLoraxLines } from './lorax-log.ts';

export const mkksiso: ImageEngine = {
  name: 'mkksiso',
  imageTypes: ['boot', 'dvd'],
  needs: {
    commands: ['mkksiso', 'xorriso', 'createrepo_c', 'implantisomd5', 'checkisomd5'],
    install: { debian: [], fedora: ['lorax', 'xorriso', 'createrepo_c', 'isomd5sum'] },
  },
  // It has no --version of its own; it comes with lorax.
  version: { command: 'lorax', args: ['--version'], read: (stdout) => /(\d+(?:\.\d+)+(?:-\d+)?)/.exec(stdout)?.[1] },
  render,
  findImages: (names) => names.filter((name) => name === imageName),
  // Its steps are its phases.
  phase: () => undefined,
  progress: loraxProgress,
  relevantLines: relevantLoraxLines,
};

const imageName = 'image.iso';
const kickstartPath = `${layout.recipe}/kickstart.ks`;
/** What goes to the root of a DVD. */
const medium = 'medium';

/** Throws ENGINE_UNSUPPORTED where the operator has named no boot ISO for the release. */
function render(order: EngineOrder): Recipe {
  const { root, request, resolution, release } = order;
  const base = release?.baseIsos?.[resolution.arch];
  if (base === undefined) {
    throw new SpindleError(
      'ENGINE_UNSUPPORTED',
      `mkksiso needs a boot ISO of ${release?.name ?? resolution.release} for ${resolution.arch}, and the releases file names none under baseIsos; choose another engine, or ask the operator`,
    );
  }
  const isDvd = request.imageType === 'dvd';
  const env = { HOME: `${root}/${layout.home}` };
  const run = (what: string, command: string, args: readonly string[]): RecipeStep => ({
    what,
    // It rebuilds the boot ISO's file system for UEFI by a loop device.
    sandbox: { readOnly: [base], loopDevices: true },
    run: { command, args, env, isolation: 'private-no-network' },
  });
  const sources = (['stable', 'side'] as const).filter((from) => resolution.packages.some((item) => item.from === from));
  const added = isDvd ? [`${medium}/repodata`, `${medium}/Packages`] : [layout.side];
  const kickstart = kickstartOf(order);
  return {
    files: [{ path: kickstartPath, content: kickstart }],
    directories: [layout.temporary, layout.output, layout.home, ...(isDvd ? [medium] : [])],
    steps: [
      ...(isDvd
        ? [
            // Not as links: the repositories are another mount, and mkksiso follows none.
            run('laying out the medium', 'cp', [
              '--archive',
              '--reflink=auto',
              ...sources.map((from) => `${root}/${layout[from]}/Packages`),
              `${root}/${medium}/`,
            ]),
            run('making the repository', 'createrepo_c', ['--no-database', '--general-compress-type', 'gz', `${root}/${medium}`]),
          ]
        : []),
      run('writing the ISO', 'mkksiso', [
        ...['--ks', `${root}/${kickstartPath}`],
        ...added.flatMap((path) => ['--add', `${root}/${path}`]),
        ...['--volid', request.label, '--tmp', `${root}/${layout.temporary}`],
        ...[base, `${root}/${layout.output}/${imageName}`],
      ]),
    ],
    artifact: { name: 'kickstart.ks', mediaType: 'text/plain', content: withoutHashes(kickstart) },
  };
}

function kickstartOf({ request, resolution, kickstart }: EngineOrder): string {
  const isDvd = request.imageType === 'dvd';
  // Where the installer mounts its medium.
  const repositories = { side: 'file:///run/install/repo/side/' };
  return renderKickstart({ request, resolution, purpose: isDvd ? 'install' : 'assist', repositories, own: kickstart });
}
