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

function kojiOn(routes: (hop: { readonly body?: string }) => SimulatedAnswer | undefined) {
  const egress = simulatedEgress({ routes: (hop) => routes(hop), clock: systemClock() });
  return kojiHub({ hub: 'https://koji.example/kojihub', files: 'https://files.example/', egress });
}

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
