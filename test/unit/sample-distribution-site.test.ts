/** The sample site's HTTP: what it serves, what it does not, and the hub's manners. A tiny hand-made directory takes the distribution's place. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { kojiContent } from '../../examples/sample-distribution/koji-content.ts';
import { type SampleSite, startSampleSite } from '../../examples/sample-distribution/site.ts';
import { decodeResponse, encodeCall } from '../../shared/koji/xml-rpc.ts';
import { type TempDirectory, tempDirectory } from '../support/temp-directory.ts';

const letters = 'abcdefghijklmnopqrstuvwxyz';
let directory: TempDirectory;
let site: SampleSite;

beforeAll(async () => {
  directory = await tempDirectory();
  const root = join(directory.path, 'sample');
  await mkdir(join(root, 'repo', 'x86_64', 'repodata'), { recursive: true });
  await mkdir(join(root, 'kojifiles'), { recursive: true });
  await writeFile(join(root, 'repo', 'x86_64', 'repodata', 'repomd.xml'), letters);
  await writeFile(join(root, 'repo', 'x86_64', 'a+b c.rpm'), 'odd name');
  await writeFile(join(root, 'kojifiles', 'empty'), '');
  await writeFile(join(directory.path, 'secret'), 'outside');
  await symlink(join(directory.path, 'secret'), join(root, 'repo', 'way-out'));
  await writeFile(join(root, 'koji.json'), JSON.stringify(kojiContent([])));
  site = await startSampleSite({ directory: root, host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await site.close();
  await site.close();
  await directory.remove();
});

/** With the path exactly as it is written: fetch would tidy it up first. */
function ask(path: string, options: { readonly method?: string; readonly headers?: Record<string, string>; readonly body?: string | Buffer } = {}) {
  return new Promise<{ status: number | undefined; headers: Record<string, unknown>; body: string }>((resolve, reject) => {
    const { port } = new URL(site.url);
    const sent = request({ host: '127.0.0.1', port, path, method: options.method ?? 'GET', headers: options.headers ?? {} }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(options.body);
  });
}
const repomd = '/repo/x86_64/repodata/repomd.xml';

describe('files', () => {
  test('a whole file, its head, a name with odd characters, an empty one', async () => {
    expect(await ask(repomd)).toMatchObject({ status: 200, body: letters, headers: { 'content-type': 'application/xml', 'content-length': '26' } });
    expect(await ask(repomd, { method: 'HEAD' })).toMatchObject({ status: 200, body: '', headers: { 'content-length': '26' } });
    expect(await ask('/repo/x86_64/a+b%20c.rpm?query=1')).toMatchObject({ status: 200, body: 'odd name' });
    expect(await ask('/kojifiles/empty')).toMatchObject({ status: 200, body: '' });
  });

  test.each([
    ['bytes=0-4', 206, 'abcde', 'bytes 0-4/26'],
    ['bytes=20-', 206, 'uvwxyz', 'bytes 20-25/26'],
    ['bytes=-3', 206, 'xyz', 'bytes 23-25/26'],
    ['bytes=24-999', 206, 'yz', 'bytes 24-25/26'],
    ['bytes=26-', 416, 'no such range\n', 'bytes */26'],
    ['bytes=-0', 416, 'no such range\n', 'bytes */26'],
    ['bytes=5-2', 200, letters, undefined],
    ['bytes=0-1,3-4', 200, letters, undefined],
    ['lines=0-1', 200, letters, undefined],
  ])('Range: %s is %i', async (range, status, body, contentRange) => {
    const response = await ask(repomd, { headers: { Range: range } });
    expect(response).toMatchObject({ status, body });
    expect(response.headers['content-range']).toBe(contentRange);
  });

  test.each([
    ...['/', '/repo', '/repo/', '/repo/x86_64', '/koji.json', '/stamp.json', '/etc/passwd', '//etc/passwd', '/repo/way-out'],
    ...[
      '/repo/../koji.json',
      '/repo/%2e%2e/koji.json',
      '/repo/..%2fkoji.json',
      '/repo/x86_64/../../../secret',
      '/repo/..\\koji.json',
      '/repo/%00',
      '/repo/%ff',
    ],
  ])('%s is not found', async (path) => {
    expect((await ask(path)).status).toBe(404);
  });

  test('nothing but reading', async () => {
    expect(await ask(repomd, { method: 'PUT', body: 'x' })).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } });
  });
});

describe('the hub', () => {
  const post = (body: string | Buffer) => ask('/kojihub', { method: 'POST', headers: { 'Content-Type': 'text/xml' }, body });

  test('a result and a fault both come with status 200', async () => {
    const result = await post(encodeCall('getAPIVersion', []));
    expect(result).toMatchObject({ status: 200, headers: { 'content-type': 'text/xml', 'koji-version': expect.stringMatching(/^\d/) } });
    expect(decodeResponse(result.body)).toEqual({ value: 1 });
    const fault = await post(encodeCall('noSuchMethod', []));
    expect(fault.status).toBe(200);
    expect(decodeResponse(fault.body)).toEqual({ fault: { code: 1000, text: 'Invalid method: noSuchMethod' } });
  });

  test('only POST, and only XML-RPC of a bearable size', async () => {
    expect(await ask('/kojihub')).toMatchObject({ status: 405, headers: { allow: 'POST' } });
    expect((await post('')).status).toBe(400);
    expect((await post('<html>hello</html>')).status).toBe(400);
    expect((await post('<!DOCTYPE x [<!ENTITY a "b">]><methodCall><methodName>&a;</methodName></methodCall>')).status).toBe(400);
    expect((await post(Buffer.alloc(5 * 1024 * 1024, ' '))).status).toBe(400);
  });
});

test('until the distribution stands, the answer is 503', async () => {
  const early = await startSampleSite({ directory: join(directory.path, 'not-yet'), host: '127.0.0.1', port: 0 });
  try {
    expect((await fetch(`${early.url}/repo/x86_64/repodata/repomd.xml`)).status).toBe(503);
    expect((await fetch(`${early.url}/kojihub`, { method: 'POST', body: '' })).status).toBe(503);
  } finally {
    await early.close();
  }
});
