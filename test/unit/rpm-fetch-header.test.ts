/** The starts of RPMs, and what is remembered of whole ones: right and wrong files behind several addresses. */
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { type SimulatedAnswer, simulatedEgress } from '../../shared/egress/simulated.ts';
import { contentKey } from '../../shared/files/content-ref.ts';
import { memoryFiles } from '../../shared/files/memory.ts';
import { fetchRpmHeader } from '../../shared/rpm/fetch-header.ts';
import { recall, remember } from '../../shared/rpm/known-rpm.ts';
import { memoryWorkspaces } from '../../shared/workspace/memory.ts';
import { rpmFile } from '../support/rpm-file.ts';

const never = new AbortController().signal;
const nevra = { name: 'hello', epoch: 2, version: '1', release: '1', arch: 'noarch' };
const source = (url: string) => ({ url, size: 10_000_000, isSizeExact: false });

/** Plays a host that knows ranges. */
async function fetchFrom(
  answers: Readonly<Record<string, Uint8Array | SimulatedAnswer | undefined>>,
  wanted: Partial<Parameters<typeof fetchRpmHeader>[0]> = {},
) {
  const asked: string[] = [];
  const clock = { ...systemClock(), sleep: async () => {} };
  const egress = simulatedEgress({
    clock,
    routes: ({ url, headers }) => {
      const range = /^bytes=0-(\d+)$/.exec(new Headers(headers as Record<string, string>).get('range') ?? '');
      asked.push(`${url.pathname} ${range?.[1] ?? 'all'}`);
      const answer = answers[url.pathname];
      if (!(answer instanceof Uint8Array)) return answer;
      const end = Math.min(Number(range?.[1] ?? answer.length - 1) + 1, answer.length);
      return { status: 206, headers: { 'content-range': `bytes 0-${end - 1}/${answer.length}` }, body: answer.subarray(0, end) };
    },
  });
  const workspaces = memoryWorkspaces({ files: memoryFiles() });
  const workspace = await workspaces.create('test');
  const sources = Object.keys(answers).map((path) => source(`https://x.example${path}`));
  const result = fetchRpmHeader({ nevra, sources, path: 'headers/a.rpm', ...wanted }, { egress, clock }, workspace, never);
  return { result, asked };
}

describe('the header of an RPM', () => {
  it('is fetched with the start of the file, and more where it is long', async () => {
    const short = await fetchFrom({ '/a': rpmFile(nevra, { payload: 'x'.repeat(1_000_000) }).bytes });
    expect((await short.result).header).toMatchObject(nevra);
    expect(short.asked).toEqual(['/a 65535']);
    const long = await fetchFrom({ '/a': rpmFile(nevra, { headerPadding: 300_000 }).bytes });
    expect((await long.result).header).toMatchObject(nevra);
    expect(long.asked).toHaveLength(2);
  });

  it('comes from the next address where one has nothing or another package', async () => {
    const other = rpmFile({ ...nevra, version: '2' }).bytes;
    const { result, asked } = await fetchFrom({
      '/gone': { status: 404 },
      '/other': other,
      '/html': { body: '<html>' },
      '/down': undefined,
      '/right': rpmFile(nevra).bytes,
    });
    expect((await result).source.url).toBe('https://x.example/right');
    expect(asked.map((each) => each.split(' ')[0])).toEqual(['/gone', '/other', '/html', '/down', '/right']);
  });

  it.each<[string, Parameters<typeof fetchFrom>[0], string, RegExp]>([
    ['another epoch', { '/a': rpmFile({ ...nevra, epoch: 0 }).bytes }, 'PACKAGE_MISMATCH', /hello-1-1.noarch instead of hello-2:1-1.noarch/],
    ['a source package', { '/a': rpmFile({ ...nevra, arch: 'src' }).bytes }, 'PACKAGE_MISMATCH', /instead of/],
    ['half a header', { '/a': rpmFile(nevra).bytes.slice(0, 300) }, 'PACKAGE_MISMATCH', /ends before its header does/],
    ['no RPM', { '/a': new TextEncoder().encode('x'.repeat(500)) }, 'PACKAGE_MISMATCH', /is not what its address holds/],
    ['nothing', { '/a': { status: 404 }, '/b': { status: 500 } }, 'PACKAGE_UNREACHABLE', /any of 2 addresses/],
  ])('is refused where it is %s', async (_, answers, code, message) => {
    await expect((await fetchFrom(answers)).result).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('may have an epoch that its file name could not tell', async () => {
    const { result } = await fetchFrom({ '/a': rpmFile(nevra).bytes }, { nevra: { ...nevra, epoch: 0 }, isFileName: true });
    expect((await result).header.epoch).toBe(2);
  });
});

describe('a known RPM', () => {
  const best = source('https://x.example/signed');
  const next = source('https://x.example/unsigned');
  const rpm = { ...nevra, sources: [best, next], payloadHash: 'f'.repeat(32) };
  const file = new TextEncoder().encode('the file');
  const ref = { sha256: 'c'.repeat(64), size: file.length };

  it('is found again as long as its file is stored, by what Koji says of it and its best address', async () => {
    const files = memoryFiles();
    await remember(rpm, { ref, source: best }, files);
    expect(await recall(rpm, files)).toBeUndefined();
    await files.put(contentKey(ref.sha256), file);
    expect(await recall(rpm, files)).toEqual({ ref, source: best });
    expect(await recall({ ...rpm, payloadHash: 'e'.repeat(32) }, files)).toBeUndefined();
    expect(await recall({ ...rpm, sources: [next] }, files)).toBeUndefined();
    expect(await recall({ ...rpm, version: '2' }, files)).toBeUndefined();
  });

  it('is not remembered where Koji has no digest of it, or a worse address gave it', async () => {
    const files = memoryFiles();
    await files.put(contentKey(ref.sha256), file);
    await remember({ ...rpm, payloadHash: null }, { ref, source: best }, files);
    await remember(rpm, { ref, source: next }, files);
    expect([await recall({ ...rpm, payloadHash: null }, files), await recall(rpm, files)]).toEqual([undefined, undefined]);
  });
});
