/** The sample Koji hub answers with the names, types and faults that were recorded at a real hub. */
import { describe, expect, test } from 'vitest';
import { kojiTaskIds, sideTag, sigkey } from '../../examples/sample-distribution/known-names.ts';
import { kojiContent } from '../../examples/sample-distribution/koji-content.ts';
import { answerCall } from '../../examples/sample-distribution/koji-hub.ts';
import { decodeCall, decodeResponse, encodeCall, type XmlRpcStruct, type XmlRpcValue } from '../../shared/koji/xml-rpc.ts';

const rpm = (name: string, version: string, arch: string) => ({
  ...{
    name,
    epoch: null,
    version,
    release: '1.sample',
    arch,
    nvrOfSource: `hello-${version}-1.sample`,
    size: 6575,
    payloadHash: '3c11b6328c0b78662bf80931b04bc3c1',
    buildTimeS: 1_795_336_958,
  },
});
const content = kojiContent(
  ['1.1', '1.0'].flatMap((version) => [rpm('hello', version, 'noarch'), rpm('hello', version, 'src'), rpm('hello-debuginfo', version, 'noarch')]),
);

/** Through the wire format, both ways. */
function call(method: string, args: readonly XmlRpcValue[] = [], keywords: XmlRpcStruct = {}) {
  return decodeResponse(answerCall(decodeCall(encodeCall(method, args, keywords)), content));
}
function value(method: string, args: readonly XmlRpcValue[] = [], keywords: XmlRpcStruct = {}) {
  const response = call(method, args, keywords);
  if ('fault' in response) throw new Error(response.fault.text);
  // The tests look into structs and lists at will.
  return response.value as unknown as Record<string, XmlRpcValue> & Record<string, XmlRpcValue>[];
}

/** Sorted names with their types: `epoch:null` says that it was nil. */
const shape = (row: Record<string, XmlRpcValue> | undefined) =>
  Object.entries(row ?? {})
    .map(([name, entry]) => `${name}:${entry === null ? 'nil' : Array.isArray(entry) ? 'array' : typeof entry === 'object' ? 'struct' : typeof entry}`)
    .sort()
    .join(' ');

const rpmShape =
  'arch:string build_id:number buildroot_id:number buildtime:number draft:boolean epoch:nil external_repo_id:number external_repo_name:string extra:nil ' +
  'id:number metadata_only:boolean name:string nvr:string payloadhash:string release:string size:number version:string';
const tagShape = 'arches:string id:number locked:boolean maven_include_all:boolean maven_support:boolean name:string perm:nil perm_id:nil';

describe('recorded shapes', () => {
  test('getBuild by NVR, by id and by name, version and release', () => {
    const build = value('getBuild', ['hello-1.1-1.sample']);
    expect(shape(build)).toBe(
      'build_id:number cg_id:nil cg_name:nil completion_time:string completion_ts:number creation_event_id:number creation_time:string creation_ts:number ' +
        'draft:boolean epoch:nil extra:struct id:number name:string nvr:string owner_id:number owner_name:string package_id:number package_name:string ' +
        'promoter_id:nil promoter_name:nil promotion_time:nil promotion_ts:nil release:string source:string start_time:string start_ts:number state:number ' +
        'task_id:number version:string volume_id:number volume_name:string',
    );
    expect(build).toMatchObject({ nvr: 'hello-1.1-1.sample', state: 1, completion_time: '2026-11-22 08:42:38.250000+00:00', completion_ts: 1_795_336_958.25 });
    expect(value('getBuild', [build.id as number])).toEqual(build);
    expect(value('getBuild', [{ name: 'hello', version: '1.1', release: '1.sample' }])).toEqual(build);
    expect(answerCall(decodeCall(encodeCall('getBuild', ['hello-1.1-1.sample'])), content)).toContain('<double>1795336958.25</double>');
  });

  test('listBuildRPMs and listRPMs hold sources and debug information too', () => {
    const rows = value('listBuildRPMs', ['hello-1.1-1.sample']);
    expect(rows.map((row) => `${row.nvr}.${row.arch}`)).toEqual(['hello-1.1-1.sample.noarch', 'hello-1.1-1.sample.src', 'hello-debuginfo-1.1-1.sample.noarch']);
    expect(shape(rows[0])).toBe(rpmShape);
    const buildID = rows[0]?.build_id as number;
    expect(value('listRPMs', [], { buildID, arches: 'src' })).toEqual(rows.slice(1, 2));
    expect(value('listRPMs', [buildID], { arches: ['noarch'], queryOpts: { order: '-name', limit: 1 } })).toEqual(rows.slice(2));
    expect(value('listRPMs', [buildID], { queryOpts: { countOnly: true } })).toBe(3);
    expect(value('listBuildRPMs', [999_999])).toEqual([]);
  });

  test('getRPM has no nvr; queryRPMSigs has one row with an empty key beside those of the signatures', () => {
    const found = value('getRPM', ['hello-1.1-1.sample.noarch']);
    expect(shape(found)).toBe(rpmShape.replace(' nvr:string', ''));
    const row = { rpm_id: found.id, sighash: '3c11b6328c0b78662bf80931b04bc3c1' };
    expect(value('queryRPMSigs', [found.id as number])).toEqual([
      { ...row, sigkey: '' },
      { ...row, sigkey },
    ]);
    expect(value('queryRPMSigs', [], { rpm_id: found.id as number, sigkey })).toEqual([{ ...row, sigkey }]);
    expect(value('queryRPMSigs', [], { rpm_id: found.id as number, sigkey: '6d9f90a6' })).toEqual([]);
    expect(value('getRPM', ['hello-9-9.noarch'])).toBeNull();
  });

  test('tags, with inheritance; the latest build is the one that was tagged last', () => {
    expect(value('listTags', ['hello-1.1-1.sample']).map(({ name }) => name)).toEqual(['sample-updates-testing', 'sample-updates-candidate']);
    expect(shape(value('listTags', [], { pattern: '*-testing' })[0])).toBe(tagShape);
    expect(shape(value('getTag', ['sample']))).toBe(`arches:string extra:struct ${tagShape.replace('arches:string ', '')}`);
    expect(value('getTag', ['f99'])).toBeNull();

    const all = value('listTagged', ['sample-updates-testing'], { inherit: true, package: 'hello' });
    expect(all.map(({ nvr, tag_name }) => [nvr, tag_name])).toEqual([
      ['hello-1.1-1.sample', 'sample-updates-testing'],
      ['hello-1.0-1.sample', 'sample'],
    ]);
    expect(shape(all[0])).toBe(
      'build_id:number completion_time:string create_event:number creation_event_id:number creation_time:string draft:boolean epoch:nil id:number name:string ' +
        'nvr:string owner_id:number owner_name:string package_id:number package_name:string promoter_id:nil promoter_name:nil promotion_time:nil release:string ' +
        'start_time:string state:number tag_id:number tag_name:string task_id:number version:string volume_id:number volume_name:string',
    );
    expect(value('getLatestBuilds', ['sample-updates-testing'], { package: 'hello' })).toEqual(all.slice(0, 1));
    expect(value('getLatestBuilds', ['sample'], { package: 'bash' })).toEqual([]);
    expect(value('listTagged', ['f99'], { strict: false })).toEqual([]);
  });

  test('a task of a build that failed, one or several at once', () => {
    const { task_id } = value('getBuild', ['hello-1.2-1.sample']);
    expect(value('getBuild', ['hello-1.2-1.sample']).state).toBe(3);
    const task = value('getTaskInfo', [task_id as number], { request: true });
    expect(shape(task)).toBe(
      'arch:string awaited:nil channel_id:number completion_time:string completion_ts:number create_time:string create_ts:number host_id:number id:number ' +
        'label:nil method:string owner:number parent:nil priority:number request:array start_time:string start_ts:number state:number waiting:boolean weight:number',
    );
    expect(value('getTaskInfo', [[task_id as number, 1]])).toMatchObject([{ id: task_id, state: 5 }, null]);
  });

  test('what a side tag inherits, and what is in it', () => {
    expect(value('getFullInheritance', [sideTag]).map(({ name, currdepth }) => [name, currdepth])).toEqual([
      ['sample-build', 1],
      ['sample-updates', 2],
      ['sample', 3],
    ]);
    expect(value('getFullInheritance', ['sample'])).toEqual([]);
    expect(value('listTagged', [sideTag], { latest: true }).map(({ nvr }) => nvr)).toEqual(['sample-app-2.0-1.sample', 'sample-lib-2.0-1.sample']);
    expect(value('listSideTags', ['sample-build'])).toEqual([{ id: 101, name: sideTag, user_id: '1', user_name: 'sample' }]);
    expect(value('getBuildTarget', [sideTag])).toMatchObject({ build_tag_name: sideTag, dest_tag_name: sideTag });
    expect(value('getBuildTarget', ['none'])).toBeNull();
    // The latest of a tag is what was tagged last, whatever its version.
    expect(value('getLatestBuilds', ['sample-updates-candidate'], { package: 'sample-notes' }).map(({ nvr }) => nvr)).toEqual(['sample-notes-1.2-1.sample']);
  });

  test('a scratch task with its children and what they left', () => {
    const below = value('getTaskDescendents', [kojiTaskIds.scratch]) as unknown as Record<string, Record<string, XmlRpcValue>[]>;
    expect(below[kojiTaskIds.scratch]?.map(({ method, parent, state }) => [method, parent, state])).toEqual([
      ['rebuildSRPM', kojiTaskIds.scratch, 2],
      ['buildArch', kojiTaskIds.scratch, 2],
    ]);
    expect(Object.keys(below)).toEqual([0, 1, 2].map((next) => String(kojiTaskIds.scratch + next)));
    const id = kojiTaskIds.scratch + 2;
    expect(value('listTaskOutput', [id])).toEqual(['build.log', 'root.log', 'state.log']);
    expect(value('listTaskOutput', [id], { stat: true, all_volumes: true })).toMatchObject({
      'build.log': { DEFAULT: { st_size: expect.stringMatching(/^\d+$/) } },
    });
    expect(value('listTaskOutput', [id], { all_volumes: true })).toMatchObject({ 'build.log': ['DEFAULT'] });
    expect(value('listTaskOutput', [1])).toEqual([]);
    expect(value('listBuilds', [], { taskID: kojiTaskIds.ofBuild }).map(({ nvr }) => nvr)).toEqual(['hello-1.1-1.sample']);
  });

  test('versions and packages', () => {
    expect(value('getAPIVersion')).toBe(1);
    expect(value('getKojiVersion')).toMatch(/^\d+\.\d+/);
    expect(value('getPackageID', ['hello'])).toBe(298);
    expect(value('getPackageID', ['no-such-package'])).toBeNull();
    expect(value('listBuilds', [], { packageID: 'hello', state: 1, queryOpts: { order: 'build_id', limit: 2 } }).map(({ nvr }) => nvr)).toEqual([
      'hello-1.0-1.sample',
      'hello-1.1-1.sample',
    ]);
  });
});

test.each([
  ['getBuild', ['bash-5.99-1.fc44'], { strict: true }, 1000, "No such build: 'bash-5.99-1.fc44'"],
  ['getBuild', ['not a build'], {}, 1000, 'invalid format: not a build'],
  ['getBuild', [], {}, 1019, "getBuild() missing 1 required positional argument: 'buildInfo'"],
  ['getBuild', [], { build: 1 }, 1019, "getBuild() got an unexpected keyword argument 'build'"],
  ['getAPIVersion', [1], {}, 1019, 'getAPIVersion() takes at most 0 arguments (1 given)'],
  ['listBuildRPMs', ['bash-5.99-1.fc44'], {}, 1000, "No such build: 'bash-5.99-1.fc44'"],
  ['getFullInheritance', ['f99'], {}, 1000, "No such tagInfo: 'f99'"],
  ['getTaskDescendents', [1], {}, 1000, 'No such task: 1'],
  ['listTagged', ['f99'], {}, 1000, "No such tagInfo: 'f99'"],
  ['noSuchMethod', [], {}, 1000, 'Invalid method: noSuchMethod'],
  ['constructor', [], {}, 1000, 'Invalid method: constructor'],
] as const)('%s with %j and %j is fault %i', (method, args, keywords, code, text) => {
  expect(call(method, args, keywords)).toEqual({ fault: { code, text } });
});

test('an unknown NVR is nil, not a fault', () => {
  expect(value('getBuild', ['bash-5.99-1.fc44'])).toBeNull();
});

test('multiCall answers each call by itself: a list of one, or a fault', () => {
  const answers = value('multiCall', [
    [
      { methodName: 'getAPIVersion', params: [] },
      { methodName: 'getBuild', params: ['nope-1-1', { __starstar: true, strict: true }] },
      { methodName: 'getPackageID', params: ['no-such-package'] },
      { params: [] },
    ],
  ]);
  expect(answers).toEqual([
    [1],
    { faultCode: 1000, faultString: "No such build: 'nope-1-1'", traceback: [] },
    [null],
    { faultCode: 1000, faultString: 'No method name in a call of multiCall', traceback: [] },
  ]);
});
