/** Stands in for KIWI and the tools that read an image back: an image here is the list of RPMs that its build was given, so that a mix-up shows in it. */
import { simulatedReport } from '../../services/boot-test/simulated-machine.ts';
import { type Nevra, parseNevra } from '../../shared/fedora/nvr.ts';
import type { ProgramRequest } from '../../shared/programs/programs.ts';
import type { SimulatedProgram } from '../../shared/programs/simulated.ts';
import type { MemoryWorkspaces } from '../../shared/workspace/memory.ts';
import { isoContent, isoFile } from './iso-file.ts';

const squashfsMark = 'hsqs';
const argument = (request: ProgramRequest, name: string): string => request.args[request.args.indexOf(name) + 1] ?? '';

/** Of an ISO, of the squashfs in it, or of the database in that. */
function contentAt(workspaces: MemoryWorkspaces, path: string): string {
  const bytes = workspaces.readAt(path) ?? new Uint8Array();
  const text = Buffer.from(bytes).toString('utf8', 0, 4) === squashfsMark ? Buffer.from(bytes).toString('utf8', 4) : undefined;
  return text ?? isoContent(bytes);
}

/** The NEVRAs in a simulated image. */
function simulatedImageContents(workspaces: MemoryWorkspaces, path: string): readonly string[] {
  return JSON.parse(contentAt(workspaces, path)) as readonly string[];
}

/** What its serial console prints when it is started. */
export function simulatedImageReport(workspaces: MemoryWorkspaces, path: string, bootMs: number) {
  return simulatedReport(simulatedImageContents(workspaces, path), bootMs);
}

/** A line of the RPM database's listing. */
export function rpmRow({ name, epoch, version, release, arch }: Nevra, license = "'MIT'"): string {
  return `'${name}'\t${epoch}\t'${version}'\t'${release}'\t'${arch}'\t${license}\t(none)\t'${name}-${version}-${release}.src.rpm'\t1772776800\n`;
}

/** By the commands that they are started with. */
export function simulatedImageTools(workspaces: MemoryWorkspaces): Readonly<Record<string, SimulatedProgram>> {
  return {
    'kiwi-ng': async (request) => {
      if (request.args.includes('--version')) return { stdout: 'KIWI (next generation) version 9.24.43\n' };
      const root = argument(request, '--description').replace(/\/[^/]*$/, '');
      const rpms = workspaces.listBelow(root).filter((path) => path.endsWith('.rpm'));
      const names = rpms.map((path) => path.slice(path.lastIndexOf('/') + 1, -'.rpm'.length));
      workspaces.writeAt(`${argument(request, '--target-dir')}/Image.x86_64-1.0.iso`, isoFile(JSON.stringify(names)));
      return {};
    },
    implantisomd5: async () => ({}),
    checkisomd5: async () => ({}),
    xorriso: async (request) => {
      workspaces.writeAt(request.args.at(-1) ?? '', squashfsMark + contentAt(workspaces, argument(request, '-indev')));
      return {};
    },
    unsquashfs: async (request) => {
      const image = request.args.find((each) => each.endsWith('squashfs.img')) ?? '';
      workspaces.writeAt(`${argument(request, '-dest')}/usr/lib/sysimage/rpm/rpmdb.sqlite`, workspaces.readAt(image) ?? new Uint8Array());
      return {};
    },
    rpm: async (request) => {
      const rows = simulatedImageContents(workspaces, `${argument(request, '--dbpath')}/rpmdb.sqlite`).flatMap((name) => {
        const nevra = parseNevra(name);
        return nevra ? [rpmRow(nevra)] : [];
      });
      return { stdout: rows.join('') };
    },
  };
}
