/**
 * Every file of the stored Fedora answers is read by the code that reads the real ones. The folder stands beside a clone where it is there at all; elsewhere only the documented call is. Repository metadata
 * is read again by dnf itself in test/pipeline/fedora-repositories.test.ts.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { BodhiUpdate } from '../../shared/bodhi/bodhi.ts';
import { bodhiRest, SingleUpdate } from '../../shared/bodhi/rest.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { simulatedEgress } from '../../shared/egress/simulated.ts';
import { decodeCall, decodeResponse, encodeCall, encodeResponse } from '../../shared/koji/xml-rpc.ts';
import { readMetalink } from '../../shared/repositories/metalink.ts';
import { readRepomd, writeRepomd } from '../../shared/repositories/repomd.ts';
import { readXmlDocument } from '../../shared/repositories/xml-document.ts';
import { readRpmHeader } from '../../shared/rpm/header.ts';

const folder = new URL('../../../shared/fedora/fixtures/', import.meta.url);

describe('a call as Koji documents it', () => {
  it('is written and read with its keywords', () => {
    const call = `<?xml version='1.0'?>
<methodCall><methodName>getLatestBuilds</methodName><params>
<param><value><string>f44-updates-testing</string></value></param>
<param><value><struct>
<member><name>package</name><value><string>bash</string></value></member>
<member><name>__starstar</name><value><boolean>1</boolean></value></member>
</struct></value></param></params></methodCall>`;
    expect(decodeCall(call)).toEqual({ method: 'getLatestBuilds', args: ['f44-updates-testing'], keywords: { package: 'bash' } });
    expect(decodeCall(encodeCall('getLatestBuilds', ['f44-updates-testing'], { package: 'bash' }))).toEqual(decodeCall(call));
  });
});

if (existsSync(folder)) {
  const names = (kind: string, ending: string) => readdirSync(new URL(`koji/${kind}`, folder)).filter((name) => name.endsWith(ending));
  const read = (kind: string, name: string) => readFileSync(new URL(`koji/${kind}${name}`, folder), 'utf8');

  describe('Koji answers', () => {
    it.each(names('xml/', '.response.xml'))('%s', (name) => {
      const response = decodeResponse(read('xml/', name));
      if (name.includes('.fault.')) expect(response).toMatchObject({ fault: { code: expect.any(Number), text: expect.any(String) } });
      else if ('value' in response) expect(decodeResponse(encodeResponse(response.value))).toEqual(response);
      else expect(response.fault.code).toBe(1000);
    });
  });

  describe('Koji calls', () => {
    it.each(names('xml/', '.request.xml'))('%s', (name) => {
      const call = decodeCall(read('xml/', name));
      expect(call.method).toMatch(/^[A-Za-z]+$/);
      expect(decodeCall(encodeCall(call.method, call.args, call.keywords))).toEqual(call);
    });
  });

  describe('Koji recordings are the same in XML', () => {
    it.each(names('json/', '.json').filter((name) => existsSync(new URL(`koji/xml/${name.replace('.json', '.response.xml')}`, folder))))('%s', (name) => {
      const recorded = JSON.parse(read('json/', name)) as { result: unknown };
      expect(decodeResponse(read('xml/', name.replace('.json', '.response.xml')))).toEqual({ value: recorded.result });
    });
  });

  describe('RPM headers', () => {
    it.each(readdirSync(new URL('rpms/', folder)).filter((name) => name.endsWith('.rpm')))('%s', (name) => {
      const bytes = readFileSync(new URL(`rpms/${name}`, folder));
      const read = readRpmHeader(bytes);
      if (!('header' in read)) throw new Error('is not whole');
      const { header } = read;
      expect(name.startsWith(`${header.name}-`)).toBe(true);
      expect(name.endsWith(`${header.arch}.rpm`) || name.endsWith(`${header.arch}.signed.rpm`)).toBe(true);
      expect(createHash('md5').update(bytes.subarray(header.headerStart)).digest('hex')).toBe(header.sigMd5);
    });
  });

  const listed = (path: string) =>
    readdirSync(new URL(path, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => `${entry.parentPath.replace(/\/?$/, '/')}${entry.name}`.slice(new URL(path, folder).pathname.length));
  const readText = (path: string) => readFileSync(new URL(path, folder), 'utf8');

  describe('Bodhi answers', () => {
    const names = listed('bodhi/');
    /** What the client makes of an answer. */
    const asked = (body: string, status = 200): Promise<readonly BodhiUpdate[]> => {
      const headers = { 'content-type': 'application/json' };
      const egress = simulatedEgress({ routes: async () => ({ status, headers, body }), clock: systemClock() });
      return bodhiRest({ url: 'https://bodhi.example/', egress }).findUpdates({ releaseName: 'F44', statuses: ['testing'], packages: ['hello'] });
    };

    it.each(names.filter((name) => /GET_updates\.|push_updates/.test(name)))('%s is a page of updates', async (name) => {
      const { updates } = JSON.parse(readText(`bodhi/${name}`)) as { updates: { alias: string; status: string; builds: { nvr: string }[] }[] };
      // The client goes on until the last page: each is the same here, and each update counts once.
      const read = await asked(readText(`bodhi/${name}`));
      expect(read.map(({ alias }) => alias)).toEqual([...new Set(updates.map(({ alias }) => alias))].slice(0, 100));
      const first = new Map(updates.toReversed().map((update) => [update.alias, update]));
      for (const { alias, builds } of read) expect(builds.map(({ nvr }) => nvr)).toEqual(first.get(alias)?.builds.map(({ nvr }) => nvr));
    });

    it.each(names.filter((name) => /GET_updates_alias/.test(name)))('%s is an update', (name) => {
      const raw = JSON.parse(readText(`bodhi/${name}`)) as { update: { alias: string; release: { name: string } } };
      expect(SingleUpdate.parse(raw).update).toMatchObject({ alias: raw.update.alias, releaseName: raw.update.release.name });
    });

    it.each(names.filter((name) => /(POST_updates|create_update)/.test(name)))('%s holds updates as they are made', (name) => {
      const raw = JSON.parse(readText(`bodhi/${name}`)) as { alias: string };
      expect(SingleUpdate.parse({ update: raw }).update.alias).toBe(raw.alias);
    });

    it.each(names.filter((name) => name.includes('error')))('%s is told as an error, with its reason', async (name) => {
      const { errors } = JSON.parse(readText(`bodhi/${name}`)) as { errors: [{ description: string }] };
      await expect(asked(readText(`bodhi/${name}`), 400)).rejects.toMatchObject({
        code: 'BODHI_UNREACHABLE',
        message: expect.stringContaining(errors[0].description.slice(0, 50)),
      });
    });

    it.each(names.filter((name) => !/updates|update\.json|error/.test(name)))(
      '%s, which nothing asks for yet, is JSON, and no page of updates',
      async (name) => {
        expect(JSON.parse(readText(`bodhi/${name}`))).toBeTypeOf('object');
        await expect(asked(readText(`bodhi/${name}`))).rejects.toMatchObject({ code: 'BODHI_UNREACHABLE' });
      },
    );
  });

  describe('metalinks', () => {
    it.each(listed('metalink/'))('%s', (name) => {
      const text = readText(`metalink/${name}`);
      const { mirrors, accepted } = readMetalink(text);
      expect(mirrors.length).toBe(new Set([...text.matchAll(/>\s*(https?:\S+\/)repodata\/repomd\.xml\s*</g)].map(([, base]) => new URL(base ?? '').href)).size);
      expect(accepted).toHaveLength(1 + text.split('<mm0:alternate>').length - 1);
      for (const hashes of accepted) expect(hashes.map(({ type }) => type).sort()).toEqual(['sha256', 'sha512']);
    });
  });

  describe('repository metadata', () => {
    it.each(listed('repodata/').filter((name) => name.endsWith('repomd.xml')))('%s, and every file that it names is what it says', (name) => {
      const repomd = readRepomd(readText(`repodata/${name}`));
      expect(repomd.files.map(({ type }) => type)).toEqual(['primary', 'filelists']);
      expect(readRepomd(writeRepomd(repomd))).toEqual(repomd);
      for (const { location, checksum, size } of repomd.files) {
        const bytes = readFileSync(new URL(`repodata/${name.replace('repodata/repomd.xml', '')}${location}`, folder));
        const isRight = bytes.length === size && createHash(checksum.type).update(bytes).digest('hex') === checksum.value;
        // As its source has it, one primary file is not the one that its repomd.xml names.
        expect(isRight, location).toBe(location !== 'repodata/6c662d665c24de9a0f62c17d8fa50622307739d7376f0d19097ca96c6d7f5e3e-primary.xml.gz');
      }
    });

    it.each(listed('repodata/').filter((name) => name.startsWith('snippets/') && !name.includes('comps')))('%s', (name) => {
      expect(readXmlDocument(readText(`repodata/${name}`)).name).toBe('updates');
    });
  });

  // Nothing reads these yet; what will, begins with their being whole.
  describe('messages, composes and releases', () => {
    it.each(['messages/', 'compose/', 'releases/'].flatMap((place) => listed(place).map((name) => `${place}${name}`)))('%s is whole', (name) => {
      const text = readText(name);
      if (name.endsWith('.json')) expect(JSON.parse(text)).toBeTypeOf('object');
      else if (name.endsWith('.treeinfo')) expect(text).toMatch(/^\[(general|header|release)\]$/m);
      else expect(text).toMatch(/^Fedora-\d+-\d{8}\.\d+$/m);
    });
  });
}
