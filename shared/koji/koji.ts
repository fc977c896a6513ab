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
  /** Signed copies in the order of `sigkeys`, then the unsigned file. Asks nobody. */
  filesOf(build: KojiBuild, rpm: KojiRpm, sigkeys: readonly string[]): readonly KojiRpmFile[];
}
