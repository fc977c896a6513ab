/** Answers a Koji hub's read-only calls from the records of Sample Linux, with the names, types and faults of the real one. Pure. */
import { encodeFault, encodeResponse, isStruct, type XmlRpcCall, type XmlRpcStruct, type XmlRpcValue } from '../../shared/koji/xml-rpc.ts';
import { stableBuiltS } from './known-names.ts';
import { nvrOf } from './koji-content.ts';
import type { JsonValue, KojiBuild, KojiContent, KojiRpm, KojiTag, KojiTask } from './koji-records.ts';

export const kojiVersion = '1.35.3';

/** What the hub says no with. 1000 is its general error, 1019 a wrong or missing argument. */
class KojiFault extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}
const refuse = (message: string): never => {
  throw new KojiFault(1000, message);
};

/** Arguments by the names of the hub's own parameters, whichever way they came. */
type Arguments = Readonly<Record<string, XmlRpcValue>>;
interface Method {
  readonly parameters: readonly string[];
  readonly required?: number;
  answer(given: Arguments, content: KojiContent): XmlRpcValue;
}

/** The whole answer as XML. A fault is an answer too: the hub sends it with HTTP status 200. */
export function answerCall(call: XmlRpcCall, content: KojiContent): string {
  try {
    if (call.method === 'multiCall' || call.method === 'system.multicall') return encodeResponse(answerMany(call.args[0] ?? null, content));
    return encodeResponse(answerOne(call, content));
  } catch (error) {
    if (error instanceof KojiFault) return encodeFault({ code: error.code, text: error.message });
    throw error;
  }
}

function answerMany(calls: XmlRpcValue, content: KojiContent): XmlRpcValue {
  if (!Array.isArray(calls)) throw new KojiFault(1019, 'multiCall() takes a list of calls');
  return calls.map((entry: XmlRpcValue): XmlRpcValue => {
    try {
      if (!isStruct(entry) || typeof entry.methodName !== 'string') return refuse('No method name in a call of multiCall');
      const params = Array.isArray(entry.params) ? (entry.params as readonly XmlRpcValue[]) : [];
      const last = params.at(-1);
      const hasKeywords = isStruct(last) && last.__starstar === true;
      const { __starstar: _, ...keywords } = hasKeywords ? last : {};
      return [answerOne({ method: entry.methodName, args: hasKeywords ? params.slice(0, -1) : params, keywords }, content)];
    } catch (error) {
      if (error instanceof KojiFault) return { faultCode: error.code, faultString: error.message, traceback: [] };
      throw error;
    }
  });
}

function answerOne({ method, args, keywords }: XmlRpcCall, content: KojiContent): XmlRpcValue {
  const found = Object.hasOwn(methods, method) ? methods[method] : undefined;
  if (found === undefined) return refuse(`Invalid method: ${method}`);
  if (args.length > found.parameters.length) throw new KojiFault(1019, `${method}() takes at most ${found.parameters.length} arguments (${args.length} given)`);
  const given: Record<string, XmlRpcValue> = {};
  for (const [index, value] of args.entries()) given[found.parameters[index] as string] = value;
  for (const [name, value] of Object.entries(keywords)) {
    if (!found.parameters.includes(name)) throw new KojiFault(1019, `${method}() got an unexpected keyword argument '${name}'`);
    given[name] = value;
  }
  for (const name of found.parameters.slice(0, found.required ?? 0)) {
    if (!Object.hasOwn(given, name)) throw new KojiFault(1019, `${method}() missing 1 required positional argument: '${name}'`);
  }
  return found.answer(given, content);
}

const methods: Readonly<Record<string, Method>> = {
  getAPIVersion: { parameters: [], answer: () => 1 },
  getKojiVersion: { parameters: [], answer: () => kojiVersion },

  getBuild: {
    parameters: ['buildInfo', 'strict'],
    required: 1,
    answer: ({ buildInfo = null, strict }, content) => {
      const build = findBuild(buildInfo, content);
      if (build === undefined) return strict === true ? refuse(`No such build: ${quoted(buildInfo)}`) : null;
      return { id: build.id, cg_id: null, cg_name: null, ...buildRow(build), ...buildTimes(build) };
    },
  },

  listBuilds: {
    parameters: [
      'packageID',
      'userID',
      'taskID',
      'prefix',
      'state',
      'volumeID',
      'source',
      'createdBefore',
      'createdAfter',
      'completeBefore',
      'completeAfter',
      'type',
      'typeInfo',
      'queryOpts',
    ],
    answer: ({ packageID = null, taskID = null, state = null, queryOpts = null }, content) => {
      const wanted = content.builds.filter(
        (build) =>
          (packageID === null || packageID === build.packageId || packageID === build.name) &&
          (taskID === null || taskID === build.taskId) &&
          (state === null || state === build.state),
      );
      return select(
        wanted.map((build) => ({ ...buildRow(build), ...buildTimes(build) })),
        queryOpts,
      );
    },
  },

  listBuildRPMs: {
    parameters: ['build'],
    required: 1,
    answer: ({ build = null }, content) => {
      const found = findBuild(build, content);
      // An id that nobody has is an empty answer, a name that nobody has is a fault.
      if (found === undefined) return typeof build === 'number' ? [] : refuse(`No such build: ${quoted(build)}`);
      return found.rpms.map((rpm) => ({ ...rpmRow(rpm, found), nvr: nvrOf(rpm) }));
    },
  },

  listRPMs: {
    parameters: ['buildID', 'buildrootID', 'imageID', 'componentBuildrootID', 'hostID', 'arches', 'queryOpts', 'draft'],
    answer: ({ buildID = null, arches = null, queryOpts = null }, content) => {
      const wanted = arches === null ? undefined : [arches].flat();
      const builds = buildID === null ? content.builds : content.builds.filter(({ id }) => id === buildID);
      const rows = builds.flatMap((build) => build.rpms.map((rpm) => ({ ...rpmRow(rpm, build), nvr: nvrOf(rpm) })));
      return select(wanted === undefined ? rows : rows.filter(({ arch }) => wanted.includes(arch)), queryOpts);
    },
  },

  getRPM: {
    parameters: ['rpminfo', 'strict', 'multi'],
    required: 1,
    answer: ({ rpminfo = null, strict }, content) => {
      const found = findRpm(rpminfo, content);
      if (found === undefined) return strict === true ? refuse(`No such rpm: ${quoted(rpminfo)}`) : null;
      return rpmRow(found.rpm, found.build);
    },
  },

  queryRPMSigs: {
    parameters: ['rpm_id', 'sigkey', 'queryOpts'],
    answer: ({ rpm_id = null, sigkey = null, queryOpts = null }, content) => {
      const all = content.builds.flatMap((build) => build.rpms);
      const found = rpm_id === null ? all : [findRpm(rpm_id, content)?.rpm ?? refuse(`No such rpm: ${quoted(rpm_id)}`)];
      // An RPM that was imported without a signature has one row all the same, with an empty key.
      const rows = found.flatMap((rpm) => ['', ...rpm.sigkeys].map((key) => ({ rpm_id: rpm.id, sigkey: key, sighash: rpm.payloadHash })));
      return select(sigkey === null ? rows : rows.filter((row) => row.sigkey === String(sigkey).toLowerCase()), queryOpts);
    },
  },

  listTags: {
    parameters: ['build', 'package', 'perms', 'queryOpts', 'pattern'],
    answer: ({ build = null, package: packageName = null, queryOpts = null, pattern = null }, content) => {
      if (build !== null && packageName !== null) return refuse('only one of build and package may be specified');
      if (build === null) {
        const matches = typeof pattern === 'string' ? globMatcher(pattern) : () => true;
        return select(content.tags.filter(({ name }) => matches(name)).map(tagRow), queryOpts);
      }
      const found = findBuild(build, content) ?? refuse(`No such build: ${quoted(build)}`);
      return select(content.tags.filter(({ name }) => found.tags.some(({ tag }) => tag === name)).map(tagRow), queryOpts);
    },
  },

  getTag: {
    parameters: ['tagInfo', 'strict', 'event', 'blocked'],
    required: 1,
    answer: ({ tagInfo = null, strict }, content) => {
      const tag = findTag(tagInfo, content);
      if (tag === undefined) return strict === true ? refuse(`No such tagInfo: ${quoted(tagInfo)}`) : null;
      return { ...tagRow(tag), extra: {} };
    },
  },

  getLatestBuilds: {
    parameters: ['tag', 'event', 'package', 'type', 'draft'],
    required: 1,
    answer: ({ tag = null, package: packageName = null }, content) => listTagged(tag, { inherit: true, latest: 1, packageName }, content),
  },

  listTagged: {
    parameters: ['tag', 'event', 'inherit', 'prefix', 'latest', 'package', 'owner', 'type', 'strict', 'extra', 'draft'],
    required: 1,
    answer: ({ tag = null, inherit = false, latest = false, package: packageName = null, strict = true }, content) => {
      if (strict === false && findTag(tag, content) === undefined) return [];
      return listTagged(
        tag,
        { inherit: inherit === true, latest: latest === true ? 1 : typeof latest === 'number' ? latest : undefined, packageName },
        content,
      );
    },
  },

  getPackageID: {
    parameters: ['name', 'strict'],
    required: 1,
    answer: ({ name = null, strict }, content) =>
      content.builds.find((build) => build.name === name)?.packageId ?? (strict === true ? refuse(`No such package: ${quoted(name)}`) : null),
  },

  getTaskInfo: {
    parameters: ['task_id', 'request', 'strict'],
    required: 1,
    answer: ({ task_id = null, request, strict }, content) => {
      const one = (id: XmlRpcValue): XmlRpcValue => {
        const task = content.tasks.find((each) => each.id === id);
        if (task === undefined) return strict === true ? refuse(`No such task: ${quoted(id)}`) : null;
        return taskRow(task, request === true);
      };
      return Array.isArray(task_id) ? task_id.map(one) : one(task_id);
    },
  },

  getTaskDescendents: {
    parameters: ['task_id', 'request'],
    required: 1,
    // Each task below, by its parent: a task without children has none to show.
    answer: ({ task_id = null, request }, content) => {
      const below: Record<string, XmlRpcValue> = {};
      const walk = (id: XmlRpcValue): void => {
        const children = content.tasks.filter(({ parent }) => parent === id);
        below[String(id)] = children.map((child) => taskRow(child, request === true));
        for (const child of children) walk(child.id);
      };
      if (!content.tasks.some(({ id }) => id === task_id)) return refuse(`No such task: ${quoted(task_id)}`);
      walk(task_id);
      return below;
    },
  },

  listTaskOutput: {
    parameters: ['taskID', 'stat', 'all_volumes', 'strict'],
    required: 1,
    answer: ({ taskID = null, stat, all_volumes }, content) => {
      const files = content.tasks.find(({ id }) => id === taskID)?.output ?? [];
      // Sizes are texts, for they may exceed 32 bits.
      const facts = ({ size }: { readonly size: number }) => ({ st_size: String(size), st_mtime: stableBuiltS, st_mode: 33_188 });
      if (all_volumes === true) return Object.fromEntries(files.map((file) => [file.name, stat === true ? { DEFAULT: facts(file) } : ['DEFAULT']]));
      return stat === true ? Object.fromEntries(files.map((file) => [file.name, facts(file)])) : files.map(({ name }) => name);
    },
  },

  getFullInheritance: {
    parameters: ['tag', 'event', 'reverse'],
    required: 1,
    answer: ({ tag = null }, content) => {
      const start = findTag(tag, content) ?? refuse(`No such tagInfo: ${quoted(tag)}`);
      return inheritanceOf(start, content).map(({ parent, child, depth, priority }) => ({
        ...{ parent_id: parent.id, child_id: child.id, name: parent.name, currdepth: depth, nextdepth: null, priority },
        ...{ maxdepth: null, intransitive: false, noconfig: false, pkg_filter: '', filter: [] },
      }));
    },
  },

  listSideTags: {
    parameters: ['basetag', 'user', 'queryOpts'],
    answer: ({ basetag = null, queryOpts = null }, content) => {
      const base = basetag === null ? undefined : (findTag(basetag, content) ?? refuse(`No such tagInfo: ${quoted(basetag)}`));
      const found = content.tags.filter(({ sideTagOf }) => sideTagOf !== undefined && (base === undefined || sideTagOf === base.name));
      return select(
        found.map(({ id, name }) => ({ id, name, user_id: '1', user_name: 'sample' })),
        queryOpts,
      );
    },
  },

  getBuildTarget: {
    parameters: ['info', 'event', 'strict'],
    required: 1,
    answer: ({ info = null, strict }, content) => {
      const target = content.targets.find(({ id, name }) => id === info || name === info);
      if (target === undefined) return strict === true ? refuse(`No such build target: ${quoted(info)}`) : null;
      const idOf = (name: string) => findTag(name, content)?.id ?? 0;
      const { id, name, buildTag, destTag } = target;
      return { id, name, build_tag: idOf(buildTag), build_tag_name: buildTag, dest_tag: idOf(destTag), dest_tag_name: destTag };
    },
  },
};

/** By id, by NVR, or by name, version and release. A text that is no NVR is a fault, as at the real hub. */
function findBuild(info: XmlRpcValue, { builds }: KojiContent): KojiBuild | undefined {
  if (typeof info === 'number') return builds.find(({ id }) => id === info);
  if (typeof info === 'string') {
    if (!/^.+-[^-]+-[^-]+$/.test(info)) return refuse(`invalid format: ${info}`);
    return builds.find((build) => nvrOf(build) === info);
  }
  if (isStruct(info)) return builds.find(({ name, version, release }) => name === info.name && version === info.version && release === info.release);
  throw new KojiFault(1000, `Invalid type for build info: ${quoted(info)}`);
}

function findRpm(info: XmlRpcValue, { builds }: KojiContent): { readonly rpm: KojiRpm; readonly build: KojiBuild } | undefined {
  const matches = ({ id, name, version, release, arch }: KojiRpm) =>
    isStruct(info)
      ? name === info.name && version === info.version && release === info.release && arch === info.arch
      : info === id || info === `${name}-${version}-${release}.${arch}`;
  for (const build of builds) {
    const rpm = build.rpms.find(matches);
    if (rpm !== undefined) return { rpm, build };
  }
  return undefined;
}

const findTag = (info: XmlRpcValue, { tags }: KojiContent) => tags.find(({ id, name }) => info === id || info === name);

/** Newest tagging first: so the latest build of a package is the one that was tagged last, not the one with the highest version. */
function listTagged(
  tagInfo: XmlRpcValue,
  { inherit, latest, packageName }: { readonly inherit: boolean; readonly latest: number | undefined; readonly packageName: XmlRpcValue },
  content: KojiContent,
): XmlRpcValue {
  const rows: XmlRpcStruct[] = [];
  const counts = new Map<string, number>();
  const seen = new Set<number>();
  const start: KojiTag = findTag(tagInfo, content) ?? refuse(`No such tagInfo: ${quoted(tagInfo)}`);
  const chain = inherit ? [start, ...inheritanceOf(start, content).map(({ parent }) => parent)] : [start];
  for (const { id, name } of chain) {
    const tagged = content.builds
      .filter((build) => build.state === 1 && (packageName === null || build.name === packageName) && !seen.has(build.id))
      .flatMap((build) => build.tags.filter((tagging) => tagging.tag === name).map(({ event }) => ({ build, event })))
      .sort((a, b) => b.event - a.event);
    for (const { build, event } of tagged) {
      seen.add(build.id);
      const count = (counts.get(build.name) ?? 0) + 1;
      counts.set(build.name, count);
      if (latest !== undefined && count > latest) continue;
      const { extra: _extra, source: _source, ...row } = buildRow(build);
      rows.push({
        ...row,
        id: build.id,
        tag_id: id,
        tag_name: name,
        create_event: event,
        start_time: timeText(build.startedS),
        completion_time: timeText(build.completedS),
        creation_time: timeText(build.startedS),
      });
    }
  }
  return rows;
}

interface Inheritance {
  readonly parent: KojiTag;
  readonly child: KojiTag;
  readonly depth: number;
  readonly priority: number;
}

/** Every tag above, each with all that is above it before the next one beside it: the order in which Koji looks. */
function inheritanceOf(child: KojiTag, content: KojiContent, depth = 1): readonly Inheritance[] {
  return child.parents.flatMap((name, priority) => {
    const parent = findTag(name, content);
    return parent === undefined ? [] : [{ parent, child, depth, priority }, ...inheritanceOf(parent, content, depth + 1)];
  });
}

function buildRow(build: KojiBuild) {
  const nvr = nvrOf(build);
  return {
    build_id: build.id,
    name: build.name,
    package_name: build.name,
    package_id: build.packageId,
    version: build.version,
    release: build.release,
    epoch: build.epoch,
    nvr,
    state: build.state,
    draft: build.isDraft,
    task_id: build.taskId,
    owner_id: 1,
    owner_name: 'sample',
    source: `${nvr}.src.rpm`,
    extra: { source: { original_url: `${nvr}.src.rpm` } },
    volume_id: 0,
    volume_name: 'DEFAULT',
    creation_event_id: build.id,
    promotion_time: null,
    promoter_id: null,
    promoter_name: null,
  };
}

const buildTimes = ({ startedS, completedS }: KojiBuild) => ({
  creation_time: timeText(startedS),
  creation_ts: startedS,
  start_time: timeText(startedS),
  start_ts: startedS,
  completion_time: timeText(completedS),
  completion_ts: completedS,
  promotion_ts: null,
});

const rpmRow = (rpm: KojiRpm, build: KojiBuild) => ({
  id: rpm.id,
  name: rpm.name,
  version: rpm.version,
  release: rpm.release,
  arch: rpm.arch,
  epoch: rpm.epoch,
  draft: build.isDraft,
  payloadhash: rpm.payloadHash,
  size: rpm.size,
  buildtime: rpm.buildTimeS,
  build_id: build.id,
  buildroot_id: 934,
  external_repo_id: 0,
  external_repo_name: 'INTERNAL',
  metadata_only: false,
  extra: null,
});

const tagRow = ({ id, name, arches }: KojiTag) => ({
  id,
  name,
  arches,
  locked: false,
  maven_support: false,
  maven_include_all: false,
  perm: null,
  perm_id: null,
});

const taskRow = (task: KojiTask, withRequest: boolean) => ({
  id: task.id,
  state: task.state,
  method: task.method,
  arch: task.arch,
  label: task.label,
  owner: 1,
  parent: task.parent,
  host_id: 1,
  channel_id: 1,
  priority: task.parent === null ? 20 : 19,
  weight: 0.2,
  waiting: false,
  awaited: task.parent === null ? null : false,
  create_time: timeText(task.startedS),
  create_ts: task.startedS,
  start_time: timeText(task.startedS),
  start_ts: task.startedS,
  completion_time: timeText(task.completedS),
  completion_ts: task.completedS,
  ...(withRequest ? { request: task.request.map(wireValue) } : {}),
});

/** What JSON holds, XML-RPC does too. */
const wireValue = (value: JsonValue): XmlRpcValue => value as XmlRpcValue;

/** As Python writes it, which is how Koji sends its times: `2024-07-03 19:33:30.250000+00:00`. */
const timeText = (seconds: number | null) => (seconds === null ? null : `${new Date(seconds * 1000).toISOString().slice(0, 23).replace('T', ' ')}000+00:00`);

/** As Python shows a value in a message. */
const quoted = (value: XmlRpcValue) => (typeof value === 'string' ? `'${value}'` : value === null ? 'None' : String(value));

/** The `*` and `?` of a pattern, without regular expressions of a stranger. */
function globMatcher(pattern: string): (name: string) => boolean {
  const source = pattern.replaceAll(/\*+/g, '*').replaceAll(/[.+^${}()|[\]\\]/g, '\\$&');
  const expression = new RegExp(`^${source.replaceAll('*', '.*').replaceAll('?', '.')}$`);
  return (name) => expression.test(name);
}

/** `queryOpts`: order (keys, a dash before one turns it round), offset, limit, or only the count. */
function select(rows: readonly XmlRpcStruct[], queryOpts: XmlRpcValue): XmlRpcValue {
  if (!isStruct(queryOpts)) return rows;
  const { order, offset, limit, countOnly } = queryOpts;
  const keys = typeof order === 'string' ? order.split(',').filter((key) => key !== '') : [];
  const sorted = [...rows].sort((a, b) => {
    for (const key of keys) {
      const name = key.replace(/^-/, '');
      const [x, y] = [a[name], b[name]];
      const difference = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
      if (difference !== 0) return key.startsWith('-') ? -difference : difference;
    }
    return 0;
  });
  const start = typeof offset === 'number' ? Math.max(0, offset) : 0;
  const selected = sorted.slice(start, typeof limit === 'number' ? start + Math.max(0, limit) : undefined);
  return countOnly === true ? selected.length : selected;
}
