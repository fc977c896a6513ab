/** Every Koji answer and RPM of the stored Fedora files is read. The folder stands beside a clone where it is there at all; elsewhere only the documented call is. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { decodeCall, decodeResponse, encodeCall, encodeResponse } from '../../shared/koji/xml-rpc.ts';
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
}
