/** Which tags, builds and scratch tasks Sample Linux's Koji has, and what is special about each. Pure. */
import { kojiTaskIds, sideTag } from './known-names.ts';
import type { KojiBuild, KojiTag, KojiTarget, KojiTask } from './koji-records.ts';

export const tags: readonly KojiTag[] = [
  { id: 1, name: 'sample', arches: 'x86_64', parents: [] },
  { id: 2, name: 'sample-updates', arches: 'x86_64', parents: ['sample'] },
  { id: 3, name: 'sample-updates-testing', arches: 'x86_64', parents: ['sample-updates'] },
  { id: 4, name: 'sample-updates-candidate', arches: 'x86_64', parents: ['sample-updates'] },
  { id: 5, name: 'sample-build', arches: 'x86_64', parents: ['sample-updates'] },
  { id: 6, name: 'other', arches: 'x86_64', parents: [] },
  { id: 101, name: sideTag, arches: 'x86_64', parents: ['sample-build'], sideTagOf: 'sample-build' },
];

export const targets: readonly KojiTarget[] = [
  { id: 1, name: 'sample', buildTag: 'sample-build', destTag: 'sample-updates-candidate' },
  { id: 2, name: sideTag, buildTag: sideTag, destTag: sideTag },
];

export interface BuildPlan {
  readonly id: number;
  readonly nvr: string;
  readonly state: KojiBuild['state'];
  /** Each with the number of the event that put it there: the greatest of a tag is the latest, whatever its version. */
  readonly tags: readonly (readonly [tag: string, event: number])[];
}

const candidate = 'sample-updates-candidate';
const testing = 'sample-updates-testing';

export const buildPlans: readonly BuildPlan[] = [
  { id: 1001, nvr: 'hello-1.0-1.sample', state: 1, tags: [['sample', 70_001]] },
  {
    ...{ id: 1002, nvr: 'hello-1.1-1.sample', state: 1 },
    tags: [
      [candidate, 70_020],
      [testing, 70_021],
    ],
  },
  { id: 1003, nvr: 'hello-1.2-1.sample', state: 3, tags: [] },
  { id: 1004, nvr: 'sample-lib-1.0-1.sample', state: 1, tags: [['sample', 70_004]] },
  { id: 1005, nvr: 'sample-app-1.0-1.sample', state: 1, tags: [['sample', 70_005]] },
  { id: 1006, nvr: 'sample-notes-1.0-1.sample', state: 1, tags: [['sample', 70_006]] },
  { id: 1007, nvr: 'sample-tools-1.0-1.sample', state: 1, tags: [['sample', 70_007]] },
  { id: 1008, nvr: 'sample-notes-1.1-1.sample', state: 1, tags: [['sample-updates', 70_008]] },
  { id: 1009, nvr: 'sample-tools-1.2-1.sample', state: 1, tags: [['sample-updates', 70_009]] },
  { id: 1010, nvr: 'sample-tested-1.0-1.sample', state: 1, tags: [[testing, 70_022]] },
  { id: 1011, nvr: 'sample-tools-1.1-1.sample', state: 1, tags: [[candidate, 70_010]] },
  { id: 1012, nvr: 'sample-tools-1.3-1.sample', state: 1, tags: [[candidate, 70_030]] },
  // The update with this one was taken back after 1.3 had come: so the older one is the tag's latest.
  { id: 1013, nvr: 'sample-notes-1.2-1.sample', state: 1, tags: [[candidate, 70_032]] },
  { id: 1014, nvr: 'sample-notes-1.3-1.sample', state: 1, tags: [[candidate, 70_031]] },
  { id: 1015, nvr: 'sample-lib-2.0-1.sample', state: 1, tags: [[sideTag, 70_040]] },
  { id: 1016, nvr: 'sample-app-2.0-1.sample', state: 1, tags: [[sideTag, 70_041]] },
  // Of another release, and in none of this one's tags.
  { id: 1017, nvr: 'hello-0.9-1.other', state: 1, tags: [['other', 70_050]] },
  { id: 1018, nvr: 'hello-1.3-1.sample', state: 0, tags: [] },
  { id: 1019, nvr: 'hello-1.4-1.sample', state: 4, tags: [] },
  { id: 1020, nvr: 'hello-0.8-1.sample', state: 2, tags: [] },
  // Has RPMs for another architecture only.
  { id: 1021, nvr: 'sample-arm-1.0-1.sample', state: 1, tags: [[candidate, 70_060]] },
  // Has debuginfo and debugsource beside the package itself.
  { id: 1022, nvr: 'sample-native-1.0-1.sample', state: 1, tags: [[candidate, 70_061]] },
  // One of its RPMs has a version of its own; all have an epoch.
  { id: 1023, nvr: 'sample-split-3.0-1.sample', state: 1, tags: [[candidate, 70_062]] },
  { id: 1024, nvr: 'hello-1.6-1.sample,draft_1024', state: 1, tags: [] },
];

export interface ScratchPlan {
  /** Of the `build` task. The next two numbers are its children: the one that made the source RPM, and the one that built it. */
  readonly taskId: number;
  readonly nvr: string;
  readonly arch: string;
  readonly state: KojiTask['state'];
}

export const scratchPlans: readonly ScratchPlan[] = [
  { taskId: kojiTaskIds.scratch, nvr: 'hello-1.5-0.scratch', arch: 'noarch', state: 2 },
  { taskId: kojiTaskIds.scratchFailed, nvr: 'hello-1.7-0.scratch', arch: 'noarch', state: 5 },
  { taskId: kojiTaskIds.scratchOpen, nvr: 'hello-1.8-0.scratch', arch: 'noarch', state: 1 },
  { taskId: kojiTaskIds.scratchForeignArch, nvr: 'sample-arm-1.1-0.scratch', arch: 'aarch64', state: 2 },
];
