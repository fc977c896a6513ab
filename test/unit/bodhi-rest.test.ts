/** The Bodhi client against answers of the test's own: what it asks, how it reads pages, and every way in which a server can be ill. */
import { describe, expect, it } from 'vitest';
import { bodhiRest } from '../../shared/bodhi/rest.ts';
import { usableUpdate } from '../../shared/bodhi/usable.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { type SimulatedAnswer, simulatedEgress } from '../../shared/egress/simulated.ts';

const json = (body: unknown, status = 200): SimulatedAnswer => ({ status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
const row = (alias: string, extra: object = {}) => ({
  ...{ alias, status: 'testing', request: null, locked: false, from_tag: null, release: { name: 'F44', version: '44' }, karma: 3 },
  builds: [{ nvr: 'hello-1.1-1.fc44', signed: true, type: 'rpm', release_id: 1, epoch: 0 }],
  ...extra,
});

function bodhiOn(routes: (url: URL) => SimulatedAnswer | undefined) {
  const asked: URL[] = [];
  const pauses: number[] = [];
  const egress = simulatedEgress({
    clock: systemClock(),
    routes: ({ url }) => {
      asked.push(url);
      return routes(url);
    },
  });
  const clock = { sleep: async (ms: number) => void pauses.push(ms) };
  return { bodhi: bodhiRest({ url: 'https://bodhi.example', egress, clock }), asked, pauses };
}

describe('questions', () => {
  it('asks for all aliases at once, and keeps their order', async () => {
    const { bodhi, asked } = bodhiOn(() => json({ updates: [row('FEDORA-2026-b'), row('FEDORA-2026-a', { epochs: [] })], pages: 1 }));
    const found = await bodhi.getUpdates(['FEDORA-2026-a', 'FEDORA-2026-none', 'FEDORA-2026-b', 'FEDORA-2026-a']);
    expect(found.map((update) => update?.alias)).toEqual(['FEDORA-2026-a', undefined, 'FEDORA-2026-b', 'FEDORA-2026-a']);
    expect(found[0]).toEqual({
      ...{ alias: 'FEDORA-2026-a', status: 'testing', request: null, isLocked: false, releaseName: 'F44', fromTag: null },
      builds: [{ nvr: 'hello-1.1-1.fc44', isSigned: true, epoch: 0 }],
    });
    expect(asked.map(({ pathname, searchParams }) => [pathname, searchParams.getAll('alias')])).toEqual([
      ['/updates/', ['FEDORA-2026-a', 'FEDORA-2026-none', 'FEDORA-2026-b']],
    ]);
  });

  it('reads every page, and counts an update once that moved from one to the next', async () => {
    const { bodhi, asked } = bodhiOn((url) => json({ updates: [row('FEDORA-2026-x'), row(`FEDORA-2026-${url.searchParams.get('page')}`)], pages: 3 }));
    const found = await bodhi.findUpdates({ releaseName: 'F44', statuses: ['testing', 'pending'], packages: ['hello'] });
    expect(found.map(({ alias }) => alias)).toEqual(['FEDORA-2026-x', 'FEDORA-2026-1', 'FEDORA-2026-2', 'FEDORA-2026-3']);
    expect(asked[0]?.search).toBe('?releases=F44&status=testing&status=pending&packages=hello&rows_per_page=100&page=1');
  });

  it('asks nothing for nothing, and splits what would make a long address', async () => {
    const { bodhi, asked } = bodhiOn(() => json({ updates: [], pages: 0 }));
    expect(await bodhi.findUpdates({ releaseName: 'F44', statuses: ['testing'] })).toEqual([]);
    expect(await bodhi.getUpdates([])).toEqual([]);
    expect(asked).toEqual([]);
    await bodhi.findUpdates({ releaseName: 'F44', statuses: ['testing'], builds: Array.from({ length: 120 }, (_, index) => `a b+${index}-1-1`) });
    expect(asked.map(({ searchParams }) => searchParams.getAll('builds').length)).toEqual([50, 50, 20]);
    expect(asked[0]?.searchParams.getAll('builds')[0]).toBe('a b+0-1-1');
  });
});

describe('trouble', () => {
  it.each<[string, SimulatedAnswer | undefined, RegExp]>([
    ['nobody there', undefined, /refused/],
    ['a bot wall', { headers: { 'content-type': 'text/html' }, body: '<html>' }, /text\/html instead of JSON/],
    ['too many requests', { status: 429, body: 'slow down' }, /HTTP status 429/],
    ['a gateway', { status: 502, body: '' }, /HTTP status 502/],
    ['its own error', json({ status: 'error', errors: [{ location: 'querystring', name: 'alias', description: 'Invalid alias' }] }, 400), /Invalid alias/],
    ['half an answer', { headers: { 'content-type': 'application/json' }, body: '{"updates": [' }, /unknown form/],
    ['another shape', json({ updates: [{ alias: 'x' }], pages: 1 }), /unknown form/],
    ['a build that is none', json({ updates: [row('x', { builds: [{ nvr: '../../etc' }] })], pages: 1 }), /unknown form/],
    ['a state that nobody knows', json({ updates: [row('x', { status: 'melted' })], pages: 1 }), /unknown form/],
    ['too much', json('x'.repeat(17 * 1024 * 1024)), /more than/],
  ])('%s is asked again, and is no answer', async (_, answer, message) => {
    const { bodhi, asked, pauses } = bodhiOn(() => answer);
    await expect(bodhi.getUpdates(['FEDORA-2026-a'])).rejects.toMatchObject({ code: 'BODHI_UNREACHABLE', message: expect.stringMatching(message) });
    expect({ count: asked.length, pauses }).toEqual({ count: 3, pauses: [500, 2000] });
  });

  it('passes where the next answer is good, and a cancel stays a cancel', async () => {
    let count = 0;
    const { bodhi } = bodhiOn(() => (count++ === 0 ? undefined : json({ updates: [row('FEDORA-2026-a')], pages: 1 })));
    expect((await bodhi.getUpdates(['FEDORA-2026-a']))[0]?.alias).toBe('FEDORA-2026-a');
    const reason = new Error('canceled');
    await expect(bodhi.getUpdates(['FEDORA-2026-a'], AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

describe('an advisory that is used', () => {
  const release = { name: 'Fedora Linux 44', bodhi: { url: 'https://bodhi.example/', name: 'F44' } };
  const update = { alias: 'A', status: 'testing' as const, request: null, isLocked: false, releaseName: 'F44', fromTag: null };
  const builds = [{ nvr: 'hello-1.1-1.fc44', isSigned: true, epoch: 0 }];

  it.each(['pending', 'testing', 'stable'] as const)('may be %s', (status) => {
    expect(usableUpdate('A', { ...update, status, builds }, release)).toEqual(builds);
  });

  it.each([
    ['unknown', undefined, 'ADVISORY_UNKNOWN', /Bodhi has no advisory A/],
    ['of another release', { ...update, releaseName: 'F43', builds }, 'ADVISORY_UNUSABLE', /is for F43, and the request is for Fedora Linux 44/],
    ['obsolete', { ...update, status: 'obsolete' as const, builds }, 'ADVISORY_UNUSABLE', /obsolete: a newer update/],
    ['unpushed', { ...update, status: 'unpushed' as const, builds }, 'ADVISORY_UNUSABLE', /unpushed by its owner/],
    ['locked', { ...update, isLocked: true, builds }, 'ADVISORY_UNUSABLE', /locked/],
    ['empty', { ...update, builds: [] }, 'ADVISORY_UNUSABLE', /no builds/],
  ])('may not be %s', (_, found, code, message) => {
    expect(() => usableUpdate('A', found, release)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });
});
