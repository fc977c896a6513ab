/**
 * The livemedia-creator engine: a live ISO by Anaconda, from a kickstart. Its command line and kickstart follow livemedia-creator's own source; it has not been run here, since
 * Debian has neither.
 */
import { renderKickstart } from '../../../shared/kickstart/render.ts';
import { withoutHashes } from '../../../shared/kickstart/secrets.ts';
import { type EngineOrder, type ImageEngine, layout, type Recipe } from './engine.ts';
import { loraxPhase, loraxProgress, relevantLoraxLines } from './lorax-log.ts';
import { productName } from './product-name.ts';
import { anyWorkspace } from './recipe-script.ts';

export const livemediaCreator: ImageEngine = {
  name: 'livemedia-creator',
  imageTypes: ['live'],
  needs: {
    commands: ['livemedia-creator', 'anaconda', 'mksquashfs', 'xorriso', 'implantisomd5', 'checkisomd5'],
    install: { debian: [], fedora: ['lorax', 'lorax-lmc-novirt', 'anaconda-tui', 'squashfs-tools', 'xorriso', 'isomd5sum'] },
  },
  version: { command: 'livemedia-creator', args: ['--version'], read: (stdout) => /(\d+(?:\.\d+)+(?:-\d+)?)/.exec(stdout)?.[1] },
  render,
  logs: [layout.logs, `${layout.logs}/anaconda`],
  findImages: (names) => names.filter((name) => name === imageName),
  phase: loraxPhase,
  progress: loraxProgress,
  relevantLines: relevantLoraxLines,
};

const imageName = 'image.iso';
const kickstartPath = `${layout.recipe}/flat.ks`;
/** livemedia-creator's own bound, a little below that of the whole step: then it still says what it was waiting for. */
const timeoutMinutes = 100;

function render(order: EngineOrder): Recipe {
  const { root, request, releasever, release } = order;
  return {
    files: [{ path: kickstartPath, content: kickstartOf(order) }],
    // The result's directory is livemedia-creator's to make: it refuses one that is there.
    directories: [layout.temporary, layout.logs, layout.home],
    steps: [
      {
        what: 'making the image',
        sandbox: { loopDevices: true },
        run: {
          command: 'livemedia-creator',
          args: [
            ...['--make-iso', '--no-virt', '--ks', `${root}/${kickstartPath}`],
            ...['--resultdir', `${root}/${layout.output}`, '--logfile', `${root}/${layout.logs}/livemedia.log`],
            ...['--project', productName(release), '--releasever', releasever, '--volid', request.label],
            ...['--iso-only', '--iso-name', imageName, '--nomacboot'],
            ...['--tmp', `${root}/${layout.temporary}`, '--timeout', String(timeoutMinutes)],
          ],
          env: { HOME: `${root}/${layout.home}` },
          // Anaconda sends its log to it over the loopback, which is there; the kickstart names local repositories only.
          isolation: 'private-no-network',
        },
      },
    ],
    artifact: { name: 'kickstart.ks', mediaType: 'text/plain', content: withoutHashes(kickstartOf({ ...order, root: anyWorkspace })) },
  };
}

function kickstartOf({ request, resolution, kickstart, root }: EngineOrder): string {
  const repositories = { stable: `file://${root}/${layout.stable}`, side: `file://${root}/${layout.side}` };
  return renderKickstart({ request, resolution, purpose: 'live', repositories, own: kickstart });
}
