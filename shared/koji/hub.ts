/** The Koji port on a real hub: XML-RPC over the egress port, all questions batched into multiCalls. Reads only, never logs in. */
import { z } from 'zod';
import { failureKinds, SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { Egress } from '../egress/egress.ts';
import { parseNevra, parseNvr } from '../fedora/nvr.ts';
import type { Koji, KojiTagging, KojiTaskRpm } from './koji.ts';
import { rpmPath, taskFilePath } from './paths.ts';
import { Build, Descendents, Inheritance, Rpm, Signature, Tag, TaggedBuild, Task, TaskOutput } from './records.ts';
import { decodeResponse, encodeCall, readFault, withKeywords, XmlRpcError, type XmlRpcFault, type XmlRpcValue } from './xml-rpc.ts';

export interface KojiHubOptions {
  /** `https://…/kojihub` */
  readonly hub: string;
  /** What stands before `/packages/…` in the URLs of files. */
  readonly files: string;
  readonly egress: Egress;
  /** With it, a hub that does not answer is asked again, twice at most. */
  readonly clock?: Pick<Clock, 'sleep'>;
  readonly deadlineMs?: number;
  readonly answerBytesMax?: number;
}

// Koji refuses calls above 4 MiB; 2,000 of our questions have about half of that.
const callsMax = 2000;
// A kernel build has some hundred RPMs of 1.5 kB each.
const listCallsMax = 200;

/** Lists of a tag's builds are long. */
const tagCallsMax = 10;
const buildsOfTagMax = 2000;
const taskBuildsMax = 20;
const pausesMs = [500, 2000];

const genericError = 1000;
const serverOffline = 1014;
/** A task's state that has files to show. */
const closed = 2;

type Question = readonly [method: string, ...args: XmlRpcValue[]];

export function kojiHub({ hub, files, egress, clock, deadlineMs = 120_000, answerBytesMax = 64 * 1024 * 1024 }: KojiHubOptions): Koji {
  const unreachable = (why: string, cause?: unknown) =>
    new SpindleError('KOJI_UNREACHABLE', `Koji at ${hub} ${why}; this says nothing about the builds, so try again later`, { cause });

  const failed = (fault: XmlRpcFault): SpindleError => {
    const text = fault.text.slice(0, 500);
    return fault.code === serverOffline
      ? unreachable(`is offline: ${text}`)
      : new SpindleError('KOJI_FAULT', `Koji at ${hub} answered with fault ${fault.code}: ${text}`);
  };

  const sendOnce = async (call: string, signal: AbortSignal | undefined): Promise<XmlRpcValue> => {
    const headers = { 'content-type': 'text/xml' };
    const request = { url: hub, method: 'POST' as const, headers, body: call, bytesMax: answerBytesMax, deadlineMs, ...(signal ? { signal } : {}) };
    const answer = await egress.fetchText(request).catch((error: unknown) => {
      // Only what is about the host becomes Koji's trouble: a cancel stays a cancel.
      if (error instanceof SpindleError && failureKinds[error.code].retry === 'remote') throw unreachable(`could not be reached (${error.message})`, error);
      throw error;
    });
    // The hub answers 200 for results and for faults. Whatever else comes is somebody standing in between: a bot wall, a proxy, a maintenance page.
    const type = answer.headers['content-type'] ?? 'no content type';
    if (answer.status !== 200) throw unreachable(`answered with HTTP status ${answer.status}`);
    if (!/^(text|application)\/xml\b/i.test(type)) throw unreachable(`answered with ${type.slice(0, 80)} instead of XML-RPC`);
    try {
      const response = decodeResponse(answer.text, { lengthMax: answerBytesMax });
      if ('fault' in response) throw failed(response.fault);
      return response.value;
    } catch (error) {
      if (error instanceof XmlRpcError) throw unreachable(`answered with something that ${error.message}`, error);
      throw error;
    }
  };

  /** Only silence is worth another try: a hub that answered, answered. */
  const send = async (call: string, signal: AbortSignal | undefined): Promise<XmlRpcValue> => {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await sendOnce(call, signal);
      } catch (error) {
        const pauseMs = pausesMs[attempt];
        if (!clock || pauseMs === undefined || !(error instanceof SpindleError) || error.code !== 'KOJI_UNREACHABLE') throw error;
        await clock.sleep(pauseMs, signal);
      }
    }
  };

  const ask = async (questions: readonly Question[], atOnceMax: number, signal: AbortSignal | undefined): Promise<readonly (XmlRpcValue | XmlRpcFault)[]> => {
    const answers: (XmlRpcValue | XmlRpcFault)[] = [];
    for (let start = 0; start < questions.length; start += atOnceMax) {
      const batch = questions.slice(start, start + atOnceMax).map(([methodName, ...params]) => ({ methodName, params }));
      const results = await send(encodeCall('multiCall', [batch]), signal);
      if (!Array.isArray(results) || results.length !== batch.length) throw unreachable('answered a multiCall with another number of answers than questions');
      for (const result of results as readonly XmlRpcValue[]) {
        const fault = readFault(result);
        if (fault) answers.push(new Fault(fault));
        else if (Array.isArray(result) && result.length === 1) answers.push(result[0] as XmlRpcValue);
        else throw unreachable('answered a multiCall with something that is neither a result nor a fault');
      }
    }
    return answers;
  };

  const read = <T>(schema: z.ZodType<T>, answer: XmlRpcValue | XmlRpcFault, what: string): T => {
    if (answer instanceof Fault) throw failed(answer);
    const parsed = schema.safeParse(answer);
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0];
    throw new SpindleError('KOJI_FAULT', `Koji at ${hub} answered ${what} in an unknown form: ${issue?.path.join('.')} ${issue?.message}`);
  };

  const taggings = (answer: XmlRpcValue | XmlRpcFault, what: string): readonly KojiTagging[] => {
    const builds = read(z.array(Build), answer, what);
    const tags = read(z.array(TaggedBuild), answer, what);
    return builds.map((build, index) => ({ build, tag: tags[index] ?? '' }));
  };

  return {
    getBuilds: async (builds, signal) => {
      // The hub faults at what is no NVR instead of not finding it.
      const askable = builds.filter((build) => typeof build === 'number' || parseNvr(build) !== undefined);
      const answers = await ask(
        askable.map((build) => ['getBuild', build]),
        callsMax,
        signal,
      );
      const found = new Map(askable.map((build, index) => [build, answers[index] as XmlRpcValue | XmlRpcFault]));
      return builds.map((build) => {
        const answer = found.get(build);
        if (answer === undefined || answer === null || isUnknown(answer)) return undefined;
        return read(Build, answer, `getBuild ${build}`);
      });
    },
    listBuildRpms: async (buildIds, signal) => {
      const answers = await ask(
        buildIds.map((id) => ['listBuildRPMs', id]),
        listCallsMax,
        signal,
      );
      return answers.map((answer, index) => (isUnknown(answer) ? [] : read(z.array(Rpm), answer, `listBuildRPMs ${buildIds[index]}`)));
    },
    listSigkeys: async (rpmIds, signal) => {
      const answers = await ask(
        rpmIds.map((id) => ['queryRPMSigs', id]),
        callsMax,
        signal,
      );
      return answers.map((answer, index) =>
        // An imported unsigned RPM has a row with an empty key.
        read(z.array(Signature), answer, `queryRPMSigs ${rpmIds[index]}`).flatMap(({ sigkey }) =>
          /^[0-9a-f]{8}$/i.test(sigkey) ? [sigkey.toLowerCase()] : [],
        ),
      );
    },
    getTasks: async (taskIds, signal) => {
      const answers = await ask(
        taskIds.map((id) => ['getTaskInfo', id]),
        callsMax,
        signal,
      );
      return answers.map((answer, index) => (answer === null || isUnknown(answer) ? undefined : read(Task, answer, `getTaskInfo ${taskIds[index]}`)));
    },
    listTaskRpms: async (taskIds, signal) => {
      const below = await ask(
        taskIds.map((id) => ['getTaskDescendents', id]),
        listCallsMax,
        signal,
      );
      const families = taskIds.map((id, index) => [
        id,
        ...Object.values(read(Descendents, below[index] ?? null, `getTaskDescendents ${id}`))
          .flat()
          .filter(({ state }) => state === closed)
          .map((task) => task.id),
      ]);
      const members = [...new Set(families.flat())];
      const answers = await ask(
        members.map((id) => ['listTaskOutput', id, withKeywords({ stat: true, all_volumes: true })]),
        listCallsMax,
        signal,
      );
      const outputs = new Map(members.map((id, index) => [id, read(TaskOutput, answers[index] ?? null, `listTaskOutput ${id}`)]));
      return families.map((family) => {
        const found = new Map<string, KojiTaskRpm>();
        for (const taskId of family) {
          for (const [fileName, volumes] of Object.entries(outputs.get(taskId) ?? {})) {
            const [volume = 'DEFAULT', stat] = Object.entries(volumes)[0] ?? [];
            if (!fileName.endsWith('.rpm') || parseNevra(fileName.slice(0, -'.rpm'.length)) === undefined || found.has(fileName)) continue;
            const url = `${files.replace(/\/+$/, '')}/${taskFilePath(taskId, fileName, volume === 'DEFAULT' ? null : volume)}`;
            found.set(fileName, { taskId, fileName, size: stat?.st_size ?? 0, url });
          }
        }
        return [...found.values()];
      });
    },
    listTaskBuilds: async (taskIds, signal) => {
      const answers = await ask(
        taskIds.map((id) => ['listBuilds', withKeywords({ taskID: id, queryOpts: { limit: taskBuildsMax, order: '-build_id' } })]),
        listCallsMax,
        signal,
      );
      return answers.map((answer, index) =>
        (isUnknown(answer) ? [] : read(z.array(Build), answer, `listBuilds of task ${taskIds[index]}`)).filter(({ state }) => state === 'complete'),
      );
    },
    getInheritance: async (tags, signal) => {
      const answers = await ask(
        tags.map((tag) => ['getFullInheritance', tag]),
        listCallsMax,
        signal,
      );
      return answers.map((answer, index) =>
        isUnknownTag(answer) ? undefined : [...new Set(read(Inheritance, answer, `getFullInheritance ${tags[index]}`).map(({ name }) => name))],
      );
    },
    listTagged: async (tags, signal) => {
      const answers = await ask(
        tags.map((tag) => ['listTagged', tag, withKeywords({ inherit: false, latest: true, draft: false })]),
        tagCallsMax,
        signal,
      );
      return answers.map((answer, index) => {
        if (isUnknownTag(answer)) return [];
        if (Array.isArray(answer) && answer.length > buildsOfTagMax) {
          throw new SpindleError(
            'KOJI_TAG_TOO_LARGE',
            `the Koji tag ${tags[index]} holds ${answer.length} builds; a request takes tags of at most ${buildsOfTagMax}, such as a side tag`,
          );
        }
        return taggings(answer, `listTagged ${tags[index]}`);
      });
    },
    getLatestBuilds: async (tag, packages, signal) => {
      const answers = await ask(
        packages.map((name) => ['getLatestBuilds', tag, withKeywords({ package: name })]),
        listCallsMax,
        signal,
      );
      return answers.map((answer, index) => (isUnknownTag(answer) ? undefined : taggings(answer, `getLatestBuilds ${tag} ${packages[index]}`)[0]));
    },
    listTags: async (buildIds, signal) => {
      const answers = await ask(
        buildIds.map((id) => ['listTags', withKeywords({ build: id })]),
        listCallsMax,
        signal,
      );
      return answers.map((answer, index) => (isUnknown(answer) ? [] : read(z.array(Tag), answer, `listTags ${buildIds[index]}`).map(({ name }) => name)));
    },
    filesOf: (build, rpm, sigkeys) => [...sigkeys, null].map((sigkey) => ({ url: `${files.replace(/\/+$/, '')}/${rpmPath(build, rpm, sigkey)}`, sigkey })),
  };
}

/** Told apart from a struct that a call may return. */
class Fault implements XmlRpcFault {
  readonly code: number;
  readonly text: string;
  constructor({ code, text }: XmlRpcFault) {
    this.code = code;
    this.text = text;
  }
}

function isUnknown(answer: XmlRpcValue | XmlRpcFault): boolean {
  return answer instanceof Fault && answer.code === genericError && /^(No such build|invalid format|Invalid NVR|No matching build)/i.test(answer.text);
}

function isUnknownTag(answer: XmlRpcValue | XmlRpcFault): boolean {
  return answer instanceof Fault && answer.code === genericError && /^(No such tag|Invalid tagInfo|No matching tag)/i.test(answer.text);
}
