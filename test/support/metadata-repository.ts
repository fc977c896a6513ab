/** Writes a repository's metadata, without any RPM, as createrepo_c would; and a Repositories port on directories, for tests of what stands behind it. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { SpindleError } from '../../shared/build/failure.ts';
import { type Nevra, parseNevra, rpmFileName } from '../../shared/fedora/nvr.ts';
import type { Repositories } from '../../shared/repositories/repositories.ts';

export interface MetadataPackage {
  /** `hello-1.0-1.noarch` */
  readonly nevra: string;
  readonly summary?: string;
  /** Capabilities: `libfoo.so.1`, `foo >= 2-1`. The package's own name is provided too. */
  readonly provides?: readonly string[];
  readonly requires?: readonly string[];
  readonly conflicts?: readonly string[];
  readonly files?: readonly string[];
  readonly location?: string;
}

export interface MetadataRepositoryOptions {
  readonly packages: readonly MetadataPackage[];
  /** Group or environment (`^name`) by id: package names, or group ids. */
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  /** Advisory → NEVRAs. */
  readonly advisories?: Readonly<Record<string, readonly string[]>>;
  readonly revision?: string;
}

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
const comparisons: Readonly<Record<string, string>> = { '=': 'EQ', '>=': 'GE', '<=': 'LE', '>': 'GT', '<': 'LT' };

function entry(capability: string): string {
  const [name = '', comparison, evr = ''] = capability.split(' ');
  if (comparison === undefined) return `<rpm:entry name="${escaped(capability)}"/>`;
  const [, epoch = '0', version = '', release] = /^(?:(\d+):)?([^-]+)(?:-(.+))?$/.exec(evr) ?? [];
  const rel = release === undefined ? '' : ` rel="${release}"`;
  return `<rpm:entry name="${escaped(name)}" flags="${comparisons[comparison]}" epoch="${epoch}" ver="${version}"${rel}/>`;
}

const list = (kind: string, capabilities: readonly string[]) =>
  capabilities.length > 0 ? `<rpm:${kind}>${capabilities.map(entry).join('')}</rpm:${kind}>` : '';

function required(nevra: string): Nevra {
  const parsed = parseNevra(nevra);
  if (!parsed) throw new Error(`${nevra} is not a NEVRA`);
  return parsed;
}

function primary(each: MetadataPackage): string {
  const { name, epoch, version, release, arch } = required(each.nevra);
  const sha256 = createHash('sha256').update(each.nevra).digest('hex');
  const own = `${name} = ${epoch}:${version}-${release}`;
  return [
    `<package type="rpm"><name>${escaped(name)}</name><arch>${arch}</arch><version epoch="${epoch}" ver="${version}" rel="${release}"/>`,
    `<checksum type="sha256" pkgid="YES">${sha256}</checksum><summary>${escaped(each.summary ?? name)}</summary><description/><packager/><url/>`,
    '<time file="1700000000" build="1700000000"/><size package="1000" installed="2000" archive="2100"/>',
    `<location href="${escaped(each.location ?? `Packages/${rpmFileName({ name, epoch, version, release, arch })}`)}"/>`,
    `<format><rpm:license>MIT</rpm:license><rpm:sourcerpm>${escaped(name)}-${version}-${release}.src.rpm</rpm:sourcerpm>`,
    list('provides', [own, ...(each.provides ?? [])]) + list('requires', each.requires ?? []) + list('conflicts', each.conflicts ?? []),
    `${(each.files ?? []).map((file) => `<file>${escaped(file)}</file>`).join('')}</format></package>`,
  ].join('');
}

function comps(groups: Readonly<Record<string, readonly string[]>>): string {
  const body = Object.entries(groups).map(([id, members]) =>
    id.startsWith('^')
      ? `<environment><id>${id.slice(1)}</id><name>${id.slice(1)}</name><description/><grouplist>${members.map((each) => `<groupid>${each}</groupid>`).join('')}</grouplist></environment>`
      : `<group><id>${id}</id><name>The ${id} group</name><description/><packagelist>${members.map((each) => `<packagereq type="mandatory">${each}</packagereq>`).join('')}</packagelist></group>`,
  );
  return `<?xml version="1.0" encoding="UTF-8"?>\n<comps>${body.join('\n')}</comps>\n`;
}

function updateinfo(advisories: Readonly<Record<string, readonly string[]>>): string {
  const updates = Object.entries(advisories).map(([id, nevras]) => {
    const packages = nevras.map(required).map(({ name, epoch, version, release, arch }) => {
      const file = rpmFileName({ name, epoch, version, release, arch });
      return `<package name="${name}" epoch="${epoch}" version="${version}" release="${release}" arch="${arch}"><filename>${file}</filename></package>`;
    });
    const collection = `<pkglist><collection short="c"><name>c</name>${packages.join('')}</collection></pkglist>`;
    return `<update from="test" status="testing" type="bugfix" version="2"><id>${id}</id><title>${id}</title><issued date="2026-01-01 00:00:00"/>${collection}</update>`;
  });
  return `<?xml version="1.0" encoding="UTF-8"?>\n<updates>${updates.join('\n')}</updates>\n`;
}

/** Writes `repodata/` below the directory. The same options make the same bytes. */
export async function writeMetadataRepository(directory: string, { packages, groups, advisories, revision = '1' }: MetadataRepositoryOptions): Promise<void> {
  const folder = join(directory, 'repodata');
  await mkdir(folder, { recursive: true });
  const namespaces = 'xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"';
  const filelists = packages.map((each) => {
    const { name, epoch, version, release, arch } = required(each.nevra);
    const sha256 = createHash('sha256').update(each.nevra).digest('hex');
    const files = (each.files ?? []).map((file) => `<file>${escaped(file)}</file>`).join('');
    return `<package pkgid="${sha256}" name="${escaped(name)}" arch="${arch}"><version epoch="${epoch}" ver="${version}" rel="${release}"/>${files}</package>`;
  });
  const documents: readonly (readonly [type: string, text: string])[] = [
    [
      'primary',
      `<?xml version="1.0" encoding="UTF-8"?>\n<metadata ${namespaces} packages="${packages.length}">\n${packages.map(primary).join('\n')}\n</metadata>\n`,
    ],
    [
      'filelists',
      `<?xml version="1.0" encoding="UTF-8"?>\n<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="${packages.length}">\n${filelists.join('\n')}\n</filelists>\n`,
    ],
    ...(groups ? [['group', comps(groups)] as const] : []),
    ...(advisories ? [['updateinfo', updateinfo(advisories)] as const] : []),
  ];
  const data = await Promise.all(
    documents.map(async ([type, text]) => {
      const content = gzipSync(text);
      const [sum, openSum] = [content, text].map((each) => createHash('sha256').update(each).digest('hex'));
      await writeFile(join(folder, `${sum}-${type}.xml.gz`), content);
      return (
        `<data type="${type}"><checksum type="sha256">${sum}</checksum><open-checksum type="sha256">${openSum}</open-checksum><location href="repodata/${sum}-${type}.xml.gz"/>` +
        `<timestamp>1700000000</timestamp><size>${content.byteLength}</size><open-size>${Buffer.byteLength(text)}</open-size></data>`
      );
    }),
  );
  const repomd = `<?xml version="1.0" encoding="UTF-8"?>\n<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>${revision}</revision>${data.join('')}</repomd>\n`;
  await writeFile(join(folder, 'repomd.xml'), repomd);
}

/** Takes a `file:` baseurl as a directory that nobody changes while it is held: what it says now is the state. */
export function directoryRepositories(): Repositories {
  return {
    open: async ({ id, baseurl = '' }, { signal }) => {
      signal.throwIfAborted();
      const directory = new URL(baseurl).pathname;
      const repomd = await readFile(join(directory, 'repodata/repomd.xml'), 'utf8').catch(() => {
        throw new SpindleError('REPOSITORY_UNREACHABLE', `the repository ${id} is not there`);
      });
      const digest = createHash('sha256').update(repomd).digest('hex');
      const revision = /<revision>(.*?)<\/revision>/.exec(repomd)?.[1] ?? '';
      return { directory, digest, revision, mirrors: [`https://mirror.example/${id}/`], openBytes: repomd.length, release: () => {} };
    },
    close: async () => {},
  };
}
