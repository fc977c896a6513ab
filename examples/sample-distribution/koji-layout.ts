/** Lays out the files host of Sample Linux's Koji, with the paths of the real one, and tells what the hub then has to know. */
import { link, mkdir, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { SpindleError } from '../../shared/build/failure.ts';
import { sigkey } from './known-names.ts';
import { isSigned, kojiContent, logNames, logText, nvrOf, nvrOfRpms, scratchTaskOf, splitNvr } from './koji-content.ts';
import { buildPlans, scratchPlans } from './koji-plans.ts';
import type { BuiltRpm, KojiContent } from './koji-records.ts';

type RpmFile = BuiltRpm & { readonly path: string };

/** Rejects with ENGINE_FAILED where a complete build or a closed task has no RPMs. */
export async function layOutKoji(rpms: readonly RpmFile[], files: string): Promise<KojiContent> {
  const content = kojiContent(rpms);
  for (const plan of buildPlans.filter(({ state }) => state === 1)) {
    const build = content.builds.find(({ id }) => id === plan.id);
    if (build === undefined || build.rpms.length === 0) throw new SpindleError('ENGINE_FAILED', `no RPMs were built for Koji's ${plan.nvr}`);
    for (const rpm of rpms.filter(({ nvrOfSource }) => nvrOfSource === nvrOfRpms(plan))) {
      await place(rpm, join(files, 'packages', build.name, build.version, build.release, rpm.arch, fileName(rpm)));
    }
  }
  for (const plan of scratchPlans) {
    const ofTask = rpms.filter(({ nvrOfSource }) => nvrOfSource === plan.nvr);
    if (plan.state === 2 && ofTask.length === 0) throw new SpindleError('ENGINE_FAILED', `no RPMs were built for Koji's task ${plan.taskId}`);
    for (const rpm of ofTask) {
      // Koji moves what a scratch build leaves to its scratch folder, and leaves links where the tasks had it.
      const kept = join(files, 'scratch', 'sample', `task_${plan.taskId}`, fileName(rpm));
      await place(rpm, kept);
      const seen = join(taskFolder(files, scratchTaskOf(plan, rpm)), fileName(rpm));
      await mkdir(dirname(seen), { recursive: true });
      await symlink(relative(dirname(seen), kept), seen);
    }
  }
  for (const task of content.tasks) {
    for (const { name } of task.output.filter((file) => logNames.includes(file.name))) {
      await mkdir(taskFolder(files, task.id), { recursive: true });
      await writeFile(join(taskFolder(files, task.id), name), logText(task.id, name));
      await utimes(join(taskFolder(files, task.id), name), task.startedS, task.startedS);
    }
  }
  return content;
}

/** The signed copies, beside the unsigned files: `rpms` are the same as before, signed. */
export async function layOutSigned(rpms: readonly RpmFile[], files: string): Promise<void> {
  for (const plan of buildPlans.filter((each) => each.state === 1 && isSigned(each))) {
    for (const rpm of rpms.filter(({ nvrOfSource }) => nvrOfSource === nvrOfRpms(plan))) {
      const { name, version, release } = splitNvr(plan.nvr);
      await place(rpm, join(files, 'packages', name, version, release, 'data', 'signed', sigkey, rpm.arch, fileName(rpm)));
    }
  }
}

const fileName = (rpm: BuiltRpm) => `${nvrOf(rpm)}.${rpm.arch}.rpm`;
const taskFolder = (files: string, taskId: number) => join(files, 'work', 'tasks', String(taskId % 10_000), String(taskId));

async function place({ path, buildTimeS }: RpmFile, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await link(path, target);
  await utimes(target, buildTimeS, buildTimeS);
}
