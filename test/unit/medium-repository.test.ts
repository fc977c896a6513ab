/** The repository of an installation medium, read back: what its metadata lists, where the medium bears it out; else a refusal that says why. */
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { listImage } from '../../services/image-builder/image-reading.ts';
import { readMediumRepository } from '../../services/image-builder/medium-repository.ts';
import type { SimulatedProgram } from '../../shared/programs/simulated.ts';
import { stageWorld } from '../support/stage-context.ts';

const packageXml = (name: string, size = 100) =>
  `<package type="rpm"><name>${name}</name><arch>noarch</arch><version epoch="1" ver="1.1" rel="2"/><size package="${size}" installed="5"/><location href="Packages/${name}.rpm"/><format><rpm:provides xmlns:rpm="r"><rpm:entry name="other"/></rpm:provides></format></package>`;
const primaryOf = (...packages: readonly string[]) => `<?xml version="1.0"?><metadata packages="${packages.length}">${packages.join('')}</metadata>`;
const listing = (...names: readonly string[]) =>
  names.map((name) => `-r--r--r--    1 0        0             100 Jan  5 2026 '/Packages/${name}.rpm'\n`).join('');

interface Medium {
  readonly primary: string;
  readonly list: string;
  readonly checksum?: string;
  readonly compress?: (text: string) => Uint8Array;
}

async function read({ primary, list, checksum, compress = gzipSync }: Medium) {
  const bytes = compress(primary);
  const digest = checksum ?? createHash('sha256').update(bytes).digest('hex');
  const repomd = `<repomd><data type="primary"><checksum type="sha256">${digest}</checksum><location href="repodata/primary.xml.gz"/></data></repomd>`;
  let writeAt: (path: string, content: string | Uint8Array) => void = () => {};
  const xorriso: SimulatedProgram = async ({ args }) => {
    if (args.includes('-find')) return { stdout: list };
    const target = args.at(-1) ?? '';
    writeAt(`${target}/repomd.xml`, repomd);
    writeAt(`${target}/primary.xml.gz`, bytes);
    return {};
  };
  const { context, workspaces } = await stageWorld({ programs: { xorriso } });
  writeAt = (path, content) => workspaces.writeAt(path, content);
  const { programs, signal, log } = context;
  const reading = { programs, workspace: await context.workspace(), signal, log };
  return readMediumRepository({ iso: 'image.iso', at: '', sizes: await listImage('image.iso', reading) }, reading, 10);
}

it('lists packages that stand on the medium', async () => {
  const packages = await read({ primary: primaryOf(packageXml('hello'), packageXml('bash')), list: listing('bash', 'hello', 'more') });
  expect(packages).toMatchObject([{ name: 'hello', epoch: 1, version: '1.1', release: '2', arch: 'noarch' }, { name: 'bash' }]);
});

it.each([
  ['a package is not there', { primary: primaryOf(packageXml('hello')), list: listing('bash') }, 'does not hold in full, such as Packages/hello.rpm'],
  ['a package is cut off', { primary: primaryOf(packageXml('hello', 101)), list: listing('hello') }, 'does not hold in full'],
  ['nothing is listed', { primary: primaryOf(), list: '' }, 'is empty'],
  [
    'the list is another one',
    { primary: primaryOf(packageXml('hello')), list: listing('hello'), checksum: 'a'.repeat(64) },
    "is not what the medium's repomd.xml says",
  ],
  ['the list is not compressed', { primary: primaryOf(), list: '', compress: (text: string) => Buffer.from(text) }, 'is not compressed with gzip'],
  ['the list is cut off', { primary: '<metadata><package>', list: '' }, 'cannot be read'],
  ['a package has no version', { primary: primaryOf('<package><name>x</name><arch>noarch</arch></package>'), list: '' }, 'names a package only in part'],
  ['it defines entities', { primary: '<!DOCTYPE metadata [<!ENTITY a "b">]><metadata/>', list: '' }, 'document type'],
  ['it never ends', { primary: primaryOf(...Array.from({ length: 11 }, (_, index) => packageXml(`p${index}`))), list: '' }, 'more than 10 packages'],
] satisfies [string, Medium, string][])('refuses a medium where %s', async (_, medium, message) => {
  await expect(read(medium)).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE', message: expect.stringContaining(message) });
});
