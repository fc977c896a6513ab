/** The lorax engine: Fedora's installer as a boot ISO, from exactly the resolved packages. Its command line follows lorax's own source; it has not been run here, since Debian has no lorax. */
import { type EngineOrder, type ImageEngine, layout, type Recipe } from './engine.ts';
import { loraxPhase, loraxProgress, relevantLoraxLines } from './lorax-log.ts';
import { productName } from './product-name.ts';
import { anyWorkspace, recipeScript } from './recipe-script.ts';

export const lorax: ImageEngine = {
  name: 'lorax',
  imageTypes: ['boot'],
  needs: {
    commands: ['lorax', 'mksquashfs', 'xorriso', 'implantisomd5', 'checkisomd5'],
    install: { debian: [], fedora: ['lorax', 'lorax-templates-generic', 'squashfs-tools', 'xorriso', 'isomd5sum'] },
  },
  version: { command: 'lorax', args: ['--version'], read: (stdout) => /(\d+(?:\.\d+)+(?:-\d+)?)/.exec(stdout)?.[1] },
  render,
  logs: [layout.logs, `${layout.logs}/pkglists`],
  // lorax makes a whole release tree, of which this is the image.
  findImages: (names) => (names.includes('images') ? ['images/boot.iso'] : []),
  phase: loraxPhase,
  progress: loraxProgress,
  relevantLines: relevantLoraxLines,
};

function render(order: EngineOrder): Recipe {
  const { request, resolution } = order;
  const about = [`${request.label}: boot image of ${resolution.release}, ${resolution.arch}. Made by lorax.`];
  const content = recipeScript(renderIn({ ...order, root: anyWorkspace }), about);
  return { ...renderIn(order), artifact: { name: 'recipe.sh', mediaType: 'text/x-shellscript', content } };
}

function renderIn(order: EngineOrder): Omit<Recipe, 'artifact'> {
  return {
    files: [],
    // The result's directory is lorax's to make: it refuses one that is there.
    directories: [layout.temporary, layout.cache, layout.logs, layout.home],
    steps: [
      {
        what: 'making the installer',
        sandbox: { loopDevices: true },
        run: { command: 'lorax', args: argumentsOf(order), env: { HOME: `${order.root}/${layout.home}` }, isolation: 'private-no-network' },
      },
    ],
  };
}

/** lorax's own room for the installer's file system, in GiB; what is asked for besides needs more. */
const rootfsGibibytesMin = 3;

function argumentsOf({ request, resolution, releasever, release, root }: EngineOrder): readonly string[] {
  const installed = Math.ceil((resolution.installedBytes * 1.3) / 2 ** 30) + 1;
  return [
    ...['--product', productName(release), '--version', releasever, '--release', releasever],
    ...['--volid', request.label, '--isfinal', '--nomacboot', '--buildarch', resolution.arch],
    // They hold one version of each package, so that is the one that wins.
    ...['--source', `file://${root}/${layout.stable}`, '--source', `file://${root}/${layout.side}`],
    ...resolution.roots.flatMap((name) => ['--installpkgs', name]),
    ...request.excludePackages.filter((spec) => !spec.startsWith('@')).flatMap((spec) => ['--excludepkgs', spec]),
    ...['--rootfs-size', String(Math.max(rootfsGibibytesMin, installed))],
    ...['--logfile', `${root}/${layout.logs}/lorax.log`],
    ...['--tmp', `${root}/${layout.temporary}`, '--cachedir', `${root}/${layout.cache}`],
    `${root}/${layout.output}`,
  ];
}
