/** The Koji port: what the resolver asks a Koji hub about, many things at a time. */

export const buildStates = ['building', 'complete', 'deleted', 'failed', 'canceled'] as const;
type KojiBuildState = (typeof buildStates)[number];

export interface KojiBuild {
  readonly id: number;
  readonly nvr: string;
  /** Of the source package. */
  readonly name: string;
  readonly version: string;
  readonly release: string;
  readonly epoch: number;
  readonly state: KojiBuildState;
  /** The volume that holds its files; null for the default one. */
  readonly volume: string | null;
}

export interface KojiRpm {
  readonly id: number;
  readonly name: string;
  readonly version: string;
  readonly release: string;
  readonly epoch: number;
  readonly arch: string;
  /** Bytes of the unsigned file. */
  readonly size: number;
  /** The header's SIGMD5, 32 lower-case hex digits: the same for the signed and the unsigned file. Null where Koji has none. */
  readonly payloadHash: string | null;
  /** True where Koji knows of the RPM, but does not hold its file. */
  readonly isMetadataOnly: boolean;
}

/** A task's state, by Koji's numbers 0 to 5. */
export const taskStates = ['free', 'open', 'closed', 'canceled', 'assigned', 'failed'] as const;

export interface KojiTask {
  readonly id: number;
  /** `build`, `buildArch`, `buildSRPMFromSCM`, `image`, … */
  readonly method: string;
  readonly state: (typeof taskStates)[number];
  readonly arch: string | null;
}

/** An RPM that a task left, such as a scratch build's: known by its file name alone. */
export interface KojiTaskRpm {
  readonly taskId: number;
  /** `hello-1.1-1.x86_64.rpm` */
  readonly fileName: string;
  /** Bytes; 0 where Koji does not say. */
  readonly size: number;
  readonly url: string;
}

/** A build, and the tag that really holds it: with inheritance often another one than was asked for. */
export interface KojiTagging {
  readonly build: KojiBuild;
  readonly tag: string;
}

/** Where an RPM can be fetched, best first. */
interface KojiRpmFile {
  readonly url: string;
  /** Koji's path name of the signature, or null for the unsigned file. */
  readonly sigkey: string | null;
}

/**
 * Answers come in the order of the questions. Rejects with KOJI_UNREACHABLE (no answer, not XML-RPC, hub offline), KOJI_FAULT, or the signal's reason: never with
 * a wrong answer.
 */
export interface Koji {
  /** By NVR or build id. Undefined: Koji has no such build. */
  getBuilds(builds: readonly (string | number)[], signal?: AbortSignal): Promise<readonly (KojiBuild | undefined)[]>;
  /** Every RPM of each build: all architectures, sources and debuginfo too. */
  listBuildRpms(buildIds: readonly number[], signal?: AbortSignal): Promise<readonly (readonly KojiRpm[])[]>;
  /** The sigkeys, 8 lower-case hex digits each, that each RPM was signed with. */
  listSigkeys(rpmIds: readonly number[], signal?: AbortSignal): Promise<readonly (readonly string[])[]>;
  /** Undefined: Koji has no such task. */
  getTasks(taskIds: readonly number[], signal?: AbortSignal): Promise<readonly (KojiTask | undefined)[]>;
  /** The RPMs that each task and the tasks below it left, sources too, each file name once. */
  listTaskRpms(taskIds: readonly number[], signal?: AbortSignal): Promise<readonly (readonly KojiTaskRpm[])[]>;
  /** The complete builds that each task made; none for a scratch task. */
  listTaskBuilds(taskIds: readonly number[], signal?: AbortSignal): Promise<readonly (readonly KojiBuild[])[]>;
  /** For each tag the tags that it inherits from, nearest first, without itself. Undefined: Koji has no such tag. */
  getInheritance(tags: readonly string[], signal?: AbortSignal): Promise<readonly (readonly string[] | undefined)[]>;
  /** For each tag the latest build of each package that is tagged right there, last tagged first: not what it inherits. An unknown tag has none. */
  listTagged(tags: readonly string[], signal?: AbortSignal): Promise<readonly (readonly KojiTagging[])[]>;
  /** For each source package its latest build in the tag, inheritance included; undefined where there is none. An unknown tag has none. */
  getLatestBuilds(tag: string, packages: readonly string[], signal?: AbortSignal): Promise<readonly (KojiTagging | undefined)[]>;
  /** For each build (by id) the names of all tags that hold it. */
  listTags(buildIds: readonly number[], signal?: AbortSignal): Promise<readonly (readonly string[])[]>;
  /** Signed copies in the order of `sigkeys`, then the unsigned file. Asks nobody. */
  filesOf(build: KojiBuild, rpm: KojiRpm, sigkeys: readonly string[]): readonly KojiRpmFile[];
}
