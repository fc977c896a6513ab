/** What Sample Linux's Koji knows: tags, builds and their RPMs, as records that the hub answers from. Pure. */

/** An RPM file, as its header and its file say it. */
export interface BuiltRpm {
  readonly name: string;
  readonly version: string;
  readonly release: string;
  /** `src` for a source RPM. */
  readonly arch: string;
  /** Bytes. */
  readonly size: number;
  /** The header's SIGMD5: what Koji calls payloadhash. */
  readonly payloadHash: string;
  /** Seconds since 1970. */
  readonly buildTimeS: number;
}

export interface KojiRpm extends BuiltRpm {
  readonly id: number;
}

/** Koji's numbers: 1 is complete, 3 is failed. */
type KojiBuildState = 1 | 3;

export interface KojiBuild {
  readonly id: number;
  readonly taskId: number;
  readonly name: string;
  readonly packageId: number;
  readonly version: string;
  readonly release: string;
  readonly state: KojiBuildState;
  /** Seconds since 1970. */
  readonly startedS: number;
  readonly completedS: number;
  /** Names of the tags that hold it, and the number of the event that put it there. */
  readonly tags: readonly { readonly tag: string; readonly event: number }[];
  readonly rpms: readonly KojiRpm[];
}

export interface KojiTag {
  readonly id: number;
  readonly name: string;
  /** Space-separated, as Koji has it. */
  readonly arches: string;
  /** The tag whose builds it has too. */
  readonly parent?: string;
}

export interface KojiContent {
  readonly tags: readonly KojiTag[];
  readonly builds: readonly KojiBuild[];
}

const tags: readonly KojiTag[] = [
  { id: 1, name: 'sample', arches: 'x86_64' },
  { id: 2, name: 'sample-updates', arches: 'x86_64', parent: 'sample' },
  { id: 3, name: 'sample-updates-testing', arches: 'x86_64', parent: 'sample-updates' },
  { id: 4, name: 'sample-updates-candidate', arches: 'x86_64', parent: 'sample-updates' },
];

/**
 * One Koji build for each source RPM. The oldest is in the stable tag, the newer ones are update candidates in testing; and one more, with the next version, has
 * failed, as happens.
 */
export function kojiContent(rpms: readonly BuiltRpm[]): KojiContent {
  const sources = rpms.filter(({ arch }) => arch === 'src').sort((a, b) => a.version.localeCompare(b.version));
  let rpmId = 6000;
  const builds = sources.map((source, index): KojiBuild => {
    const ofBuild = rpms.filter(({ version, release }) => version === source.version && release === source.release);
    const names = index === 0 ? ['sample'] : ['sample-updates-candidate', 'sample-updates-testing'];
    return {
      ...{ id: 1001 + index, taskId: 5001 + index, name: source.name, packageId: 298, version: source.version, release: source.release, state: 1 },
      // Never whole seconds, as at a real hub, which sends these as doubles.
      startedS: source.buildTimeS - 59.75,
      completedS: source.buildTimeS + 0.25,
      tags: names.map((tag, position) => ({ tag, event: 70_000 + index * 10 + position })),
      rpms: ofBuild.map((rpm) => {
        rpmId += 1;
        return { ...rpm, id: rpmId };
      }),
    };
  });
  const newest = builds.at(-1);
  const failed: KojiBuild[] = newest
    ? [{ ...newest, id: newest.id + 1, taskId: newest.taskId + 1, version: nextVersion(newest.version), state: 3, tags: [], rpms: [] }]
    : [];
  return { tags, builds: [...builds, ...failed] };
}

const nextVersion = (version: string) => version.replace(/\d+$/, (digits) => String(Number(digits) + 1));
