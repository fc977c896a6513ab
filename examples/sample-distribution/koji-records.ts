/** The records that Sample Linux's Koji hub answers from: tags, builds, RPMs and tasks. Pure. */

/** An RPM file, as its header and its file say it. */
export interface BuiltRpm {
  readonly name: string;
  readonly epoch: number | null;
  readonly version: string;
  readonly release: string;
  /** `src` for a source RPM. */
  readonly arch: string;
  /** Name, version and release of the source RPM that it was built from; of itself for a source RPM. */
  readonly nvrOfSource: string;
  /** Bytes. */
  readonly size: number;
  /** The header's SIGMD5: what Koji calls payloadhash. */
  readonly payloadHash: string;
  /** Seconds since 1970. */
  readonly buildTimeS: number;
}

export interface KojiRpm extends BuiltRpm {
  readonly id: number;
  /** Path names of the signed copies. */
  readonly sigkeys: readonly string[];
}

export interface KojiBuild {
  readonly id: number;
  readonly taskId: number;
  readonly name: string;
  readonly packageId: number;
  readonly epoch: number | null;
  readonly version: string;
  readonly release: string;
  /** Koji's numbers: 0 building, 1 complete, 2 deleted, 3 failed, 4 canceled. */
  readonly state: 0 | 1 | 2 | 3 | 4;
  readonly isDraft: boolean;
  /** Seconds since 1970. */
  readonly startedS: number;
  /** Null while it is being built. */
  readonly completedS: number | null;
  /** Names of the tags that hold it, and the number of the event that put it there. */
  readonly tags: readonly { readonly tag: string; readonly event: number }[];
  readonly rpms: readonly KojiRpm[];
}

export interface KojiTag {
  readonly id: number;
  readonly name: string;
  /** Space-separated, as Koji has it. */
  readonly arches: string;
  /** The tags whose builds it has too; the first before the second. */
  readonly parents: readonly string[];
  /** The tag that a side tag was made of. */
  readonly sideTagOf?: string;
}

export interface KojiTarget {
  readonly id: number;
  readonly name: string;
  readonly buildTag: string;
  readonly destTag: string;
}

/** A file that a task left: where the files host has it, below the task's folder. */
interface KojiTaskFile {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
}

export interface KojiTask {
  readonly id: number;
  readonly method: 'build' | 'buildArch' | 'rebuildSRPM';
  /** Koji's numbers: 0 free, 1 open, 2 closed, 3 canceled, 4 assigned, 5 failed. */
  readonly state: 0 | 1 | 2 | 3 | 4 | 5;
  readonly arch: string;
  readonly label: string | null;
  readonly parent: number | null;
  readonly startedS: number;
  readonly completedS: number | null;
  /** As JSON has it: what the task was called with. */
  readonly request: readonly JsonValue[];
  readonly output: readonly KojiTaskFile[];
}
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

export interface KojiContent {
  readonly tags: readonly KojiTag[];
  readonly targets: readonly KojiTarget[];
  readonly builds: readonly KojiBuild[];
  readonly tasks: readonly KojiTask[];
}
