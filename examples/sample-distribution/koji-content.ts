/** Makes what Sample Linux's Koji knows out of its plans and of the RPMs that were built for them. Pure. */

import { sigkey, signedTags, stableBuiltS } from './known-names.ts';
import { type BuildPlan, buildPlans, type ScratchPlan, scratchPlans, tags, targets } from './koji-plans.ts';
import type { BuiltRpm, KojiBuild, KojiContent, KojiTask } from './koji-records.ts';

/** True where Koji has signed copies of the build's RPMs. */
export const isSigned = ({ tags: held }: Pick<BuildPlan, 'tags'>) => held.some(([tag]) => signedTags.includes(tag));

export const nvrOf = ({ name, version, release }: { readonly name: string; readonly version: string; readonly release: string }) =>
  `${name}-${version}-${release}`;

/** A draft's RPMs are named as if it were none. */
export const nvrOfRpms = ({ nvr }: Pick<BuildPlan, 'nvr'>) => nvr.replace(/,draft_\d+$/, '');

/** Where in a scratch build's task tree its RPMs lie: source and binary, each in the folder of the task that made it. */
export function scratchTaskOf({ taskId }: ScratchPlan, { arch }: Pick<BuiltRpm, 'arch'>): number {
  return arch === 'src' ? taskId + 1 : taskId + 2;
}

/** What a task wrote while it ran, beside RPMs. */
export const logNames = ['build.log', 'root.log', 'state.log'];
export const logText = (taskId: number, name: string) => `Sample Linux's Koji wrote this as ${name} of task ${taskId}\n`;

/** Every Koji build and task of the plans, with those of the RPMs that belong to them. Source packages are numbered in the order of their first build. */
export function kojiContent(rpms: readonly BuiltRpm[]): KojiContent {
  const packageNames = [...new Set(buildPlans.map(({ nvr }) => splitNvr(nvr).name))];
  let rpmId = 6000;
  const builds = buildPlans.map((plan): KojiBuild => {
    const ofBuild = rpms.filter(({ nvrOfSource }) => nvrOfSource === nvrOfRpms(plan));
    const source = ofBuild.find(({ arch }) => arch === 'src');
    const builtS = source?.buildTimeS ?? stableBuiltS + (plan.id - 1000) * 3600;
    const { name, version, release } = splitNvr(plan.nvr);
    return {
      ...{ id: plan.id, taskId: taskIdOf(plan), name, packageId: 298 + packageNames.indexOf(name), epoch: source?.epoch ?? null, version, release },
      ...{ state: plan.state, isDraft: plan.nvr.includes(',draft_') },
      // Never whole seconds, as at a real hub, which sends these as doubles.
      startedS: builtS - 59.75,
      completedS: plan.state === 0 ? null : builtS + 0.25,
      tags: plan.tags.map(([tag, event]) => ({ tag, event })),
      rpms: ofBuild.map(({ name, epoch, version, release, arch, nvrOfSource, size, payloadHash, buildTimeS }) => {
        rpmId += 1;
        return { name, epoch, version, release, arch, nvrOfSource, size, payloadHash, buildTimeS, id: rpmId, sigkeys: isSigned(plan) ? [sigkey] : [] };
      }),
    };
  });
  return { tags, targets, builds, tasks: [...builds.flatMap(tasksOfBuild), ...scratchPlans.flatMap((plan) => tasksOfScratch(plan, rpms))] };
}

const taskIdOf = ({ id }: BuildPlan) => id + 4000;

export function splitNvr(nvr: string) {
  const [, name = '', version = '', release = ''] = /^(.+)-([^-]+)-([^-]+)$/.exec(nvr) ?? [];
  return { name, version, release };
}

/** A task's states are numbered otherwise than a build's. */
const taskStates = { 0: 1, 1: 2, 2: 2, 3: 5, 4: 3 } as const;

/** Their output is long imported, and gone. */
function tasksOfBuild(build: KojiBuild): KojiTask[] {
  const { taskId, startedS, completedS } = build;
  const shared = { state: taskStates[build.state], startedS, completedS, output: [] };
  const sourceRpm = `${nvrOf(build)}.src.rpm`;
  const options = { wait_repo: true, wait_builds: [] };
  const task: KojiTask = {
    ...{ ...shared, id: taskId, method: 'build', arch: 'noarch', label: null, parent: null },
    request: [`cli-build/${sourceRpm}`, 'sample-updates-candidate', options],
  };
  const arch = build.rpms.find((rpm) => rpm.arch !== 'src')?.arch ?? 'noarch';
  const child: KojiTask = {
    ...{ ...shared, id: taskId + 10_000, method: 'buildArch', arch, label: arch, parent: taskId },
    request: [`tasks/${taskId}/${sourceRpm}`, 5, arch, true, { repo_id: 2599 }],
  };
  return [task, child];
}

function tasksOfScratch(plan: ScratchPlan, rpms: readonly BuiltRpm[]): KojiTask[] {
  const { taskId, nvr, arch, state } = plan;
  const ofTask = rpms.filter(({ nvrOfSource }) => nvrOfSource === nvr);
  const startedS = stableBuiltS + 64 * 86_400 + (taskId % 100);
  const ended = state === 1 ? null : startedS + 90.5;
  const filesOf = (id: number) => [
    ...ofTask.filter((rpm) => scratchTaskOf(plan, rpm) === id).map((rpm) => ({ name: `${nvrOf(rpm)}.${rpm.arch}.rpm`, size: rpm.size })),
    ...logNames.map((name) => ({ name, size: logText(id, name).length })),
  ];
  const shared = { startedS };
  return [
    {
      ...{ ...shared, id: taskId, method: 'build', state, arch: 'noarch', label: null, parent: null, completedS: ended, output: [] },
      request: [`cli-build/${nvr}.src.rpm`, 'sample', { scratch: true, wait_builds: [], wait_repo: true }],
    },
    {
      ...{ ...shared, id: taskId + 1, method: 'rebuildSRPM', state: 2, arch: 'noarch', label: 'srpm', parent: taskId, completedS: startedS + 30.5 },
      ...{ request: [`cli-build/${nvr}.src.rpm`, 5, { repo_id: 2599, scratch: true }], output: filesOf(taskId + 1) },
    },
    {
      ...{ ...shared, id: taskId + 2, method: 'buildArch', state, arch, label: arch, parent: taskId, completedS: ended },
      ...{
        request: [`tasks/${(taskId + 1) % 10_000}/${taskId + 1}/${nvr}.src.rpm`, 5, arch, true, { repo_id: 2599 }],
        output: state === 1 ? [] : filesOf(taskId + 2),
      },
    },
  ];
}
