/** The Koji port on a real hub: XML-RPC over the egress port, all questions batched into multiCalls. Reads only, never logs in. */
import { z } from 'zod';
import { failureKinds, SpindleError } from '../build/failure.ts';
import type { Egress } from '../egress/egress.ts';
import { parseNvr } from '../fedora/nvr.ts';
import { buildStates, type Koji, type KojiBuild, type KojiRpm } from './koji.ts';
import { isPlausible, rpmPath } from './paths.ts';
import { decodeResponse, encodeCall, readFault, XmlRpcError, type XmlRpcFault, type XmlRpcValue } from './xml-rpc.ts';

export interface KojiHubOptions {
  /** `https://…/kojihub` */
  readonly hub: string;
  /** What stands before `/packages/…` in the URLs of files. */
  readonly files: string;
  readonly egress: Egress;
  readonly deadlineMs?: number;
  readonly answerBytesMax?: number;
}

// Koji refuses calls above 4 MiB; 2,000 of our questions have about half of that.
const callsMax = 2000;
// A kernel build has some hundred RPMs of 1.5 kB each.
const listCallsMax = 200;

const genericError = 1000;
const serverOffline = 1014;

const count = z.number().int().nonnegative();
const epoch = count.nullable().transform((value) => value ?? 0);

const Build = z
  .object({
    id: count.optional(),
    build_id: count.optional(),
    nvr: z.string(),
    name: z.string(),
    version: z.string(),
    release: z.string(),
    epoch,
    state: z
      .number()
      .int()
      .min(0)
      .max(buildStates.length - 1),
    volume_name: z.string().nullish(),
  })
  .transform(({ id, build_id, state, volume_name, ...build }, context): KojiBuild => {
    const known = id ?? build_id;
    const volume = volume_name === 'DEFAULT' ? null : (volume_name ?? null);
    const stateName = buildStates[state];
    if (known === undefined || stateName === undefined) context.addIssue({ code: 'custom', message: 'has no build id' });
    if (!isPlausible({ ...build, arch: 'noarch' }) || (volume !== null && !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(volume))) {
      context.addIssue({ code: 'custom', message: `names ${build.nvr.slice(0, 100)} in a way that Koji does not allow` });
    }
    return { ...build, id: known ?? 0, state: stateName ?? 'deleted', volume };
  });

const Rpm = z
  .object({
    id: count,
    name: z.string(),
    version: z.string(),
    release: z.string(),
    epoch,
    arch: z.string(),
    size: count.nullish().transform((value) => value ?? 0),
    payloadhash: z.string().nullish(),
    metadata_only: z.boolean().nullish(),
  })
  .transform(({ payloadhash, metadata_only, ...rpm }, context): KojiRpm => {
    if (!isPlausible(rpm))
      context.addIssue({ code: 'custom', message: `names an RPM ${JSON.stringify(rpm.name.slice(0, 100))} in a way that Koji does not allow` });
    const hash = payloadhash?.toLowerCase();
    return { ...rpm, payloadHash: hash && /^[0-9a-f]{32}$/.test(hash) ? hash : null, isMetadataOnly: metadata_only ?? false };
  });

const Signature = z.object({ sigkey: z.string() });

type Question = readonly [method: string, ...args: XmlRpcValue[]];

export function kojiHub({ hub, files, egress, deadlineMs = 120_000, answerBytesMax = 64 * 1024 * 1024 }: KojiHubOptions): Koji {
  const unreachable = (why: string, cause?: unknown) =>
    new SpindleError('KOJI_UNREACHABLE', `Koji at ${hub} ${why}; this says nothing about the builds, so try again later`, { cause });

  const failed = (fault: XmlRpcFault): SpindleError => {
    const text = fault.text.slice(0, 500);
    return fault.code === serverOffline
      ? unreachable(`is offline: ${text}`)
      : new SpindleError('KOJI_FAULT', `Koji at ${hub} answered with fault ${fault.code}: ${text}`);
  };

  const send = async (call: string, signal: AbortSignal | undefined): Promise<XmlRpcValue> => {
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
