/** The Koji client against a hub of the test's own: batches, kinds of answers, and every way in which a hub can be ill. */
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { type SimulatedAnswer, simulatedEgress } from '../../shared/egress/simulated.ts';
import { kojiHub } from '../../shared/koji/hub.ts';
import type { KojiBuild, KojiRpm } from '../../shared/koji/koji.ts';
import { decodeCall, encodeFault, encodeResponse, type XmlRpcStruct, type XmlRpcValue } from '../../shared/koji/xml-rpc.ts';

const xml = (body: string): SimulatedAnswer => ({ headers: { 'content-type': 'text/xml' }, body });
const build = (id: number, extra: XmlRpcStruct = {}): XmlRpcStruct => ({
  id,
  build_id: id,
  nvr: `hello-1.${id}-1`,
  name: 'hello',
  version: `1.${id}`,
  release: '1',
  epoch: null,
  state: 1,
  volume_name: 'DEFAULT',
  something_new: { of: ['a', 'newer', 'hub'] },
  ...extra,
});
const rpm = (id: number, extra: XmlRpcStruct = {}): XmlRpcStruct => ({
  id,
  name: 'hello',
  version: '1.1',
  release: '1',
  epoch: 2,
  arch: 'noarch',
  size: 6298,
  payloadhash: '9136EB164EFD587B179F3390421E26EE',
  metadata_only: false,
  nvr: 'hello-1.1-1',
  ...extra,
});

/** `answer` plays the hub's methods; what it throws as a fault becomes one inside the multiCall. */
function hub(answer: (method: string, args: readonly XmlRpcValue[]) => XmlRpcValue) {
  const requests: { readonly method: string; readonly questions: number }[] = [];
  const routes = ({ body = '' }: { readonly body?: string }) => {
    const call = decodeCall(body);
    const questions = (call.args[0] ?? []) as readonly { readonly methodName: string; readonly params: readonly XmlRpcValue[] }[];
    requests.push({ method: call.method, questions: questions.length });
    return xml(encodeResponse(questions.map(({ methodName, params }) => answer(methodName, params))));
  };
  return { koji: kojiOn(routes), requests };
}

function kojiOn(routes: (hop: { readonly body?: string }) => SimulatedAnswer | undefined, clock?: { sleep(ms: number): Promise<void> }) {
  const egress = simulatedEgress({ routes: (hop) => routes(hop), clock: systemClock() });
  return kojiHub({ hub: 'https://koji.example/kojihub', files: 'https://files.example/', egress, ...(clock ? { clock } : {}) });
}

/** Positional arguments, and the keywords that Koji packs into the last one. */
const keywordsOf = (args: readonly XmlRpcValue[]) =>
  args.find((arg): arg is XmlRpcStruct => typeof arg === 'object' && arg !== null && '__starstar' in arg) ?? {};
const fault = (faultString: string): XmlRpcStruct => ({ faultCode: 1000, faultString, traceback: [] });

describe('questions', () => {
  it('asks for 200 builds with their RPMs and signatures in at most 4 requests', async () => {
    const { koji, requests } = hub((method, [about]) => {
      if (method === 'getBuild') return [build(Number(about))];
      if (method === 'listBuildRPMs') return [Array.from({ length: 10 }, (_, index) => rpm(Number(about) * 100 + index))];
      return [
        [
          { rpm_id: Number(about), sigkey: '', sighash: '' },
          { rpm_id: Number(about), sigkey: '6D9F90A6', sighash: 'aa' },
        ],
      ];
    });
    const ids = Array.from({ length: 200 }, (_, index) => index + 1);
    const builds = await koji.getBuilds(ids);
    const rpms = await koji.listBuildRpms(ids);
    const sigkeys = await koji.listSigkeys(rpms.flat().map(({ id }) => id));
    expect(builds.map((each) => each?.id)).toEqual(ids);
    expect(rpms.map((each) => each.length)).toEqual(ids.map(() => 10));
    expect(sigkeys).toEqual(Array.from({ length: 2000 }, () => ['6d9f90a6']));
    expect(requests).toEqual([
      { method: 'multiCall', questions: 200 },
      { method: 'multiCall', questions: 200 },
      { method: 'multiCall', questions: 2000 },
    ]);
  });

  it('reads the fields that it uses and no others', async () => {
    const { koji } = hub((method) => (method === 'getBuild' ? [build(5, { epoch: 1, state: 3, volume_name: 'fedora_koji_archive02' })] : [[rpm(7)]]));
    expect(await koji.getBuilds(['hello-1.5-1'])).toEqual([
      { id: 5, nvr: 'hello-1.5-1', name: 'hello', version: '1.5', release: '1', epoch: 1, state: 'failed', volume: 'fedora_koji_archive02' },
    ]);
    expect(await koji.listBuildRpms([5])).toEqual([
      [
        {
          id: 7,
          name: 'hello',
          version: '1.1',
          release: '1',
          epoch: 2,
          arch: 'noarch',
          size: 6298,
          payloadHash: '9136eb164efd587b179f3390421e26ee',
          isMetadataOnly: false,
        },
      ],
    ]);
  });

  it('tells what is not there from what is ill, and keeps the order', async () => {
    const { koji, requests } = hub((_, [about]) => {
      if (about === 'gone-1-1') return [null];
      if (about === 'strict-1-1') return { faultCode: 1000, faultString: "No such build: 'strict-1-1'", traceback: [] };
      return [build(Number(about))];
    });
    expect((await koji.getBuilds([3, 'gone-1-1', 'no NVR at all', 'strict-1-1', 4])).map((each) => each?.id)).toEqual([3, undefined, undefined, undefined, 4]);
    expect(requests).toEqual([{ method: 'multiCall', questions: 4 }]);
    expect(await koji.getBuilds([])).toEqual([]);
  });
});

describe('tasks', () => {
  it('tells their states, and what is no task', async () => {
    const { koji } = hub((_, [id]) =>
      id === 9 ? [null] : [{ id: Number(id), method: 'build', state: Number(id), arch: id === 2 ? 'noarch' : null, label: null }],
    );
    expect(await koji.getTasks([0, 1, 2, 3, 4, 5, 9])).toEqual([
      { id: 0, method: 'build', state: 'free', arch: null },
      { id: 1, method: 'build', state: 'open', arch: null },
      { id: 2, method: 'build', state: 'closed', arch: 'noarch' },
      { id: 3, method: 'build', state: 'canceled', arch: null },
      { id: 4, method: 'build', state: 'assigned', arch: null },
      { id: 5, method: 'build', state: 'failed', arch: null },
      undefined,
    ]);
  });

  it('collects what a task and those below it left, wherever the files lie, each name once', async () => {
    const { koji, requests } = hub((method, args) => {
      const [id] = args;
      if (method === 'getTaskDescendents')
        return [
          {
            50: [
              { id: 51, state: 2 },
              { id: 52, state: 5 },
            ],
            51: [{ id: 120_053, state: 2 }],
          },
        ];
      expect(keywordsOf(args)).toMatchObject({ stat: true, all_volumes: true });
      if (id === 51) return [{ 'hello-1-1.src.rpm': { DEFAULT: { st_size: '900' } }, 'build.log': { DEFAULT: { st_size: '10' } } }];
      if (id === 120_053) {
        return [
          { 'hello-1-1.x86_64.rpm': { fast: { st_size: 4_294_967_296 } }, 'hello-1-1.src.rpm': { DEFAULT: {} }, '../../etc/x-1-1.noarch.rpm': { DEFAULT: {} } },
        ];
      }
      return [{}];
    });
    expect(await koji.listTaskRpms([50])).toEqual([
      [
        { taskId: 51, fileName: 'hello-1-1.src.rpm', size: 900, url: 'https://files.example/work/tasks/51/51/hello-1-1.src.rpm' },
        {
          taskId: 120_053,
          fileName: 'hello-1-1.x86_64.rpm',
          size: 4_294_967_296,
          url: 'https://files.example/vol/fast/work/tasks/53/120053/hello-1-1.x86_64.rpm',
        },
      ],
    ]);
    // The failed child is not asked about.
    expect(requests.map(({ questions }) => questions)).toEqual([1, 3]);
  });

  it('names the builds that a task made, complete ones only', async () => {
    const { koji } = hub((method, args) => {
      expect([method, keywordsOf(args)['taskID']]).toEqual(['listBuilds', 7]);
      return [[build(8), build(7, { state: 3 })]];
    });
    expect((await koji.listTaskBuilds([7])).map((builds) => builds.map(({ id }) => id))).toEqual([[8]]);
  });
});

describe('tags', () => {
  const tagged = (id: number, tag: string) => build(id, { tag_name: tag, tag_id: 1 });

  it('tells what each inherits, and what is no tag', async () => {
    const { koji } = hub((_, [tag]) =>
      tag === 'none'
        ? fault("No such tag: 'none'")
        : [
            [
              { name: 'f44-build', currdepth: 1 },
              { name: 'f44', currdepth: 2 },
              { name: 'f44', currdepth: 3 },
            ],
          ],
    );
    expect(await koji.getInheritance(['f44-build-side-1', 'none'])).toEqual([['f44-build', 'f44'], undefined]);
  });

  it('lists the latest builds that are tagged right there, without drafts', async () => {
    const { koji } = hub((_, args) => {
      expect(keywordsOf(args)).toMatchObject({ inherit: false, latest: true, draft: false });
      return args[0] === 'none' ? fault('No such tag: none') : [[tagged(3, 'side'), tagged(2, 'side')]];
    });
    expect((await koji.listTagged(['side', 'none'])).map((list) => list.map(({ build: { id }, tag }) => [id, tag]))).toEqual([
      [
        [3, 'side'],
        [2, 'side'],
      ],
      [],
    ]);
  });

  it('refuses a tag with a whole distribution in it', async () => {
    const { koji } = hub(() => [Array.from({ length: 2001 }, (_, id) => tagged(id, 'f44'))]);
    await expect(koji.listTagged(['f44'])).rejects.toMatchObject({ code: 'KOJI_TAG_TOO_LARGE', message: expect.stringContaining('f44 holds 2001 builds') });
  });

  it('finds packages in a tag with the tag that really holds them, and the tags of a build', async () => {
    const { koji } = hub((method, args) => {
      if (method === 'listTags') return [[{ name: 'f44' }, { name: 'f44-updates' }]];
      const wanted = keywordsOf(args)['package'];
      return wanted === 'hello' ? [[tagged(4, 'f44-updates')]] : [[]];
    });
    expect((await koji.getLatestBuilds('f44-build', ['hello', 'nobody'])).map((found) => found && [found.build.id, found.tag])).toEqual([
      [4, 'f44-updates'],
      undefined,
    ]);
    expect(await koji.listTags([4])).toEqual([['f44', 'f44-updates']]);
  });
});

describe('silence', () => {
  it('is asked again twice, with pauses, and an answer is believed at once', async () => {
    const pauses: number[] = [];
    const clock = { sleep: async (ms: number) => void pauses.push(ms) };
    let asked = 0;
    const answers = [undefined, { status: 503, body: 'busy' }, xml(encodeResponse([[build(1)]]))];
    const koji = kojiOn(() => answers[asked++], clock);
    expect((await koji.getBuilds([1]))[0]?.id).toBe(1);
    expect({ asked, pauses }).toEqual({ asked: 3, pauses: [500, 2000] });
    asked = 0;
    await expect(
      kojiOn(() => {
        asked += 1;
        return undefined;
      }, clock).getBuilds([1]),
    ).rejects.toMatchObject({ code: 'KOJI_UNREACHABLE' });
    expect(asked).toBe(3);
    asked = 0;
    await expect(
      kojiOn(() => {
        asked += 1;
        return xml(encodeFault({ code: 1, text: 'KeyError' }));
      }, clock).getBuilds([1]),
    ).rejects.toMatchObject({ code: 'KOJI_FAULT' });
    expect(asked).toBe(1);
  });
});

describe('trouble', () => {
  it.each<[string, SimulatedAnswer | undefined, string, RegExp]>([
    ['nobody there', undefined, 'KOJI_UNREACHABLE', /refused/],
    [
      'a bot wall',
      { headers: { 'content-type': 'text/html; charset=utf-8' }, body: '<html>Making sure you are not a bot</html>' },
      'KOJI_UNREACHABLE',
      /text\/html/,
    ],
    ['a gateway', { status: 502, body: 'bad gateway' }, 'KOJI_UNREACHABLE', /502/],
    ['HTML that says it is XML', xml('<html></html>'), 'KOJI_UNREACHABLE', /<html>/],
    ['half an answer', xml(encodeResponse([[build(1)]]).slice(0, 200)), 'KOJI_UNREACHABLE', /well-formed/],
    ['an offline hub', xml(encodeFault({ code: 1014, text: 'database outage' })), 'KOJI_UNREACHABLE', /offline: database outage/],
    ['a broken hub', xml(encodeFault({ code: 1, text: 'KeyError: x' })), 'KOJI_FAULT', /fault 1: KeyError/],
    ['a fault inside', xml(encodeResponse([{ faultCode: 1019, faultString: 'wrong arguments', traceback: [] }])), 'KOJI_FAULT', /1019/],
    ['an offline hub inside', xml(encodeResponse([{ faultCode: 1014, faultString: 'maintenance', traceback: [] }])), 'KOJI_UNREACHABLE', /maintenance/],
    ['too few answers', xml(encodeResponse([])), 'KOJI_UNREACHABLE', /number of answers/],
    ['no result and no fault', xml(encodeResponse(['x'])), 'KOJI_UNREACHABLE', /neither/],
    ['another shape', xml(encodeResponse([[{ id: 'x' }]])), 'KOJI_FAULT', /unknown form/],
    ['a name that climbs', xml(encodeResponse([[build(1, { name: '../../etc' })]])), 'KOJI_FAULT', /does not allow/],
    ['a volume that climbs', xml(encodeResponse([[build(1, { volume_name: '../x' })]])), 'KOJI_FAULT', /does not allow/],
    ['too much', xml('x'.repeat(65 * 1024 * 1024)), 'REMOTE_TOO_LARGE', /more than/],
  ])('%s', async (_, answer, code, message) => {
    await expect(kojiOn(() => answer).getBuilds([1])).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('leaves a cancel a cancel', async () => {
    const reason = new Error('canceled');
    await expect(kojiOn(() => undefined).getBuilds([1], AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

describe('files', () => {
  const koji = kojiOn(() => undefined);
  const plain: KojiBuild = { id: 1, nvr: 'git-2.55.0-1.fc44', name: 'git', version: '2.55.0', release: '1.fc44', epoch: 0, state: 'complete', volume: null };
  const file: KojiRpm = {
    id: 1,
    name: 'git-core',
    version: '2.55.0',
    release: '1.fc44',
    epoch: 0,
    arch: 'x86_64',
    size: 1,
    payloadHash: null,
    isMetadataOnly: false,
  };

  it('stand below the source package, signed copies first', () => {
    expect(koji.filesOf(plain, file, ['6d9f90a6'])).toEqual([
      { url: 'https://files.example/packages/git/2.55.0/1.fc44/data/signed/6d9f90a6/x86_64/git-core-2.55.0-1.fc44.x86_64.rpm', sigkey: '6d9f90a6' },
      { url: 'https://files.example/packages/git/2.55.0/1.fc44/x86_64/git-core-2.55.0-1.fc44.x86_64.rpm', sigkey: null },
    ]);
  });

  it('stand on their volume, with odd characters written safely', () => {
    expect(koji.filesOf({ ...plain, volume: 'fedora_koji_archive02', version: '1~rc1^git' }, file, [])[0]?.url).toBe(
      'https://files.example/vol/fedora_koji_archive02/packages/git/1~rc1%5Egit/1.fc44/x86_64/git-core-2.55.0-1.fc44.x86_64.rpm',
    );
  });
});
